"""All lanes: opened and closed one by one as configuration changes, sharing one spill budget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Any, final

import anyio
from anyio.abc import TaskGroup

from router.clock import Clock
from router.delivery.dispatch import Dispatcher
from router.delivery.fact_watch import LOOK_EVERY_S, FactWatch
from router.delivery.gates import PREFIX, Gates, scopes_of, sink_of
from router.delivery.job import Job
from router.delivery.lane import Lane
from router.delivery.rate import (
    Bucket,
    SharedBucket,
    SharedTargets,
    TargetBuckets,
    Targets,
    TokenBucket,
)
from router.delivery.settling import Settler
from router.ledger import LedgerDown
from router.sinks import KINDS, SinkConfig, SinkType
from router.telemetry import Metrics, secrets_in
from router.values import Rate

log = logging.getLogger("router.delivery")

_HANDED_AT_ONCE = 50


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


@dataclass(frozen=True, slots=True)
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
        load_kind: Callable[[str], SinkType[Any]] = KINDS.load,
    ) -> None:
        self._dispatcher = dispatcher
        self._settler = settler
        self._ledger = settler.ledger
        self._budget = budget
        self._clock = clock
        self._metrics = metrics
        self._random = random
        self._capacity = capacity
        self._rates: dict[str, tuple[Rate, Bucket]] = {}
        self._load_kind = load_kind
        self._running: dict[str, _Running] = {}
        self._parked: Mapping[str, int] = {}

    async def apply(
        self,
        sinks: Mapping[str, SinkConfig],
        digests: Mapping[str, str],
        removed: Collection[str],
        tasks: TaskGroup,
    ) -> None:
        """Makes the running lanes those of a configuration; equal ones go on undisturbed.

        A lane that goes away still sends what it has claimed, on its own time; what waited in it
        moves to its successor, or to the schedule.

        Args:
            removed: Sinks of which it is said what becomes of what waits for them.

        Raises:
            LedgerDown: nothing was changed.
        """
        known = {name: running.digest for name, running in self._running.items()}
        new = [name for name in sinks if known.get(name) != digests[name]]
        kinds = {name: self._load_kind(sinks[name].type) for name in new}
        facts = await self._ledger.facts([s for name in new for s in scopes_of(name)])
        gone = {n: r for n, r in self._running.items() if n in new or n not in sinks}
        for name, running in gone.items():
            del self._running[name], self._dispatcher.lanes[name]
            self._dispatcher.retiring.add(running.lane)
            tasks.start_soon(self._retire, name, running, running.lane.close())
            if name not in sinks and name not in removed:
                log.error("sink %s is gone; what it had scheduled stays parked", name)
        for name in new:
            gates = Gates(name, digests[name], self._ledger.owner)
            gates.load([f for f in facts if f.scope in scopes_of(name)], self._clock.now())
            self._settler.note(gates.take_changes())
            lane = self._lane(name, kinds[name], sinks, gates)
            running = _Running(lane, anyio.CancelScope(), digests[name])
            self._running[name] = running
            self._dispatcher.lanes[name] = lane
            tasks.start_soon(self._run, running)

    def _lane(
        self, name: str, kind: SinkType[Any], sinks: Mapping[str, SinkConfig], gates: Gates
    ) -> Lane:
        config = sinks[name]
        scope = _rate_scope(name, config, sinks.get(name.partition("@")[0]))
        return Lane(
            name,
            kind,
            config,
            gates,
            self._settler,
            self._dispatcher.silences,
            self._clock,
            self._metrics,
            bucket=self._bucket(scope, config),
            targets=self._target_buckets(scope, config),
            capacity=self._capacity,
            random=self._random,
            others_have_room=lambda: self._others_have_room(name),
            may_spill=lambda count: self._budget.may_spill(name, count),
        )

    def _bucket(self, scope: str, config: SinkConfig) -> Bucket | None:
        """The sink's tokens, which sinks of the same credentials share; the lower rate holds."""
        if config.rate is None:
            return None
        known = self._rates.get(scope)
        if known is not None and known[0].per_second <= config.rate.per_second:
            return known[1]
        ledger = self._settler.ledger
        bucket: Bucket
        if ledger.is_shared:
            bucket = SharedBucket(ledger, scope, config.rate)
        else:
            bucket = TokenBucket(config.rate, self._clock.monotonic())
        self._rates[scope] = (config.rate, bucket)
        return bucket

    def _target_buckets(self, scope: str, config: SinkConfig) -> Targets | None:
        if config.target_rate is None:
            return None
        if self._settler.ledger.is_shared:
            return SharedTargets(self._settler.ledger, f"{scope}:target", config.target_rate)
        return TargetBuckets(config.target_rate)

    @staticmethod
    async def _run(running: _Running) -> None:
        with running.scope:
            await running.lane.run()

    async def _retire(self, name: str, running: _Running, left: list[Job]) -> None:
        """Hands over what waited, waits for what is claimed, and ends the lane."""
        lane = running.lane
        await self._hand_over(name, left)
        await lane.drained()
        await self._hand_over(name, lane.close())
        self._dispatcher.retiring.discard(lane)
        running.scope.cancel()

    async def _hand_over(self, name: str, jobs: list[Job]) -> None:
        for start in range(0, len(jobs), _HANDED_AT_ONCE):
            self._dispatcher.put(name, jobs[start : start + _HANDED_AT_ONCE])
            await anyio.lowlevel.checkpoint()

    def _others_have_room(self, name: str) -> bool:
        others = [r.lane for n, r in self._running.items() if n != name]
        return any(lane.depth < lane.capacity // 2 for lane in others)

    # Gates --------------------------------------------------------------------------------------

    async def obey_gates(self) -> None:
        """Looks for gates that other replicas and commands have closed or opened, for ever."""
        watch = FactWatch(self._ledger, PREFIX)
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                facts = await watch.changes()
            except LedgerDown:
                continue
            for fact in facts:
                running = self._running.get(sink_of(fact.scope))
                if running and running.lane.gates.hear(fact, self._clock.now()):
                    running.lane.gates_changed()

    # Upkeep -------------------------------------------------------------------------------------

    def look_for_parked(self, backlog: Mapping[str, int]) -> Mapping[str, int]:
        """Open rows of sinks that are not configured, and of which nothing else is said: nobody
        sends them. Alerts once."""
        known = {*self._running, *self._dispatcher.rules.removed}
        parked = {
            sink: count
            for sink, count in backlog.items()
            if count and sink not in known and not sink.startswith("@")
        }
        for sink in parked.keys() - self._parked.keys():
            log.error(
                "%d deliveries are parked: their sink %s is not configured", parked[sink], sink
            )
        self._parked = parked
        return parked

    async def drained(self) -> None:
        """Waits until nothing is claimed on any lane; what comes back meanwhile is let go of."""
        for lane in [*self._dispatcher.retiring, *self._dispatcher.lanes.values()]:
            await lane.drained()
        self._let_go()

    def close(self) -> None:
        """No lane claims anything more; what waits unclaimed is let go of, and what is claimed
        but not being sent goes to the schedule."""
        self._let_go()
        for lane in [*self._dispatcher.retiring, *self._dispatcher.lanes.values()]:
            lane.shelve()

    def _let_go(self) -> None:
        for name, lane in self._dispatcher.lanes.items():
            for job in lane.close():
                self._metrics.route(job.route).sink(name).withdrawn()


def _rate_scope(name: str, config: SinkConfig, shared: SinkConfig | None) -> str:
    """What a provider counts a rate by: the credentials, or the sink where there are none. A rate
    that a tenant gives its own sink is its share, beside that of the sink which others ``share``.
    """
    rates = config.rate, config.target_rate
    if shared is not None and rates != (shared.rate, shared.target_rate):
        return f"rate:{name}"
    secrets = [secret.reveal() for secret in secrets_in(config) if secret.known]
    if not secrets:
        return f"rate:{name}"
    digest = blake2b("\0".join([config.type, *secrets]).encode(), digest_size=12, key=b"rate")
    return f"rate:{config.type}:{digest.hexdigest()}"
