"""What ledgers do with the rows of a call, item after item, wherever the rows are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from router.ledger import _rules as rules
from router.ledger._model import (
    Behind,
    Cancelled,
    Claim,
    Done,
    Doubtful,
    Fact,
    Granted,
    Held,
    Join,
    Joined,
    Kind,
    Row,
    Settle,
    Settled,
    State,
)
from router.messages import Reason


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


class Digests(Protocol):
    """Every row that a call of ``join`` may touch, and which digest took a scope's last member."""

    def get(self, key: bytes) -> Row | None: ...
    def put(self, row: Row) -> None: ...
    def pointed(self, scope: str) -> bytes | None:
        """The key of the digest's row, which need not be there any more."""
        ...

    def point(self, scope: str, digest: Row) -> None: ...


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
    gone: list[Row] = []
    for waiting in rows.waiting_on(family):
        row = rules.woken(waiting, settlement, now)
        if row is not waiting:
            rows.put(row)
        if row.state.is_final:
            gone.append(row)
    _drop_waiting(rows, gone, rules.drop_reason(settlement), now)


def _drop_waiting(rows: Rows, gone: Sequence[Row], reason: Reason, now: float) -> None:
    """Ends whatever waits on rows that were dropped, and what waits on that."""
    for row in gone:
        if row.family is not None:
            followers = [rules.dropped(f, reason, now) for f in rows.waiting_on(row.family)]
            for follower in followers:
                rows.put(follower)
            _drop_waiting(rows, followers, reason, now)


def join(rows: Digests, joins: Sequence[Join], now: float) -> list[Joined | Done]:
    return [_join(rows, join, now) for join in joins]


def _join(rows: Digests, join: Join, now: float) -> Joined | Done:
    stored = rows.get(join.member.key)
    if stored is not None:
        return _joined_before(rows, stored, join.member)
    known = rows.pointed(join.scope)
    digest = None if known is None else rows.get(known)
    if digest is None or not rules.takes_members(digest, join.most, now):
        digest = rules.opened(join, _free_key(rows, join), now)
    digest = rules.with_member(digest, join, now)
    rows.put(digest)
    rows.put(rules.member(join, digest.key, now))
    rows.point(join.scope, digest)
    return rules.joined(digest, is_new=True)


def _joined_before(rows: Digests, stored: Row, member: Row) -> Joined | Done:
    if stored.state is State.WAITING and stored.wait_on is not None:
        digest = rows.get(stored.wait_on)
        if digest is not None and digest.kind is Kind.DIGEST:
            return rules.joined(digest, is_new=False)
    return Done(stored.state, rules.is_other_event(stored.event_hash, member.event_hash))


def _free_key(rows: Digests, join: Join) -> bytes:
    key = join.key
    while key == join.member.key or rows.get(key) is not None:
        key = rules.next_key(key)
    return key


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
