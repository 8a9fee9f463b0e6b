"""The operations on rows. Each takes a transaction and a list, and gives an aligned list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

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
    Kind,
    Row,
    State,
)
from router.ledger._sqlite.heads import Heads
from router.ledger._sqlite.rows import (
    COLUMNS,
    STATES,
    Transaction,
    row_of,
    rows_by_key,
    select_in,
)

_FIRST = Granted(1)
_PURGE_CHUNK = 1000


def lookup(tx: Transaction, keys: Sequence[bytes]) -> Sequence[Row | None]:
    found = rows_by_key(tx.db, keys)
    return [found.get(key) for key in keys]


# Claim ---------------------------------------------------------------------------------------


def claim(tx: Transaction, rows: Sequence[Row], owner: str, lease: float) -> Sequence[Claim]:
    stored = rows_by_key(tx.db, [row.key for row in rows])
    marks = _cancel_marks(tx, rows)
    heads = Heads(tx.db)
    new: dict[bytes, Row] = {}
    lease_until = tx.now + lease
    answers: list[Claim] = []
    for row in rows:
        known = stored.get(row.key)
        if known is not None:
            answers.append(_claim_known(tx, known, row, heads, owner, lease_until))
            if isinstance(answers[-1], Doubtful):
                stored[row.key] = rules.held(known, owner, lease_until, tx.now)
        elif row.key in new:
            answers.append(Held(lease_until))
        elif row.cancel_scope is not None and rules.is_cancelled(
            marks.get(row.cancel_scope, ()), row.event_time, tx.now
        ):
            answers.append(Cancelled())
        elif not heads.open(row.order_scope, row.seq):
            answers.append(Behind())
        else:
            new[row.key] = row
            answers.append(_FIRST)
    tx.insert_claims(new.values(), owner, lease_until)
    heads.mend()
    return answers


def _claim_known(
    tx: Transaction, known: Row, row: Row, heads: Heads, owner: str, lease_until: float
) -> Claim:
    if known.state is not State.CLAIMED:
        return Done(known.state, rules.is_other_event(known.event_hash, row.event_hash))
    if known.lease_until is not None and known.lease_until > tx.now:
        return Held(known.lease_until)
    if not heads.open(known.order_scope, known.seq):
        return Behind()
    tx.rewrite(known, rules.held(known, owner, lease_until, tx.now))
    return Doubtful(known.epoch + 1, known.attempts)


def _cancel_marks(tx: Transaction, rows: Sequence[Row]) -> Mapping[str, Sequence[Fact]]:
    scopes = list({row.cancel_scope for row in rows if row.cancel_scope is not None})
    marks: dict[str, list[Fact]] = {}
    for scope, member, value, until in select_in(
        tx.db, "SELECT scope, member, value, until FROM fact WHERE scope IN (%s)", scopes
    ):
        marks.setdefault(scope, []).append(Fact(scope, member, value, until))
    return marks


# Schedule ------------------------------------------------------------------------------------

_DUE = f"""
    SELECT {COLUMNS}, ready, number FROM delivery INDEXED BY ready
    WHERE sink = ? AND rank = ? AND ready <= ? %s ORDER BY ready, number LIMIT ?
"""
_NEXT_DUE = """
    SELECT min(at) FROM (
        SELECT (
            SELECT min(ready) FROM delivery INDEXED BY ready
            WHERE sink = ?1 AND rank = ranks.rank AND ready IS NOT NULL
        ) AS at FROM (SELECT 0 AS rank UNION ALL SELECT 1 UNION ALL SELECT 2) AS ranks
    )
"""
_WITH_READY = """
    WITH RECURSIVE found (sink) AS (
        SELECT min(sink) FROM delivery INDEXED BY ready WHERE ready IS NOT NULL
        UNION ALL
        SELECT (
            SELECT min(sink) FROM delivery INDEXED BY ready
            WHERE ready IS NOT NULL AND sink > found.sink
        )
        FROM found WHERE sink IS NOT NULL
    )
    SELECT sink FROM found WHERE sink IS NOT NULL
"""
"""From one sink to the next in the index: of thousands, most have nothing in it."""
_HOLD = """
    UPDATE delivery SET
        state = 'claimed', epoch = ?, owner = ?, lease_until = ?, updated = ?, doubtful = ?,
        ready = CASE WHEN blob IS NOT NULL THEN ? END
    WHERE number = ?
"""

_EXPIRED = f"""
    SELECT {COLUMNS} FROM delivery INDEXED BY expiring
    WHERE state = 'scheduled' AND kind = 'delivery' AND expires_at <= ?
    ORDER BY expires_at, number LIMIT ?
"""

Wanted = tuple[Mapping[str, int], Sequence[Kind] | None, Sequence[int]]


def due(tx: Transaction, wanted: Sequence[Wanted], owner: str, lease: float) -> list[list[Row]]:
    lease_until = tx.now + lease
    return [_due(tx, sinks, kinds, ranks, owner, lease_until) for sinks, kinds, ranks in wanted]


def _due(
    tx: Transaction,
    sinks: Mapping[str, int],
    kinds: Collection[Kind] | None,
    ranks: Sequence[int],
    owner: str,
    lease_until: float,
) -> list[Row]:
    names = None if kinds is None else [kind.value for kind in kinds]
    sql = _DUE % ("" if names is None else f"AND kind IN ({', '.join('?' * len(names))})")
    found: list[tuple[Any, ...]] = []
    for sink in _with_ready(tx, sinks):
        left = sinks[sink]
        for rank in ranks:
            if left > 0:
                asked = (sink, rank, tx.now, *(names or ()), left)
                found_of_rank = tx.db.execute(sql, asked).fetchall()
                found += found_of_rank
                left -= len(found_of_rank)
    found.sort(key=lambda values: values[-3:])
    rows: list[Row] = []
    holds: list[tuple[Any, ...]] = []
    for values in found:
        row = row_of(values)
        held = rules.held(row, owner, lease_until, tx.now)
        size = len(row.blob or b"")
        tx.count(row.kind.value, row.state.value, row.sink, -1, -size)
        tx.count(row.kind.value, held.state.value, row.sink, 1, size)
        holds.append(
            (held.epoch, owner, lease_until, tx.now, held.doubtful, lease_until, values[-1])
        )
        rows.append(replace(held, state=row.state))
    tx.db.executemany(_HOLD, holds)
    return rows


def expired(tx: Transaction, most: Sequence[int], owner: str, lease: float) -> list[list[Row]]:
    return [_expired(tx, limit, owner, tx.now + lease) for limit in most]


def _expired(tx: Transaction, limit: int, owner: str, lease_until: float) -> list[Row]:
    heads = Heads(tx.db)
    rows: list[Row] = []
    for values in tx.db.execute(_EXPIRED, (tx.now, limit)).fetchall():
        row = row_of(values)
        held = rules.held(row, owner, lease_until, tx.now)
        heads.touch(row.order_scope, row.seq)
        tx.rewrite(row, held)
        rows.append(replace(held, state=row.state))
    heads.mend()
    return rows


def next_due(tx: Transaction, sinks: Sequence[str]) -> Sequence[float | None]:
    with_ready = _with_ready(tx, sinks)
    return [
        tx.db.execute(_NEXT_DUE, (sink,)).fetchone()[0] if sink in with_ready else None
        for sink in sinks
    ]


def _with_ready(tx: Transaction, sinks: Collection[str]) -> set[str]:
    """Those of the sinks that have anything which may be handed out at some time."""
    return {sink for (sink,) in tx.db.execute(_WITH_READY)}.intersection(sinks)


def release(tx: Transaction, claims: Sequence[tuple[bytes, int]], owner: str) -> Sequence[None]:
    stored = rows_by_key(tx.db, [key for key, _ in claims])
    heads = Heads(tx.db)
    for key, epoch in claims:
        row = stored.get(key)
        if row is None:
            continue
        after = rules.released(row, epoch, owner, tx.now)
        if after is row:
            continue
        heads.touch(row.order_scope, row.seq)
        if after is None:
            tx.delete(row)
            del stored[key]
        else:
            tx.rewrite(row, after)
            stored[key] = after
    heads.mend()
    return [None] * len(claims)


def reschedule(tx: Transaction, keys: Sequence[bytes], at: float) -> Sequence[bool]:
    stored = rows_by_key(tx.db, keys)
    heads = Heads(tx.db)
    answers: list[bool] = []
    for key in keys:
        row = stored.get(key)
        after = None if row is None else rules.rescheduled(row, at, tx.now)
        answers.append(after is not None)
        if row is not None and after is not None:
            heads.touch(row.order_scope, row.seq)
            tx.rewrite(row, after)
            stored[key] = after
    heads.mend()
    return answers


# Upkeep --------------------------------------------------------------------------------------


def purge_rows(
    tx: Transaction, bounds: Sequence[tuple[float, int]]
) -> list[tuple[int, int | None]]:
    """Drops ended rows last changed before a time, from a row number on; a chunk at a time.

    Gives how many, and the number to go on from (None: done). Rows arrive in the order of their
    numbers, so the first that arrived since ends the search.
    """
    return [_purge_chunk(tx, older_than, after) for older_than, after in bounds]


def _purge_chunk(tx: Transaction, older_than: float, after: int) -> tuple[int, int | None]:
    chunk = tx.db.execute(
        """
        SELECT number, kind, state, sink, ifnull(length(blob), 0), updated, created
        FROM delivery WHERE number > ? ORDER BY number LIMIT ?
        """,
        (after, _PURGE_CHUNK),
    ).fetchall()
    ended: list[tuple[int]] = []
    for number, kind, state, sink, size, updated, created in chunk:
        if created >= older_than:
            chunk = []
            break
        if updated < older_than and STATES[state].is_final:
            ended.append((number,))
            tx.count(kind, state, sink, -1, -size)
    tx.db.executemany("DELETE FROM delivery WHERE number = ?", ended)
    return len(ended), chunk[-1][0] if chunk else None


def end_claims(tx: Transaction) -> None:
    """Ends every lease: their holder is known to be dead."""
    tx.db.execute(
        """
        UPDATE delivery INDEXED BY claimed SET
            lease_until = min(lease_until, ?1), ready = CASE WHEN ready IS NOT NULL THEN ?1 END
        WHERE state = 'claimed' AND lease_until IS NOT NULL
        """,
        (tx.now,),
    )
