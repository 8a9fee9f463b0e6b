"""Dead addresses: found once, left alone from then on, and what stands in for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import time

import pytest

from router.config import Project
from router.events import Record
from router.messages import Delivered, Outcome, Parcel, Reason, Rejected
from router.recipients import Device, Recipient
from tests.contract.planning.builders import People, load, record
from tests.contract.planning.running import Ran, Sent, ledger_file, memory_ledger, run

pytestmark = pytest.mark.anyio

SINKS = """\
mobile: {type: console, channel: push}
apple: {type: console, channel: push}
phones: {type: by_platform, android: mobile, ios: apple}
mail: {type: console, channel: email}
"""
FILES = {
    "templates/failed/template.yaml": "description: Failed\n",
    "templates/failed/push.txt": "---\ntitle: Payment failed\n---\nTry again\n",
    "templates/failed/email.txt": "---\nsubject: Payment failed\n---\nTry again\n",
}
PHONE = Device("phone", "token-a", "android", registered_at=100)
TABLET = Device("tablet", "token-b", "ios", registered_at=200)


def project(root: Path, devices: str = "all") -> Project:
    routes = f"""\
    failed:
      match: {{type: payment.failed}}
      recipient: {{id: data.user_id}}
      template: failed
      deliver:
        - {{id: push, sink: phones, devices: {devices}}}
        - {{id: mail, sink: mail, fallback_for: push}}
    """
    return load(root, SINKS, routes, FILES)


def failed(number: int = 1) -> Record:
    data = {"id": f"payment-{number}", "user_id": "u1"}
    return record("payment.failed", data, at=time(), offset=number)


def person(*devices: Device) -> People:
    return People({"u1": Recipient("u1", email="u1@acme.example", devices=devices)})


def refusing(*tokens: str) -> Sent:
    """Sinks that say of these tokens that they are dead."""

    def answer(sink: str, parcel: Parcel) -> Outcome:
        if parcel.target.address in tokens:
            return Rejected(Reason("unregistered"), recipient_gone=True)
        return Delivered()

    return Sent(answer)


def outcomes(ran: Ran) -> Sequence[str]:
    return sorted(
        f"{r.sink} {r.state} {r.reason.code if r.reason else ''}".strip() for r in ran.rows
    )


async def both(root: Path, sent: Sent, *devices: Device, policy: str = "all") -> Ran:
    """Two events, one after the other."""
    loaded = project(root, policy)
    async with memory_ledger() as ledger:
        await run(loaded, [failed(1)], sent, person(*devices), ledger)
        return await run(loaded, [failed(2)], sent, person(*devices), ledger)


async def once(root: Path, sent: Sent, *devices: Device) -> Ran:
    async with memory_ledger() as ledger:
        return await run(project(root), [failed()], sent, person(*devices), ledger)


async def test_one_device_that_has_it_is_enough(tmp_path: Path) -> None:
    sent = refusing("token-a")
    ran = await once(tmp_path, sent, PHONE, TABLET)

    assert sorted(sent.addresses) == [("apple", "token-b"), ("mobile", "token-a")]
    assert outcomes(ran) == [
        "apple delivered",
        "mail suppressed not_needed",
        "mobile suppressed recipient_gone",
    ]


async def test_when_all_devices_are_dead_the_fallback_starts(tmp_path: Path) -> None:
    sent = refusing("token-a", "token-b")
    ran = await once(tmp_path, sent, PHONE, TABLET)

    assert len(sent.to("mail")) == 1
    assert outcomes(ran) == [
        "apple suppressed recipient_gone",
        "mail delivered",
        "mobile suppressed recipient_gone",
    ]


async def test_a_dead_device_is_left_alone_from_then_on(tmp_path: Path) -> None:
    sent = refusing("token-a")
    ran = await both(tmp_path, sent, PHONE, TABLET)

    assert [address for sink, address in sent.addresses if sink == "mobile"] == ["token-a"]
    assert outcomes(ran).count("mobile suppressed recipient_gone") == 2
    assert outcomes(ran).count("apple delivered") == 2
    assert sent.to("mail") == []


async def test_a_person_whose_only_device_is_dead_is_unreachable(tmp_path: Path) -> None:
    sent = refusing("token-a")
    await both(tmp_path, sent, PHONE)

    assert [sink for sink, _ in sent.addresses] == ["mobile", "mail", "mail"]


async def test_a_person_whose_devices_are_all_dead_is_unreachable(tmp_path: Path) -> None:
    sent = refusing("token-a", "token-b")
    ran = await both(tmp_path, sent, PHONE, TABLET)

    assert len(sent.to("mobile")) == len(sent.to("apple")) == 1
    assert len(sent.to("mail")) == 2
    assert outcomes(ran).count("mail delivered") == 2


async def test_the_latest_device_is_the_latest_that_lives(tmp_path: Path) -> None:
    sent = refusing("token-b")
    await both(tmp_path, sent, PHONE, TABLET, policy="latest")

    assert sent.addresses == [
        ("apple", "token-b"),
        ("mail", "u1@acme.example"),
        ("mobile", "token-a"),
    ]


async def test_a_device_that_is_registered_anew_lives_again(tmp_path: Path) -> None:
    sent = refusing("token-a")
    loaded = project(tmp_path)
    again = Device("phone", "token-a", "android", registered_at=101)
    async with memory_ledger() as ledger:
        await run(loaded, [failed(1)], sent, person(PHONE), ledger)
        sent.answer = lambda sink, parcel: Delivered()
        await run(loaded, [failed(2)], sent, person(PHONE), ledger)
        await run(loaded, [failed(3)], sent, person(again), ledger)

    assert [sink for sink, _ in sent.addresses] == ["mobile", "mail", "mail", "mobile"]


async def test_it_is_known_after_a_restart_and_by_hash_alone(tmp_path: Path) -> None:
    sent = refusing("token-a")
    loaded = project(tmp_path)
    for number in (1, 2):
        async with ledger_file(tmp_path / "ledger.db") as ledger:
            done = _is_done(sent, number)
            await run(loaded, [failed(number)], sent, person(PHONE), ledger, until=done)
            facts = await ledger.changes("gone:mobile:", 0)

    assert len(sent.to("mobile")) == 1
    assert [fact.value for fact in facts] == ["100"]
    assert "token-a" not in facts[0].scope


def _is_done(sent: Sent, mails: int) -> Callable[[], bool]:
    return lambda: len(sent.to("mail")) == mails
