"""From matched events to jobs on lanes: profiles, plan, look-up by key."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from router.clock import Clock
from router.delivery.dead_letters import event_dead_letter_row
from router.delivery.fallbacks import suppressed_row
from router.delivery.inputs import input_row
from router.delivery.job import Job, event_hash, job_of
from router.delivery.lane import Lane
from router.delivery.offsets import Ticket
from router.delivery.settling import Settler, book_row
from router.delivery.stages import Stage, reached
from router.events import Event, Replay
from router.ledger import LedgerDown, Row, Settle, State
from router.messages import Reason
from router.planning import (
    UNREACHABLE,
    Cause,
    Dead,
    Delivery,
    Draft,
    Failure,
    Planned,
    Route,
    Ruleset,
    Scheduled,
    derived_key,
    plan,
    record_hash,
)
from router.planning import render as render_message
from router.recipients import Directory, Found
from router.telemetry import Metrics
from router.templating import RenderError

log = logging.getLogger("router.delivery")


@dataclass(frozen=True, slots=True)
class Work:
    """A route that matched an event, for some of its recipients.

    Attributes:
        source: The source's name.
        replay: What a replay asked for, or None.
        with_event_steps: Steps that run once per event belong to it too.
    """

    event: Event
    route: Route
    drafts: tuple[Draft, ...]
    ticket: Ticket
    source: str
    replay: Replay | None
    with_event_steps: bool


@final
class Dispatcher:
    """Plans work and hands it to lanes; holds what all sources share."""

    def __init__(
        self,
        rules: Ruleset,
        directory: Directory,
        settler: Settler,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.rules = rules
        self.directory = directory
        self.settler = settler
        self.lanes: dict[str, Lane] = {}
        self._ledger = settler.ledger
        self._clock = clock
        self._metrics = metrics

    @property
    def has_room(self) -> bool:
        """No lane is over its capacity, and the ledger takes outcomes."""
        return self.settler.is_up and not any(lane.is_full for lane in self.lanes.values())

    def ledger_failed(self, error: LedgerDown) -> None:
        if self.settler.is_up:
            log.error("the ledger is down, nothing is taken in: %s", error)
        self._metrics.ledger_up(False)

    # Plan ---------------------------------------------------------------------------------------

    async def plan(self, works: Sequence[Work]) -> None:
        """Plans, looks up what the ledger knows, and puts the rest on lanes.

        Each work's ticket hold is released once its deliveries hold the ticket themselves.

        Raises:
            LedgerDown: nothing was put anywhere; plan again later.
        """
        profiles = await self.profiles(d.id for work in works for d in work.drafts)
        heads: list[tuple[Delivery, Work]] = []
        outcomes: list[tuple[Work, Planned]] = []
        for work in works:
            planned = plan(
                work.route,
                work.event,
                work.drafts,
                [profiles[d.id] for d in work.drafts],
                self.rules.divert,
                with_event_steps=work.with_event_steps,
            )
            outcomes.append((work, planned))
            heads += [
                (head, work)
                for delivery in planned.deliveries
                for head in with_started(delivery)
                if _is_asked_for(work.replay, head)
            ]
        rows = await self._ledger.lookup([head.key for head, _ in heads])
        reached(Stage.LOOKED_UP)
        known = [(h, w, r) for (h, w), r in zip(heads, rows, strict=True)]
        known += await self._late_fallbacks(known)
        await self._replay_dead(known)
        for work, planned in outcomes:
            self._settle_unplanned(work, planned)
        self._put(known)
        for work in works:
            work.ticket.release()

    async def profiles(self, ids: Iterable[str]) -> dict[str, Found]:
        """The directory's answer for each id, asked once for all."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        return dict(zip(wanted, await self.directory.lookup(wanted), strict=True))

    async def _late_fallbacks(
        self, known: Sequence[tuple[Delivery, Work, Row | None]]
    ) -> list[tuple[Delivery, Work, Row | None]]:
        """Fallbacks of deliveries that an earlier run found unreachable, though now they are not:
        it may have ended before it started them."""
        found: list[tuple[Delivery, Work, Row | None]] = []
        for delivery, work, row in known:
            if delivery.barred is None and row is not None and _was_unreachable(row):
                heads = list(_unreachable_starts(delivery))
                rows = await self._ledger.lookup([h.key for h in heads])
                found += [(h, work, r) for h, r in zip(heads, rows, strict=True)]
        return found

    async def _replay_dead(self, known: Sequence[tuple[Delivery, Work, Row | None]]) -> None:
        """A replay revives the dead deliveries it asks for."""
        keys = [
            delivery.key
            for delivery, work, row in known
            if work.replay is not None and row is not None and row.state is State.DEAD
        ]
        if keys:
            await self._ledger.reschedule(keys, self._clock.now())
            self.settler.soon_due.set()

    def _put(self, known: Sequence[tuple[Delivery, Work, Row | None]]) -> None:
        by_sink: dict[str, list[Job]] = defaultdict(list)
        for delivery, work, row in known:
            route = self._metrics.route(delivery.route.id)
            account = route.sink(delivery.step.sink)
            account.planned()
            if row is not None and row.state.settles:
                account.duplicate()
                self._note_duplicate(row, work)
                continue
            work.ticket.hold()
            if delivery.barred is not None:
                self._suppress(delivery, delivery.barred, work.ticket)
            else:
                by_sink[delivery.step.sink].append(job_of(delivery, self.rules, work.ticket))
        for sink, jobs in by_sink.items():
            self.put(sink, jobs)

    def put(self, sink: str, jobs: list[Job]) -> None:
        """Hands jobs to their lane; without one they wait in the schedule."""
        if lane := self.lanes.get(sink):
            lane.put(jobs)
            return
        now = self._clock.now()
        for job in jobs:
            try:
                if job.message is None and job.delivery is not None and job.rules is not None:
                    job.message = render_message(job.delivery, job.rules.templates, now)
            except RenderError as error:
                self.settler.settle(job, Dead(Reason("render_failed", str(error))))
            else:
                self.settler.settle(job, Scheduled(now, Reason("no_sink", "the sink is gone")))

    def _note_duplicate(self, row: Row, work: Work) -> None:
        if row.event_hash and row.event_hash != event_hash(work.event):
            self._metrics.duplicate_event()
        if not self._ledger.is_durable and not row.state.is_final:
            work.ticket.hold()
            self.settler.park(row.key, work.ticket)

    def _suppress(self, delivery: Delivery, reason: Reason, ticket: Ticket | None) -> None:
        account = self._metrics.route(delivery.route.id).sink(delivery.step.sink)
        settle = Settle(suppressed_row(delivery, reason))
        self.settler.write(settle, ticket, lambda _: account.suppressed(reason.code))

    # What can't be planned ----------------------------------------------------------------------

    def _settle_unplanned(self, work: Work, planned: Planned) -> None:
        for failure in planned.failures:
            self.fail(failure, work.event, work.ticket, work.replay)
        for failure in planned.suppressed:
            self.fail(failure, work.event, work.ticket, work.replay, state=State.SUPPRESSED)
        if planned.waiting and planned.why_waiting is not None:
            row = input_row(
                work.event,
                work.route,
                planned.waiting,
                source=work.source,
                hop=work.replay.hop if work.replay else 0,
                reason=planned.why_waiting,
                now=self._clock.now(),
            )
            work.ticket.hold()
            self.settler.write(Settle(row), work.ticket)

    def fail(
        self,
        failure: Failure,
        event: Event,
        ticket: Ticket | None,
        replay: Replay | None,
        *,
        state: State = State.DEAD,
    ) -> None:
        """Settles a route, or one recipient of it, that can't be planned."""
        route = failure.route
        account = self._metrics.route(route.id).sink("")
        hop = replay.hop if replay else 0
        base = record_hash(event.record.position, event.record.timestamp)
        row = Row(
            key=derived_key(base, f"failure:{hop}:{route.key_id}:{failure.member}"),
            state=state,
            event_time=event.time,
            event_hash=event_hash(event),
            position=event.record.position,
            reason=failure.reason,
        )
        letter = event_dead_letter_row(
            event.record,
            failure.reason,
            self._clock.now(),
            stage="recipients",
            identity=event.identity,
            route=route.id,
            member=failure.member,
            hop=hop,
        )
        settle = Settle(row, follow_ups=(letter,) if state is State.DEAD else ())
        if ticket is not None:
            ticket.hold()
        self.settler.write(settle, ticket, lambda _: book_row(account, row))

    # Letting go ---------------------------------------------------------------------------------

    async def let_go(self) -> None:
        """Drops unclaimed work of partitions that leave, waits for their claimed work."""
        for lane in self.lanes.values():
            lane.withdraw()
        for lane in self.lanes.values():
            await lane.drained(withdrawn=True)
        await self.settler.flush()


def with_started(delivery: Delivery) -> Iterable[Delivery]:
    """A delivery and, where it is unreachable, the fallbacks that start with it."""
    yield delivery
    if delivery.barred is UNREACHABLE:
        yield from _unreachable_starts(delivery)


def _unreachable_starts(delivery: Delivery) -> Iterable[Delivery]:
    for fallback in delivery.fallbacks:
        if Cause.UNREACHABLE in fallback.step.causes:
            yield from with_started(fallback)


def _was_unreachable(row: Row) -> bool:
    is_suppressed = row.state is State.SUPPRESSED
    return is_suppressed and row.reason is not None and row.reason.code == UNREACHABLE.code


def _is_asked_for(replay: Replay | None, delivery: Delivery) -> bool:
    if replay is None:
        return True
    if replay.delivery_key is not None:
        return replay.delivery_key == delivery.key
    names = (delivery.route.id, f"{delivery.route.id}/{delivery.step.id}")
    return not replay.routes or any(name in replay.routes for name in names)
