"""The webhook sink against a receiver that verifies signatures over the raw bytes."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from router.messages import Delivered, Halt, InDoubt, Rejected, Request, Retry, Scope, Target
from router.sandbox import Fault, Sandbox, SandboxSettings, answer, lost_answer, sandbox
from router.values import Secret
from tests.contract.sinks.harness import opened

pytestmark = pytest.mark.anyio

BODY = '{"type":"order.paid","timestamp":"2026-01-02T03:04:05Z","data":{"имя":"Ж"}}'.encode()
PAID = Request(body=BODY)


def options(box: Sandbox, **changes: object) -> dict[str, object]:
    return {
        "url": f"{box.addresses['webhook']}/hooks/1",
        "secrets": [box.credentials["webhook_secret"]],
        "allow_http": True,
        "allow_hosts": ["127.0.0.1"],
        **changes,
    }


async def test_a_signed_request_arrives_byte_for_byte() -> None:
    async with sandbox() as box, opened("webhook", **options(box)) as sink:
        assert isinstance(await sink.send(PAID), Delivered)
        [received] = box.record
    assert received.raw == BODY
    assert received.key == "msg_" + "0" * 31 + "1"


async def test_attempts_share_their_id() -> None:
    async with sandbox() as box, opened("webhook", **options(box)) as sink:
        box.webhook.faults.plan("/hooks/1", on={1: lost_answer("reset")})
        assert isinstance(await sink.send(PAID, key=5, attempt=1), InDoubt)
        assert isinstance(await sink.send(PAID, key=5, attempt=2), Delivered)
        first, second = box.record
    assert first.key == second.key


async def test_a_receiver_that_rotates_accepts_either_secret() -> None:
    old, new = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8
    for known in (old, new):
        async with sandbox(SandboxSettings(webhook_secrets=(known,))) as box:
            async with opened("webhook", **options(box, secrets=[old, new])) as sink:
                assert isinstance(await sink.send(PAID), Delivered)


async def test_a_receiver_that_changes_over_to_public_keys_accepts_both() -> None:
    key = Ed25519PrivateKey.generate()
    private = "whsk_" + b64encode(key.private_bytes_raw()).decode()
    public = "whpk_" + b64encode(key.public_key().public_bytes_raw()).decode()
    old = "whsec_" + "b2xk" * 8
    for known in (old, public):
        async with sandbox(SandboxSettings(webhook_secrets=(known,))) as box:
            async with opened("webhook", **options(box, secrets=[old, private])) as sink:
                assert isinstance(await sink.send(PAID), Delivered)


async def test_a_customers_endpoint_may_have_a_key() -> None:
    key = Ed25519PrivateKey.generate()
    private = Secret("whsk_" + b64encode(key.private_bytes_raw()).decode())
    public = "whpk_" + b64encode(key.public_key().public_bytes_raw()).decode()
    async with sandbox(SandboxSettings(webhook_secrets=(public,))) as box:
        target = Target(f"{box.addresses['webhook']}/hooks/acme", "endpoint")
        to_customers = options(box, url=None, secrets=[], to_customers=True)
        async with opened("webhook", **to_customers) as sink:
            sent = await sink.send(PAID, target=target, secrets=(private,))
    assert isinstance(sent, Delivered)


async def test_a_wrong_secret_is_refused_by_the_receiver() -> None:
    async with sandbox() as box:
        secrets = ["whsec_" + "b2xk" * 8]
        async with opened("webhook", **options(box, secrets=secrets)) as sink:
            refused = await sink.send(PAID)
        assert len(box.record) == 0
    assert isinstance(refused, Retry)
    assert refused.reason.code == "refused"


async def test_a_gone_endpoint_is_not_used_again() -> None:
    async with sandbox() as box, opened("webhook", **options(box)) as sink:
        box.webhook.set_state("/hooks/1", "gone")
        refused = await sink.send(PAID)
    assert isinstance(refused, Rejected)
    assert refused.recipient_gone


async def test_redirects_are_not_followed() -> None:
    async with sandbox() as box, opened("webhook", **options(box)) as sink:
        elsewhere = {"Location": f"{box.addresses['webhook']}/hooks/2"}
        box.webhook.faults.plan("/hooks/1", on={1: answer(307, headers=elsewhere)})
        refused = await sink.send(PAID)
        assert len(box.record) == 0
    assert isinstance(refused, Retry)
    assert refused.reason.code == "redirected"


async def test_retry_after_is_the_endpoints() -> None:
    async with sandbox() as box, opened("webhook", **options(box)) as sink:
        box.webhook.faults.plan("/hooks/1", on={1: answer(429, headers={"Retry-After": "9"})})
        limited = await sink.send(PAID)
    assert isinstance(limited, Retry)
    assert (limited.after, limited.scope) == (9, Scope.ENDPOINT)


@pytest.mark.parametrize("kind", ["cut", "drip"])
async def test_a_status_is_enough(kind: str) -> None:
    async with sandbox() as box, opened("webhook", **options(box)) as sink:
        box.webhook.faults.plan("/hooks/1", on={1: Fault(kind, seconds=0.1)})  # type: ignore[arg-type]
        assert isinstance(await sink.send(PAID), Delivered)


async def test_private_addresses_halt_unless_allowed() -> None:
    async with sandbox() as box:
        async with opened("webhook", **options(box, allow_hosts=[])) as sink:
            halted = await sink.send(PAID)
        assert isinstance(halted, Halt)
        assert halted.reason.code == "address_refused"
        async with opened("webhook", **options(box, allow_hosts=[], allow_private=True)) as sink:
            assert isinstance(await sink.send(PAID), Delivered)
        assert len(box.record) == 1


async def test_tls_is_verified() -> None:
    async with sandbox(SandboxSettings(http_tls=True)) as box:
        async with opened("webhook", **options(box, ca_file=str(box.ca_file))) as sink:
            assert isinstance(await sink.send(PAID), Delivered)
        async with opened("webhook", **options(box)) as sink:
            refused = await sink.send(PAID)
    assert isinstance(refused, Retry)
    assert refused.reason.code == "certificate_invalid"


def customers(**changes: object) -> dict[str, object]:
    return {"to_customers": True, "allow_http": True, **changes}


async def test_a_customers_endpoint_is_reached_with_its_own_secret() -> None:
    async with sandbox() as box, opened("webhook", **customers(allow_private=True)) as sink:
        there = Target(f"{box.addresses['webhook']}/hooks/acme", "endpoint")
        secret = Secret(box.credentials["webhook_secret"])
        assert isinstance(await sink.send(PAID, target=there, secrets=(secret,)), Delivered)
        [received] = box.record
    assert received.raw == BODY


async def test_an_endpoint_inside_the_network_is_its_own_fault_alone() -> None:
    async with sandbox() as box, opened("webhook", **customers()) as sink:
        there = Target(f"{box.addresses['webhook']}/hooks/acme", "endpoint")
        secret = Secret(box.credentials["webhook_secret"])
        refused = await sink.send(PAID, target=there, secrets=(secret,))
        assert len(box.record) == 0
    assert isinstance(refused, Rejected)
    assert refused.reason.code == "address_refused"
