"""The only place that writes settlements: batched, retried until written, then tickets close."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, final

import anyio

from router.clock import Clock
from router.delivery.books import Rows, book_changes, book_exit, book_new, open_keys
from router.delivery.dead_letters import dead_letter_row
from router.delivery.fallbacks import after_cause, effect
from router.delivery.feedback import Reporter, Subject, of_job, of_primary
from router.delivery.gone import GoneAddresses
from router.delivery.job import Job, unpack
from router.delivery.offsets import Ticket
from router.delivery.signal import Signal
from router.delivery.stages import Stage, reached
from router.delivery.unsettled import superseded
from router.delivery.watched import WatchedLedger
from router.ledger import UNCLAIMED, Fact, Kind, LedgerDown, Row, Settle, Settled, State
from router.messages import Reason
from router.planning import (
    GONE,
    Arrived,
    Cause,
    Dead,
    Scheduled,
    Settlement,
    Suppressed,
)
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

T = TypeVar("T")

_BATCH = 512
_LINGER_S = 0.002
_DOWN_WAIT_S = 0.25
_SHORTEST_LEASE_S = 10.0


@dataclass(slots=True, eq=False)
class Closing:
    """A settlement on its way to the ledger.

    Attributes:
        route: Whose books its follow-ups go into.
        ticket: Holds a record's offset until it is written.
        job: The delivery that it ends; None for other rows.
        members: Of rows that wait on it, the keys: of a digest's members, of fallbacks.
        done: Called once it is written: True if by this, False if the row stood so already.
    """

    settle: Settle
    route: str
    ticket: Ticket | None
    job: Job | None = None
    done: Callable[[bool], None] | None = None
    members: tuple[bytes, ...] = ()

    @property
    def beside(self) -> list[bytes]:
        """Keys of other deliveries' rows that the settlement may write."""
        keys = [row.key for row in self.settle.follow_ups if row.kind is Kind.DELIVERY]
        if self.job is not None and self.settle.waiters != "keep":
            keys += self.job.waiting
        return [*keys, *self.members]

    @property
    def all_keys(self) -> list[bytes]:
        """Keys of all rows that the settlement may write."""
        letters = [row.key for row in self.settle.follow_ups if row.kind is not Kind.DELIVERY]
        return [self.settle.row.key, *letters, *self.beside]


@final
class Settler:
    """Takes settlements from lanes and intake, writes them in batches, closes tickets.

    With a ledger that is not durable a scheduled row does not free its record's offset: its
    ticket is parked here until the row has ended.

    Attributes:
        changed: Given when something may have become due.
        wrote: Given with every batch that is written: there may be room for more.
        gone: The addresses that were found dead.
        reporter: Tells others what became of deliveries; None where nobody wants to know.
        contested: Takes a delivery that could not be settled unclaimed, because somebody has a
            claim of it; its ticket stays held.
    """

    def __init__(self, ledger: WatchedLedger, clock: Clock, metrics: Metrics) -> None:
        self.ledger = ledger
        self.changed = Signal()
        self.gone = GoneAddresses(ledger, clock)
        self.reporter: Reporter | None = None
        self.contested: Callable[[Job], None] | None = None
        self._clock = clock
        self._metrics = metrics
        self._pending: deque[Closing] = deque()
        self._facts: list[Fact] = []
        self._wake = anyio.Event()
        self.wrote = Signal()
        self._taken = self._written = 0
        self._noted = self._notes_written = 0
        self._parked: dict[bytes, list[Ticket]] = {}

    # In -----------------------------------------------------------------------------------------

    def settle(self, job: Job, settlement: Settlement) -> None:
        """Takes what became of a delivery; it is written soon."""
        now = self._clock.now()
        fallbacks = effect(job, settlement, now)
        rows, causes = fallbacks.rows, frozenset[Cause]()
        match settlement:
            case Arrived():
                row = job.row(State.DELIVERED, reason=settlement.reason)
            case Scheduled():
                row = job.row(
                    State.SCHEDULED, reason=settlement.reason, due=settlement.due, with_blob=True
                )
            case Suppressed():
                row, causes = job.row(State.SUPPRESSED, reason=settlement.reason), settlement.causes
                if settlement.reason.code == GONE.code and job.barred is None:
                    self.note(self.gone.found(job))
            case Dead():
                row = job.row(State.DEAD, reason=settlement.reason, with_blob=True)
                causes = settlement.causes
                rows = (*rows, dead_letter_row(job, settlement.reason, now))
                log.warning(
                    "delivery is dead: %s",
                    settlement.reason,
                    extra={"router": job.names},
                )
        rows = (*rows, *self.reports(of_job(job), settlement))
        settle = Settle(row, fallbacks.waiters, tuple(causes), rows, fallbacks.dropped_as)
        self._take(Closing(settle, job.route, job.ticket, job))

    def reports(self, subject: Subject, settlement: Settlement) -> tuple[Row, ...]:
        """What tells others of an end: to be written with it."""
        return self.reporter.rows(subject, settlement) if self.reporter is not None else ()

    def wait(self, job: Job, until: float) -> None:
        """Takes a fallback back that was looked at, and still has to wait for its primary."""
        row = job.row(State.WAITING, reason=Reason("fallback"), due=until)
        self._take(Closing(Settle(row), job.route, job.ticket, job))

    def supersede(self, primary: Row, fallback: Job) -> None:
        """Takes the end of an unsettled primary, of which there may be no row yet: unless it is
        claimed meanwhile, it is not sent any more. What waits as long for it as the fallback does
        starts, too."""
        after, kept = fallback.after or 0.0, unpack(primary) if primary.blob else None
        reason = superseded(after)
        row = replace(primary, state=State.SUPPRESSED, due=None, blob=None, reason=reason)
        account = self._metrics.route(fallback.route).sink(row.sink)
        if is_known := primary.state is not State.SUPPRESSED:
            row = replace(row, epoch=primary.epoch or UNCLAIMED)

        def done(is_ours: bool) -> None:
            if is_ours and is_known:
                account.resumed()
                book_exit(account, row)
            elif is_ours:
                book_new(account, row)

        subject = of_primary(row, fallback) if kept is None else of_job(kept)
        reports = self.reports(subject, Suppressed(reason))
        settle = Settle(row, "start", (after_cause(after),), reports)
        self.write(settle, route=fallback.route, done=done, members=kept.waiting if kept else ())

    def write(
        self,
        settle: Settle,
        ticket: Ticket | None = None,
        *,
        route: str = "",
        done: Callable[[bool], None] | None = None,
        members: tuple[bytes, ...] = (),
    ) -> None:
        """Takes any other settlement; the ticket is released once it is written and durable.

        Args:
            route: Whose books the rows beside it go into.
            members: Keys of the rows that it drops or starts.
        """
        self._take(Closing(settle, route, ticket, done=done, members=members))

    def note(self, facts: Sequence[Fact]) -> None:
        """Takes facts to write, such as changed gates."""
        if facts:
            self._facts += facts
            self._noted += 1
            self._wake.set()

    def duplicate(self, key: bytes, state: State, ticket: Ticket | None) -> None:
        """A delivery that the ledger knows in this state: its record need not wait for it, unless
        the ledger is not durable and the row is open."""
        if ticket is None:
            return
        if self.ledger.is_durable or state.is_final:
            ticket.release()
        else:
            self._parked.setdefault(key, []).append(ticket)

    def _take(self, closing: Closing) -> None:
        self._pending.append(closing)
        self._taken += 1
        if len(self._pending) == 1:
            self._wake.set()

    # Out ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            if not self._pending and not self._facts:
                self._wake = anyio.Event()
                await self._wake.wait()
            if len(self._pending) < _BATCH:
                await self._clock.sleep(_LINGER_S)
            await self._write_some()

    async def flush(self) -> None:
        """Waits until everything taken so far is written."""
        taken, noted = self._taken, self._noted
        while self._written < taken or self._notes_written < noted:
            await self.wrote.next.wait()

    async def _write_some(self) -> None:
        batch = [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]
        facts, noted = self._facts, self._noted
        self._facts = []
        if batch:
            await self._write_batch(batch)
        if facts:
            await self._insist(lambda: self.ledger.put_facts(facts))
        self._written += len(batch)
        self._notes_written = noted
        self.wrote.give()

    async def _write_batch(self, batch: Sequence[Closing]) -> None:
        routes = {key: closing.route for closing in batch for key in closing.beside}
        unclaimed = [c.settle.row.key for c in batch if c.settle.row.epoch == 0]
        before = dict(await self._look_up([*routes, *unclaimed]))
        if self.reporter is not None:
            _report_fallbacks(self.reporter, batch, before)
        settles = [closing.settle for closing in batch]
        results, failed_for = await self._insist(lambda: self.ledger.settle(settles))
        reached(Stage.SETTLED)
        # A fallback that goes back to wait may be dropped by another settlement of the batch.
        before |= {s.row.key: s.row for s in settles if s.row.state is State.WAITING}
        keys = [*routes] if self.ledger.is_durable else [k for c in batch for k in c.all_keys]
        after = await self._look_up(keys)
        book_changes(
            lambda row: self._metrics.route(routes[row.key]).sink(row.sink),
            before,
            {key: after[key] for key in routes},
        )
        ours = _whose(settles, results, before, failed_for)
        for closing, result, is_ours in zip(batch, results, ours, strict=True):
            self._close(closing, result, after, is_ours=is_ours)
        if any(map(_may_make_due, settles)):
            self.changed.give()

    async def _look_up(self, keys: Collection[bytes]) -> Rows:
        if not keys:
            return {}
        unique = list(dict.fromkeys(keys))
        rows, _ = await self._insist(lambda: self.ledger.lookup(unique))
        return dict(zip(unique, rows, strict=True))

    async def _insist(self, operation: Callable[[], Awaitable[T]]) -> tuple[T, float | None]:
        """Repeats an operation, which is safe, until the ledger takes it.

        Returns:
            What it gave, and for how many seconds it had failed; None: it took it at once.
        """
        failing_since: float | None = None
        while True:
            started = self._clock.monotonic()
            try:
                result = await operation()
            except LedgerDown:
                failing_since = started if failing_since is None else failing_since
                await self._clock.sleep(_DOWN_WAIT_S)
            else:
                return result, None if failing_since is None else started - failing_since

    def _close(self, closing: Closing, result: Settled, after: Rows, *, is_ours: bool) -> None:
        job = closing.job
        if job is not None:
            is_contested = result is Settled.STALE and job.epoch == 0 and not is_ours
            if is_contested and self.contested is not None:
                self.contested(job)
                return
            account = self._metrics.route(job.route).sink(job.sink)
            if is_ours:
                book_exit(account, closing.settle.row)
            else:
                account.duplicate()
        if closing.done is not None:
            closing.done(is_ours)
        if not self.ledger.is_durable:
            self._park_or_release(closing, after)
        elif closing.ticket is not None:
            closing.ticket.release()

    # Without a durable ledger -------------------------------------------------------------------

    def _park_or_release(self, closing: Closing, after: Rows) -> None:
        """A record is held until its row, and every row written beside it, has ended."""
        key, ticket = closing.settle.row.key, closing.ticket
        open_ = open_keys(after.values())
        holders = [*self._parked.get(key, ()), *([ticket] if ticket else [])]
        for row in closing.settle.follow_ups:
            if row.key in open_:
                for holder in holders:
                    holder.hold()
                    self._parked.setdefault(row.key, []).append(holder)
        for beside in closing.beside:
            if beside not in open_:
                self._unpark(beside)
        if key in open_:
            if ticket is not None:
                self._parked.setdefault(key, []).append(ticket)
            return
        self._unpark(key)
        if ticket is not None:
            ticket.release()

    def _unpark(self, key: bytes) -> None:
        for ticket in self._parked.pop(key, ()):
            ticket.release()


def _report_fallbacks(reporter: Reporter, batch: Sequence[Closing], before: Rows) -> None:
    """Adds, to each settlement, what tells of fallbacks that end with it."""
    known = dict(before)
    for closing in batch:
        settle = closing.settle
        if closing.job is not None and closing.beside:
            reports = tuple(reporter.beside(closing.job, settle, known))
            closing.settle = replace(settle, follow_ups=(*settle.follow_ups, *reports))
            known |= {r.key: r for r in settle.follow_ups if known.get(r.key) is None}


def _may_make_due(settle: Settle) -> bool:
    """Whether its row, one beside it, or the next of its order may be due now."""
    row = settle.row
    return (
        not row.state.is_final
        or settle.waiters != "keep"
        or bool(settle.follow_ups)
        or row.order_scope is not None
    )


def _whose(
    settles: Sequence[Settle],
    results: Sequence[Settled],
    before: Rows,
    failed_for: float | None,
) -> list[bool]:
    """Which rows stand as these settlements say because of them, and not of somebody else's.

    A call that failed may have been written all the same; what answers the next one then tells of
    that. A row that did not exist before was written by it, once. A row that was claimed was, too,
    unless the claim may have ended and gone to another since.
    """
    seen: set[bytes] = set()
    ours: list[bool] = []
    for settle, result in zip(settles, results, strict=True):
        row = settle.row
        is_ours = result is Settled.OK
        if failed_for is not None and not is_ours:
            if row.epoch:
                is_ours = failed_for < _SHORTEST_LEASE_S
            else:
                is_ours = before.get(row.key) is None and row.key not in seen
        seen.add(row.key)
        ours.append(is_ours)
    return ours
