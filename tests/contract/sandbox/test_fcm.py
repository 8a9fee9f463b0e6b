"""The FCM look-alike, asked by hand and by Google's own client."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import firebase_admin
import httpx
import orjson
import pytest
import requests
from firebase_admin import credentials, messaging
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from router.sandbox import Fault, FcmSettings, Sandbox, SandboxSettings, answer, sandbox

pytestmark = pytest.mark.anyio

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"

Send = Callable[..., Awaitable[httpx.Response]]


def trust(box: Sandbox) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(box.ca_file))


async def access_token(box: Sandbox, scope: str = SCOPE) -> str:
    """What Google's library gets for the service account."""
    account = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
        box.credentials["fcm_credentials_file"], scopes=[scope]
    )
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(box.ca_file)
        await anyio.to_thread.run_sync(account.refresh, Request(session))
    return str(account.token)


@asynccontextmanager
async def caller(box: Sandbox) -> AsyncGenerator[Send]:
    """Sends messages by httpx over HTTP/2."""
    token = await access_token(box)
    async with httpx.AsyncClient(http2=True, verify=trust(box), trust_env=False) as client:

        async def send(
            message: Mapping[str, Any] | None = None,
            project: str = "router-sandbox",
            authorization: str = f"Bearer {token}",
            **call: Any,
        ) -> httpx.Response:
            url = f"{box.addresses['fcm']}/v1/projects/{project}/messages:send"
            headers = {"Authorization": authorization}
            body = call.pop("content", None) or orjson.dumps({"message": message, **call})
            return await client.post(url, headers=headers, content=body)

        yield send


def least(**changes: Any) -> dict[str, Any]:
    return {"token": "anna-token", "notification": {"title": "Hi", "body": "there"}, **changes}


async def test_a_message_is_kept_and_shown() -> None:
    async with sandbox() as box, caller(box) as send:
        response = await send(least(data={"delivery_key": "k1"}))
        assert response.http_version == "HTTP/2"
        assert response.status_code == 200
        assert response.json()["name"].startswith("projects/router-sandbox/messages/0:")
        [received] = box.record
    assert (received.channel, received.recipient, received.key) == ("push", "anna-token", "k1")
    assert (received.title, received.text) == ("Hi", "there")


async def test_validation_keeps_nothing() -> None:
    async with sandbox() as box, caller(box) as send:
        response = await send(least(), validate_only=True)
        assert response.json()["name"].endswith("/fake_message_id")
        assert len(box.record) == 0


async def test_a_tag_replaces_on_the_device() -> None:
    async with sandbox() as box, caller(box) as send:
        for title, tag in (("1", "a"), ("2", "a"), ("3", "b"), ("4", None)):
            shown = {"notification": {"tag": tag}} if tag else {}
            await send(least(notification={"title": title}, android=shown))
        assert [entry.title for entry in box.fcm.shown("anna-token")] == ["2", "3", "4"]
        assert len(box.record) == 4


WITH_CODE = {"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}


@pytest.mark.parametrize(
    ("message", "field", "has_code"),
    [
        ({"notification": {"title": "Hi"}}, "message", True),
        (least(topic="news"), "message", True),
        (least(token="no token!"), "message.token", True),
        ({"topic": "no/topic"}, "message.topic", True),
        ({"condition": "anything"}, "message.condition", True),
        (least(data={"n": 5}), "message.data[0].value", False),
        (least(data={"from": "x"}), "message.data", True),
        (least(data={"google.x": "x"}), "message.data", True),
        (least(android={"ttl": "1h"}), "message.android.ttl", False),
        (least(android={"ttl": 60}), "message.android.ttl", False),
        (least(android={"ttl": "9999999s"}), "message.android.ttl", True),
        (least(android={"priority": "urgent"}), "message.android.priority", False),
        (
            least(webpush={"fcm_options": {"link": "http://x.example"}}),
            "message.webpush.fcm_options.link",
            True,
        ),
        (least(colour="red"), "message", False),
        (least(notification={"titel": "x"}), "message.notification", False),
    ],
    ids=str,
)
async def test_messages_that_are_not_taken(
    message: dict[str, Any], field: str, has_code: bool
) -> None:
    async with sandbox() as box, caller(box) as send:
        response = await send(message)
        assert len(box.record) == 0
        assert len(box.record.refused) == 1
    error = response.json()["error"]
    assert (response.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert (WITH_CODE in error["details"]) is has_code
    [violation] = error["details"][-1]["fieldViolations"]
    assert violation["field"] == field


@pytest.mark.parametrize(
    ("target", "size", "fits"),
    [
        ({"token": "anna-token"}, 4096, True),
        ({"token": "anna-token"}, 4097, False),
        ({"topic": "news"}, 2048, True),
        ({"topic": "news"}, 2049, False),
    ],
    ids=str,
)
async def test_size(target: dict[str, str], size: int, fits: bool) -> None:
    message = {**target, "data": {"k": "x" * (size - 1)}}
    async with sandbox() as box, caller(box) as send:
        response = await send(message)
    assert response.status_code == (200 if fits else 400)
    if not fits:
        assert "details" not in response.json()["error"]


async def test_a_body_that_is_not_json() -> None:
    async with sandbox() as box, caller(box) as send:
        response = await send(content=b"{")
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("unregistered", 404, "UNREGISTERED"),
        ("other_project", 403, "SENDER_ID_MISMATCH"),
        ("invalid", 400, "INVALID_ARGUMENT"),
        ("platform_key", 401, "THIRD_PARTY_AUTH_ERROR"),
    ],
)
async def test_states_of_tokens(state: str, status: int, code: str) -> None:
    async with sandbox() as box, caller(box) as send:
        box.fcm.set_state("anna-token", state)
        response = await send(least())
        assert response.status_code == status
        assert response.json()["error"]["details"][0]["errorCode"] == code
        box.fcm.set_state("anna-token", "alive")
        assert (await send(least())).status_code == 200


async def test_there_is_no_other_state() -> None:
    async with sandbox() as box:
        with pytest.raises(ValueError, match="alive"):
            box.fcm.set_state("anna-token", "asleep")


async def test_refusals_without_fcms_code() -> None:
    async with sandbox() as box, caller(box) as send:
        other = await send(least(), project="other")
        refused = await send(least(), authorization="Bearer wrong")
        missing = await send(least(), authorization="")
    for response, status, name in (
        (other, 404, "NOT_FOUND"),
        (refused, 401, "UNAUTHENTICATED"),
        (missing, 401, "UNAUTHENTICATED"),
    ):
        error = response.json()["error"]
        assert (response.status_code, error["status"]) == (status, name)
        assert "details" not in error


async def test_the_quota_of_a_minute() -> None:
    async with sandbox(SandboxSettings(fcm=FcmSettings(per_minute=2))) as box:
        async with caller(box) as send:
            assert [(await send(least())).status_code for _ in range(3)] == [200, 200, 429]
            limited = await send(least())
            assert limited.headers["Retry-After"] == "30"
            box.clock.advance(30)
            assert (await send(least())).status_code == 200


async def test_access_tokens_end() -> None:
    async with sandbox(SandboxSettings(fcm=FcmSettings(token_life_s=100))) as box:
        async with caller(box) as send:
            assert (await send(least())).status_code == 200
            box.clock.advance(101)
            assert (await send(least())).status_code == 401


class TestAssertions:
    async def test_another_scope(self) -> None:
        async with sandbox() as box:
            with pytest.raises(Exception, match="invalid_scope"):
                await access_token(box, "https://www.googleapis.com/auth/drive")

    async def test_another_time(self) -> None:
        async with sandbox() as box:
            box.clock.advance(7201)
            with pytest.raises(Exception, match="reasonable timeframe"):
                await access_token(box)

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
            (
                {
                    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                    "assertion": "a.b.c",
                },
                "invalid_grant",
            ),
        ],
    )
    async def test_other_forms(self, form: dict[str, str], error: str) -> None:
        async with sandbox() as box:
            async with httpx.AsyncClient(verify=trust(box), trust_env=False) as client:
                response = await client.post(f"{box.addresses['fcm']}/token", data=form)
        assert response.http_version == "HTTP/1.1"
        assert (response.status_code, response.json()["error"]) == (400, error)


@pytest.mark.filterwarnings("ignore:Message.token:DeprecationWarning")
class TestGooglesClient:
    """firebase-admin finds nothing amiss, and reads every refusal as its own API's."""

    async def send(
        self, box: Sandbox, monkeypatch: pytest.MonkeyPatch, *messages: messaging.Message
    ) -> list[messaging.SendResponse]:
        monkeypatch.setenv("SSL_CERT_FILE", str(box.ca_file))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(box.ca_file))
        url = f"{box.addresses['fcm']}/v1/projects/{{0}}/messages:send"
        monkeypatch.setattr(messaging._MessagingService, "FCM_URL", url)
        certificate = credentials.Certificate(box.credentials["fcm_credentials_file"])
        app = firebase_admin.initialize_app(certificate, name=uuid.uuid4().hex)

        async def work() -> messaging.BatchResponse:
            try:
                return await messaging.send_each_async(list(messages), app=app)
            finally:  # its own close can't be used while a loop runs
                await messaging._get_messaging_service(app)._async_client.aclose()

        try:
            # In a thread with a loop of its own: the client blocks its loop to fetch a token.
            batch = await anyio.to_thread.run_sync(lambda: asyncio.run(work()))
        finally:
            await anyio.to_thread.run_sync(firebase_admin.delete_app, app)
        return list(batch.responses)

    async def test_every_option_it_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        message = messaging.Message(
            token="anna-token",
            data={"order": "12"},
            notification=messaging.Notification("Hi", "there", "https://cdn.example/1.png"),
            android=messaging.AndroidConfig(
                collapse_key="order",
                priority="high",
                ttl=3600,
                restricted_package_name="com.acme.shop",
                notification=messaging.AndroidNotification(
                    channel_id="orders", tag="order-12", sound="default", notification_count=2
                ),
            ),
            apns=messaging.APNSConfig(
                headers={"apns-priority": "10", "apns-collapse-id": "order-12"},
                payload=messaging.APNSPayload(messaging.Aps(badge=1, sound="default")),
            ),
            webpush=messaging.WebpushConfig(
                headers={"TTL": "60"},
                notification=messaging.WebpushNotification(
                    tag="order-12",
                    actions=[messaging.WebpushNotificationAction("https://a.example", "Open")],
                ),
                fcm_options=messaging.WebpushFCMOptions("https://acme.example/o"),
            ),
            fcm_options=messaging.FCMOptions(analytics_label="x"),
        )
        async with sandbox() as box:
            [sent] = await self.send(box, monkeypatch, message)
            [received] = box.record
        assert sent.success
        assert received.details["tag"] == "order-12"
        assert received.details["ttl"] == "3600s"
        assert received.buttons[0][0].text == "Open"

    async def test_topics_and_conditions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with sandbox() as box:
            sent = await self.send(
                box,
                monkeypatch,
                messaging.Message(topic="news", data={"a": "1"}),
                messaging.Message(condition="'a' in topics || 'b' in topics"),
            )
        assert all(response.success for response in sent)

    @pytest.mark.parametrize(
        ("state", "error"),
        [
            ("unregistered", messaging.UnregisteredError),
            ("other_project", messaging.SenderIdMismatchError),
            ("platform_key", messaging.ThirdPartyAuthError),
            ("invalid", firebase_admin.exceptions.InvalidArgumentError),
        ],
    )
    async def test_refusals(
        self, monkeypatch: pytest.MonkeyPatch, state: str, error: type[Exception]
    ) -> None:
        async with sandbox() as box:
            box.fcm.set_state("anna-token", state)
            [sent] = await self.send(box, monkeypatch, messaging.Message(token="anna-token"))
        assert type(sent.exception) is error

    async def test_over_quota(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with sandbox(SandboxSettings(fcm=FcmSettings(per_minute=1))) as box:
            sent = await self.send(
                box, monkeypatch, *[messaging.Message(token="anna-token") for _ in range(2)]
            )
        failures = [response.exception for response in sent if not response.success]
        assert [type(error) for error in failures] == [messaging.QuotaExceededError]

    async def test_it_does_not_honour_retry_after(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One of the reasons for a client of our own."""
        async with sandbox() as box:
            box.fcm.faults.plan("anna-token", on={1: answer(503, headers={"Retry-After": "60"})})
            with anyio.fail_after(10):
                [sent] = await self.send(box, monkeypatch, messaging.Message(token="anna-token"))
        assert sent.success

    async def test_it_can_not_tell_what_was_not_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another one: a refused stream, safe to repeat, is as unknown as a lost answer."""
        async with sandbox() as box:
            box.fcm.faults.plan("anna-token", on={1: Fault("rst_stream", code=7)})
            [sent] = await self.send(box, monkeypatch, messaging.Message(token="anna-token"))
        assert type(sent.exception) is firebase_admin.exceptions.UnknownError
