"""APNs: the call that is made, what every answer means, and the life of provider tokens."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router.messages import (
    Button,
    Delivered,
    Halt,
    Outcome,
    Priority,
    PushMessage,
    Rejected,
    Retry,
    Scope,
    Target,
)
from router.sinks._apns.answers import TopicWatch, outcome
from router.sinks._apns.messages import ApnsCall, apns_call
from router.sinks._apns.token import ProviderToken
from router.sinks.apns import ApnsConfig
from router.transport import HttpResponse
from router.values import Secret
from tests.unit.sinks.builders import KEY, NOW, answer, config, kind, parcel

TOKEN = "ab" * 32
DEVICE = Target(TOKEN, "device", platform="ios", environment="production")
PUSH = PushMessage("Order", "Paid")


def built(
    message: PushMessage = PUSH, target: Target = DEVICE, **changes: Any
) -> ApnsCall | Rejected:
    category = changes.pop("category", None)
    topic = changes.pop("topic", "com.acme.shop")
    return apns_call(parcel(message, target=target, **changes), message, topic, category, NOW)


def call(message: PushMessage = PUSH, target: Target = DEVICE, **changes: Any) -> ApnsCall:
    made = built(message, target, **changes)
    assert isinstance(made, ApnsCall)
    return made


def body(message: PushMessage = PUSH, **changes: Any) -> dict[str, Any]:
    return orjson.loads(call(message, **changes).body)


def refused(message: PushMessage = PUSH, target: Target = DEVICE) -> str:
    made = built(message, target)
    assert isinstance(made, Rejected)
    assert not made.recipient_gone
    return made.reason.code


def refusal(status: int, reason: str, **fields: Any) -> HttpResponse:
    return answer(status, {"reason": reason, **fields})


GONE, OURS = True, False
OLD, NEW = int((NOW - 1000) * 1000), int((NOW + 1000) * 1000)

TABLE: list[tuple[HttpResponse, tuple[Any, ...]]] = [
    (answer(200, apns_id="x"), (Delivered, "x")),
    (answer(200), (Delivered, None)),
    (refusal(400, "BadDeviceToken"), (Rejected, "token_invalid", GONE)),
    (refusal(400, "DeviceTokenNotForTopic"), (Rejected, "token_of_other_app", GONE)),
    *(
        (refusal(400, reason), (Rejected, "bad_request", OURS))
        for reason in (
            "BadCollapseId",
            "BadExpirationDate",
            "BadMessageId",
            "BadPriority",
            "InvalidPushType",
            "PayloadEmpty",
            "DuplicateHeaders",
            "MissingDeviceToken",
        )
    ),
    *(
        (refusal(status, reason), (Halt, "configuration_refused"))
        for status, reason in (
            (400, "BadTopic"),
            (400, "MissingTopic"),
            (400, "TopicDisallowed"),
            (403, "ExpiredProviderToken"),
            (403, "InvalidProviderToken"),
            (403, "MissingProviderToken"),
            (403, "BadCertificate"),
            (403, "BadCertificateEnvironment"),
            (403, "UnrelatedKeyIdInToken"),
            (403, "Forbidden"),
            (403, "BadEnvironmentKeyIdInToken"),
            (403, "BadEnvironmentKeyInToken"),
            (403, "SomethingNew"),
            (404, "BadPath"),
            (405, "MethodNotAllowed"),
        )
    ),
    (refusal(400, "IdleTimeout"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (refusal(400, "SomethingNew"), (Rejected, "refused", OURS)),
    (refusal(410, "Unregistered"), (Rejected, "token_unregistered", GONE)),
    (refusal(410, "ExpiredToken", timestamp=NEW), (Rejected, "token_unregistered", GONE)),
    (refusal(413, "PayloadTooLarge"), (Rejected, "too_large", OURS)),
    (refusal(429, "TooManyRequests"), (Retry, "rate_limited", 60, Scope.TARGET)),
    (
        refusal(429, "TooManyProviderTokenUpdates"),
        (Retry, "too_many_tokens", 300, Scope.SINK),
    ),
    (refusal(500, "InternalServerError"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (refusal(503, "ServiceUnavailable"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(503, b"", retry_after="9"), (Retry, "provider_error", 9, Scope.MESSAGE)),
    (refusal(503, "Shutdown"), (Retry, "provider_error", 1, Scope.MESSAGE)),
    (answer(403), (Halt, "configuration_refused")),
    (answer(410), (Rejected, "token_unregistered", GONE)),
    (answer(413), (Rejected, "too_large", OURS)),
    (answer(429), (Retry, "rate_limited", 60, Scope.TARGET)),
    (answer(502, b"<html>"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (HttpResponse(400, {}, b'{"rea', True), (Retry, "answer_cut", None, Scope.MESSAGE)),
    (HttpResponse(410, {}, b'{"rea', True), (Retry, "answer_cut", None, Scope.MESSAGE)),
    (answer(400, b""), (Rejected, "refused", OURS)),
    (answer(302), (Halt, "redirected")),
]


@pytest.mark.parametrize(("response", "expected"), TABLE, ids=lambda v: str(v)[:70])
def test_answer(response: HttpResponse, expected: tuple[Any, ...]) -> None:
    assert kind(outcome(DEVICE, "production", response, NOW)) == expected


@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
@pytest.mark.parametrize(
    ("registered_at", "timestamp", "is_gone"),
    [(NOW, OLD, False), (NOW, NEW, True), (None, OLD, True), (NOW, None, True)],
)
def test_a_token_registered_since_is_not_dead(
    reason: str, registered_at: float | None, timestamp: int | None, is_gone: bool
) -> None:
    target = Target(TOKEN, "device", registered_at=registered_at)
    fields = {} if timestamp is None else {"timestamp": timestamp}
    result = outcome(target, "production", refusal(410, reason, **fields), NOW)
    if is_gone:
        assert kind(result) == (Rejected, "token_unregistered", GONE)
    else:
        assert kind(result) == (Retry, "registered_since", 60, Scope.TARGET)


@pytest.mark.parametrize("environment", [None, "sandbox"])
def test_a_bad_token_is_dead_only_where_its_environment_was_asked(environment: str | None) -> None:
    target = Target(TOKEN, "device", environment=environment)
    result = outcome(target, "production", refusal(400, "BadDeviceToken"), NOW)
    assert kind(result) == (Rejected, "token_or_environment", OURS)


class TestTopicWatch:
    OTHER_APP = outcome(DEVICE, "production", refusal(400, "DeviceTokenNotForTopic"), NOW)

    def judged(self, *results: Outcome) -> list[type]:
        watch = TopicWatch()
        return [type(watch.judge(result)) for result in results]

    def test_without_a_success_the_topic_is_suspected(self) -> None:
        assert self.judged(self.OTHER_APP, self.OTHER_APP) == [Halt, Halt]

    def test_after_successes_the_device_is(self) -> None:
        fine = Delivered()
        assert self.judged(fine, fine, self.OTHER_APP)[2] is Rejected

    def test_when_it_hits_most_the_topic_is_suspected_again(self) -> None:
        judged = self.judged(*[Delivered()] * 20, *[self.OTHER_APP] * 11)
        assert judged[20:30] == [Rejected] * 10
        assert judged[30] is Halt

    def test_other_answers_say_nothing_about_it(self) -> None:
        gone = outcome(DEVICE, "production", refusal(410, "Unregistered"), NOW)
        assert self.judged(*[gone] * 5) == [Rejected] * 5


class TestCall:
    def test_the_least(self) -> None:
        made = call()
        assert made.path == f"/3/device/{TOKEN}"
        assert made.headers == {
            "apns-push-type": "alert",
            "apns-priority": "10",
            "apns-id": str(UUID(bytes=KEY)),
            "apns-topic": "com.acme.shop",
        }
        assert orjson.loads(made.body) == {
            "aps": {"alert": {"title": "Order", "body": "Paid"}, "sound": "default"},
            "delivery_key": KEY.hex(),
        }

    def test_everything(self) -> None:
        message = PushMessage(
            "Order",
            "Paid",
            image="https://cdn.acme.example/1.png",
            link="https://acme.example/o",
            badge=3,
            sound="coins.caf",
            data={"order": "12"},
            actions=(Button("Open", "https://acme.example/o"),),
            ttl=3600,
            priority=Priority.NORMAL,
            collapse="order-12",
        )
        made = call(message, category="order")
        assert orjson.loads(made.body) == {
            "aps": {
                "alert": {"title": "Order", "body": "Paid"},
                "badge": 3,
                "sound": "coins.caf",
                "mutable-content": 1,
                "category": "order",
            },
            "order": "12",
            "link": "https://acme.example/o",
            "image": "https://cdn.acme.example/1.png",
            "actions": '[{"text":"Open","url":"https://acme.example/o"}]',
            "delivery_key": KEY.hex(),
        }
        assert made.headers["apns-priority"] == "5"
        assert made.headers["apns-collapse-id"] == "order-12"
        assert made.headers["apns-expiration"] == str(int(NOW) + 3600)

    def test_a_silent_push(self) -> None:
        message = PushMessage("", "", data={"sync": "orders"}, silent=True)
        made = call(message)
        assert made.headers["apns-push-type"] == "background"
        assert made.headers["apns-priority"] == "5"
        assert orjson.loads(made.body)["aps"] == {"content-available": 1}

    @pytest.mark.parametrize(
        ("ttl", "expires_in", "expected"),
        [
            (None, None, None),
            (0, None, "0"),
            (None, -1, "0"),
            (60, 30, str(int(NOW) + 30)),
            (10**8, None, str(int(NOW) + 30 * 86400)),
        ],
    )
    def test_expiration(
        self, ttl: int | None, expires_in: float | None, expected: str | None
    ) -> None:
        expires = None if expires_in is None else NOW + expires_in
        made = call(PushMessage("a", "b", ttl=ttl), expires_at=expires)
        assert made.headers.get("apns-expiration") == expected

    def test_a_long_collapse_key_still_collapses(self) -> None:
        first, second, other = (
            call(PushMessage("a", "b", collapse=c)).headers["apns-collapse-id"]
            for c in ("ы" * 33, "ы" * 33, "ы" * 34)
        )
        assert first == second != other
        assert len(first.encode()) <= 64
        assert call(PushMessage("a", "b", collapse="ы" * 32)).headers["apns-collapse-id"] == (
            "ы" * 32
        )

    def test_a_certificate_may_know_the_topic(self) -> None:
        assert "apns-topic" not in call(topic=None).headers

    def test_a_test_send_says_so(self) -> None:
        assert body(is_test=True)["aps"]["alert"]["title"] == "[test] Order"

    def test_an_empty_title_is_left_out(self) -> None:
        assert body(PushMessage("", "Paid"))["aps"]["alert"] == {"body": "Paid"}

    def test_an_empty_sound_is_none(self) -> None:
        assert "sound" not in body(PushMessage("a", "b", sound=""))["aps"]

    @pytest.mark.parametrize("name", ["aps", "delivery_key"])
    def test_reserved_keys(self, name: str) -> None:
        assert refused(PushMessage("a", "b", data={name: "1"})) == "data_reserved"

    def test_nothing_to_show(self) -> None:
        assert refused(PushMessage("", "")) == "text_empty"

    @pytest.mark.parametrize("address", ["fcm:token", "ab/../x", "", "zz"])
    def test_what_is_no_device_token_is_not_sent(self, address: str) -> None:
        assert refused(PUSH, Target(address, "device")) == "token_malformed"

    def test_size(self) -> None:
        empty = len(call(PushMessage("a", "")).body)
        room = 4096 - empty - len(',"body":""')
        assert len(call(PushMessage("a", "x" * room)).body) == 4096
        assert refused(PushMessage("a", "x" * (room + 1))) == "too_large"


KEY_P256 = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Secret:
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def tokens() -> ProviderToken:
    return ProviderToken(pem(KEY_P256), "ABC123DEFG", "DEF123GHIJ")


def part(token: str, index: int) -> bytes:
    text = token.split(".")[index]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def issued_at(token: str) -> int:
    return orjson.loads(part(token, 1))["iat"]


class TestProviderToken:
    def test_apple_can_verify_it(self) -> None:
        token = tokens().current(NOW)
        assert orjson.loads(part(token, 0)) == {"alg": "ES256", "kid": "ABC123DEFG"}
        assert orjson.loads(part(token, 1)) == {"iss": "DEF123GHIJ", "iat": issued_at(token)}
        signature = part(token, 2)
        r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
        KEY_P256.public_key().verify(
            encode_dss_signature(r, s),
            token.rpartition(".")[0].encode(),
            ec.ECDSA(hashes.SHA256()),
        )

    def test_every_process_makes_the_same(self) -> None:
        assert tokens().current(NOW) == tokens().current(NOW)

    @given(start=st.floats(1.7e9, 1.8e9), steps=st.lists(st.floats(0, 4000), max_size=12))
    def test_it_is_never_too_old_nor_renewed_too_soon(
        self, start: float, steps: list[float]
    ) -> None:
        source = tokens()
        now, before, adopted = start, "", start
        for step in steps:
            now += step
            token = source.current(now)
            assert 60 <= now - issued_at(token) < 3300
            if token != before:
                assert before == "" or issued_at(token) - issued_at(before) >= 1200
                assert before == "" or now - adopted >= 1200
                before, adopted = token, now

    def test_whoever_started_when_shares_it_before_long(self) -> None:
        start = float(issued_at(tokens().current(NOW)))
        sources = [tokens() for _ in range(30)]
        for minute in range(180):
            for source in sources[: minute + 1]:
                source.current(start + 60 * minute + 60)
        assert len({source.current(start + 180 * 60 + 90) for source in sources}) == 1

    def test_an_old_token_that_apple_calls_expired_is_renewed_once(self) -> None:
        source = tokens()
        slot = issued_at(source.current(NOW))
        old = source.current(slot + 1500)
        assert source.expired(old, slot + 1500)
        fresh = source.current(slot + 1500)
        assert issued_at(fresh) == slot + 1500
        assert not source.expired(fresh, slot + 1501)
        assert source.expired(old, slot + 1501), "another send has renewed it already"

    def test_a_young_token_is_not_renewed_whatever_apple_says(self) -> None:
        source = tokens()
        slot = issued_at(source.current(NOW))
        assert not source.expired(source.current(slot + 600), slot + 600)

    def test_a_renewed_token_is_not_renewed_again_at_the_next_slot(self) -> None:
        source = tokens()
        slot = issued_at(source.current(NOW))
        source.expired(source.current(slot + 1800), slot + 1800)
        fresh = source.current(slot + 1801)
        assert source.current(slot + 1800 + 1199) == fresh

    def test_after_too_many_updates_the_token_stays_a_while(self) -> None:
        source = tokens()
        token = source.current(NOW)
        slot = issued_at(token)
        source.hold(slot + 1700)
        assert source.current(slot + 1700 + 1199) == token
        assert source.current(slot + 1700 + 1201) != token

    def test_a_clock_that_was_set_back_brings_a_token_of_then(self) -> None:
        source = tokens()
        source.current(NOW + 10**6)
        assert 0 <= NOW - issued_at(source.current(NOW)) < 3000

    @pytest.mark.parametrize(
        "key",
        [
            Secret("planted"),
            pem(ec.generate_private_key(ec.SECP384R1())),
            pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ],
        ids=["junk", "P-384", "RSA"],
    )
    def test_other_keys(self, key: Secret) -> None:
        with pytest.raises(ValueError, match=r"\.p8") as caught:
            ProviderToken(key, "ABC123DEFG", "DEF123GHIJ")
        assert "planted" not in str(caught.value)


class TestConfig:
    def test_defaults(self) -> None:
        built = config(ApnsConfig)
        assert built.platforms == ("ios",)
        assert built.production_url == "https://api.push.apple.com"
        assert built.sandbox_url == "https://api.sandbox.push.apple.com"
        assert "planted" not in repr(built)

    def test_a_certificate_needs_nothing_else(self) -> None:
        model = ApnsConfig.model_validate({"type": "apns", "cert_file": "apns.pem"})
        assert model.topic is None

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"key": None}, "one of key, key_file and cert_file"),
            ({"key_file": "a.p8"}, "one of key, key_file and cert_file"),
            ({"cert_file": "a.pem"}, "one of key, key_file and cert_file"),
            ({"topic": None}, "key_id, team_id and topic"),
            ({"key_id": None}, "key_id, team_id and topic"),
            ({"key_id": "short"}, "pattern"),
            ({"topic": "com acme"}, "bundle id"),
            ({"key": None, "cert_file": "a.pem"}, "leave out key_id"),
            ({"cert_key_file": "a.pem"}, "cert_file: missing"),
            ({"environment": "development"}, "production"),
            ({"production_url": "http://x"}, "pattern"),
        ],
    )
    def test_mistakes(self, changes: dict[str, Any], says: str) -> None:
        with pytest.raises(ValidationError, match=says):
            config(ApnsConfig, **changes)
