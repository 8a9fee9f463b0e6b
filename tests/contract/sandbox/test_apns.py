"""The APNs look-alikes, asked by hand over HTTP/2 and by the public client aioapns."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aioapns
import anyio
import httpx
import jwt
import pytest
from aioapns.connection import APNsTLSClientProtocol

from router.clock import ManualClock
from router.sandbox import ApnsSettings, Fault, Sandbox, SandboxSettings, answer, sandbox

pytestmark = pytest.mark.anyio

ANNA = "a1" * 32
HELLO = {"aps": {"alert": {"title": "Hi", "body": "there"}}}

Send = Callable[..., Awaitable[httpx.Response]]


def key_of(box: Sandbox) -> str:
    return Path(box.credentials["apns_key_file"]).read_text()


def provider_token(box: Sandbox, *, age: float = 0, **changes: str) -> str:
    """A token as PyJWT makes it."""
    fields = {
        "kid": box.credentials["apns_key_id"],
        "iss": box.credentials["apns_team_id"],
        "key": key_of(box),
        **changes,
    }
    claims = {"iss": fields["iss"], "iat": int(time.time() - age)}
    return jwt.encode(claims, fields["key"], "ES256", {"kid": fields["kid"]})


def trust(box: Sandbox) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(box.ca_file))


@asynccontextmanager
async def caller(box: Sandbox, environment: str = "apns") -> AsyncGenerator[Send]:
    """Sends on one HTTP/2 connection of httpx."""
    token = provider_token(box)
    async with httpx.AsyncClient(http2=True, verify=trust(box), trust_env=False) as client:

        async def send(
            device: str = ANNA,
            payload: object = HELLO,
            method: str = "POST",
            path: str | None = None,
            **headers: str | None,
        ) -> httpx.Response:
            fields: dict[str, str | None] = {
                "authorization": f"bearer {token}",
                "apns_topic": box.credentials["apns_topic"],
                "apns_push_type": "alert",
                **headers,
            }
            names = {k.replace("_", "-"): v for k, v in fields.items() if v is not None}
            url = f"{box.addresses[environment]}{path or f'/3/device/{device}'}"
            if isinstance(payload, bytes):
                return await client.request(method, url, headers=names, content=payload)
            return await client.request(method, url, headers=names, json=payload)

        yield send


def said(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["reason"]


async def test_a_push_is_kept_and_shown() -> None:
    apns_id = str(uuid4()).upper()
    async with sandbox() as box, caller(box) as send:
        response = await send(apns_id=apns_id, apns_collapse_id="order")
        [received] = box.record
    assert response.http_version == "HTTP/2"
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["apns-id"] == apns_id
    assert (received.recipient, received.title, received.text) == (ANNA, "Hi", "there")
    assert received.key == apns_id.lower()


async def test_only_the_sandbox_environment_gives_a_unique_id() -> None:
    async with sandbox() as box:
        box.apns_sandbox.set_state(ANNA, "alive")
        async with caller(box, "apns-sandbox") as send:
            assert "apns-unique-id" in (await send()).headers
        async with caller(box) as send:
            assert "apns-unique-id" not in (await send("b2" * 32)).headers


async def test_environments_have_tokens_of_their_own() -> None:
    async with sandbox() as box:
        async with caller(box, "apns-sandbox") as send:
            assert said(await send()) == (400, "BadDeviceToken")
        box.apns_sandbox.set_state(ANNA, "alive")
        async with caller(box, "apns-sandbox") as send:
            assert (await send()).status_code == 200
        async with caller(box) as send:
            assert said(await send()) == (400, "BadDeviceToken")


async def test_a_collapse_id_replaces_on_the_device() -> None:
    async with sandbox() as box, caller(box) as send:
        for title, collapse in (("1", "a"), ("2", "a"), ("3", "b"), ("4", None)):
            await send(payload={"aps": {"alert": title}}, apns_collapse_id=collapse)
        assert [entry.text for entry in box.apns.shown(ANNA)] == ["2", "3", "4"]
        assert len(box.record) == 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"authorization": None}, (403, "MissingProviderToken")),
        ({"authorization": "bearer nonsense"}, (403, "InvalidProviderToken")),
        ({"apns_topic": None}, (400, "MissingTopic")),
        ({"apns_topic": "com.example.other"}, (400, "TopicDisallowed")),
        ({"apns_push_type": "shout"}, (400, "InvalidPushType")),
        ({"apns_priority": "7"}, (400, "BadPriority")),
        ({"apns_push_type": "background", "apns_priority": "10"}, (400, "BadPriority")),
        ({"apns_expiration": "soon"}, (400, "BadExpirationDate")),
        ({"apns_id": "12"}, (400, "BadMessageId")),
        ({"apns_collapse_id": "c" * 65}, (400, "BadCollapseId")),
        ({"payload": b""}, (400, "PayloadEmpty")),
        ({"payload": {"order": "12"}}, (400, "PayloadEmpty")),
        ({"payload": {"aps": {}, "x": "y" * 4096}}, (413, "PayloadTooLarge")),
        ({"device": "short"}, (400, "BadDeviceToken")),
        ({"path": "/3/device/"}, (400, "MissingDeviceToken")),
        ({"path": "/2/device/x"}, (404, "BadPath")),
        ({"method": "GET"}, (405, "MethodNotAllowed")),
    ],
    ids=str,
)
async def test_calls_that_are_not_taken(changes: dict[str, Any], expected: tuple[int, str]) -> None:
    async with sandbox() as box, caller(box) as send:
        response = await send(**changes)
        assert len(box.record) == 0
        assert [refused.why for refused in box.record.refused] == [f"{expected[0]} {expected[1]}"]
    assert said(response) == expected
    assert response.headers["apns-id"]


async def test_states_of_devices() -> None:
    async with sandbox() as box, caller(box) as send:
        for state, expected in (
            ("bad", (400, "BadDeviceToken")),
            ("other_topic", (400, "DeviceTokenNotForTopic")),
            ("unregistered:1767323045000", (410, "Unregistered")),
            ("expired", (410, "ExpiredToken")),
        ):
            box.apns.set_state(ANNA, state)
            response = await send()
            assert said(response) == expected
            if "1767" in state:
                assert response.json()["timestamp"] == 1767323045000
        with pytest.raises(ValueError, match="alive"):
            box.apns.set_state(ANNA, "asleep")


async def test_a_device_that_gets_too_many() -> None:
    still = SandboxSettings(clock=ManualClock(time.time()))
    async with sandbox(still) as box, caller(box) as send:
        for _ in range(100):
            assert (await send()).status_code == 200
        assert said(await send()) == (429, "TooManyRequests")
        box.clock.advance(1)
        assert (await send()).status_code == 200


class TestProviderTokens:
    @pytest.mark.parametrize(
        "changes", [{"kid": "OTHERKEY01"}, {"iss": "OTHERTEAM1"}, {"age": -600}], ids=str
    )
    async def test_wrong_ones(self, changes: dict[str, Any]) -> None:
        async with sandbox() as box, caller(box) as send:
            token = provider_token(box, **changes)
            response = await send(authorization=f"bearer {token}")
        assert said(response) == (403, "InvalidProviderToken")

    async def test_one_of_another_key(self) -> None:
        async with sandbox() as box, sandbox() as other, caller(box) as send:
            key = key_of(other)
            response = await send(authorization=f"bearer {provider_token(box, key=key)}")
        assert said(response) == (403, "InvalidProviderToken")

    async def test_old_ones(self) -> None:
        async with sandbox() as box, caller(box) as send:
            old = provider_token(box, age=3700)
            assert said(await send(authorization=f"bearer {old}")) == (403, "ExpiredProviderToken")
            assert (await send()).status_code == 200
            box.clock.advance(3601)
            assert said(await send()) == (403, "ExpiredProviderToken")

    async def test_too_many_new_ones_on_a_connection(self) -> None:
        async with sandbox() as box, caller(box) as send:
            older, newer = (provider_token(box, age=age) for age in (1300, 60))
            assert (await send(authorization=f"bearer {older}")).status_code == 200
            assert (await send(authorization=f"bearer {newer}")).status_code == 200
            assert said(await send()) == (429, "TooManyProviderTokenUpdates")
            assert (await send(authorization=f"bearer {newer}")).status_code == 200

    async def test_a_certificate_stands_for_its_topic(self) -> None:
        async with sandbox() as box:
            context = trust(box)
            context.load_cert_chain(box.credentials["apns_cert_file"])
            async with httpx.AsyncClient(http2=True, verify=context, trust_env=False) as client:
                url = f"{box.addresses['apns']}/3/device/{ANNA}"
                assert (await client.post(url, json=HELLO)).status_code == 200
                other = await client.post(url, json=HELLO, headers={"apns-topic": "com.other"})
        assert said(other) == (400, "TopicDisallowed")


@asynccontextmanager
async def public_client(
    box: Sandbox, environment: str = "apns", **options: Any
) -> AsyncGenerator[aioapns.APNs]:
    """aioapns, pointed at the sandbox; it negotiates no HTTP/2 by itself."""
    address = urlsplit(box.addresses[environment])

    class Protocol(APNsTLSClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = address.port

    context = trust(box)
    context.set_alpn_protocols(["h2"])
    client = aioapns.APNs(
        key=key_of(box),
        key_id=box.credentials["apns_key_id"],
        team_id=box.credentials["apns_team_id"],
        topic=box.credentials["apns_topic"],
        ssl_context=context,
        **{"max_connections": 1, **options},
    )
    client.pool.protocol_class = Protocol
    try:
        yield client
    finally:
        for connection in client.pool.connections:
            connection.requests.clear()  # it would set results on waiters that were cancelled
        client.pool.close()


class TestPublicClient:
    """aioapns finds nothing amiss, and its defects show."""

    async def test_pushes_arrive(self) -> None:
        async with sandbox() as box, public_client(box) as client:
            for number in range(20):
                request = aioapns.NotificationRequest(
                    f"{number:064x}", HELLO, time_to_live=60, collapse_key="a", priority=10
                )
                assert (await client.send_notification(request)).is_successful
            assert len(box.record) == 20

    async def test_many_at_once_keep_to_the_limit_of_streams(self) -> None:
        results: list[aioapns.common.NotificationResult] = []

        async with sandbox() as box, public_client(box) as client:

            async def send(number: int) -> None:
                request = aioapns.NotificationRequest(f"{number:064x}", HELLO)
                results.append(await client.send_notification(request))

            await send(0)
            async with anyio.create_task_group() as tasks:
                for number in range(1, 100):
                    tasks.start_soon(send, number)
        assert [result.status for result in results] == ["200"] * 100

    @pytest.mark.parametrize(
        ("state", "status", "reason"),
        [
            ("unregistered", "410", "Unregistered"),
            ("bad", "400", "BadDeviceToken"),
            ("other_topic", "400", "DeviceTokenNotForTopic"),
        ],
    )
    async def test_refusals(self, state: str, status: str, reason: str) -> None:
        async with sandbox() as box, public_client(box) as client:
            box.apns.set_state(ANNA, state)
            request = aioapns.NotificationRequest(ANNA, HELLO)
            result = await client.send_notification(request)
        assert (result.status, result.description) == (status, reason)

    async def test_it_hangs_when_the_window_is_used_up_by_errors(self) -> None:
        """It never acknowledges what it received: 65,535 bytes of refusals are the end."""
        async with sandbox() as box, public_client(box) as client:
            box.apns.set_state(ANNA, "bad")
            answered = 0
            with anyio.move_on_after(20):
                for _ in range(3000):
                    with anyio.move_on_after(1) as limit:
                        await client.send_notification(aioapns.NotificationRequest(ANNA, HELLO))
                    if limit.cancelled_caught:
                        break
                    answered += 1
        assert answered == 65_535 // len('{"reason":"BadDeviceToken"}')

    async def test_it_never_hears_of_a_stream_that_was_reset(self) -> None:
        async with sandbox() as box, public_client(box) as client:
            box.apns.faults.plan(ANNA, on={1: Fault("rst_stream", code=7)})
            with pytest.raises(TimeoutError):
                with anyio.fail_after(1):
                    await client.send_notification(aioapns.NotificationRequest(ANNA, HELLO))

    async def test_it_never_hears_of_a_refusal_without_a_body(self) -> None:
        async with sandbox() as box, public_client(box) as client:
            request = aioapns.NotificationRequest(ANNA, HELLO)
            headers = {"apns-id": request.notification_id}
            box.apns.faults.plan(ANNA, on={1: answer(503, headers=headers)})
            with pytest.raises(TimeoutError):
                with anyio.fail_after(1):
                    await client.send_notification(request)

    async def test_its_connections_have_tokens_of_their_own(self) -> None:
        async with sandbox(SandboxSettings(apns=ApnsSettings(max_streams=1))) as box:
            async with public_client(box, max_connections=3) as client:
                async with anyio.create_task_group() as tasks:
                    for number in range(3):
                        request = aioapns.NotificationRequest(f"{number:064x}", HELLO)
                        tasks.start_soon(client.send_notification, request)
                providers = [c.auth_provider for c in client.pool.connections]
        assert len(providers) > 1
        assert len(set(providers)) == len(providers)
