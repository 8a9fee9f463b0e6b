"""A sink's lane: a queue, one feeder, and long-lived workers.

The feeder does what may be done in batches (``feeding``, ``claiming``), workers send (``sending``).
No ledger call and no task is made for a single delivery. A lane that can't keep up spills into the
schedule (``crowding``, ``spilling``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from random import Random
from typing import Any, final

import anyio

from router.clock import Clock
from router.delivery.claiming import Claims
from router.delivery.crowding import STUCK_S, Crowding
from router.delivery.feeding import Feeder
from router.delivery.gates import Gates
from router.delivery.health import Health
from router.delivery.job import Job
from router.delivery.queue import Queue
from router.delivery.rate import Bucket, Targets
from router.delivery.sending import Workers
from router.delivery.settling import Settler
from router.delivery.silences import Silences
from router.delivery.spilling import Spilling
from router.messages import Reason
from router.sinks import SinkConfig, SinkTools, SinkType
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

_REST_S = 1.0
_IDLE_REST_S = 60.0
_OPEN_AGAIN_MOST_S = 30.0


@final
class Lane:
    """One sink's way out.

    Args:
        bucket, targets: The rates of the sink, and of each target.
        others_have_room: Whether another lane is under half full: this one is to blame then.
        may_spill: Asks the budget for so many rows; False once it is used up.
        random: For jitter.
    """

    def __init__(
        self,
        name: str,
        kind: SinkType[Any],
        config: SinkConfig,
        gates: Gates,
        settler: Settler,
        silences: Silences,
        clock: Clock,
        metrics: Metrics,
        *,
        bucket: Bucket | None,
        targets: Targets | None,
        capacity: int,
        random: Random,
        others_have_room: Callable[[], bool],
        may_spill: Callable[[int], bool],
    ) -> None:
        self.name = name
        self.gates = gates
        self.capacity = capacity
        self._kind = kind
        self._config = config
        self._settler = settler
        self._clock = clock
        self._metrics = metrics
        self._count = metrics.sink(name)
        health = Health(gates, config, clock, self._count, random)
        self._queue = Queue()
        self._workers = Workers(config, gates, health, settler, clock, self._count, self.nudge)
        self.lease_s = self._workers.lease_s
        self._crowding = Crowding(capacity)
        self._spilling = Spilling(self._queue, self._workers, clock, self._count, may_spill)
        self._feeder = Feeder(
            self._queue,
            self._workers,
            Claims(name, self._queue, self._workers, settler, clock, metrics),
            gates,
            silences,
            self._crowding,
            clock,
            self._count,
            bucket=bucket,
            targets=targets,
            may_spill=may_spill,
            on_withdrawn=self._withdrawn,
        )
        self._others_have_room = others_have_room
        self._bucket = bucket
        self._wake = anyio.Event()
        self._is_open = False
        self._opens_at: float | None = None
        self._closing = False

    # Queue --------------------------------------------------------------------------------------

    def put(self, jobs: Iterable[Job]) -> None:
        """Takes new deliveries; the caller looks at :attr:`is_full` between batches."""
        if self._closing:
            for job in jobs:
                self._withdrawn(job)
            return
        self._queue.put(jobs)
        self.nudge()

    def put_resumed(self, job: Job) -> None:
        """Takes a delivery out of the schedule, claimed already."""
        self._workers.claimed.add(job)
        self._queue.put_resumed(job)
        self.nudge()

    @property
    def depth(self) -> int:
        """Deliveries that wait here and are not claimed."""
        return self._queue.unclaimed

    @property
    def in_flight(self) -> int:
        """Deliveries that are claimed and not settled."""
        return len(self._workers.claimed)

    @property
    def claimed(self) -> Iterable[Job]:
        """Deliveries that are claimed and not settled."""
        return self._workers.claimed

    @property
    def is_full(self) -> bool:
        return self.depth >= self.capacity

    def room_for_due(self) -> int:
        """How many scheduled deliveries the lane could send about now."""
        now = self._clock.now()
        if not self._is_open or self._closing or self.gates.closed(now):
            return 0
        if self.gates.wants_probe(now):
            return 1 if self.depth == 0 and not self._workers.claimed else 0
        # As many stand in line as go at once: they take turns with new ones, whose claims must not
        # leave them without room.
        room = self._workers.at_once - self._queue.resumed
        if self._bucket is not None and not self._bucket.wants_slice and room > 0:
            tokens = self._bucket.take(room, self._clock.monotonic())
            self._bucket.give_back(tokens)
            room = tokens
        return max(0, room)

    def withdraw(self) -> None:
        """Lets go of unclaimed deliveries whose partition went to another replica."""
        for job in self._queue.take_withdrawn():
            self._withdrawn(job)

    def close(self) -> list[Job]:
        """Takes no more; gives back what is not claimed. What is claimed is still sent."""
        self._closing = True
        self.nudge()
        return self._queue.take_unclaimed()

    def shelve(self) -> None:
        """Gives what is claimed but not being sent to the schedule: the process stops."""
        self._workers.hand(self._queue.take_resumed())
        self._workers.shelve()

    async def drained(self, *, withdrawn: bool = False) -> None:
        """Waits until nothing is claimed, or nothing of partitions that went to others."""
        while any(
            job.is_withdrawn or not withdrawn
            for job in (*self._workers.claimed, *self._queue.in_hand)
        ):
            await self._clock.sleep(0.01)

    def gates_changed(self) -> None:
        """Another replica or a command has changed the gates."""
        self._workers.show_gates()
        self.nudge()

    def nudge(self) -> None:
        """Has the feeder look again."""
        self._wake.set()

    def _withdrawn(self, job: Job) -> None:
        self._metrics.route(job.route).sink(self.name).withdrawn()

    # Life ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Opens the sink, sends until cancelled, closes it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._feed)
            await self._serve()

    async def _serve(self) -> None:
        failures = 0
        while True:
            async with AsyncExitStack() as stack:
                try:
                    sink = await stack.enter_async_context(
                        self._kind.open(self._config, SinkTools(self.name, self._clock))
                    )
                except Exception as error:
                    failures += 1
                    wait = min(_OPEN_AGAIN_MOST_S, 2.0**failures)
                    log.error(
                        "sink %s can't be opened, again in %gs: %s: %s",
                        self.name,
                        wait,
                        type(error).__name__,
                        error,
                    )
                else:
                    failures, self._opens_at, self._is_open = 0, None, True
                    self._settler.changed.give()
                    await self._workers.run(sink)
                    return
            self._opens_at = self._clock.now() + wait
            self.nudge()
            await self._clock.sleep(wait)

    # Feeder -------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        while True:
            self._wake = anyio.Event()
            now = self._clock.now()
            mono = self._clock.monotonic()
            self._queue.promote(mono)
            self._crowding.look(self.depth, mono, self._others_have_room)
            closed = self._closed(now)
            if closed is not None:
                done = await self._spilling.hold_back(*closed)
            elif self._is_open:
                done = await self._feeder.feed(now)
            else:
                done = 0
            if self._crowding.is_spilling:
                done += await self._spill()
            self._count.lane_depth(self.depth)
            if not done:
                await self._rest(closed)

    def _closed(self, now: float) -> tuple[float, Reason] | None:
        """Until when nothing may go, and why."""
        if self._opens_at is not None:
            return self._opens_at, Reason("not_open", "the sink can't be opened")
        gate = self.gates.closed(now)
        return (gate.until, gate.reason) if gate else None

    async def _rest(self, closed: tuple[float, Reason] | None) -> None:
        """Until something comes, or it is time for something that waits."""
        mono = self._clock.monotonic()
        waits = [_REST_S if self.depth or self.in_flight else _IDLE_REST_S]
        if self._crowding.is_watched:
            waits.append(STUCK_S)
        if (next_at := self._queue.next_at) is not None:
            waits.append(next_at - mono)
        if closed is not None:
            if (until := closed[0] - self._clock.now()) > 0:
                waits.append(until)
        elif self._bucket is not None and self._queue.ready and self._feeder.room > 0:
            waits.append(self._bucket.wait(mono))
        with anyio.move_on_after(max(0.001, min(waits))):
            await self._wake.wait()

    async def _spill(self) -> int:
        spilled = await self._spilling.spill(self.depth - self.capacity // 2)
        if spilled:
            self._crowding.spilled(self._clock.monotonic())
        return spilled
