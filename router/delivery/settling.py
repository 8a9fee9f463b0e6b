"""The only place that writes settlements: batched, retried until written, then tickets close."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import anyio

from router.clock import Clock
from router.delivery.dead_letters import dead_letter_row
from router.delivery.fallbacks import started_rows, waiting_rows
from router.delivery.job import Job
from router.delivery.offsets import Ticket
from router.delivery.stages import Stage, reached
from router.ledger import Fact, Kind, Ledger, LedgerDown, Row, Settle, Settled, State, Waiters
from router.planning import (
    Arrived,
    Cause,
    Dead,
    Scheduled,
    Settlement,
    Suppressed,
)
from router.telemetry import Account, Metrics

log = logging.getLogger("router.delivery")

T = TypeVar("T")

_BATCH = 512
_LINGER_S = 0.002
_DOWN_WAIT_S = 0.25


@dataclass(slots=True, eq=False)
class Closing:
    """A settlement on its way to the ledger.

    Attributes:
        ticket: Holds a record's offset until it is written.
        done: Called once it is written, with what the ledger said.
    """

    settle: Settle
    ticket: Ticket | None
    done: Callable[[Settled], None] | None


@final
class Settler:
    """Takes settlements from lanes and intake, writes them in batches, closes tickets.

    With a ledger that is not durable a scheduled row does not free its record's offset: its
    ticket is parked here until the row comes out of the schedule again.
    """

    def __init__(self, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        self.ledger = ledger
        self.is_up = True
        self._clock = clock
        self._metrics = metrics
        self._pending: deque[Closing] = deque()
        self._facts: list[Fact] = []
        self._dropped: list[tuple[str, str]] = []
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()
        self.soon_due = anyio.Event()
        self._parked: dict[bytes, list[Ticket]] = {}
        self._waiting: dict[bytes, list[bytes]] = {}

    # In -----------------------------------------------------------------------------------------

    def settle(self, job: Job, settlement: Settlement) -> None:
        """Takes what became of a delivery; it is written soon."""
        account = self._metrics.route(job.route).sink(job.sink)
        now = self._clock.now()
        match settlement:
            case Arrived():
                settle = Settle(job.row(State.DELIVERED, reason=settlement.reason), "drop")
                name = "delivered"
            case Scheduled():
                waiting = self._waiting_rows(job, now)
                row = job.row(
                    State.SCHEDULED, reason=settlement.reason, due=settlement.due, with_blob=True
                )
                settle = Settle(row, follow_ups=waiting)
                name = "scheduled"
            case Suppressed():
                follow_ups, waiters = self._fallbacks(job, settlement.causes, now)
                row = job.row(State.SUPPRESSED, reason=settlement.reason)
                settle = Settle(row, waiters, tuple(settlement.causes), follow_ups)
                name = "suppressed"
            case Dead():
                follow_ups, waiters = self._fallbacks(job, settlement.causes, now)
                letter = dead_letter_row(job, settlement.reason, now)
                row = job.row(State.DEAD, reason=settlement.reason, with_blob=True)
                settle = Settle(row, waiters, tuple(settlement.causes), (*follow_ups, letter))
                name = "dead"
                log.warning(
                    "delivery is dead: %s",
                    settlement.reason,
                    extra={"router": {"route": job.route, "step": job.step, "sink": job.sink}},
                )
        reason = settle.row.reason.code if settle.row.reason else ""

        def done(result: Settled) -> None:
            if result is Settled.STALE:
                account.duplicate()
            elif name == "delivered":
                account.delivered()
            elif name == "scheduled":
                account.scheduled(reason)
            elif name == "suppressed":
                account.suppressed(reason)
            else:
                account.dead(reason)
            if result is not Settled.STALE:
                self._book_fallbacks(job, settle)

        self.write(settle, job.ticket, done)

    def write(
        self,
        settle: Settle,
        ticket: Ticket | None = None,
        done: Callable[[Settled], None] | None = None,
    ) -> None:
        """Takes any settlement; the ticket is released once it is written and durable."""
        self._pending.append(Closing(settle, ticket, done))
        if len(self._pending) == 1:
            self._idle = anyio.Event()
            self._wake.set()

    def note(self, facts: Sequence[Fact], dropped: Sequence[tuple[str, str]]) -> None:
        """Takes facts to write and to drop, such as changed gates."""
        if facts or dropped:
            self._facts += facts
            self._dropped += dropped
            self._wake.set()

    def park(self, key: bytes, ticket: Ticket) -> None:
        """A record whose delivery stands in the schedule of a ledger that is not durable."""
        self._parked.setdefault(key, []).append(ticket)

    def unpark(self, key: bytes) -> None:
        """A row has ended: records it held back are free of it."""
        for ticket in self._parked.pop(key, ()):
            ticket.release()

    # Out ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            if not self._pending and not self._facts and not self._dropped:
                self._idle.set()
                self._wake = anyio.Event()
                await self._wake.wait()
            if len(self._pending) < _BATCH:
                await self._clock.sleep(_LINGER_S)
            await self._write_some()

    async def flush(self) -> None:
        """Waits until everything taken so far is written."""
        while self._pending:
            await self._idle.wait()

    async def _write_some(self) -> None:
        batch = [self._pending[i] for i in range(min(_BATCH, len(self._pending)))]
        facts, dropped = self._facts, self._dropped
        self._facts, self._dropped = [], []
        results: Sequence[Settled] = ()
        if batch:
            results = await self._insist(lambda: self.ledger.settle([c.settle for c in batch]))
            reached(Stage.SETTLED)
        if facts:
            await self._insist(lambda: self.ledger.put_facts(facts))
        if dropped:
            await self._insist(lambda: self.ledger.drop_facts(dropped))
        for closing, result in zip(batch, results, strict=True):
            self._pending.popleft()
            settle = closing.settle
            if closing.done is not None:
                closing.done(result)
            self._close(closing.ticket, settle, result)
            if settle.follow_ups or settle.row.state is State.SCHEDULED:
                self.soon_due.set()

    async def _insist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeats an operation, which is safe, until the ledger takes it."""
        while True:
            try:
                result = await operation()
            except LedgerDown as error:
                if self.is_up:
                    log.error("the ledger is down, outcomes wait: %s", error)
                self.is_up = False
                self._metrics.ledger_up(False)
                await self._clock.sleep(_DOWN_WAIT_S)
            else:
                if not self.is_up:
                    log.warning("the ledger is back")
                    self.is_up = True
                    self._metrics.ledger_up(True)
                return result

    # Fallbacks ----------------------------------------------------------------------------------

    def _waiting_rows(self, job: Job, now: float) -> tuple[Row, ...]:
        """Fallbacks of a fresh delivery that could not end at once wait in the ledger."""
        if job.delivery is None or job.rules is None:
            return ()
        rows = waiting_rows(job, job.delivery.fallbacks, job.rules, now)
        job.waiting = tuple(row.sink for row in rows if row.wait_on == job.family)
        job.delivery = None
        return tuple(rows)

    def _fallbacks(
        self, job: Job, causes: frozenset[Cause], now: float
    ) -> tuple[tuple[Row, ...], Waiters]:
        """What a failed delivery starts: new rows, or those that wait in the ledger."""
        waiters: Waiters = "start" if causes else "drop"
        if job.delivery is None or job.rules is None:
            return (), waiters
        if job.siblings > 1:
            return self._waiting_rows(job, now), waiters
        started = [f for f in job.delivery.fallbacks if f.step.causes & causes]
        return tuple(r for f in started for r in started_rows(f, job.rules, now)), "keep"

    def _book_fallbacks(self, job: Job, settle: Settle) -> None:
        """Enters started or waiting fallbacks into the books, and waiting ones out of them."""
        route = self._metrics.route(job.route)
        for row in settle.follow_ups:
            if row.kind is Kind.DELIVERY:
                book_row(route.sink(row.sink), row)
        if settle.waiters == "drop":
            for sink in job.waiting:
                account = route.sink(sink)
                account.resumed()
                account.suppressed("not_needed")

    # Tickets ------------------------------------------------------------------------------------

    def _close(self, ticket: Ticket | None, settle: Settle, result: Settled) -> None:
        if not self.ledger.is_durable and result is not Settled.STALE:
            self._park(ticket, settle)
            if settle.row.state is State.SCHEDULED and ticket is not None:
                self.park(settle.row.key, ticket)
                return
            if settle.row.state.is_final:
                self.unpark(settle.row.key)
        if ticket is not None:
            ticket.release()

    def _park(self, ticket: Ticket | None, settle: Settle) -> None:
        """Without a durable ledger a record is held until its last follow-up has ended."""
        holders = self._parked.get(settle.row.key, ())
        for row in settle.follow_ups:
            if row.state.is_final:
                continue
            for holder in (ticket, *holders):
                if holder is not None:
                    holder.hold()
                    self.park(row.key, holder)
            if row.state is State.WAITING and row.wait_on is not None:
                self._waiting.setdefault(row.wait_on, []).append(row.key)
        family = settle.row.family
        if family is None or settle.waiters == "keep":
            return
        for key in self._waiting.pop(family, ()):
            if settle.waiters == "drop":
                self.unpark(key)


def book_row(account: Account, row: Row) -> None:
    """Enters a row that is written without having been a job: planned, and out again at once."""
    account.planned()
    reason = row.reason.code if row.reason else ""
    match row.state:
        case State.SUPPRESSED:
            account.suppressed(reason)
        case State.DEAD:
            account.dead(reason)
        case State.WAITING:
            account.scheduled("waiting")
        case _:
            account.scheduled(reason)
