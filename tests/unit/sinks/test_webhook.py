"""Webhook: what is signed and sent, and what every answer means."""

from __future__ import annotations

import base64
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from nacl.signing import SigningKey as NaclKey
from nacl.signing import VerifyKey
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from router.messages import Delivered, Parcel, Rejected, Request, Retry, Scope, Target
from router.sinks._webhook_keys import sign, signing_key
from router.sinks.webhook import WebhookConfig, outcome, request, webhook_id
from router.transport import HttpRequest, HttpResponse
from router.values import Secret
from tests.unit.sinks.builders import KEY, NOW, WEBHOOK_SECRET, answer, call, config, kind

SECRET_KEY = base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_"))
BODY = '{"type":"order.paid","timestamp":"2026-01-02T03:04:05Z","data":{"id":"o-1","имя":"Ж"}}'


def build(body: bytes = b"{}", now: float = NOW, **changes: Any) -> HttpRequest:
    built = request(config(WebhookConfig), [SECRET_KEY], now, call(body, **changes))
    assert isinstance(built, HttpRequest)
    return built


def test_published_vector() -> None:
    signature = sign([SECRET_KEY], "msg_01", 1767323045, BODY.encode())
    assert signature == "v1,cO/spc0P58es4rKOAt52zI+vzWcC5/kfJ5j/c6k3VsM="


def test_a_receiver_of_the_specification_verifies_it() -> None:
    now = datetime.now(UTC).timestamp()
    built = build(BODY.encode(), now)
    assert built.body is not None
    verified = Webhook(WEBHOOK_SECRET).verify(built.body, dict(built.headers))
    assert verified["data"] == {"id": "o-1", "имя": "Ж"}


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp"])
def test_a_changed_request_does_not_verify(change: str) -> None:
    built = build(b'{"a":1}', datetime.now(UTC).timestamp())
    headers, body = dict(built.headers), built.body or b""
    if change == "body":
        body = b'{"a":2}'
    elif change == "webhook-id":
        headers[change] += "0"
    else:
        headers[change] = str(int(headers[change]) - 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(WEBHOOK_SECRET).verify(body, headers)


def test_rotation_signs_with_each_secret() -> None:
    other = b"another secret of 32 bytes length"
    built = request(config(WebhookConfig), [other, SECRET_KEY], NOW, call())
    signatures = built.headers["webhook-signature"].split(" ")
    assert len(signatures) == 2
    assert signatures[1] == build().headers["webhook-signature"]


def test_the_id_stays_and_the_timestamp_moves_with_each_attempt() -> None:
    first, second = build(), build(now=NOW + 60)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == webhook_id(KEY)
    assert "." not in webhook_id(KEY)
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 60
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_a_message_can_not_replace_the_routers_headers() -> None:
    built = build(headers=(("Webhook-Id", "forged"), ("X-Tenant", "a")))
    assert "Webhook-Id" not in built.headers
    assert built.headers["X-Tenant"] == "a"


def test_without_secrets_there_is_no_signature() -> None:
    unsigned = config(WebhookConfig, secrets=[], unsigned=True)
    built = request(unsigned, [], NOW, call())
    assert isinstance(built, HttpRequest)
    assert "webhook-signature" not in built.headers


class TestEd25519:
    """Keys and signatures of RFC 8032 section 7.1, and messages that PyNaCl verifies."""

    SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

    @staticmethod
    def secret(raw: bytes) -> Secret:
        return Secret("whsk_" + base64.b64encode(raw).decode())

    @pytest.mark.parametrize("tail", [b"", PUBLIC], ids=["seed", "seed and public half"])
    def test_another_implementation_verifies_the_signature(self, tail: bytes) -> None:
        header = sign([signing_key(self.secret(self.SEED + tail))], "msg_01", 7, BODY.encode())
        version, _, value = header.partition(",")
        assert version == "v1a"
        content = b"msg_01.7." + BODY.encode()
        assert base64.b64decode(value) == NaclKey(self.SEED).sign(content).signature
        VerifyKey(self.PUBLIC).verify(content, base64.b64decode(value))

    def test_secrets_and_keys_sign_side_by_side(self) -> None:
        secrets = [self.secret(self.SEED).reveal(), WEBHOOK_SECRET]
        options = config(WebhookConfig, secrets=secrets)
        keys = [signing_key(secret) for secret in options.secrets]
        built = request(options, keys, NOW, call())
        assert isinstance(built, HttpRequest)
        first, second = built.headers["webhook-signature"].split(" ")
        assert first.startswith("v1a,")
        assert second == build().headers["webhook-signature"]

    @pytest.mark.parametrize("raw", [b"", SEED[:31], SEED + b"x", SEED + SEED])
    def test_what_is_no_key_is_refused(self, raw: bytes) -> None:
        with pytest.raises(ValidationError, match="32 random bytes"):
            config(WebhookConfig, secrets=[self.secret(raw).reveal()])

    def test_a_public_key_does_not_sign(self) -> None:
        public = "whpk_" + base64.b64encode(self.PUBLIC).decode()
        with pytest.raises(ValidationError, match="whsec_"):
            config(WebhookConfig, secrets=[public])

    def test_without_the_extra_the_error_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cryptography", None)
        with pytest.raises(ValidationError, match=r"router\[signing\]"):
            config(WebhookConfig, secrets=[self.secret(self.SEED).reveal()])
        assert config(WebhookConfig).secrets


LATER = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=90)

TABLE: list[tuple[HttpResponse, tuple[Any, ...]]] = [
    (answer(200), (Delivered, None)),
    (answer(204), (Delivered, None)),
    (answer(301, location="https://x"), (Retry, "redirected", None, Scope.MESSAGE)),
    (answer(410), (Rejected, "endpoint_gone", True)),
    (answer(429), (Retry, "rate_limited", 60, Scope.ENDPOINT)),
    (answer(429, retry_after="7"), (Retry, "rate_limited", 7, Scope.ENDPOINT)),
    (answer(429, retry_after="86400"), (Retry, "rate_limited", 3600, Scope.ENDPOINT)),
    (
        answer(429, retry_after=LATER.strftime("%a, %d %b %Y %H:%M:%S GMT")),
        (Retry, "rate_limited", 90, Scope.ENDPOINT),
    ),
    (answer(429, retry_after="soon"), (Retry, "rate_limited", 60, Scope.ENDPOINT)),
    (answer(502), (Retry, "throttled", 5, Scope.ENDPOINT)),
    (answer(502, retry_after="20"), (Retry, "throttled", 20, Scope.ENDPOINT)),
    (answer(504), (Retry, "throttled", 5, Scope.ENDPOINT)),
    (answer(503), (Retry, "unavailable", None, Scope.MESSAGE)),
    (answer(503, retry_after="20"), (Retry, "unavailable", 20, Scope.ENDPOINT)),
    (answer(400), (Retry, "refused", None, Scope.MESSAGE)),
    (answer(401), (Retry, "refused", None, Scope.MESSAGE)),
    (answer(404), (Retry, "refused", None, Scope.MESSAGE)),
    (answer(500), (Retry, "refused", None, Scope.MESSAGE)),
]


@pytest.mark.parametrize(("response", "expected"), TABLE, ids=lambda v: str(v)[:60])
def test_answer(response: HttpResponse, expected: tuple[Any, ...]) -> None:
    assert kind(outcome(response, NOW)) == expected


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"secrets": []}, "unsigned: true"),
            ({"unsigned": True}, "contradicts"),
            ({"secrets": ["whsec_c2hvcnQ="]}, "24 to 64"),
            ({"secrets": ["whsec_not base64"]}, "24 to 64"),
            ({"url": "http://partner.example/"}, "allow_http"),
            ({"url": "ftp://partner.example/"}, "https address"),
            ({"url": "https://user:pw@partner.example/"}, "credentials"),
        ],
    )
    def test_what_is_unsafe_is_refused(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            config(WebhookConfig, **changes)

    def test_http_can_be_allowed(self) -> None:
        assert config(WebhookConfig, url="http://127.0.0.1/", allow_http=True).allow_http


class TestCustomers:
    URL = "https://hooks.acme.example/in"
    OPTIONS: ClassVar = {"url": None, "secrets": [], "to_customers": True}

    def parcel(self, url: str = URL, *secrets: str) -> Parcel:
        kept = tuple(Secret(secret) for secret in secrets or (WEBHOOK_SECRET,))
        return Parcel(
            KEY, Request(body=b"{}"), Target(url, "endpoint"), event_time=NOW, secrets=kept
        )

    def test_an_endpoint_is_signed_for_with_its_own_secrets(self) -> None:
        options = config(WebhookConfig, **self.OPTIONS)
        built = request(options, [], NOW, self.parcel())
        assert isinstance(built, HttpRequest)
        assert built.url == self.URL
        own = config(WebhookConfig, url=self.URL)
        assert built == request(own, [SECRET_KEY], NOW, self.parcel())

    @pytest.mark.parametrize(
        ("url", "secrets", "code"),
        [
            ("http://hooks.acme.example/", [WEBHOOK_SECRET], "endpoint_invalid"),
            ("https://user:pw@hooks.acme.example/", [WEBHOOK_SECRET], "endpoint_invalid"),
            ("https:///in", [WEBHOOK_SECRET], "endpoint_invalid"),
            ("https://[::1/", [WEBHOOK_SECRET], "endpoint_invalid"),
            (URL, ["whsec_c2hvcnQ="], "endpoint_secret"),
        ],
    )
    def test_what_can_not_be_sent_to_is_rejected(
        self, url: str, secrets: list[str], code: str
    ) -> None:
        options = config(WebhookConfig, **self.OPTIONS)
        refused = request(options, [], NOW, self.parcel(url, *secrets))
        assert isinstance(refused, Rejected)
        assert (refused.reason.code, refused.recipient_gone) == (code, False)

    def test_without_a_secret_nothing_is_sent_unless_that_is_wanted(self) -> None:
        bare = replace(self.parcel(), secrets=())
        signed = request(config(WebhookConfig, **self.OPTIONS), [], NOW, bare)
        assert isinstance(signed, Rejected)
        unsigned = config(WebhookConfig, **self.OPTIONS, unsigned=True)
        built = request(unsigned, [], NOW, bare)
        assert isinstance(built, HttpRequest)
        assert "webhook-signature" not in built.headers

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"url": "https://partner.example/"}, "its own url and secrets"),
            ({"secrets": [WEBHOOK_SECRET]}, "its own url and secrets"),
            ({"to_customers": False}, "set to_customers: true"),
            ({"to_customers": False, "event_hosts": ["a.io"]}, "endpoints of customers"),
        ],
    )
    def test_configuration(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            config(WebhookConfig, **(self.OPTIONS | changes))
