"""The Standard Webhooks receiver, against signatures of the reference library."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from nacl.signing import SigningKey
from standardwebhooks.webhooks import Webhook

from router.clock import ManualClock
from router.messages import Channel
from router.sandbox import UNREAD, Fault, Sandbox, SandboxSettings, answer, sandbox
from tests.contract.sandbox.builders import Reply, call

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_767_323_045
BODY = '{"type":"order.paid","timestamp":"2026-01-02T03:04:05Z","data":{"id":"o-1","имя":"Ж"}}'
SETTINGS = SandboxSettings(webhook_secrets=(SECRET,), clock=ManualClock(NOW))


async def send(
    box: Sandbox, *, path: str = "/hooks", at: int = NOW, body: str = BODY, **headers: str
) -> Reply:
    signature = Webhook(SECRET).sign("msg_01", datetime.fromtimestamp(at, UTC), body)
    sent = {
        "webhook-id": "msg_01",
        "webhook-timestamp": str(at),
        "webhook-signature": signature,
        "content-type": "application/json",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return await call("POST", box.addresses["webhook"] + path, headers=sent, data=body.encode())


async def test_signed_message_is_kept() -> None:
    async with sandbox(SETTINGS) as box:
        assert (await send(box)).status == 204
        (entry,) = box.record.of("webhook", "/hooks")
        assert (entry.channel, entry.title, entry.key) == (Channel.REQUEST, "order.paid", "msg_01")
        assert entry.raw == BODY.encode()


async def test_published_signature_is_good() -> None:
    async with sandbox(SETTINGS) as box:
        known = "v1,cO/spc0P58es4rKOAt52zI+vzWcC5/kfJ5j/c6k3VsM="
        assert (await send(box, webhook_signature=known)).status == 204


async def test_one_good_signature_among_many_is_enough() -> None:
    async with sandbox(SETTINGS) as box:
        good = Webhook(SECRET).sign("msg_01", datetime.fromtimestamp(NOW, UTC), BODY)
        assert (await send(box, webhook_signature=f"v1a,x v1,AAAA {good}")).status == 204


class TestEd25519:
    """Signatures that PyNaCl makes, with the receiver knowing the public half alone."""

    KEY = SigningKey(bytes(range(32)))
    PUBLIC = "whpk_" + base64.b64encode(bytes(KEY.verify_key)).decode()

    def signed(self, body: str = BODY, key: SigningKey = KEY) -> str:
        content = f"msg_01.{NOW}.{body}".encode()
        return f"v1a,{base64.b64encode(key.sign(content).signature).decode()}"

    async def test_a_good_signature_is_taken(self) -> None:
        settings = replace(SETTINGS, webhook_secrets=(self.PUBLIC,))
        async with sandbox(settings) as box:
            assert (await send(box, webhook_signature=self.signed())).status == 204
            assert (await send(box)).status == 401  # a shared secret is not known here

    async def test_another_key_or_body_is_refused(self) -> None:
        settings = replace(SETTINGS, webhook_secrets=(self.PUBLIC,))
        forged = self.signed().replace("v1a,", "v1,")
        other = self.signed(key=SigningKey(bytes(32)))
        async with sandbox(settings) as box:
            for signature in (self.signed("{}"), other, forged, "v1a,AAAA", "v1a,", "v1a"):
                assert (await send(box, webhook_signature=signature)).status == 401
            assert not box.record

    async def test_secrets_and_keys_stand_side_by_side(self) -> None:
        settings = replace(SETTINGS, webhook_secrets=(SECRET, self.PUBLIC))
        async with sandbox(settings) as box:
            assert (await send(box)).status == 204
            assert (await send(box, webhook_signature=f"v1,x {self.signed()}")).status == 204


async def test_same_id_again_is_a_repeat() -> None:
    async with sandbox(SETTINGS) as box:
        await send(box)
        await send(box, at=NOW + 60)
        assert box.record.repeats() == {"msg_01": 2}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"webhook_signature": "v1,AAAA"}, 401),
        ({"webhook_signature": "nonsense"}, 401),
        ({"webhook_signature": ""}, 400),
        ({"webhook_id": "other"}, 401),
        ({"webhook_id": "a.b"}, 400),
        ({"webhook_timestamp": str(NOW + 1)}, 401),
        ({"webhook_timestamp": "1.5"}, 400),
        ({"content_type": "text/plain"}, 415),
    ],
)
async def test_bad_messages_are_refused(headers: dict[str, str], status: int) -> None:
    async with sandbox(SETTINGS) as box:
        assert (await send(box, **headers)).status == status
        assert not box.record
        assert len(box.record.refused) == 1


@pytest.mark.parametrize(("skew", "status"), [(-300, 204), (300, 204), (-301, 401), (301, 401)])
async def test_timestamp_tolerance(skew: int, status: int) -> None:
    async with sandbox(SETTINGS) as box:
        assert (await send(box, at=NOW + skew)).status == status


async def test_gone_endpoint() -> None:
    async with sandbox(SETTINGS) as box:
        box.webhook.set_state("/hooks", "gone")
        assert (await send(box)).status == 410
        assert (await send(box, path="/others")).status == 204


async def test_planned_answers() -> None:
    async with sandbox(SETTINGS) as box:
        box.webhook.faults.plan(
            "/hooks",
            {
                1: answer(302, headers={"Location": "http://127.0.0.1:1/"}),
                2: answer(429, headers={"Retry-After": "7"}),
                3: answer(503),
            },
        )
        assert [(await send(box)).status for _ in range(4)] == [302, 429, 503, 204]


async def test_reset_before_and_after_reading() -> None:
    async with sandbox(SETTINGS) as box:
        box.webhook.faults.plan(UNREAD, {1: Fault("reset")})
        box.webhook.faults.plan("/hooks", {1: Fault("reset")})
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectionError):
                await send(box)
        assert not box.record
        assert (await send(box)).status == 204


async def test_hanging_endpoint_ends_with_the_sandbox() -> None:
    async with sandbox(SETTINGS) as box:
        box.webhook.faults.plan("/hooks", {1: Fault("stall", seconds=60)})
        timeout = aiohttp.ClientTimeout(total=0.1)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            with pytest.raises(TimeoutError):
                await session.post(box.addresses["webhook"] + "/hooks", data=b"{}")


async def test_tls_under_the_private_authority() -> None:
    async with sandbox(SandboxSettings(http_tls=True)) as box:
        url = box.addresses["webhook"] + "/hooks"
        assert url.startswith("https:")
        assert (await call("POST", url, data=b"{}", ca_file=box.ca_file)).status == 400
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await call("POST", url, data=b"{}")


async def test_expired_certificate() -> None:
    async with sandbox(SandboxSettings(http_tls=True, expired_certificate=True)) as box:
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="expired"):
            await call("POST", box.addresses["webhook"], data=b"{}", ca_file=box.ca_file)
