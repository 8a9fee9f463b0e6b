"""What every ledger decides alike: pure functions of one row or fact, and the ledger's time.

A ledger loads what a call touches, asks these, and writes; how it loads and writes is its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from router.ledger._model import (
    RANKS,
    UNCLAIMED,
    UNSEEN,
    Fact,
    Join,
    Joined,
    Kind,
    Row,
    Settle,
    Settled,
    State,
    Stats,
)
from router.messages import Reason

NOT_NEEDED = Reason("not_needed", "the delivery it stood in for arrived")
CANCEL_PREFIX = "cancel:"
DIGEST_PREFIX = "digest:"
RATE_PREFIX = "rate:"
GRANTED, REFUSED = "granted", "refused"


# Rows ----------------------------------------------------------------------------------------


def woken(row: Row, settlement: Settle, now: float) -> Row:
    """A waiting row after a settlement of what it waits on; the same where that leaves it."""
    if settlement.waiters == "start" and any(c in settlement.causes for c in row.starts_on):
        return _after_failure(row, now)
    if UNSEEN in row.starts_on:
        return row
    return dropped(row, drop_reason(settlement), now)


def drop_reason(settlement: Settle) -> Reason:
    """Why the rows that a settlement drops end."""
    if settlement.waiters == "drop" and settlement.dropped_as is not None:
        return settlement.dropped_as
    return NOT_NEEDED


def dropped(row: Row, reason: Reason, now: float) -> Row:
    """A waiting row that is not to start any more."""
    return replace(row, state=State.SUPPRESSED, due=None, blob=None, reason=reason, updated=now)


def check_settlements(settlements: Iterable[Settle]) -> None:
    """Refuses what would leave a row that nothing ever picks up.

    Raises:
        ValueError: a settlement or follow-up is in state ``claimed``, or has no known rank.
    """
    for settlement in settlements:
        for row in (settlement.row, *settlement.follow_ups):
            if row.state is State.CLAIMED:
                raise ValueError("a settlement concludes a claim; it can't write one")
            _check_rank(row)


def check_ranks(rows: Iterable[Row]) -> None:
    """Raises:
    ValueError: a row has a rank in which ``due`` looks for none.
    """
    for row in rows:
        _check_rank(row)


def _check_rank(row: Row) -> None:
    if row.rank not in RANKS:
        raise ValueError(f"{row.rank} is no rank; there are {RANKS}")


def settled(state: State | None, epoch: int, new_state: State, new_epoch: int) -> Settled:
    """What a settlement of ``new_state`` under ``new_epoch`` comes to.

    Args:
        state: The stored row's state; None where there is none.
        epoch: The stored row's epoch.
    """
    if state is None:
        return Settled.STALE if new_epoch == UNCLAIMED else Settled.OK
    if state.is_final or new_epoch == 0:
        return Settled.SAME if state is new_state else Settled.STALE
    if new_epoch == UNCLAIMED:
        return Settled.OK if epoch == 0 else Settled.STALE
    if new_epoch != epoch:
        return Settled.OK if new_state is State.DELIVERED else Settled.STALE
    return Settled.SAME if state is new_state else Settled.OK


def is_other_event(stored_hash: bytes, event_hash: bytes) -> bool:
    """Whether two records of one identity differ, where both hashes are known."""
    return bool(stored_hash and event_hash) and stored_hash != event_hash


def inserted(row: Row, now: float) -> Row:
    """A new row that nobody holds, as it is stored."""
    due, blob = at_rest(row.state, row.due, row.blob, now)
    return replace(
        row, owner=None, lease_until=None, due=due, blob=blob, doubtful=False, updated=now
    )


def merged(stored: Row, row: Row, now: float) -> Row:
    """A stored row after a settlement: ``row`` decides how it stands, identity stays."""
    due, blob = at_rest(row.state, row.due, stored.blob if row.blob is None else row.blob, now)
    return replace(
        stored,
        state=row.state,
        sink=row.sink or stored.sink,
        owner=None,
        lease_until=None,
        due=due,
        attempts=row.attempts,
        first_at=stored.first_at if row.first_at is None else row.first_at,
        expires_at=stored.expires_at if row.expires_at is None else row.expires_at,
        reason=row.reason,
        blob=blob,
        doubtful=False,
        updated=now,
    )


def at_rest(
    state: State, due: float | None, blob: bytes | None, now: float
) -> tuple[float | None, bytes | None]:
    """``due`` and ``blob`` of a row that nobody holds: none once it has ended, but the dead keep
    their message."""
    if state.is_final:
        return None, blob if state is State.DEAD else None
    return now if due is None and state is State.SCHEDULED else due, blob


def _after_failure(row: Row, now: float) -> Row:
    """A waiting row after one more failure of what it waits on; the last one starts it."""
    if row.waits_for > 1:
        return replace(row, waits_for=row.waits_for - 1, updated=now)
    return replace(row, state=State.SCHEDULED, waits_for=0, due=now, updated=now)


def ready_at(
    state: State, due: float | None, lease_until: float | None, *, blob: bool
) -> float | None:
    """When ``due`` may hand out an open row that heads its order scope; None: not by itself.

    A claim without a message can't be run from the ledger: its record was not committed, so
    Kafka brings it again, and ``claim`` takes it over.
    """
    if state is State.CLAIMED:
        return lease_until if blob else None
    return None if state.is_final else due


def expires(row: Row) -> float | None:
    """When ``expired`` may hand out a row; None: never."""
    is_delivery = row.kind is Kind.DELIVERY and row.state is State.SCHEDULED
    return row.expires_at if is_delivery else None


def claimed(row: Row, owner: str, lease_until: float, now: float) -> Row:
    """A new row as its first claim inserts it."""
    return replace(
        row,
        state=State.CLAIMED,
        epoch=1,
        owner=owner,
        lease_until=lease_until,
        due=None,
        doubtful=False,
        updated=now,
    )


def held(row: Row, owner: str, lease_until: float, now: float) -> Row:
    """A stored row under a new claim; one taken over from another claim is in doubt."""
    return replace(
        row,
        state=State.CLAIMED,
        epoch=row.epoch + 1,
        owner=owner,
        lease_until=lease_until,
        doubtful=row.doubtful or row.state is State.CLAIMED,
        updated=now,
    )


def released(row: Row, epoch: int, owner: str, now: float) -> Row | None:
    """A row after ``owner`` gave back its claim of ``epoch``; None: it vanishes.

    Not that owner's claim: unchanged. Taken over in doubt: still so, for the next holder to
    decide. Inserted by the claim: as if it had not been.
    """
    if row.state is not State.CLAIMED or row.epoch != epoch or row.owner != owner:
        return row
    if row.doubtful:
        return replace(row, owner=None, lease_until=now, updated=now)
    if row.attempts == 0 and row.blob is None and row.due is None:
        return None
    return inserted(replace(row, state=State.SCHEDULED, due=now), now)


def rescheduled(row: Row, due: float, now: float) -> Row | None:
    """A dead row that is to be tried afresh; None where it isn't dead or can't be run."""
    if row.state is not State.DEAD or row.blob is None:
        return None
    return replace(
        row,
        state=State.SCHEDULED,
        epoch=row.epoch + 1,
        due=due,
        attempts=0,
        first_at=None,
        reason=None,
        updated=now,
    )


# Digests -------------------------------------------------------------------------------------


def takes_members(digest: Row, most: int, now: float) -> bool:
    """Whether a digest's row is open for one more."""
    return (
        digest.kind is Kind.DIGEST
        and digest.state is State.SCHEDULED
        and digest.epoch == 0
        and digest.due is not None
        and digest.due > now
        and digest.waits_for < most
    )


def opened(join: Join, key: bytes, now: float) -> Row:
    """The row of the digest that a member opens, before it is in."""
    return Row(
        key=key,
        kind=Kind.DIGEST,
        state=State.SCHEDULED,
        sink=join.sink,
        due=now + join.window,
        first_at=now,
        family=key,
        event_time=join.member.event_time,
        blob=join.blob,
        updated=now,
        rank=join.member.rank,
    )


def with_member(digest: Row, join: Join, now: float) -> Row:
    """A digest's row with one member more."""
    members, due = digest.waits_for + 1, digest.due
    if members >= join.most:
        due = now
    elif join.extend and due is not None and members > 1:
        end = now + join.window
        if join.at_most is not None and digest.first_at is not None:
            end = min(end, digest.first_at + join.at_most)
        due = max(due, end)
    return replace(digest, waits_for=members, due=due, updated=now)


def member(join: Join, digest: bytes, now: float) -> Row:
    """A member's row as it waits."""
    return inserted(
        replace(
            join.member,
            state=State.WAITING,
            epoch=0,
            due=None,
            wait_on=digest,
            waits_for=0,
            starts_on=(),
        ),
        now,
    )


def in_order(members: Iterable[Row]) -> list[Row]:
    """The members of a digest as they are given."""
    return sorted(members, key=lambda row: (row.event_time, row.key))


def joined(digest: Row, *, is_new: bool) -> Joined:
    """What a member is told of its digest; one that has ended has no ``due`` any more."""
    closes_at = digest.updated if digest.due is None else digest.due
    return Joined(digest.key, digest.waits_for, closes_at, is_new)


def pointer(scope: str, digest: Row) -> Fact:
    """The fact that names the digest which took a scope's last member, until it closes."""
    return Fact(DIGEST_PREFIX + scope, "", until=digest.due, at=digest.updated, blob=digest.key)


def next_key(key: bytes) -> bytes:
    """The number after a key's."""
    return ((int.from_bytes(key, "big") + 1) % (1 << 8 * len(key))).to_bytes(len(key), "big")


# Facts ---------------------------------------------------------------------------------------


def is_live(until: float | None, now: float) -> bool:
    return until is None or until > now


def is_cancelled(marks: Iterable[Fact], event_time: float, now: float) -> bool:
    """Whether a live mark of the row's cancel scope is not older than its event."""
    return any(
        is_live(mark.until, now) and (at := _number(mark.value)) is not None and at >= event_time
        for mark in marks
    )


def written(stored: Fact | None, fact: Fact, now: float) -> Fact:
    """The fact as ``put_facts`` stores it: a cancel mark only ever grows."""
    value, until = fact.value, fact.until
    if stored is not None and fact.scope.startswith(CANCEL_PREFIX):
        old, new = _number(stored.value), _number(value)
        if old is not None and (new is None or old > new):
            value = stored.value
        if until is not None:
            until = None if stored.until is None else max(until, stored.until)
    return replace(fact, value=value, until=until, at=now)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# Figures -------------------------------------------------------------------------------------


def stats_of(tally: Iterable[tuple[Kind, State, str, int, int]]) -> Stats:
    """A ledger's figures, from how many rows of a kind and a sink are in a state, and the bytes of
    their blobs; one kind, state and sink may come in several parts. When
    the oldest became due is not among them."""
    rows: dict[tuple[Kind, State], int] = {}
    backlog: dict[str, int] = {}
    backlog_bytes: dict[str, int] = {}
    for kind, state, sink, count, size in tally:
        rows[kind, state] = rows.get((kind, state), 0) + count
        if not state.is_final:
            backlog[sink] = backlog.get(sink, 0) + count
            backlog_bytes[sink] = backlog_bytes.get(sink, 0) + size
    return Stats(rows, backlog, backlog_bytes, None)


# Rates ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket; ``tokens`` below zero are promised to callers who wait for them."""

    tokens: float
    at: float

    def fact(self, scope: str, per_second: float, burst: float) -> Fact:
        """As it is stored, until it would be full again."""
        full_at = self.at + max(0.0, burst - self.tokens) / per_second
        return Fact(scope, "", f"{self.tokens!r} {self.at!r}", until=full_at, at=self.at)

    @classmethod
    def of(cls, fact: Fact | None, burst: float, now: float) -> Bucket:
        if fact is None or not is_live(fact.until, now):
            return cls(burst, now)
        tokens, at = fact.value.split()
        return cls(float(tokens), float(at))


def take(
    bucket: Bucket, n: int, per_second: float, burst: float, now: float
) -> tuple[Bucket, float]:
    """The bucket after ``n`` tokens were taken, and the seconds until they may be used."""
    gained = max(0.0, now - bucket.at) * per_second
    tokens = min(burst, bucket.tokens + gained) - n
    return Bucket(tokens, max(now, bucket.at)), max(0.0, -tokens / per_second)
