"""What waits for a sink that was taken out of the configuration: as `removed` says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import pytest

from router.ledger import State
from router.messages import Channel, Delivered, Reason, Rejected, Retry, Scope
from router.planning import Removal, Route, Ruleset, SinkFacts
from tests.contract.delivery.harness import SteppedClock, World, running, sinks
from tests.unit.planning.builders import person, request_step, route, rules, step

pytestmark = pytest.mark.anyio

HOUR = 3600.0
BUSY = Retry(Reason("busy"), after=HOUR, scope=Scope.SINK)
OLD = route(request_step("old"), request_step("new"))
NEW = route(request_step("new"))
TO_NEW = Removal(SinkFacts("new", "scripted", Channel.REQUEST, "request"))
BOTH = sinks("old", "new")


def without_old(removal: Removal | None, of: Route = NEW) -> Ruleset:
    removed: Mapping[str, Removal] = {"old": removal} if removal else {}
    return replace(rules(of), removed=removed)


async def test_what_waited_is_sent_once_by_the_other_sink_in_its_order(durable: World) -> None:
    durable.clock = SteppedClock()
    old, new = durable.providers["old"], durable.providers["new"]
    old.always = BUSY
    async with running(durable, rules(OLD), BOTH) as run:
        durable.orders(20)
        await run.rested()
        sent = len(new.accepted)
        waited = {row.key: row.due or 0.0 for row in await run.rows(state=State.SCHEDULED)}
        await run.apply(without_old(TO_NEW), sinks("new", concurrency=1))
        await run.later(2 * HOUR)
        await run.until(lambda: len(new.accepted) == 40)
        dues = [waited.pop(key) for key in new.accepted[sent:]]
        assert dues == sorted(dues)
        await run.ended()
        assert await run.states() == {"delivered": 40}
        assert {row.sink for row in await run.rows()} == {"new"}
        assert run.worker.lanes.keys() == {"new"}


async def test_a_start_moves_what_an_earlier_life_left(durable: World) -> None:
    durable.clock = clock = SteppedClock()
    durable.providers["old"].always = BUSY
    async with running(durable, rules(OLD), BOTH) as run:
        durable.orders(10)
        await run.rested()
    clock.advance(2 * HOUR)
    async with running(durable, without_old(TO_NEW), sinks("new")) as run:
        await run.ended()
        assert await run.states() == {"delivered": 20}
        assert durable.providers["new"].repeats == 0


async def test_dead_letters_can_be_made_of_it(
    durable: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    durable.clock = SteppedClock()
    durable.providers["old"].always = BUSY
    async with running(durable, rules(OLD), BOTH) as run:
        durable.orders(10)
        await run.rested()
        await run.apply(without_old(Removal()), sinks("new"))
        await run.worker.look()
        await run.later(2 * HOUR)
        await run.until(lambda: durable.letters.reasons == ["sink_removed"] * 10)
        assert await run.states() == {"delivered": 10, "dead sink_removed": 10}
        assert "parked" not in caplog.text


async def test_what_the_other_sink_cannot_send_is_dead(durable: World) -> None:
    durable.clock = SteppedClock()
    durable.providers["old"].always = BUSY
    mail = Removal(SinkFacts("new", "scripted", Channel.EMAIL, "email"))
    async with running(durable, rules(OLD), BOTH) as run:
        durable.orders(3)
        await run.rested()
        await run.apply(without_old(mail), sinks("new"))
        await run.later(2 * HOUR)
        await run.ended()
        assert await run.states() == {"delivered": 3, "dead sink_removed": 3}


async def test_a_fallback_that_waits_is_moved_when_it_starts(durable: World) -> None:
    durable.clock = SteppedClock()
    durable.people.known["u-1"] = person("u-1")
    push = durable.providers["push"]
    push.answers += [Retry(Reason("busy"), after=HOUR), Rejected(Reason("no"))]
    fallback = step("old", fallback_for="push")
    planned = route(step("push"), fallback)
    to_new = Removal(SinkFacts("new", "scripted", fallback.channel, fallback.address_kind))
    async with running(durable, rules(planned), sinks("push", "old", "new")) as run:
        durable.publish({"user": "u-1"})
        await run.rested()
        today = without_old(to_new, route(step("push")))
        await run.apply(today, sinks("push", "new"))
        await run.later(2 * HOUR)
        await run.ended()
        assert len(durable.providers["new"].accepted) == 1
        assert await run.states() == {"dead no": 1, "delivered": 1}


async def test_new_work_of_an_older_plan_is_moved_too(durable: World) -> None:
    """Its lane went away with what stood in it."""
    old = durable.providers["old"]
    old.hangs_on = lambda _: False
    old.always = Retry(Reason("busy"), after=0.05, scope=Scope.SINK)
    async with running(durable, rules(OLD), sinks("old", "new", concurrency=1)) as run:
        durable.orders(200)
        await run.until(lambda: old.sent)
        old.always = Delivered()
        await run.apply(without_old(TO_NEW), sinks("new"))
        await run.ended()
        assert await run.states() == {"delivered": 400}
        assert durable.providers["new"].repeats == 0
