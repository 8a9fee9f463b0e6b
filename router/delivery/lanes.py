"""All lanes: opened and closed one by one as configuration changes, sharing one spill budget."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from router.clock import Clock
from router.delivery.dispatch import Dispatcher
from router.delivery.gates import PREFIX, Gates
from router.delivery.lane import Lane
from router.delivery.settling import Settler
from router.sinks import KINDS, SinkConfig
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")


@final
class SpillBudget:
    """How much of each sink's backlog may stand in the schedule; counted by the ledger."""

    def __init__(self, rows: int, size: int) -> None:
        self._rows = rows
        self._size = size
        self._backlog: dict[str, int] = {}
        self._bytes: Mapping[str, int] = {}
        self._told: set[str] = set()

    def update(self, backlog: Mapping[str, int], backlog_bytes: Mapping[str, int]) -> None:
        """The ledger's numbers, from time to time."""
        self._backlog = dict(backlog)
        self._bytes = backlog_bytes

    def may_spill(self, sink: str, count: int) -> bool:
        """Counts rows against the budget; False, once told, where it is used up."""
        rows = self._backlog.get(sink, 0) + count
        if rows > self._rows or self._bytes.get(sink, 0) > self._size:
            if sink not in self._told:
                log.error("sink %s has used up its spill budget, reading pauses", sink)
                self._told.add(sink)
            return False
        self._told.discard(sink)
        self._backlog[sink] = rows
        return True


@dataclass(slots=True)
class _Running:
    lane: Lane
    scope: anyio.CancelScope
    digest: str


@final
class Lanes:
    """Opens, replaces and closes lanes; each runs in a task of its own."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        settler: Settler,
        budget: SpillBudget,
        clock: Clock,
        metrics: Metrics,
        random: Random,
        *,
        capacity: int,
    ) -> None:
        self._dispatcher = dispatcher
        self._settler = settler
        self._budget = budget
        self._clock = clock
        self._metrics = metrics
        self._random = random
        self._capacity = capacity
        self._running: dict[str, _Running] = {}

    async def apply(
        self, sinks: Mapping[str, SinkConfig], digests: Mapping[str, str], tasks: TaskGroup
    ) -> None:
        """Makes the running lanes those of a configuration; equal ones go on undisturbed.

        A lane that goes away still sends what it has claimed, on its own time; what waited in it
        moves to its successor, or to the schedule.
        """
        for name, running in list(self._running.items()):
            if name not in sinks or digests[name] != running.digest:
                del self._running[name]
                left = running.lane.close()
                del self._dispatcher.lanes[name]
                tasks.start_soon(self._retire, running)
                if name in sinks:
                    await self._open(name, sinks[name], digests[name], tasks)
                else:
                    log.warning("sink %s is gone; what it had scheduled stays parked", name)
                self._dispatcher.put(name, left)
        for name, config in sinks.items():
            if name not in self._running:
                await self._open(name, config, digests[name], tasks)

    async def _open(self, name: str, config: SinkConfig, digest: str, tasks: TaskGroup) -> None:
        now = self._clock.now()
        gates = Gates(name, digest)
        scopes = [f"{PREFIX}sink:{name}", f"{PREFIX}halts:{name}"]
        gates.load(await self._settler.ledger.facts(scopes), now)
        self._settler.note(*gates.take_changes())
        lane = Lane(
            name,
            KINDS.load(config.type),
            config,
            gates,
            self._settler,
            self._clock,
            self._metrics,
            capacity=self._capacity,
            random=self._random,
            others_have_room=lambda: self._others_have_room(name),
            may_spill=lambda count: self._budget.may_spill(name, count),
        )
        scope = anyio.CancelScope()
        self._running[name] = _Running(lane, scope, digest)
        self._dispatcher.lanes[name] = lane
        await tasks.start(self._run, lane, scope)

    @staticmethod
    async def _run(lane: Lane, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        with scope:
            await lane.run(task_status=task_status)

    async def _retire(self, running: _Running) -> None:
        with anyio.move_on_after(running.lane.lease_s):
            await running.lane.drained()
        running.scope.cancel()

    def _others_have_room(self, name: str) -> bool:
        others = [r.lane for n, r in self._running.items() if n != name]
        return not others or any(lane.depth < lane.capacity // 2 for lane in others)

    async def drained(self) -> None:
        """Waits until nothing is claimed on any lane."""
        for running in list(self._running.values()):
            await running.lane.drained()

    def close(self) -> None:
        """No lane claims anything more; what waits unclaimed is let go of."""
        for name, running in self._running.items():
            for job in running.lane.close():
                self._metrics.route(job.route).sink(name).withdrawn()
