"""The worker in process, between a log and providers that the test plays."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, final

import anyio

from router.clock import Clock, SystemClock
from router.delivery import Intake, Limits, PublishFailed, Reporting, Topics, Window, Worker
from router.events import DeadLetter, DecodeConfig, TopicPartition
from router.ledger import Kind, Ledger, Row, State, Stats
from router.messages import Reason
from router.planning import Ruleset
from router.recipients import Found, Recipient, Unavailable, Unknown
from router.telemetry import Metrics
from tests.contract.delivery.sinks import Providers, ScriptedConfig
from tests.contract.delivery.sources import ORDERS, ListSource, Log
from tests.contract.delivery.stores import Outage, Store

DECODE = DecodeConfig()
LIMITS = Limits(Window(5000, 32 * 1024**2, 128 * 1024**2), drain_s=2.0, commit_every_s=0.02)
PATIENCE_S = 60.0
"""What is awaited comes at once; on a machine that is busy, at once takes longer."""
QUICK_RETRY = {"first": "20ms", "cap": "50ms", "give_up": "1h"}


@final
class QuickClock:
    """Real clocks that run ``speed`` times faster."""

    def __init__(self, speed: float) -> None:
        self._clock = SystemClock()
        self._speed = speed
        self._start = self._clock.now()
        self._mono = self._clock.monotonic()

    def now(self) -> float:
        return self._start + self._spent()

    def monotonic(self) -> float:
        return self._mono + self._spent()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / self._speed)

    def _spent(self) -> float:
        return (self._clock.monotonic() - self._mono) * self._speed


@final
class SteppedClock:
    """Real clocks that are moved on besides: sleeping takes real time."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._ahead = 0.0

    def now(self) -> float:
        return self._clock.now() + self._ahead

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


@final
class People:
    """A directory of those whom it was told of; may be away, broken or silent."""

    def __init__(self, *people: Recipient) -> None:
        self.known = {person.id: person for person in people}
        self.is_away = False
        self.bug: Exception | None = None
        self.asked = 0

    async def lookup(self, ids: Sequence[str], tenant: str = "") -> Sequence[Found]:
        self.asked += 1
        if self.bug is not None:
            raise self.bug
        if self.is_away:
            return [Unavailable(Reason("timeout"))] * len(ids)
        return [self.known.get(id) or Unknown(id) for id in ids]


@final
class Letters:
    """Where dead letters are published."""

    def __init__(self) -> None:
        self.published: list[DeadLetter] = []
        self.is_down = False
        self.hangs: anyio.Event | None = None

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.is_down:
            raise PublishFailed("scripted")
        self.published += letters

    @property
    def reasons(self) -> list[str]:
        return [letter.reason.code for letter in self.published]


def sinks(*names: str, **options: Any) -> dict[str, ScriptedConfig]:
    """Scripted sinks with quick retries; ``options`` are theirs."""
    given = {"timeout": "5s", "retry": QUICK_RETRY, "breaker": {"at_least": 10_000}, **options}
    return {name: ScriptedConfig.model_validate(given) for name in names}


def digests(configs: Mapping[str, ScriptedConfig]) -> dict[str, str]:
    return {name: config.model_dump_json() for name, config in configs.items()}


@dataclass
class World:
    """What outlives a worker: the log, the store, providers, people, published letters.

    Attributes:
        revivals: Deliveries that died and were replayed: they are in the books twice.
        foreign: Rows that others delivered.
        purged: Delivered rows that the ledger was made to forget.
        lives: The books of each worker, the one that runs included.
    """

    store: Store
    log: Log = field(default_factory=Log)
    providers: Providers = field(default_factory=Providers)
    people: People = field(default_factory=People)
    letters: Letters = field(default_factory=Letters)
    clock: Clock = field(default_factory=SystemClock)
    revivals: int = 0
    foreign: int = 0
    purged: int = 0
    lives: list[Metrics] = field(default_factory=list[Metrics])

    def publish(self, *values: Any, place: TopicPartition = ORDERS, **fields: Any) -> None:
        """Appends events; a mapping without ``id`` gets one."""
        events = [
            {"id": f"e-{random.getrandbits(48)}", "type": "order.paid", **value}
            if isinstance(value, dict)
            else value
            for value in values
        ]
        fields.setdefault("timestamp", self.clock.now())
        self.log.publish(*events, place=place, **fields)

    def orders(self, count: int, **fields: Any) -> None:
        self.publish(*({"user": f"u-{n}", "n": n, **fields} for n in range(count)))


@dataclass
class Running:
    """A worker at work, and everything around it."""

    world: World
    worker: Worker
    intake: Intake
    source: ListSource
    ledger: Ledger
    outage: Outage
    metrics: Metrics
    tasks: Any
    rules: Ruleset

    async def until(self, condition: Callable[[], Any], deadline_s: float = PATIENCE_S) -> None:
        with anyio.fail_after(deadline_s):
            while not condition():  # noqa: ASYNC110
                await anyio.sleep(0.005)

    async def settled(self, deadline_s: float = PATIENCE_S) -> None:
        """Until every record is read, settled and committed, and nothing is under way.

        Without a durable ledger what is scheduled is not committed.
        """

        with anyio.fail_after(deadline_s):
            while not await self._is_settled():  # noqa: ASYNC110
                await anyio.sleep(0.005)

    async def _is_settled(self) -> bool:
        log, places = self.world.log, self.intake.offsets.places
        ends = {place: len(log.records.get(place, ())) for place in places}
        is_read = all((self.source.position(place) or 0) >= end for place, end in ends.items())
        if not is_read or not self.worker.is_idle:
            return False
        await self.worker.settler.flush()
        if self.intake.is_admitting or not self.worker.is_idle:
            return False
        if not self.ledger.is_durable and (await self.ledger.stats()).backlog:
            return True
        is_committed = all(log.committed.get(place, 0) == end for place, end in ends.items())
        return self.intake.is_idle and is_committed

    async def rested(self, deadline_s: float = PATIENCE_S) -> None:
        """Until all is settled, and nothing that the lanes could take is due."""
        with anyio.fail_after(deadline_s):
            while not await self._rests():
                self.worker.settler.changed.give()
                await anyio.sleep(0.002)

    async def _rests(self) -> bool:
        if not await self._is_settled():
            return False
        now = self.world.clock.now()
        lanes = [n for n, lane in self.worker.lanes.items() if not lane.gates.closed(now)]
        due = await self.ledger.next_due(lanes)
        if due is not None and due <= self.world.clock.now():
            return False
        return not await self.rows(state=State.CLAIMED) and await self._is_settled()

    async def later(self, seconds: float) -> None:
        """So many seconds later, by a :class:`SteppedClock`."""
        await self.rested()
        assert isinstance(self.world.clock, SteppedClock)
        # A call that the clock jumps over would pass for one that took as long.
        await self.until(lambda: not self.outage.under_way)
        self.world.clock.advance(seconds)
        for lane in self.worker.lanes.values():
            lane.nudge()
        await self.rested()

    async def ended(self, deadline_s: float = PATIENCE_S) -> Stats:
        """Until nothing is open in the ledger either."""
        with anyio.fail_after(deadline_s):
            while True:
                await self.settled(deadline_s)
                stats = await self.ledger.stats()
                if not stats.backlog and not await self.rows(state=State.CLAIMED):
                    return stats
                await anyio.sleep(0.01)

    async def rows(self, kind: Kind = Kind.DELIVERY, state: State | None = None) -> list[Row]:
        return list(await self.ledger.rows(kind=kind, state=state, limit=100_000))

    async def states(self) -> dict[str, int]:
        """Deliveries (failures of recipients included) by state, and by reason where it tells."""
        found: dict[str, int] = {}
        for row in await self.rows():
            is_plain = row.state is State.DELIVERED or row.reason is None
            name = row.state.value if is_plain else f"{row.state.value} {row.reason.code}"  # type: ignore[union-attr]
            found[name] = found.get(name, 0) + 1
        return found

    async def balanced(self) -> None:
        """The accounting identity, from the books of all lives and from the ledger.

        What a life that was cut off had under way is nobody's; what others wrote into the ledger
        is in no books of ours.
        """
        await self.settled()
        world = self.world
        assert self.metrics.balance().holds, self.metrics.balance()
        books = Counter[str]()
        for metrics in world.lives if self.ledger.is_durable else [self.metrics]:
            life = metrics.balance()
            entered = life.planned - life.in_flight
            assert entered == life.delivered + life.scheduled + life.suppressed + life.dead, life
            books.update(
                planned=entered,
                delivered=life.delivered,
                scheduled=life.scheduled,
                suppressed=life.suppressed,
                dead=life.dead,
            )
        books.subtract(planned=world.revivals, dead=world.revivals)
        books.update(planned=world.foreign, delivered=world.foreign)
        books.subtract(planned=world.purged, delivered=world.purged)
        stats = await self.ledger.stats()
        rows = Counter[State]()
        for (kind, state), count in stats.rows.items():
            if kind is Kind.DELIVERY:
                rows[state] += count
        assert rows[State.CLAIMED] == 0
        counted = Counter(
            planned=rows.total(),
            delivered=rows[State.DELIVERED],
            scheduled=rows[State.SCHEDULED] + rows[State.WAITING],
            suppressed=rows[State.SUPPRESSED],
            dead=rows[State.DEAD],
        )
        assert +books == +counted, (books, counted, [m.balance() for m in world.lives])

    async def apply(self, rules: Ruleset, configs: Mapping[str, ScriptedConfig]) -> None:
        """Reloads."""
        await self.worker.apply(rules, configs, digests(configs), {"main": DECODE}, self.tasks)


@asynccontextmanager
async def running(
    world: World,
    rules: Ruleset,
    configs: Mapping[str, ScriptedConfig],
    *,
    limits: Limits = LIMITS,
    places: Sequence[TopicPartition] = (ORDERS,),
    dies: bool = False,
    checks: bool = True,
    reporting: Reporting | None = None,
) -> AsyncGenerator[Running]:
    """A worker from start to stop. At the end its books are checked.

    Args:
        dies: It is cut off at the end of the block, as by SIGKILL.
        checks: The books are compared with the ledger, once all is settled.
        reporting: Who hears what became of deliveries.
    """
    metrics = Metrics()
    world.lives.append(metrics)
    async with world.store.open(world.clock) as ledger:
        outage = Outage(ledger)
        worker = Worker(
            rules,
            outage.as_ledger,
            world.people,
            world.letters,
            limits,
            world.clock,
            metrics,
            random.Random(7),
            topics=Topics(replay="replay", dead_letters="dead-letters"),
            reporting=reporting,
            load_kind=world.providers.kind,
        )
        async with anyio.create_task_group() as tasks:
            await worker.start(tasks, configs, digests(configs), {"main": DECODE})
            intake = worker.intake("main", DECODE)
            source = ListSource(world.log, intake)
            await source.assign(*places)
            ended = anyio.Event()
            tasks.start_soon(_read, intake, source, ended)
            run = Running(world, worker, intake, source, ledger, outage, metrics, tasks, rules)
            yield run
            if checks and not dies:
                await run.balanced()
            if not dies:
                with anyio.fail_after(PATIENCE_S):
                    intake.stop()
                    await ended.wait()
                    await worker.finish()
                assert metrics.balance().in_flight == 0, metrics.balance()
            tasks.cancel_scope.cancel()


async def _read(intake: Intake, source: ListSource, ended: anyio.Event) -> None:
    await intake.run(source)
    await intake.revoked(intake.offsets.places)
    ended.set()
