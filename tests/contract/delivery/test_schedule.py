"""The schedule beside new work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest

from router.messages import Delivered, Outcome, Parcel, Reason, Retry
from tests.contract.delivery.harness import LIMITS, World, running, sinks
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
