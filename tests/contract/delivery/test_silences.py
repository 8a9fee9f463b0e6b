"""Silences: what they cover is suppressed on all replicas, until they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest

from router.delivery.silences import ended, fact_of
from router.messages import Reason, Retry
from router.planning import Route
from router.planning.policies import Bypass, Digest, RoutePolicy
from router.planning.silences import Silence, silence_of
from router.telemetry import AUDIT
from tests.contract.delivery.harness import Running, World, running, sinks
from tests.unit.planning.builders import person, request_step, route, rules, step

pytestmark = pytest.mark.anyio

SINKS = sinks("mail", "hook")
HOOK = rules(route(request_step()))


def silence(world: World, *, lasts: float = 3600.0, **fields: Any) -> Silence:
    now = world.clock.now()
    named = {"id": "s1", "author": "ops", "comment": "incident", "created": now}
    return silence_of({**named, "until": now + lasts, **fields})


async def told(run: Running, made: Silence) -> None:
    """As if another process had written it."""
    await run.ledger.put_facts([fact_of(made)])
    await run.until(lambda: run.worker.silences.active)


@pytest.mark.parametrize(
    "fields",
    [
        {"route": "paid"},
        {"sink": "hook"},
        {"channel": "request"},
        {"match": {"type": "order.paid", "data.n": {"gte": 0}}},
        {"route": "paid", "sink": "hook", "match": {"data.n": 0}},
    ],
)
async def test_what_a_silence_covers_is_suppressed(world: World, fields: Mapping[str, Any]) -> None:
    async with running(world, HOOK, SINKS) as run:
        await run.worker.silences.add(silence(world, **fields))
        world.orders(1)
        await run.ended()
        assert await run.states() == {"suppressed silenced": 1}
        assert b"router_silences 1.0" in run.metrics.render()


@pytest.mark.parametrize(
    "fields",
    [
        {"route": "other"},
        {"sink": "mail"},
        {"category": "billing"},
        {"recipient": "u-0"},
        {"match": {"data.n": 1}},
        {"route": "paid", "match": {"type": "order.lost"}},
    ],
)
async def test_what_it_does_not_cover_is_sent(world: World, fields: Mapping[str, Any]) -> None:
    async with running(world, HOOK, SINKS) as run:
        await run.worker.silences.add(silence(world, **fields))
        world.orders(1)
        await run.ended()
        assert await run.states() == {"delivered": 1}


async def test_it_is_obeyed_from_the_first_delivery_on(durable: World) -> None:
    async with durable.store.open(durable.clock) as ledger:
        await ledger.put_facts([fact_of(silence(durable, route="paid"))])
    durable.orders(3)
    async with running(durable, HOOK, SINKS) as run:
        await run.ended()
        assert await run.states() == {"suppressed silenced": 3}


async def test_all_replicas_obey_and_it_can_be_expired(world: World) -> None:
    async with running(world, HOOK, SINKS) as run:
        made = silence(world, route="paid")
        await told(run, made)
        world.orders(1)
        await run.ended()
        await run.ledger.put_facts([ended(made, world.clock.now())])
        await run.until(lambda: not run.worker.silences.active)
        world.orders(1)
        await run.ended()
        assert await run.states() == {"suppressed silenced": 1, "delivered": 1}


async def test_what_another_process_silences_is_in_the_audit_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def heard() -> list[float]:
        fields = [vars(record)["router"] for record in caplog.records if record.name == AUDIT.name]
        return [line["until"] for line in fields if line["silence"] == "s1"]

    caplog.set_level("INFO", AUDIT.name)
    async with running(world, HOOK, SINKS) as run:
        await run.worker.silences.add(replace(silence(world, route="paid"), id="own"))
        made = silence(world, route="paid")
        await told(run, made)
        await run.until(heard)
        await run.ledger.put_facts([ended(made, world.clock.now())])
        await run.until(lambda: len(heard()) == 2)
        assert heard()[0] == made.until > heard()[1]


async def test_it_ends_by_itself(world: World) -> None:
    async with running(world, HOOK, SINKS) as run:
        await run.worker.silences.add(silence(world, route="paid", lasts=0.3))
        await run.until(lambda: not run.worker.silences.active)
        world.orders(1)
        await run.ended()
        assert await run.states() == {"delivered": 1}


async def test_what_waits_in_the_schedule_is_silenced_when_it_is_due(world: World) -> None:
    """Its record is read again, for conditions on the event."""
    world.providers["hook"].always = Retry(Reason("busy"), after=0.2)
    async with running(world, HOOK, SINKS) as run:
        world.orders(1)
        await run.until(lambda: world.providers["hook"].sent)
        await run.worker.silences.add(silence(world, match={"data.n": 0}))
        await run.ended()
        assert await run.states() == {"suppressed silenced": 1}


def mails(**policy: Any) -> Route:
    made = route(step())
    return replace(made, category="billing", policy=RoutePolicy(**policy))


async def test_a_category_may_pass_by_silences(world: World) -> None:
    world.people.known["u-0"] = person("u-0")
    urgent = rules(mails(bypass=frozenset({Bypass.SILENCES})))
    async with running(world, urgent, SINKS) as run:
        await run.worker.silences.add(silence(world, category="billing"))
        world.orders(1)
        await run.ended()
        assert await run.states() == {"delivered": 1}


async def test_one_person_may_be_left_alone(world: World) -> None:
    world.people.known |= {id: person(id) for id in ("u-0", "u-1")}
    async with running(world, rules(mails()), SINKS) as run:
        await run.worker.silences.add(silence(world, recipient="u-1"))
        world.orders(2)
        await run.ended()
        assert await run.states() == {"suppressed silenced": 1, "delivered": 1}


async def test_a_stand_in_for_the_unreachable_on_a_silenced_channel_survives_a_kill(
    durable: World,
) -> None:
    chain = route(step("push", address_kind="telegram"), step("mail", fallback_for="push"))
    durable.people.known["u-0"] = person("u-0", telegram=None)
    durable.providers["mail"].hangs = anyio.Event()
    both = sinks("mail", "push")
    async with running(durable, rules(chain), both, dies=True) as run:
        await run.worker.silences.add(silence(durable, sink="push"))
        durable.orders(1)
        await run.until(lambda: durable.providers["mail"].sent)
        await run.worker.settler.flush()
    durable.providers["mail"].hangs = None
    async with running(durable, rules(chain), both) as run:
        await run.ended()
        assert await run.states() == {"suppressed unreachable": 1, "delivered": 1}


async def test_members_of_digests_are_silenced_too(world: World) -> None:
    world.people.known["u-0"] = person("u-0")
    async with running(world, rules(mails(digest=Digest(3600.0))), SINKS) as run:
        await run.worker.silences.add(silence(world, category="billing"))
        world.orders(1)
        await run.ended()
        assert await run.states() == {"suppressed silenced": 1}
