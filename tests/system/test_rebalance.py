"""Another member joins the group while a sink is slow, and leaves it again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import final

import anyio
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from router.ledger import State
from router.sandbox import ANY_TARGET, Fault, Sandbox, sandbox
from tests.system.place import Place, orders_of
from tests.system.processes import Daemon, arrivals, daemon, eventually
from tests.system.topics import order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

_COUNT = 16
_PARTITIONS = 2


@final
class Stranger(ConsumerRebalanceListener):
    """A member of the group that is no router: it takes partitions, and does nothing with them.

    Attributes:
        starts: The committed offsets it found, by partition, when partitions came to it.
        arrived: How many sends each partition had seen at that moment.
    """

    def __init__(self, box: Sandbox, topic: str) -> None:
        self.starts: dict[int, int | None] = {}
        self.arrived: dict[int, int] = {}
        self._box = box
        self._topic = topic
        self.client: AIOKafkaConsumer | None = None

    def on_partitions_revoked(self, revoked: object) -> None:
        pass

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        assert self.client is not None
        for place in assigned:
            self.arrived[place.partition] = len(arrived(self._box, place.partition))
            self.starts[place.partition] = await self.client.committed(place)


@asynccontextmanager
async def a_stranger(place: Place, box: Sandbox) -> AsyncGenerator[Stranger]:
    """Joins the group, and leaves it at the end of the block."""
    stranger = Stranger(box, place.topic)
    stranger.client = AIOKafkaConsumer(
        bootstrap_servers=place.broker.bootstrap,
        group_id=place.group,
        enable_auto_commit=False,
        session_timeout_ms=2000,
        heartbeat_interval_ms=500,
        rebalance_timeout_ms=60_000,
        metadata_max_age_ms=500,
    )
    await stranger.client.start()
    try:
        stranger.client.subscribe([place.topic], listener=stranger)
        yield stranger
    finally:
        await stranger.client.stop()


def arrived(box: Sandbox, partition: int) -> list[str]:
    """Orders of a partition that were sent."""
    return [o for o in orders_of(list(box.record)) if int(o[2:]) % _PARTITIONS == partition]


async def test_a_partition_is_given_up_after_its_claimed_sends_and_taken_back(
    evicting_place: Place,
) -> None:
    place = evicting_place
    await place.create(_PARTITIONS)
    async with sandbox() as box:
        project = place.project(box, source={"session_timeout": "2s"}, sink={"concurrency": 1})
        box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.4))
        await place.publish([order(n) for n in range(_COUNT)], _PARTITIONS)

        async with daemon(project) as running:
            await arrivals(box, 3)
            async with a_stranger(place, box) as stranger:
                await eventually(lambda: stranger.starts, "the stranger has a partition")
                (partition,) = stranger.starts
                # One lane of one worker sends in order: all that was sent is committed, no more.
                assert stranger.starts == stranger.arrived
                kept = 1 - partition
                before = len(arrived(box, kept))
                await eventually(
                    lambda: len(arrived(box, kept)) >= before + 2, "its other partition goes on"
                )
                assert len(arrived(box, partition)) == stranger.arrived[partition]

            box.http.faults.clear()
            await arrivals(box, _COUNT)
            await place.commits(_COUNT // 2, _COUNT // 2)
            scrape = await running.scrape()

        assert sorted(orders_of(list(box.record))) == sorted(f"o-{n}" for n in range(_COUNT))
        assert await place.states(project) == {State.DELIVERED: _COUNT}
        assert scrape.total("router_in_doubt_total") == 0
        assert scrape.total("router_commit_failures_total") == 0
        assert scrape.total("router_deliveries_open", state="in_flight") == 0


async def test_a_send_longer_than_the_drain_is_neither_lost_nor_repeated(
    evicting_place: Place,
) -> None:
    place = evicting_place
    await place.create(_PARTITIONS)
    async with sandbox() as box:
        project = place.project(
            box,
            source={"session_timeout": "2s"},
            sink={"concurrency": 4, "timeout": "30s"},
            delivery={"drain": "500ms"},
        )
        box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=3))
        await place.publish([order(n) for n in range(8)], _PARTITIONS)

        async with daemon(project):
            await arrivals(box, 4)
            async with a_stranger(place, box) as stranger:
                await eventually(lambda: stranger.starts, "the stranger has a partition")
            box.http.faults.clear()
            await place.commits(4, 4)

        assert sorted(orders_of(list(box.record))) == [f"o-{n}" for n in range(8)]
        assert await place.states(project) == {State.DELIVERED: 8}


async def test_a_shutdown_amid_a_hand_over_keeps_to_the_grace_period(
    evicting_place: Place,
) -> None:
    place = evicting_place
    await place.create(_PARTITIONS)
    async with sandbox() as box:
        project = place.project(
            box,
            source={"session_timeout": "2s"},
            sink={"concurrency": 1, "timeout": "60s"},
            delivery={"grace": "1s", "drain": "30s"},
        )
        box.http.faults.plan(ANY_TARGET, always=Fault("stall", seconds=60))
        async with daemon(project) as running:
            await place.publish([order(0)])
            async with a_stranger(place, box):
                await eventually(lambda: _is_handing_over(running), "the hand-over has begun")
                began = anyio.current_time()
                assert await running.stop() == 0
                assert anyio.current_time() - began < 5


async def _is_handing_over(running: Daemon) -> bool:
    return await running.total("router_rebalances_total") > 0
