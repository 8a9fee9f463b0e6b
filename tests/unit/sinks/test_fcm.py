"""FCM: the message that is posted, and what every answer means."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from router.messages import (
    Button,
    Delivered,
    Halt,
    InDoubt,
    Priority,
    PushMessage,
    Rejected,
    Retry,
    Scope,
    Target,
)
from router.sinks._fcm.answers import is_token_refused, outcome
from router.sinks._fcm.messages import fcm_message
from router.sinks._google_token import ServiceAccount
from router.sinks.fcm import FcmConfig, look
from router.transport import HttpResponse
from tests.unit.sinks.builders import KEY, NOW, SERVICE_ACCOUNT, answer, config, kind, parcel

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
DEVICE = Target("fcm-token", "device", platform="android")
TOPIC = Target("news", "topic")
PUSH = PushMessage("Order", "Paid")


def fields(message: PushMessage = PUSH, target: Target = DEVICE, **changes: Any) -> dict[str, Any]:
    options = {k: changes.pop(k) for k in list(changes) if k in FcmConfig.model_fields}
    sent = parcel(message, target=target, **changes)
    built = fcm_message(look(config(FcmConfig, **options)), sent, message, NOW)
    assert isinstance(built, dict)
    return built


def refused(message: PushMessage, target: Target = DEVICE) -> str:
    built = fcm_message(look(config(FcmConfig)), parcel(message, target=target), message, NOW)
    assert isinstance(built, Rejected)
    assert not built.recipient_gone
    return built.reason.code


def error(
    status: int,
    name: str,
    code: str | None = None,
    field: str | None = None,
    text: str = "",
    **headers: str,
) -> HttpResponse:
    details: list[dict[str, Any]] = []
    if code is not None:
        details.append({"@type": FCM_ERROR, "errorCode": code})
    if field is not None:
        details.append({"@type": BAD_REQUEST, "fieldViolations": [{"field": field}]})
    body: dict[str, Any] = {"code": status, "message": text, "status": name}
    if details:
        body["details"] = details
    return answer(status, {"error": body}, **headers)


GONE, OURS = True, False

TABLE: list[tuple[HttpResponse, tuple[Any, ...]]] = [
    (answer(200, {"name": "projects/p/messages/0:1%a"}), (Delivered, "projects/p/messages/0:1%a")),
    (
        answer(200, {"name": "projects/p/messages/fake_message_id"}),
        (Delivered, "projects/p/messages/fake_message_id"),
    ),
    (answer(200, b'{"name":"projects/p/mess'), (Delivered, None)),
    (answer(200, b"<html>proxy</html>"), (InDoubt, "answer_unreadable")),
    (
        error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.token"),
        (Rejected, "token_invalid", GONE),
    ),
    (
        error(
            400,
            "INVALID_ARGUMENT",
            "INVALID_ARGUMENT",
            text="The registration token is not a valid FCM registration token",
        ),
        (Rejected, "token_invalid", GONE),
    ),
    (
        error(400, "INVALID_ARGUMENT", None, "message.token"),
        (Rejected, "token_invalid", GONE),
    ),
    (
        error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.android.ttl"),
        (Rejected, "bad_request", OURS),
    ),
    (
        error(400, "INVALID_ARGUMENT", None, "message.data[0].value"),
        (Rejected, "bad_request", OURS),
    ),
    (error(400, "INVALID_ARGUMENT", text="Message too big"), (Rejected, "bad_request", OURS)),
    (HttpResponse(400, {}, b'{"error":{"code', True), (Retry, "answer_cut", None, Scope.MESSAGE)),
    (HttpResponse(404, {}, b'{"error":{"code', True), (Retry, "answer_cut", None, Scope.MESSAGE)),
    (error(401, "UNAUTHENTICATED"), (Halt, "credentials_refused")),
    (error(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), (Rejected, "sender_mismatch", GONE)),
    (error(403, "PERMISSION_DENIED"), (Halt, "permission_denied")),
    (error(404, "NOT_FOUND", "UNREGISTERED"), (Rejected, "token_unregistered", GONE)),
    (error(404, "NOT_FOUND"), (Halt, "project_unknown")),
    (answer(404, b"<html>Not Found</html>"), (Halt, "project_unknown")),
    (
        error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", retry_after="7"),
        (Retry, "quota_exceeded", 7, Scope.SINK),
    ),
    (
        error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
        (Retry, "quota_exceeded", 60, Scope.SINK),
    ),
    (
        error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", text="Device message rate exceeded"),
        (Retry, "quota_exceeded", 60, Scope.TARGET),
    ),
    (error(429, "RESOURCE_EXHAUSTED"), (Retry, "quota_exceeded", 60, Scope.SINK)),
    (error(500, "INTERNAL", "INTERNAL"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(500), (Retry, "provider_error", None, Scope.MESSAGE)),
    (
        answer(502, b"<html>Bad Gateway</html>", content_type="text/html"),
        (Retry, "provider_error", None, Scope.MESSAGE),
    ),
    (error(503, "UNAVAILABLE", "UNAVAILABLE"), (Retry, "unavailable", None, Scope.MESSAGE)),
    (
        error(503, "UNAVAILABLE", "UNAVAILABLE", retry_after="30"),
        (Retry, "unavailable", 30, Scope.SINK),
    ),
    (answer(503, b"busy", retry_after="5"), (Retry, "unavailable", 5, Scope.SINK)),
    (error(400, "X", "UNSPECIFIED_ERROR"), (Rejected, "bad_request", OURS)),
    (answer(413), (Rejected, "too_large", OURS)),
    (answer(302, location="https://elsewhere"), (Halt, "redirected")),
    (answer(418), (Rejected, "refused", OURS)),
]


@pytest.mark.parametrize(("response", "expected"), TABLE, ids=lambda v: str(v)[:70])
def test_answer(response: HttpResponse, expected: tuple[Any, ...]) -> None:
    assert kind(outcome(("android", "web"), DEVICE, response, NOW)) == expected


@pytest.mark.parametrize("code", ["THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"])
def test_a_wrong_platform_key_halts_a_sink_of_that_platform_alone(code: str) -> None:
    response = error(401, "UNAUTHENTICATED", code)
    assert kind(outcome(("ios",), DEVICE, response, NOW)) == (Halt, "platform_key_refused")
    mixed = outcome(("android", "ios"), DEVICE, response, NOW)
    assert kind(mixed) == (Retry, "platform_key_refused", 300, Scope.TARGET)
    assert not is_token_refused(response)


def test_a_topics_own_quota_holds_for_the_topic() -> None:
    response = error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", text="Topic quota exceeded")
    assert kind(outcome(("android",), TOPIC, response, NOW))[3] is Scope.TARGET
    assert kind(outcome(("android",), DEVICE, response, NOW))[3] is Scope.SINK


def test_only_a_401_without_fcms_code_is_the_access_tokens_fault() -> None:
    assert is_token_refused(error(401, "UNAUTHENTICATED"))
    assert is_token_refused(answer(401, b"<html>"))
    assert not is_token_refused(error(403, "PERMISSION_DENIED"))


class TestMessage:
    def test_the_least(self) -> None:
        assert fields() == {
            "token": "fcm-token",
            "notification": {"title": "Order", "body": "Paid"},
            "data": {"delivery_key": KEY.hex()},
            "android": {"priority": "high", "notification": {"default_sound": True}},
        }

    def test_everything_for_android(self) -> None:
        message = PushMessage(
            "Order",
            "Paid",
            image="https://cdn.acme.example/1.png",
            link="https://acme.example/orders/12",
            badge=3,
            sound="coins",
            data={"order": "12"},
            actions=(Button("Open", "https://acme.example/o"),),
            ttl=3600,
            priority=Priority.NORMAL,
            collapse="order-12",
        )
        built = fields(message, android_channel="orders", android_package="com.acme.shop")
        assert built["android"] == {
            "priority": "normal",
            "ttl": "3600s",
            "collapse_key": "order-12",
            "restricted_package_name": "com.acme.shop",
            "notification": {
                "channel_id": "orders",
                "tag": "order-12",
                "sound": "coins",
                "notification_count": 3,
            },
        }
        assert built["notification"]["image"] == "https://cdn.acme.example/1.png"
        assert built["data"] == {
            "order": "12",
            "link": "https://acme.example/orders/12",
            "image": "https://cdn.acme.example/1.png",
            "actions": '[{"text":"Open","url":"https://acme.example/o"}]',
            "delivery_key": KEY.hex(),
        }

    def test_browsers(self) -> None:
        message = PushMessage(
            "Order",
            "Paid",
            link="https://acme.example/o",
            actions=(Button("Open", "https://acme.example/o"),),
            ttl=60,
            collapse="order-12",
        )
        built = fields(message, Target("t", "device", platform="web"))
        assert "android" not in built
        assert built["webpush"]["fcm_options"] == {"link": "https://acme.example/o"}
        assert built["webpush"]["headers"]["TTL"] == "60"
        assert built["webpush"]["headers"]["Urgency"] == "high"
        assert len(built["webpush"]["headers"]["Topic"]) <= 32
        assert built["webpush"]["notification"] == {
            "tag": "order-12",
            "actions": [{"action": "https://acme.example/o", "title": "Open"}],
        }

    def test_a_link_that_browsers_would_refuse_is_for_the_app_alone(self) -> None:
        built = fields(PushMessage("a", "b", link="shop://o"), Target("t", "d", platform="web"))
        assert "fcm_options" not in built["webpush"]
        assert built["data"]["link"] == "shop://o"

    def test_ios_through_firebase(self) -> None:
        message = PushMessage("Order", "Paid", badge=0, ttl=60, collapse="c" * 65)
        built = fields(message, Target("t", "device", platform="ios"))
        assert built["apns"]["payload"] == {"aps": {"sound": "default", "badge": 0}}
        headers = built["apns"]["headers"]
        assert headers["apns-push-type"] == "alert"
        assert headers["apns-priority"] == "10"
        assert headers["apns-expiration"] == str(int(NOW) + 60)
        assert len(headers["apns-collapse-id"]) == 22

    def test_a_silent_push_shows_nothing(self) -> None:
        message = PushMessage("", "", data={"sync": "orders"}, silent=True, collapse="sync")
        built = fields(message, TOPIC, platforms=["android", "ios", "web"])
        assert "notification" not in built
        assert built["android"] == {"priority": "normal", "collapse_key": "sync"}
        assert built["apns"]["headers"]["apns-priority"] == "5"
        assert built["apns"]["headers"]["apns-push-type"] == "background"
        assert built["apns"]["payload"] == {"aps": {"content-available": 1}}
        assert "notification" not in built["webpush"]

    def test_a_topic_and_a_device_of_no_known_platform_get_all_of_the_sinks(self) -> None:
        for target in (TOPIC, Target("t", "device")):
            assert {"android", "webpush"} <= fields(PUSH, target).keys()
            assert "apns" not in fields(PUSH, target)

    def test_addresses(self) -> None:
        assert fields(PUSH, Target("/topics/news", "topic"))["topic"] == "news"
        condition = "'news' in topics && 'ru' in topics"
        assert fields(PUSH, Target(condition, "condition"))["condition"] == condition
        assert refused(PUSH, Target("no such/topic", "topic")) == "topic_invalid"

    @pytest.mark.parametrize(
        ("ttl", "expires_in", "expected"),
        [
            (None, None, None),
            (60, None, "60s"),
            (0, None, "0s"),
            (None, 90.7, "90s"),
            (60, 30, "30s"),
            (30, 60, "30s"),
            (30, -5, "0s"),
            (10**8, None, "2419200s"),
        ],
    )
    def test_life(self, ttl: int | None, expires_in: float | None, expected: str | None) -> None:
        expires = None if expires_in is None else NOW + expires_in
        built = fields(PushMessage("a", "b", ttl=ttl), expires_at=expires)
        assert built["android"].get("ttl") == expected

    def test_an_empty_sound_is_none(self) -> None:
        assert "notification" not in fields(PushMessage("a", "b", sound=""))["android"]
        ios = fields(PushMessage("a", "b", sound=""), Target("t", "device", platform="ios"))
        assert ios["apns"]["payload"] == {"aps": {}}

    def test_the_label_for_firebases_statistics(self) -> None:
        built = fields(analytics_label="router")
        assert built["fcm_options"] == {"analytics_label": "router"}

    def test_own_data_goes_first(self) -> None:
        built = fields(PushMessage("a", "b", link="https://x.example", data={"link": "mine"}))
        assert built["data"]["link"] == "mine"

    @pytest.mark.parametrize(
        "name", ["from", "message_type", "google", "google.x", "GCM.n", "delivery_key"]
    )
    def test_reserved_keys(self, name: str) -> None:
        assert refused(PushMessage("a", "b", data={name: "1"})) == "data_reserved"

    def test_nothing_to_show(self) -> None:
        assert refused(PushMessage("", "")) == "text_empty"

    def test_size(self) -> None:
        key = len("delivery_key") + 32
        exact = 4096 - key - len("title") - len("body")
        assert fields(PushMessage("ы" * 10, "x" * (exact - 20)))
        assert refused(PushMessage("ы" * 10, "x" * (exact - 19))) == "too_large"
        assert refused(PushMessage("a", "x" * 2048), TOPIC) == "too_large"
        assert fields(PushMessage("a", "x" * 1900), TOPIC)


class TestConfig:
    def test_defaults(self) -> None:
        built = config(FcmConfig)
        assert built.platforms == ("android", "web")
        assert built.base_url == "https://fcm.googleapis.com"
        assert "planted" not in repr(built)

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"credentials": None}, "give either"),
            ({"credentials_file": "a.json"}, "give either"),
            ({"credentials": "{}"}, "not the JSON key file"),
            ({"credentials": "planted-not-json"}, "not the JSON key file"),
            ({"platforms": []}, "at least 1"),
            ({"platforms": ["windows"]}, "android"),
            ({"base_url": "http://fcm.googleapis.com"}, "pattern"),
        ],
    )
    def test_mistakes(self, changes: dict[str, Any], says: str) -> None:
        with pytest.raises(ValidationError, match=says):
            config(FcmConfig, **changes)

    def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("router.sinks._push.find_spec", lambda _: None)
        with pytest.raises(ValidationError, match=r"pip install 'router\[push\]'"):
            config(FcmConfig)

    def test_the_key_file_says_where_tokens_come_from(self) -> None:
        account = ServiceAccount.parse(SERVICE_ACCOUNT)
        assert account.token_uri == "https://oauth2.googleapis.com/token"
        assert "planted" not in repr(account)
        bare = {k: v for k, v in orjson.loads(SERVICE_ACCOUNT).items() if k != "token_uri"}
        assert ServiceAccount.parse(orjson.dumps(bare).decode()).token_uri.startswith("https://")
