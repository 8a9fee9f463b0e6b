"""One process of the router in a day: started on a ledger, stopped or killed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup

from router.clock import Clock
from router.delivery import Intake, Limits, Topics, Window, Worker
from router.delivery.dead_letters import DEAD_LETTERS
from router.delivery.digest_rows import DIGESTS
from router.delivery.input_rows import INPUTS
from router.events import DecodeConfig, TopicPartition
from router.ledger import Kind, Ledger, LedgerDown, Row, State
from router.telemetry import Metrics
from tests.contract.delivery.harness import Letters, People
from tests.contract.delivery.sources import ListSource, Log
from tests.day.journal import Journal, Life
from tests.day.project import Variant
from tests.day.providers import Providers
from tests.day.simulated import simulated_loop
from tests.day.way import Way

PLACES: Final = tuple(TopicPartition("events", number) for number in range(3))
DECODE: Final = DecodeConfig()
_LIMITS: Final = Limits(Window(500, 32 * 1024**2, 128 * 1024**2), commit_every_s=1.0)
_GRACE_S: Final = 180.0
_AGAIN_S: Final = 1.0
_READ_EVERY_S: Final = 0.1


class Ledgers(Protocol):
    """Opens the day's ledger for a process, each time with what it held before."""

    is_durable: bool

    async def open(self, stack: AsyncExitStack, owner: str, clock: Clock) -> Ledger: ...


@dataclass
class Surroundings:
    """What outlives a process."""

    ledgers: Ledgers
    clock: Clock
    log: Log
    people: People
    letters: Letters
    providers: Providers
    journal: Journal
    dice: Random


@dataclass
class Process:
    """A process at work."""

    around: Surroundings
    worker: Worker
    intake: Intake
    source: ListSource
    way: Way
    tasks: TaskGroup
    life: Life

    async def is_at_rest(self) -> bool:
        """All that was published is taken in, nothing is under way, and nothing due that could
        go."""
        if not self._looks_idle():
            return False
        if self.way.is_down:
            return False
        await self.worker.settler.flush()
        now = self.around.clock.now()
        open_lanes = [n for n, lane in self.worker.lanes.items() if not lane.gates.closed(now)]
        due = await self.way.ask(self.way.direct.next_due([*open_lanes, *self._internal]))
        if due is not None and due <= now:
            return False
        # Without a durable ledger a digest is held until its message has ended.
        kinds = (Kind.DELIVERY, Kind.DIGEST) if self.way.direct.is_durable else (Kind.DELIVERY,)
        for kind in kinds:
            claimed = await self.rows(kind, State.CLAIMED, limit=200)
            if any((row.lease_until or 0.0) > now for row in claimed):
                return False
        return self._looks_idle() and simulated_loop().is_quiet

    async def has_taken_all_in(self) -> bool:
        """At rest, no event waits for the directory that was away when it came."""
        return not await self.rows(Kind.INPUT, State.SCHEDULED, limit=1)

    @property
    def has_nothing_in_hand(self) -> bool:
        """No message is on its way to a provider."""
        return not any(lane.in_flight for lane in self.worker.lanes.values())

    async def rows(
        self, kind: Kind, state: State | None = None, *, after: bytes | None = None, limit: int
    ) -> Sequence[Row]:
        ledger = self.way.direct
        return await self.way.ask(ledger.rows(kind=kind, state=state, after=after, limit=limit))

    @property
    def _internal(self) -> list[str]:
        people = [] if self.around.people.is_away else [DIGESTS, INPUTS]
        return people if self.around.letters.is_down else [*people, DEAD_LETTERS]

    def _looks_idle(self) -> bool:
        ends = {place: len(self.around.log.records.get(place, ())) for place in PLACES}
        is_read = all((self.source.position(place) or 0) >= end for place, end in ends.items())
        return is_read and self.worker.is_idle and not self.intake.is_admitting

    async def apply(self, variant: Variant) -> None:
        """Reloads."""
        project, decodings = variant.project, {"events": DECODE}
        await self.insist(
            lambda: self.worker.apply(
                variant.rules, project.sinks, variant.hashes, decodings, self.tasks
            )
        )

    async def insist(self, operation: Callable[[], Awaitable[None]]) -> None:
        """Repeats what an operator does until the ledger takes it."""
        while True:
            try:
                return await operation()
            except LedgerDown:
                await anyio.sleep(_AGAIN_S)


@asynccontextmanager
async def living(around: Surroundings, variant: Variant) -> AsyncGenerator[Process]:
    """A process from start to stop; one whose ``way.dies`` is set is cut off as it stands."""
    journal, clock = around.journal, around.clock
    life = Life(clock.now())
    journal.lives.append(life)
    around.providers.life = len(journal.lives)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        with simulated_loop().outside():
            ledger = await around.ledgers.open(stack, f"life-{len(journal.lives)}", clock)
        way = Way(ledger)
        async with anyio.create_task_group() as tasks:
            worker = Worker(
                variant.rules,
                way.as_ledger,
                around.people,
                around.letters,
                _LIMITS,
                clock,
                metrics,
                Random(around.dice.random()),
                topics=Topics(replay="replay", dead_letters="dead-letters"),
                load_kind=around.providers.kind,
            )
            await worker.start(tasks, variant.project.sinks, variant.hashes, {"events": DECODE})
            intake = worker.intake("events", DECODE)
            source = ListSource(around.log, intake, idle_s=_READ_EVERY_S)
            await source.assign(*PLACES)
            ended = anyio.Event()
            tasks.start_soon(_read, intake, source, ended)
            process = Process(around, worker, intake, source, way, tasks, life)
            yield process
            life.is_killed = way.dies.is_set()
            if not life.is_killed:
                await _stop(process, ended)
            life.end = clock.now()
            life.balance = metrics.balance()
            life.repeats = _repeats(metrics, list(worker.lanes))
            tasks.cancel_scope.cancel()
        with simulated_loop().outside():
            await stack.aclose()


async def _stop(process: Process, ended: anyio.Event) -> None:
    """As on SIGTERM."""
    with anyio.fail_after(_GRACE_S):
        process.intake.stop()
        await ended.wait()
        await process.worker.finish()


async def _read(intake: Intake, source: ListSource, ended: anyio.Event) -> None:
    await intake.run(source)
    await intake.revoked(intake.offsets.places)
    ended.set()


def _repeats(metrics: Metrics, sinks: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for sink in sinks:
        (family,) = metrics.families.repeats.labels(sink).collect()
        found[sink] = int(sum(s.value for s in family.samples if s.name.endswith("_total")))
    return found
