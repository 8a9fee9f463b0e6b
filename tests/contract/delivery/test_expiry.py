"""What has had its time ends at its time, whatever it waits for."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from router.messages import Reason
from router.planning.policies import StepPolicy
from tests.contract.delivery.harness import LIMITS, SteppedClock, World, running, sinks
from tests.unit.planning.builders import request_step, route, rules

pytestmark = pytest.mark.anyio

MINUTE = 60.0


@pytest.mark.parametrize("how", ["closed", "ordered", "gone", "no room"])
async def test_it_ends_without_being_looked_at(world: World, how: str) -> None:
    """Before a closed sink, behind another one in order, parked, or where nothing may spill."""
    world.clock = clock = SteppedClock()
    policy = StepPolicy(is_ordered=how == "ordered")
    short = rules(route(replace(request_step(), expires=40 * MINUTE, policy=policy)))
    limits = replace(LIMITS, spill_rows=0) if how == "no room" else LIMITS
    async with running(world, short, sinks("hook"), limits=limits) as run:
        lane = run.worker.lanes["hook"]
        lane.gates.pause(Reason("paused"), clock.now())
        for _ in range(5):
            world.publish({"user": "u-1"}, key=b"one")
        has_room = how != "no room"
        await run.until(
            lambda: run.metrics.balance().scheduled == 5 if has_room else lane.depth == 5
        )
        if how == "gone":
            await run.apply(rules(), {})
        clock.advance(39 * MINUTE)
        lane.nudge()
        await anyio.sleep(0.05)
        assert run.metrics.balance().suppressed == 0
        clock.advance(2 * MINUTE)
        lane.nudge()
        await run.until(lambda: run.metrics.balance().suppressed == 5)
        await run.settled()
        assert await run.states() == {"suppressed expired": 5}
        assert not world.providers["hook"].sent
