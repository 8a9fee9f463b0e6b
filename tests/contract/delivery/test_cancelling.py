"""``cancel_on``: an event ends the messages of others that are not sent yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from router.ledger import State
from router.messages import Reason, Retry
from router.planning import Route, Step
from router.planning.policies import CancelOn, QuietHours, RoutePolicy, Same, StepPolicy
from tests.contract.delivery.harness import Running, SteppedClock, World, running, sinks
from tests.contract.delivery.sources import ORDERS
from tests.unit.planning.builders import condition, path, person, route, rules, step

pytestmark = pytest.mark.anyio

HOUR = 3600.0
MINUTE = 60.0
BUSY = Reason("busy")
SINKS = sinks("mail", "push", retry={"first": "1m", "cap": "1m", "give_up": "3d"})


def cancel_on(type: str = "order.closed", within: float = 2 * HOUR) -> CancelOn:
    same = Same(path("data.order"), path("data.number"))
    return CancelOn(condition({"type": type}), (same,), within)


def cancellable(*steps: Step, **fields: Any) -> Route:
    made = route(*(steps or (delayed(step()),)))
    return replace(made, policy=RoutePolicy(cancel_on=cancel_on(**fields)))


def delayed(made: Step, delay: float = HOUR) -> Step:
    return replace(made, policy=StepPolicy(delay=delay))


def stepped(world: World) -> World:
    world.clock = SteppedClock()
    world.people.known["u-1"] = person("u-1")
    return world


def paid(world: World, order: int = 1, **fields: Any) -> None:
    world.publish({"user": "u-1", "order": order}, **fields)


def closed(world: World, order: int = 1, **fields: Any) -> None:
    world.publish({"type": "order.closed", "number": order}, **fields)


def late(run: Running, sink: str = "mail") -> bytes:
    (line,) = (
        line
        for line in run.metrics.render().splitlines()
        if line.startswith(b'router_cancel_late_total{sink="%s"' % sink.encode())
    )
    return line.split()[-1]


async def test_a_delayed_message_is_not_sent_after_the_event_that_cancels_it(world: World) -> None:
    stepped(world)
    async with running(world, rules(cancellable()), SINKS) as run:
        paid(world, 1)
        paid(world, 2)
        await run.rested()
        closed(world, 1)
        await run.later(HOUR + 1)
        assert await run.states() == {"suppressed cancelled": 1, "delivered": 1}
    assert len(world.providers["mail"].sent) == 1


async def test_one_that_is_retried_is_cancelled(world: World) -> None:
    stepped(world)
    world.providers["mail"].answers.append(Retry(BUSY))
    async with running(world, rules(cancellable(step())), SINKS) as run:
        paid(world)
        await run.rested()
        assert len(world.providers["mail"].sent) == 1
        closed(world)
        await run.later(2 * MINUTE)
        assert await run.states() == {"suppressed cancelled": 1}


async def test_one_that_quiet_hours_hold_is_cancelled(world: World) -> None:
    stepped(world)
    quiet = QuietHours(0, 0, zone="UTC")
    held = replace(step(), policy=StepPolicy(quiet_hours=quiet))
    async with running(world, rules(cancellable(held)), SINKS) as run:
        paid(world)
        await run.rested()
        assert await run.states() == {"scheduled quiet_hours": 1}
        closed(world)
        (row,) = await run.rows()
        assert row.due is not None
        await run.later(row.due - world.clock.now() + 1)
        assert await run.states() == {"suppressed cancelled": 1}
    assert not world.providers["mail"].sent


async def test_the_event_may_come_before_the_one_that_it_cancels(world: World) -> None:
    stepped(world)
    now = world.clock.now()
    async with running(world, rules(cancellable(step())), SINKS) as run:
        closed(world, timestamp=now + 2)
        await run.settled()
        paid(world, timestamp=now)
        await run.rested()
        assert await run.states() == {"suppressed cancelled": 1}


async def test_an_older_event_cancels_nothing(world: World) -> None:
    stepped(world)
    now = world.clock.now()
    async with running(world, rules(cancellable(step())), SINKS) as run:
        closed(world, timestamp=now - 2)
        paid(world, timestamp=now)
        await run.rested()
        assert await run.states() == {"delivered": 1}


async def test_an_event_after_the_time_it_has_cancels_nothing(world: World) -> None:
    stepped(world)
    now = world.clock.now()
    made = rules(cancellable(step(), within=MINUTE))
    async with running(world, made, SINKS) as run:
        closed(world, timestamp=now)
        await run.settled()
        paid(world, timestamp=now - MINUTE - 1)
        paid(world, timestamp=now - MINUTE + 1)
        await run.rested()
        assert await run.states() == {"delivered": 1, "suppressed cancelled": 1}


async def test_in_one_batch_the_later_record_is_known_first(world: World) -> None:
    """What is read together after an outage is treated as if it had been read in time."""
    stepped(world)
    paid(world)
    closed(world)
    async with running(world, rules(cancellable()), SINKS) as run:
        await run.later(HOUR + 1)
        assert await run.states() == {"suppressed cancelled": 1}


async def test_old_events_that_are_read_at_last_still_cancel(world: World) -> None:
    stepped(world)
    long_ago = world.clock.now() - 48 * HOUR
    paid(world, timestamp=long_ago)
    closed(world, timestamp=long_ago + MINUTE)
    async with running(world, rules(cancellable()), SINKS) as run:
        await run.rested()
        assert await run.states() == {"suppressed cancelled": 1}


async def test_the_mark_is_written_before_the_record_that_brings_it_is_settled(
    durable: World,
) -> None:
    stepped(durable)
    async with running(durable, rules(cancellable()), SINKS) as run:
        paid(durable)
        await run.rested()
        run.outage.is_down = True
        closed(durable)
        await run.until(lambda: run.source.position(ORDERS) == 2)
        await anyio.sleep(0.1)
        assert durable.log.committed[ORDERS] == 1
        run.outage.is_down = False
        await run.settled()
        assert durable.log.committed[ORDERS] == 2
    async with running(durable, rules(cancellable()), SINKS) as run:
        await run.rested()
        await run.later(HOUR + 1)
        assert await run.states() == {"suppressed cancelled": 1}


async def test_what_is_under_way_already_is_counted(world: World) -> None:
    stepped(world)
    mail = world.providers["mail"]
    mail.hangs = anyio.Event()
    async with running(world, rules(cancellable(step())), SINKS) as run:
        paid(world)
        await run.until(lambda: mail.sent)
        closed(world)
        await run.until(lambda: late(run) == b"1.0")
        mail.hangs.set()
        await run.rested()
        assert await run.states() == {"delivered": 1}


async def test_fallbacks_of_a_cancelled_message_are_cancelled(world: World) -> None:
    stepped(world)
    push = delayed(step("push", address_kind="telegram"))
    made = rules(cancellable(push, step("mail", fallback_for="push")))
    async with running(world, made, SINKS) as run:
        paid(world)
        await run.rested()
        assert len(await run.rows(state=State.WAITING)) == 1
        closed(world)
        await run.later(HOUR + 1)
        assert await run.states() == {"suppressed cancelled": 2}


async def test_a_cancelled_message_stays_so_when_its_record_comes_again(durable: World) -> None:
    stepped(durable)
    event = {"id": "e-1", "user": "u-1", "order": 1}
    async with running(durable, rules(cancellable()), SINKS) as run:
        durable.publish(event)
        closed(durable)
        await run.later(HOUR + 1)
        durable.publish(event)
        closed(durable)
        await run.later(HOUR + 1)
        assert await run.states() == {"suppressed cancelled": 1}
