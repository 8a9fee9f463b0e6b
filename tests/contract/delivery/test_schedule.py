"""The schedule beside new work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import anyio
import pytest

from router.delivery.gates import By
from router.ledger import State
from router.messages import Delivered, Outcome, Parcel, Reason, Retry, Scope
from router.planning import Ruleset
from router.planning.policies import Rank, StepPolicy
from tests.contract.delivery.harness import LIMITS, Running, SteppedClock, World, running, sinks
from tests.contract.delivery.sinks import Provider
from tests.unit.planning.builders import request_step, route, rules

pytestmark = pytest.mark.anyio

BUSY = Reason("busy")
HOOK = rules(route(request_step()))


def first_time(outcome: Outcome, times: int) -> Callable[[Parcel], Outcome]:
    """So many first attempts come to this; all else is delivered."""
    left = [outcome] * times

    def answer(parcel: Parcel) -> Outcome:
        return left.pop() if parcel.attempt == 1 and left else Delivered()

    return answer


async def test_new_work_does_not_starve_what_is_due(world: World) -> None:
    """A stream of new deliveries keeps every worker busy; the retries come in between."""
    hook = world.providers["hook"]
    hook.seconds = 0.002
    hook.always = first_time(Retry(BUSY), 20)
    async with running(world, HOOK, sinks("hook", concurrency=2)) as run:
        world.orders(1500)
        await run.until(lambda: sum(parcel.attempt == 2 for parcel in hook.sent) == 20)
        assert len(hook.accepted) < 1000
        hook.seconds = 0
        await run.ended()
        assert await run.states() == {"delivered": 1500}


async def test_a_backlog_does_not_starve_new_work(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.always = first_time(Retry(BUSY, after=0.3), 400)
    async with running(durable, HOOK, sinks("hook", concurrency=2)) as run:
        durable.orders(400)
        await run.settled()
        hook.seconds = 0.002
        first = len(hook.sent)
        durable.orders(50)
        await run.until(lambda: sum(p.attempt == 1 for p in hook.sent[first:]) == 50)
        assert sum(p.attempt == 2 for p in hook.sent[first:]) < 200
        hook.seconds = 0
        await run.ended()


async def test_what_is_due_first_goes_first(durable: World) -> None:
    hook = durable.providers["hook"]
    order = [0.5, 0.3, 0.4]
    hook.answers += [Retry(BUSY, after=after) for after in order]
    async with running(durable, HOOK, sinks("hook", concurrency=1)) as run:
        durable.orders(3)
        await run.settled()
        first = [parcel.key for parcel in hook.sent]
        await run.ended()
        assert hook.accepted == [first[1], first[2], first[0]]


async def test_a_retry_waits_as_long_as_it_was_told(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.answers.append(Retry(BUSY, after=0.3))
    async with running(durable, HOOK, sinks("hook")) as run:
        durable.orders(1)
        await run.until(lambda: hook.sent)
        started = anyio.current_time()
        await run.ended()
        assert 0.28 <= anyio.current_time() - started < 1.5


async def test_a_full_lane_takes_work_out_of_the_schedule_only_as_it_has_room(
    durable: World,
) -> None:
    hook = durable.providers["hook"]
    hook.answers += [Retry(BUSY)] * 200
    limits = replace(LIMITS, lane_capacity=10)
    async with running(durable, HOOK, sinks("hook", concurrency=2), limits=limits) as run:
        durable.orders(200)
        await run.ended()
        assert await run.states() == {"delivered": 200}
    assert hook.most_at_once <= 2


# Ranks -----------------------------------------------------------------------------------------


def ranked(**ranks: Rank) -> Ruleset:
    """A route for each type of event, of that rank."""
    return rules(
        *(
            route(
                replace(request_step(), policy=StepPolicy(rank=rank)), id=name, match={"type": name}
            )
            for name, rank in ranks.items()
        )
    )


RANKED = ranked(urgent=Rank.URGENT, normal=Rank.NORMAL, bulk=Rank.BULK)


async def kinds_accepted(run: Running, provider: Provider) -> list[str]:
    """The events' types, in the order of acceptance."""
    types = {parcel.key: parcel.event_type for parcel in provider.sent}
    return [types[key] for key in provider.accepted]


async def test_what_is_urgent_goes_first_when_a_sink_opens(world: World) -> None:
    world.clock = SteppedClock()
    hook = world.providers["hook"]
    hook.always = Retry(BUSY, after=3600, scope=Scope.SINK)
    async with running(world, RANKED, sinks("hook", concurrency=1)) as run:
        for type in ("bulk", "normal", "urgent"):
            world.orders(10, type=type)
            await run.rested()
        hook.always = Delivered()
        await run.later(2 * 3600)
        await run.until(lambda: len(hook.accepted) == 30)
        found = await kinds_accepted(run, hook)
        assert found[:10] == ["urgent"] * 10
        assert found[10:20].count("bulk") <= 2, "a turn of its own now and then"
        assert found[-4:] == ["bulk"] * 4


async def test_bulk_is_slow_and_not_stuck_behind_a_backlog(world: World) -> None:
    world.clock = SteppedClock()
    hook = world.providers["hook"]
    hook.always = Retry(BUSY, after=3600, scope=Scope.SINK)
    async with running(world, RANKED, sinks("hook", concurrency=1)) as run:
        world.orders(5, type="bulk")
        world.orders(120, type="normal")
        await run.rested()
        hook.always = Delivered()
        await run.later(2 * 3600)
        await run.until(lambda: len(hook.accepted) == 125)
        places = [n for n, t in enumerate(await kinds_accepted(run, hook)) if t == "bulk"]
        assert 16 < places[-1] - places[0] < 100


# After an outage -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [None, "40/s"])
async def test_a_sink_that_works_again_is_given_little_at_first(
    world: World, rate: str | None
) -> None:
    """A probe alone, then as much as went through; its rate holds, and what is due first goes
    first."""
    world.clock = clock = SteppedClock()
    hook = world.providers["hook"]
    hook.always = Retry(BUSY, after=1.0)
    breaker = {"at_least": 4, "failures": 0.5, "half_open": "1h"}
    options = {"breaker": breaker, "concurrency": 16} | ({"rate": rate} if rate else {})
    async with running(world, HOOK, sinks("hook", **options)) as run:
        world.orders(120)
        await run.until(lambda: run.worker.lanes["hook"].gates.is_closed_by(By.BREAKER))
        await run.rested()
        rows = {row.key: row.due or 0.0 for row in await run.rows(state=State.SCHEDULED)}
        assert len(rows) == 120
        hook.always, hook.most_at_once, hook.hangs = Delivered(), 0, anyio.Event()
        failed = len(hook.sent)
        clock.advance(2 * 3600)
        run.worker.lanes["hook"].nudge()
        run.worker.settler.changed.give()
        started = anyio.current_time()
        await run.until(lambda: len(hook.sent) == failed + 1)
        await anyio.sleep(0.05)
        assert len(hook.sent) == failed + 1
        hook.hangs.set()
        await run.until(lambda: len(hook.accepted) > 3)
        assert hook.most_at_once <= 4
        await run.ended(30)
        if rate:
            assert anyio.current_time() - started > 1.0
        assert await run.states() == {"delivered": 120}
        dues = [rows[key] for key in hook.accepted[1:]]
        late = sum(earlier > later + 0.5 for earlier, later in pairwise(dues))
        assert late <= 2
