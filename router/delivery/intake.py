"""A source's side of the worker: read, decode, match, plan, look up; commit, revoke."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, final

import anyio

from router.clock import Clock
from router.delivery.books import book_lost
from router.delivery.cancelling import marks_of, merged
from router.delivery.crash_marks import CrashMarks, WorkStage, claims_left
from router.delivery.dead_letters import event_dead_letter_row
from router.delivery.dispatch import Dispatcher, Work
from router.delivery.offsets import Offsets, Ticket
from router.delivery.stages import Stage, reached
from router.events import (
    DecodeConfig,
    Event,
    Poison,
    Record,
    Replay,
    TopicPartition,
    decode,
    peek_type,
    unwrap_replay,
)
from router.ledger import Fact, LedgerDown, ProgressKey, Settle, State
from router.messages import Reason
from router.planning import (
    UNKNOWN_TENANT,
    Draft,
    Failure,
    Route,
    Ruleset,
    Tenant,
    UnknownTenant,
    select,
)
from router.sources import CommitFailed, Source, Unmatched
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

T = TypeVar("T")

_READ_LIMIT = 500
_READ_WAIT_S = 0.2
_PAUSED_WAIT_S = 0.01
_READ_AHEAD = 2000
_YIELD_EVERY_S = 0.004
_CHUNK = 500
_COMMIT_S = 3.0
_DOWN_WAIT_S = 0.5
_LOOK_S = 0.005
_BURY_LEASE_S = 30.0

_CRASHED = Reason("crashed", "the process died three times in a row while it worked on it")
_UNMATCHED = Reason("unmatched", "no route wants it")
_BEYOND_WINDOW = Reason("beyond_window", "settled before, too long ago to recognise a repeat")


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a source may be unsettled before it is paused; see ``DeliverySettings``."""

    records: int
    size: int
    total: int


@dataclass(frozen=True, slots=True)
class Topics:
    """The router's own topics.

    Attributes:
        replay: Read as replays; None where there is none.
        dead_letters, feedback: Never read, should a pattern match them.
    """

    replay: str | None = None
    dead_letters: str | None = None
    feedback: str | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event, and the replay that brought it, if one did."""

    event: Event
    replay: Replay | None


@dataclass(slots=True)
class _Plans:
    """Work of a batch that is matched and not planned yet.

    Attributes:
        size: Roughly, how many deliveries it will come to.
        outcomes: What became of records, by topic.
        marks: What the batch's events end.
        marking: Tickets of these events.
    """

    rules: Ruleset
    works: list[Work] = field(default_factory=list[Work])
    size: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    marks: list[Fact] = field(default_factory=list[Fact])
    marking: list[Ticket] = field(default_factory=list[Ticket])

    def mark(self, marks: Sequence[Fact], ticket: Ticket) -> None:
        """Takes what an event ends; its record is not settled before that is written."""
        if marks:
            ticket.hold()
            self.marks += marks
            self.marking.append(ticket)


Batch = tuple[Sequence[Record], list[Ticket]]


@final
class Intake:
    """One source's records on their way to the lanes, and its offsets.

    It is the source's listener. Reading never waits for anything else: what can't be taken in is
    held back by pausing partitions while polling goes on.

    Args:
        retention_s: How long a repeat is recognised.
    """

    def __init__(
        self,
        name: str,
        decoding: DecodeConfig,
        topics: Topics,
        window: Window,
        dispatcher: Dispatcher,
        clock: Clock,
        metrics: Metrics,
        *,
        unmatched: Unmatched = "count",
        retention_s: float,
        drain_s: float,
        commit_every_s: float,
    ) -> None:
        self.name = name
        self.offsets = Offsets()
        self.records_read = 0
        self._decoding = decoding
        self._topics = topics
        self._window = window
        self._dispatcher = dispatcher
        self._settler = dispatcher.settler
        self._ledger = dispatcher.ledger
        self._clock = clock
        self._metrics = metrics
        self._unmatched = unmatched
        self._retention_s = retention_s
        self._drain_s = drain_s
        self._commit_every_s = commit_every_s
        self._marks = CrashMarks(self._ledger, name, window.records, clock.now())
        self._source: Source | None = None
        self._batches: deque[Batch] = deque()
        self._wake = anyio.Event()
        self._paused: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int | None] = {}
        self._settled_before: dict[TopicPartition, int] = {}
        self._stopping = False
        self._admitting = False

    # Read ---------------------------------------------------------------------------------------

    async def run(self, source: Source) -> None:
        """Reads, plans and commits until the source has ended or :meth:`stop` is called."""
        self._source = source
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._admit_batches)
            tasks.start_soon(self._commit_regularly)
            await self._read()
            tasks.cancel_scope.cancel()

    def stop(self) -> None:
        """Reads no more."""
        self._stopping = True

    @property
    def is_idle(self) -> bool:
        """Everything that was read is settled."""
        return not self.is_admitting and self.offsets.open_records == 0

    @property
    def is_admitting(self) -> bool:
        """Records that were read are not all planned yet."""
        return bool(self._batches) or self._admitting

    async def _read(self) -> None:
        source = self._source
        assert source is not None
        while not self._stopping:
            wait = _READ_WAIT_S if self._pause_or_resume(source) else _PAUSED_WAIT_S
            records = await source.read(_READ_LIMIT, wait)
            if records:
                self.records_read += len(records)
                tickets = self.offsets.open_batch(records, self._clock.monotonic())
                self._batches.append((records, tickets))
                reached(Stage.READ)
                self._wake.set()
            self._positions = {place: source.position(place) for place in self.offsets.places}
            if records:
                await anyio.lowlevel.checkpoint()
            elif source.has_ended and self.is_idle:
                return

    def _pause_or_resume(self, source: Source) -> bool:
        """Partitions over their window wait; all of them where nothing more can be taken in.

        Returns:
            False: something is paused that may soon be read again.
        """
        places = set(self.offsets.places)
        if (
            sum(len(records) for records, _ in self._batches) >= _READ_AHEAD
            or self.offsets.size >= self._window.total
            or not self._dispatcher.has_room
        ):
            wanted = places
        else:
            wanted = self.offsets.over_window(self._window.records, self._window.size)
        self._paused &= places
        if pause := wanted - self._paused:
            source.pause(list(pause))
        if resume := self._paused - wanted:
            source.resume(list(resume))
        self._paused = wanted
        return not wanted

    # Admit --------------------------------------------------------------------------------------

    async def _admit_batches(self) -> None:
        while True:
            if not self._batches:
                self._wake = anyio.Event()
                await self._wake.wait()
            self._admitting = True
            await self._admit(*self._next_batch())
            self._admitting = False

    def _next_batch(self) -> Batch:
        """Everything read meanwhile, up to a batch: what is planned together costs less."""
        records, tickets = self._batches.popleft()
        while self._batches and len(records) + len(self._batches[0][0]) <= _READ_LIMIT:
            more, more_tickets = self._batches.popleft()
            records, tickets = [*records, *more], [*tickets, *more_tickets]
        return records, tickets

    async def _admit(self, records: Sequence[Record], tickets: list[Ticket]) -> None:
        """Decodes, matches and plans a batch; tickets of unwanted records are released."""
        await self._begin({record.place for record in records})
        plans = _Plans(self._dispatcher.rules)
        started = self._clock.monotonic()
        for record, ticket in zip(records, tickets, strict=True):
            if not ticket.is_current:
                continue
            if self._marks.is_watched(record):
                await self._plan(plans)
                await self._admit_alone(record, ticket, plans)
            else:
                await self._take(record, ticket, plans)
            if self._clock.monotonic() - started > _YIELD_EVERY_S:
                await anyio.lowlevel.checkpoint()
                started = self._clock.monotonic()
        await self._plan(plans)
        await self._insist(self._marks.rest)
        for (topic, outcome), count in plans.outcomes.items():
            self._metrics.topic(self.name, topic).event(outcome, count)  # type: ignore[arg-type]
        for topic, count in Counter(r.topic for r in records).items():
            self._metrics.topic(self.name, topic).read(count)

    async def _begin(self, places: Collection[TopicPartition]) -> None:
        """Looks, before the first records of a partition, at what the ledger knows of it."""
        new = [place for place in places if place not in self._settled_before]
        if not new or self._source is None:
            return
        keys = [ProgressKey(self._source.group, *place) for place in new]
        offsets = await self._insist(lambda: self._ledger.progress(keys))
        settled = {place: offset or 0 for place, offset in zip(new, offsets, strict=True)}
        await self._insist(lambda: self._marks.begin(settled))
        self._settled_before |= settled

    async def _admit_alone(self, record: Record, ticket: Ticket, plans: _Plans) -> None:
        """A record that may be what kills the process: nothing else is under way meanwhile."""
        if self._marks.is_deadly(record):
            log.error("%s is dead-lettered unprocessed: %s", record.position, _CRASHED)
            await self._bury_deadly(record, ticket)
            ticket.release()
        else:
            await self._insist(lambda: self._marks.enter(record, WorkStage.MATCH))
            await self._take(record, ticket, plans)
            await self._insist(lambda: self._marks.enter(record, WorkStage.DELIVER))
            await self._plan(plans)
        while ticket.is_current and not ticket.is_closed:
            await self._clock.sleep(_LOOK_S)
        self._marks.leave(record)

    async def _bury_deadly(self, record: Record, ticket: Ticket) -> None:
        self._bury(Poison(record, _CRASHED), ticket, "crashed")
        for row in await self._insist(lambda: claims_left(self._ledger, record, _BURY_LEASE_S)):
            dead = replace(row, state=State.DEAD, reason=_CRASHED)
            account = self._metrics.route("").sink(row.sink)
            ticket.hold()
            self._settler.write(
                Settle(dead), ticket, done=lambda _, a=account, r=dead: book_lost(a, r)
            )

    async def _take(self, record: Record, ticket: Ticket, plans: _Plans) -> None:
        incoming = self._decode(record, plans)
        reached(Stage.DECODED)
        if isinstance(incoming, Incoming):
            await self._want(incoming, record, ticket, plans)
        elif incoming is not None:
            stage = "match" if incoming.reason is _UNMATCHED else "decode"
            self._bury(incoming, ticket, stage)
        ticket.release()

    async def _want(
        self, incoming: Incoming, record: Record, ticket: Ticket, plans: _Plans
    ) -> None:
        event, replay = incoming.event, incoming.replay
        interest = plans.rules.interest(event)
        if not interest.routes and not interest.marks:
            if unwanted := self._unwanted(record, incoming, plans):
                self._bury(unwanted, ticket, "match")
            return
        tenant = plans.rules.tenants.of(event)
        if isinstance(tenant, UnknownTenant):
            plans.outcomes[record.topic, UNKNOWN_TENANT] += 1
            hop = replay.hop if replay else 0
            self._bury(Poison(event.record, tenant.reason, hop=hop), ticket, "tenant")
            return
        plans.outcomes[record.topic, "matched"] += 1
        if interest.marks:
            now = self._clock.now()
            plans.mark(marks_of(event, interest.marks, now, tenant.name), ticket)
        for route in interest.routes:
            if replay is None or _asks_for(replay, route.id):
                self._metrics.route(route.id).matched()
                await self._match(route, incoming, tenant, record, ticket, plans)

    async def _match(
        self,
        route: Route,
        incoming: Incoming,
        tenant: Tenant,
        record: Record,
        ticket: Ticket,
        plans: _Plans,
    ) -> None:
        event, replay = incoming.event, incoming.replay
        if replay is None and self._is_beyond_window(record):
            failure = Failure(route, _BEYOND_WINDOW)
            suppressed = State.SUPPRESSED
            self._dispatcher.failures.fail(
                failure, event, ticket, None, tenant.name, state=suppressed
            )
            return
        selected = select(route, event)
        self._dispatcher.failures.fail_all(selected.failures, event, ticket, replay, tenant.name)
        for index, drafts in enumerate(_chunks(selected.drafts)):
            ticket.hold()
            plans.works.append(
                Work(
                    event, route, plans.rules, drafts, ticket, self.name, replay, tenant, index == 0
                )
            )
            plans.size += len(drafts) or 1
            if plans.size >= _CHUNK:
                await self._plan(plans)

    def _is_beyond_window(self, record: Record) -> bool:
        """It was settled before, and so long ago that the ledger may have forgotten how."""
        if record.offset >= self._settled_before.get(record.place, 0):
            return False
        return record.timestamp < self._clock.now() - self._retention_s

    def _decode(self, record: Record, plans: _Plans) -> Incoming | Poison | None:
        """The event, or the poison; None where no route can want the record."""
        replay: Replay | None = None
        if record.topic in (self._topics.dead_letters, self._topics.feedback):
            plans.outcomes[record.topic, "skipped"] += 1
            return None
        if record.topic == self._topics.replay:
            unwrapped = unwrap_replay(record)
            if isinstance(unwrapped, Poison):
                plans.outcomes[record.topic, "poison"] += 1
                return unwrapped
            record, replay = unwrapped
        else:
            kind = peek_type(record, self._decoding)
            if kind is not None and not plans.rules.matcher.wants(record.topic, kind):
                return self._unwanted(record, None, plans)
        decoded = decode(record, self._decoding)
        if isinstance(decoded, Poison):
            plans.outcomes[record.topic, "poison"] += 1
            log.warning("a record can't be decoded: %s", decoded.reason.code)
            return replace(decoded, hop=replay.hop) if replay else decoded
        return Incoming(decoded, replay)

    def _unwanted(self, record: Record, incoming: Incoming | None, plans: _Plans) -> Poison | None:
        """What becomes of a record that no route wants: a dead letter, where the source says so."""
        if self._unmatched != "ignore":
            plans.outcomes[record.topic, "unmatched"] += 1
        if self._unmatched != "dead_letter":
            return None
        if incoming is None or incoming.replay is None:
            return Poison(record, _UNMATCHED)
        return Poison(incoming.event.record, _UNMATCHED, hop=incoming.replay.hop)

    def _bury(self, poison: Poison, ticket: Ticket, stage: str) -> None:
        row = event_dead_letter_row(
            poison.record, poison.reason, self._clock.now(), stage=stage, hop=poison.hop
        )
        ticket.hold()
        self._settler.write(Settle(row), ticket)

    async def _plan(self, plans: _Plans) -> None:
        """Plans work, insisting while the ledger is down: partitions pause meanwhile."""
        await self._write_marks(plans)
        works, plans.works, plans.size = plans.works, [], 0
        if works:
            await self._insist(lambda: self._dispatcher.plan(works))
        while not self._dispatcher.has_room:
            await self._clock.sleep(0.02)

    async def _write_marks(self, plans: _Plans) -> None:
        """Before anything more of the batch is planned: what later records are, may be ended."""
        tickets, plans.marking = plans.marking, []
        marks, plans.marks = merged(plans.marks), []
        if marks:
            await self._insist(lambda: self._dispatcher.mark(marks))
        for ticket in tickets:
            ticket.release()

    async def _insist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeats an operation until the ledger takes it."""
        while True:
            try:
                return await operation()
            except LedgerDown:
                await self._clock.sleep(_DOWN_WAIT_S)

    # Commit -------------------------------------------------------------------------------------

    async def _commit_regularly(self) -> None:
        while True:
            await self._clock.sleep(self._commit_every_s)
            await self.commit()
            self._show()

    async def commit(self, only: Iterable[TopicPartition] | None = None) -> None:
        """Commits what moved; a failure is counted and tried again later.

        Positions are those noted right after a read was booked, never those of a read under way.
        """
        source = self._source
        if source is None:
            return
        places = self.offsets.places if only is None else list(only)
        offsets = self.offsets.committable(self._positions)
        offsets = {place: offsets[place] for place in places if place in offsets}
        if not offsets:
            return
        try:
            await source.commit(offsets)
        except CommitFailed as error:
            self._metrics.commit_failed()
            log.warning("offsets were not committed, they will be again: %s", error)
            return
        reached(Stage.COMMITTED)
        self.offsets.mark_committed(offsets)
        self._metrics.committed()
        progress = {ProgressKey(source.group, *place): at for place, at in offsets.items()}
        try:
            await self._ledger.put_progress(progress)
        except LedgerDown:
            log.warning("progress was not stored, it will be with the next commit")

    def _show(self) -> None:
        """How far behind the partitions are, as metrics."""
        now = self._clock.monotonic()
        for partition in self.offsets.partitions:
            shown = self._metrics.partition(*partition.place)
            shown.unsettled(len(partition.open), partition.oldest_age(now))
            shown.paused(partition.place in self._paused)
            end = self._source.end(partition.place) if self._source else None
            if end is not None and partition.committed >= 0:
                shown.lag(max(0, end - partition.committed))
        self._dispatcher.count_expression_errors()

    # Rebalance ----------------------------------------------------------------------------------

    async def assigned(self, places: Sequence[TopicPartition]) -> None:
        """These partitions are read from now on."""
        self.offsets.assign(places)
        self._paused -= set(places)

    async def revoked(self, places: Sequence[TopicPartition]) -> None:
        """Lets go of unclaimed work, waits for what is claimed, commits."""
        self._metrics.revoked(len(places))
        self.offsets.leave(places)
        try:
            with anyio.move_on_after(self._drain_s):
                await self._dispatcher.let_go()
            with anyio.move_on_after(_COMMIT_S):
                await self.commit(places)
                await self._marks.end(places)
        except Exception:
            log.exception("partitions were given up without a commit")
        finally:
            self.offsets.revoke(places)
            self._paused -= set(places)
            for place in places:
                self._positions.pop(place, None)
                self._settled_before.pop(place, None)
                self._metrics.forget_partition(*place)

    def lost(self, offsets: int) -> None:
        """So many were gone before they could be read."""
        self._metrics.lost(offsets)


def _asks_for(replay: Replay, route: str) -> bool:
    return not replay.routes or any(name.split("/")[0] == route for name in replay.routes)


def _chunks(drafts: tuple[Draft, ...]) -> Iterable[tuple[Draft, ...]]:
    if len(drafts) <= _CHUNK:
        return [drafts]
    return [drafts[i : i + _CHUNK] for i in range(0, len(drafts), _CHUNK)]
