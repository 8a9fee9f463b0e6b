"""SIGTERM: what is claimed finishes, the rest stays in Kafka, and nothing is repeated."""

from __future__ import annotations

import signal
import time

import anyio
import pytest

from router.ledger import State
from router.sandbox import ANY_TARGET, Fault, answer, sandbox
from tests.system.place import Place, orders_of
from tests.system.processes import arrivals, daemon, eventually
from tests.system.topics import order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]


async def test_claimed_sends_finish_and_the_rest_stays_in_kafka(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(box, sink={"concurrency": 2})
        box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=1.2))
        await place.publish([order(n) for n in range(20)])

        async with daemon(project) as running:
            await arrivals(box, 2)
            assert await running.stop() == 0

        settled = len(box.record)
        assert 2 <= settled <= 4
        assert await place.states(project) == {State.DELIVERED: settled}
        assert await place.committed() == settled

        box.http.faults.clear()
        async with daemon(project) as restarted:
            await arrivals(box, 20)
            await place.commits(20)
            assert await restarted.total("router_in_doubt_total") == 0
        assert sorted(orders_of(list(box.record))) == sorted(f"o-{n}" for n in range(20))


async def test_a_send_longer_than_the_grace_period_is_in_doubt(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(
            box, sink={"concurrency": 1, "timeout": "60s"}, delivery={"grace": "1s"}
        )
        box.http.faults.plan(ANY_TARGET, always=Fault("stall", after_effect=True, seconds=60))
        await place.publish([order(n) for n in range(3)])
        async with daemon(project) as running:
            await arrivals(box, 1)
            began = time.monotonic()
            assert await running.stop() == 0
            assert time.monotonic() - began < 6
            assert running.messages("grace period is over")
        claimed = (await place.states(project))[State.CLAIMED]

        box.http.faults.clear()
        async with daemon(project) as restarted:
            await arrivals(box, 4)
            await place.commits(3)
            assert await restarted.total("router_repeats_total", sink="api") == claimed
        assert sorted(orders_of(list(box.record))) == ["o-0", "o-0", "o-1", "o-2"]


async def test_what_is_scheduled_is_sent_after_a_restart(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(
            box, sink={"retry": {"first": "500ms", "cap": "1s"}, "breaker": {"at_least": 1000}}
        )
        box.http.faults.plan(ANY_TARGET, always=answer(503))
        async with daemon(project) as running:
            await place.publish([order(n) for n in range(5)])
            await place.commits(5)
            assert await running.stop() == 0
        assert await place.states(project) == {State.SCHEDULED: 5}

        box.http.faults.clear()
        async with daemon(project):
            await arrivals(box, 5)

            async def is_delivered() -> bool:
                return await place.states(project) == {State.DELIVERED: 5}

            await eventually(is_delivered, "all are delivered")
        assert sorted(orders_of(list(box.record))) == [f"o-{n}" for n in range(5)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_daemon_ends_at_once(place: Place, number: signal.Signals) -> None:
    await place.create()
    async with sandbox() as box, daemon(place.project(box)) as running:
        running.signal(number)
        with anyio.fail_after(5):
            assert await running.ends() == 0
