"""What ledgers do with the rows of a call, item after item, wherever the rows are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from router.ledger import _rules as rules
from router.ledger._contract import (
    Behind,
    Cancelled,
    Claim,
    Done,
    Doubtful,
    Fact,
    Granted,
    Held,
    Row,
    Settle,
    Settled,
    State,
)


class Rows(Protocol):
    """Every row that a call may touch."""

    def get(self, key: bytes) -> Row | None: ...
    def put(self, row: Row) -> None: ...
    def remove(self, key: bytes) -> None: ...
    def is_behind(self, row: Row) -> bool:
        """Whether a lower open sequence of its order scope exists."""
        ...

    def waiting_on(self, family: bytes) -> Sequence[Row]:
        """The rows in state ``waiting`` on a family, as they stand now."""
        ...


Marks = Callable[[str], Iterable[Fact]]
"""The facts of a cancel scope."""


def claim(
    rows: Rows, asked: Sequence[Row], marks: Marks, owner: str, lease: float, now: float
) -> list[Claim]:
    return [_claim(rows, row, marks, owner, now + lease, now) for row in asked]


def _claim(rows: Rows, row: Row, marks: Marks, owner: str, lease_until: float, now: float) -> Claim:
    stored = rows.get(row.key)
    if stored is None:
        if row.cancel_scope is not None and rules.is_cancelled(
            marks(row.cancel_scope), row.event_time, now
        ):
            return Cancelled()
        if rows.is_behind(row):
            return Behind()
        rows.put(rules.claimed(row, owner, lease_until, now))
        return Granted(1)
    if stored.state is not State.CLAIMED:
        return Done(stored.state, rules.is_other_event(stored.event_hash, row.event_hash))
    if stored.lease_until is not None and stored.lease_until > now:
        return Held(stored.lease_until)
    if rows.is_behind(stored):
        return Behind()
    rows.put(rules.held(stored, owner, lease_until, now))
    return Doubtful(stored.epoch + 1, stored.attempts)


def settle(rows: Rows, settlements: Sequence[Settle], now: float) -> list[Settled]:
    return [_settle(rows, settlement, now) for settlement in settlements]


def _settle(rows: Rows, settlement: Settle, now: float) -> Settled:
    row = settlement.row
    stored = rows.get(row.key)
    known = (None, 0) if stored is None else (stored.state, stored.epoch)
    answer = rules.settled(*known, row.state, row.epoch)
    if answer is not Settled.OK:
        return answer
    new = rules.inserted(row, now) if stored is None else rules.merged(stored, row, now)
    rows.put(new)
    for follow_up in settlement.follow_ups:
        if rows.get(follow_up.key) is None:
            rows.put(rules.inserted(follow_up, now))
    if settlement.waiters != "keep" and new.family is not None:
        _wake(rows, new.family, settlement, now)
    return answer


def _wake(rows: Rows, family: bytes, settlement: Settle, now: float) -> None:
    dropped: list[bytes] = []
    for waiting in rows.waiting_on(family):
        row = rules.woken(waiting, settlement, now)
        rows.put(row)
        if row.state.is_final and row.family is not None:
            dropped.append(row.family)
    for next_family in dropped:
        _wake(rows, next_family, rules.dropping(settlement), now)


def release(rows: Rows, claims: Sequence[tuple[bytes, int]], owner: str, now: float) -> None:
    for key, epoch in claims:
        row = rows.get(key)
        if row is None:
            continue
        after = rules.released(row, epoch, owner, now)
        if after is None:
            rows.remove(key)
        elif after is not row:
            rows.put(after)


def reschedule(rows: Rows, keys: Sequence[bytes], due: float, now: float) -> list[bool]:
    return [_reschedule(rows, key, due, now) for key in keys]


def _reschedule(rows: Rows, key: bytes, due: float, now: float) -> bool:
    row = rows.get(key)
    after = None if row is None else rules.rescheduled(row, due, now)
    if after is not None:
        rows.put(after)
    return after is not None
