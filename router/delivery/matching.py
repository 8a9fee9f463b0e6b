"""From a source's records to planned work: decode, match, and hand on, batch by batch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, final

import anyio

from router.clock import Clock
from router.delivery.books import book_lost
from router.delivery.cancelling import marks_of, merged
from router.delivery.crash_marks import CrashMarks, WorkStage, claims_left
from router.delivery.dead_letters import event_dead_letter_row
from router.delivery.decoding import UNMATCHED, Decoder, Incoming, Outcomes
from router.delivery.dispatch import Dispatcher, Work
from router.delivery.offsets import Ticket
from router.delivery.stages import Stage, reached
from router.events import Poison, Record, Replay, TopicPartition
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
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

T = TypeVar("T")

_YIELD_EVERY_S = 0.004
_CHUNK = 500
_DOWN_WAIT_S = 0.5
_LOOK_S = 0.005
_BURY_LEASE_S = 30.0

_CRASHED = Reason("crashed", "the process died three times in a row while it worked on it")
_BEYOND_WINDOW = Reason("beyond_window", "settled before, too long ago to recognise a repeat")


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
    outcomes: Outcomes = field(default_factory=Outcomes)
    marks: list[Fact] = field(default_factory=list[Fact])
    marking: list[Ticket] = field(default_factory=list[Ticket])

    def mark(self, marks: Sequence[Fact], ticket: Ticket) -> None:
        """Takes what an event ends; its record is not settled before that is written."""
        if marks:
            ticket.hold()
            self.marks += marks
            self.marking.append(ticket)


@final
class Matching:
    """Takes in one source's records, and insists where the ledger is down.

    Args:
        source: The source's name.
        crash_marks: Of the source's partitions.
        retention_s: How long a repeat is recognised.
    """

    def __init__(
        self,
        source: str,
        decoder: Decoder,
        crash_marks: CrashMarks,
        dispatcher: Dispatcher,
        clock: Clock,
        metrics: Metrics,
        *,
        retention_s: float,
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._marks = crash_marks
        self._dispatcher = dispatcher
        self._settler = dispatcher.settler
        self._ledger = dispatcher.ledger
        self._clock = clock
        self._metrics = metrics
        self._retention_s = retention_s
        self._settled_before: dict[TopicPartition, int] = {}

    async def admit(self, group: str, records: Sequence[Record], tickets: Sequence[Ticket]) -> None:
        """Decodes, matches and plans a batch; tickets of unwanted records are released.

        Args:
            group: The source's, under which the ledger knows its partitions.
        """
        await self._begin(group, {record.place for record in records})
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
            self._metrics.topic(self._source, topic).event(outcome, count)  # type: ignore[arg-type]
        for topic, count in Counter(r.topic for r in records).items():
            self._metrics.topic(self._source, topic).read(count)

    async def _begin(self, group: str, places: Collection[TopicPartition]) -> None:
        """Looks, before the first records of a partition, at what the ledger knows of it."""
        new = [place for place in places if place not in self._settled_before]
        if not new:
            return
        keys = [ProgressKey(group, *place) for place in new]
        offsets = await self._insist(lambda: self._ledger.progress(keys))
        settled = {place: offset or 0 for place, offset in zip(new, offsets, strict=True)}
        await self._insist(lambda: self._marks.begin(settled))
        self._settled_before |= settled

    def forget(self, places: Collection[TopicPartition]) -> None:
        """These partitions went to others, who settle more of them."""
        for place in places:
            self._settled_before.pop(place, None)

    # Match --------------------------------------------------------------------------------------

    async def _take(self, record: Record, ticket: Ticket, plans: _Plans) -> None:
        incoming = self._decoder.decode(record, plans.rules, plans.outcomes)
        reached(Stage.DECODED)
        if isinstance(incoming, Incoming):
            await self._want(incoming, record, ticket, plans)
        elif incoming is not None:
            stage = "match" if incoming.reason is UNMATCHED else "decode"
            self._bury(incoming, ticket, stage)
        ticket.release()

    async def _want(
        self, incoming: Incoming, record: Record, ticket: Ticket, plans: _Plans
    ) -> None:
        event, replay = incoming.event, incoming.replay
        interest = plans.rules.interest(event)
        if not interest.routes and not interest.marks:
            if unwanted := self._decoder.unwanted(record, incoming, plans.outcomes):
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
                    event,
                    route,
                    plans.rules,
                    drafts,
                    ticket,
                    self._source,
                    replay,
                    tenant,
                    with_event_steps=index == 0,
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

    def _bury(self, poison: Poison, ticket: Ticket, stage: str) -> None:
        row = event_dead_letter_row(
            poison.record, poison.reason, self._clock.now(), stage=stage, hop=poison.hop
        )
        ticket.hold()
        self._settler.write(Settle(row), ticket)

    # Plan ---------------------------------------------------------------------------------------

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

    # Crashes ------------------------------------------------------------------------------------

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


def _asks_for(replay: Replay, route: str) -> bool:
    return not replay.routes or any(name.split("/")[0] == route for name in replay.routes)


def _chunks(drafts: tuple[Draft, ...]) -> Iterable[tuple[Draft, ...]]:
    if len(drafts) <= _CHUNK:
        return [drafts]
    return [drafts[i : i + _CHUNK] for i in range(0, len(drafts), _CHUNK)]
