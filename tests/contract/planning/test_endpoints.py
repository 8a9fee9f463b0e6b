"""Webhooks to customers: whose endpoints, under which secrets, and where those never are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

import orjson
import pytest

from router.authoring.rehearsed import Verdict
from router.config import Project
from router.events import DecodeConfig, Record, SecretField
from router.messages import (
    Channel,
    Delivered,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Request,
    Retry,
)
from router.planning import Divert
from router.recipients import Endpoint, Recipient
from router.values import Secret
from tests.contract.planning.builders import People, lines_of, load, record
from tests.contract.planning.running import Ran, Sent, ledger_file, memory_ledger, run

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + "c2VjcmV0" * 4
ROTATED = "whsec_" + "cm90YXRl" * 4
FROM_DIRECTORY = "{id: data.account}"
FROM_EVENT = "{id: data.account, endpoints: data.endpoints}"
DECLARED = DecodeConfig(secret_fields=(SecretField.parse("data.endpoints[*].secrets"),))


def project(root: Path, recipient: str = FROM_DIRECTORY, deliver: str = "[customers]") -> Project:
    sinks = """\
        customers:
          type: webhook
          to_customers: true
          event_hosts: [hooks.acme.example, "*.shop.example"]
          retry: {first: 1ms, cap: 1ms}
        ops: {type: console, channel: request}
    """
    routes = f"""\
        invoice:
          match: {{type: {{prefix: invoice}}}}
          recipient: {recipient}
          deliver: {deliver}
    """
    return load(root, sinks, routes, sources=SOURCES)


SOURCES = """\
main:
  type: file
  path: events.jsonl
  decode: {secret_fields: ["data.endpoints[*].secrets"]}
"""


def invoice(number: int = 1, type: str = "invoice.issued", **data: Any) -> Record:
    fields = {"id": f"invoice-{number}", "account": "acme", **data}
    return record(type, fields, at=time(), offset=number)


def endpoint(url: str = "https://hooks.acme.example/in", **fields: Any) -> Endpoint:
    values: dict[str, Any] = {"id": "main", "secrets": (Secret(SECRET),), **fields}
    return Endpoint(url, **values)


def accounts(*endpoints: Endpoint) -> People:
    return People({"acme": Recipient("acme", endpoints=endpoints)})


def revealed(parcel: Parcel) -> list[str]:
    return [secret.reveal() for secret in parcel.secrets]


async def once(
    loaded: Project, event: Record, sent: Sent, people: People, decoding: DecodeConfig = DECLARED
) -> Ran:
    async with memory_ledger() as ledger:
        return await run(loaded, [event], sent, people, ledger, decoding=decoding)


# Whose -----------------------------------------------------------------------------------------


async def test_each_endpoint_that_takes_the_type_is_sent_to(tmp_path: Path) -> None:
    people = accounts(
        endpoint(),
        endpoint("https://two.example/", id="two", types=("invoice.*",)),
        endpoint("https://three.example/", id=None, types=("invoice.paid", "payment.*")),
    )
    sent = Sent()
    await once(project(tmp_path), invoice(), sent, people)

    assert [address for _, address in sent.addresses] == [
        "https://hooks.acme.example/in",
        "https://two.example/",
    ]
    assert all(revealed(parcel) == [SECRET] for parcel in sent.to("customers"))
    assert len({parcel.key for parcel in sent.to("customers")}) == 2


def test_an_endpoint_that_has_moved_is_the_same(tmp_path: Path) -> None:
    loaded = project(tmp_path)
    here, moved = (
        lines_of(loaded, invoice(), accounts(endpoint(url)).people)[0]
        for url in ("https://one.example/", "https://two.example/")
    )
    assert here.key == moved.key


async def test_a_customer_without_an_endpoint_for_the_type_is_passed_over(tmp_path: Path) -> None:
    deliver = "[customers, {id: tell, sink: ops, per: recipient, fallback_for: customers}]"
    people = accounts(endpoint(types=("invoice.paid",)))
    sent = Sent()
    ran = await once(project(tmp_path, deliver=deliver), invoice(), sent, people)

    assert sent.parcels == []
    assert [row.reason.code for row in ran.rows if row.reason] == ["no_endpoint"]


# Out of events ---------------------------------------------------------------------------------


def bringing(url: str, **fields: Any) -> Record:
    return invoice(endpoints=[{"url": url, "secrets": [SECRET], **fields}])


NOBODY = People()


async def test_an_event_may_bring_endpoints_of_hosts_that_are_allowed(tmp_path: Path) -> None:
    sent = Sent()
    for number, url in enumerate(["https://hooks.acme.example/a", "https://eu.shop.example/b"]):
        await once(project(tmp_path / str(number), FROM_EVENT), bringing(url), sent, NOBODY)

    assert [revealed(parcel) for _, parcel in sent.parcels] == [[SECRET], [SECRET]]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://shop.example/",
        "https://hooks.acme.example.evil.example/",
        "https://hooks.acme.example@evil.example/",
        "https://[::1/",
        "hooks.acme.example/in",
    ],
)
async def test_addresses_of_other_hosts_are_dead_letters(tmp_path: Path, url: str) -> None:
    sent = Sent()
    ran = await once(project(tmp_path, FROM_EVENT), bringing(url), sent, NOBODY)

    assert sent.parcels == []
    assert [letter.reason.code for letter in ran.letters.letters] == ["host_not_allowed"]


async def test_secrets_that_are_not_declared_are_not_used(tmp_path: Path) -> None:
    sent = Sent()
    event = bringing("https://hooks.acme.example/a")
    ran = await once(project(tmp_path, FROM_EVENT), event, sent, NOBODY, DecodeConfig())

    assert sent.parcels == []
    assert [letter.reason.code for letter in ran.letters.letters] == ["secret_not_declared"]


def test_a_rehearsal_tells_that_it_would_die(tmp_path: Path) -> None:
    (line,) = lines_of(project(tmp_path, FROM_EVENT), bringing("https://evil.example/"))
    assert line.verdict is Verdict.DEAD


async def test_an_events_secrets_are_in_no_message(tmp_path: Path) -> None:
    sent = Sent()
    event = bringing("https://hooks.acme.example/a")
    await once(project(tmp_path, FROM_EVENT, "[customers, ops]"), event, sent, NOBODY)

    for _, parcel in sent.parcels:
        assert isinstance(parcel.message, Request)
        assert parcel.message.body is not None
        assert SECRET.encode() not in parcel.message.body
        assert orjson.loads(parcel.message.body)["data"]["endpoints"][0]["secrets"] == ["***"]
        assert SECRET not in repr(parcel)


# Later attempts --------------------------------------------------------------------------------


def first_then(outcome: Outcome) -> Sent:
    """The first attempt is answered so, later ones are delivered."""
    sent = Sent()
    sent.answer = lambda sink, parcel: outcome if len(sent.parcels) == 1 else Delivered()
    return sent


class Changing:
    """A directory whose answer changes with each question."""

    def __init__(self, *answers: People) -> None:
        self.answers = list(answers)

    async def lookup(self, ids: Any, tenant: str = "") -> Any:
        people = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await people.lookup(ids)


async def test_a_later_attempt_has_the_secrets_as_they_are_then(tmp_path: Path) -> None:
    moved = endpoint("https://new.example/", secrets=(Secret(ROTATED),))
    sent = first_then(Retry(Reason("refused")))
    directory = Changing(accounts(endpoint()), accounts(moved))
    async with memory_ledger() as ledger:
        await run(project(tmp_path), [invoice()], sent, directory, ledger)

    assert [(p.target.address, revealed(p)) for _, p in sent.parcels] == [
        ("https://hooks.acme.example/in", [SECRET]),
        ("https://new.example/", [ROTATED]),
    ]


async def test_what_is_diverted_stays_diverted(tmp_path: Path) -> None:
    divert = Divert({Channel.REQUEST: "https://qa.example/"})
    loaded = replace(project(tmp_path), divert=divert)
    sent = first_then(Retry(Reason("refused")))
    await once(loaded, invoice(), sent, accounts(endpoint()))

    assert [(p.target.address, revealed(p)) for _, p in sent.parcels] == [
        ("https://qa.example/", [SECRET]),
        ("https://qa.example/", [SECRET]),
    ]


async def test_an_event_borne_secret_is_read_from_the_kept_record(tmp_path: Path) -> None:
    sent = first_then(Retry(Reason("refused")))
    await once(
        project(tmp_path, FROM_EVENT), bringing("https://hooks.acme.example/a"), sent, NOBODY
    )

    assert [revealed(parcel) for _, parcel in sent.parcels] == [[SECRET], [SECRET]]


async def test_an_endpoint_that_is_taken_away_meanwhile_gets_nothing_more(tmp_path: Path) -> None:
    sent = first_then(Retry(Reason("refused")))
    directory = Changing(accounts(endpoint()), accounts())
    async with memory_ledger() as ledger:
        ran = await run(project(tmp_path), [invoice()], sent, directory, ledger)

    assert len(sent.parcels) == 1
    assert [(str(row.state), row.reason.code) for row in ran.rows if row.reason] == [
        ("suppressed", "no_endpoint")
    ]


async def test_the_ledger_never_has_a_directorys_secret(tmp_path: Path) -> None:
    sent = Sent(lambda sink, parcel: Retry(Reason("refused"), after=60))
    async with ledger_file(tmp_path / "ledger.db") as ledger:
        await run(project(tmp_path), [invoice()], sent, accounts(endpoint()), ledger)
        (row,) = await ledger.rows()
        assert row.blob is not None
        assert b"hooks.acme.example" in row.blob
    stored = _contents(tmp_path)
    assert b"hooks.acme.example" in stored
    assert SECRET.encode() not in stored


def _contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("ledger.db*"))


# Failures --------------------------------------------------------------------------------------


async def test_an_endpoint_that_says_it_is_gone_is_left_alone(tmp_path: Path) -> None:
    sent = Sent(lambda sink, parcel: Rejected(Reason("endpoint_gone"), recipient_gone=True))
    loaded, people = project(tmp_path), accounts(endpoint(registered_at=5))
    async with memory_ledger() as ledger:
        await run(loaded, [invoice(1)], sent, people, ledger)
        await run(loaded, [invoice(2)], sent, people, ledger)
        await run(loaded, [invoice(3)], sent, accounts(endpoint(registered_at=6)), ledger)

    assert len(sent.parcels) == 2


FAILURES: Mapping[str, Callable[[], Outcome]] = {
    "refused": lambda: Retry(Reason("refused"), after=60),
    "silent": lambda: InDoubt(Reason("timeout")),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_one_customers_failures_are_not_anothers(tmp_path: Path, failure: str) -> None:
    def answer(sink: str, parcel: Parcel) -> Outcome:
        return FAILURES[failure]() if "down" in parcel.target.address else Delivered()

    sent = Sent(answer)
    people = accounts(endpoint("https://down.example/", id="down"), endpoint())
    async with ledger_file(tmp_path / "ledger.db") as ledger:
        events = [invoice(number) for number in range(40)]
        ran = await run(
            project(tmp_path),
            events,
            sent,
            people,
            ledger,
            until=lambda: sum("acme" in address for _, address in sent.addresses) == 40,
        )

    assert b'router_sink_breaker_opened_total{sink="customers"} 0.0' in ran.metrics.render()
