"""The operations on rows. Each takes a transaction and a list, and gives an aligned list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

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
    Kind,
    Row,
    Settle,
    Settled,
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


# Settle --------------------------------------------------------------------------------------

_CONCLUDE = """
    UPDATE delivery SET
        state = ?, sink = ?, owner = NULL, lease_until = NULL, due = ?, ready = ?, attempts = ?,
        first_at = coalesce(?, first_at), expires_at = coalesce(?, expires_at), reason = ?,
        reason_text = ?, blob = CASE WHEN ? THEN coalesce(?, blob) END, updated = ?, doubtful = 0
    WHERE key = ?
"""


class _Known(NamedTuple):
    """What a settlement is decided by."""

    state: State
    epoch: int
    kind: str
    sink: str
    size: int
    family: bytes | None
    wait_on: bytes | None
    order_scope: str | None
    seq: int | None


class _Settling:
    """One call of ``settle``: what is stored, what is to be written, and in which order."""

    def __init__(self, tx: Transaction, settlements: Sequence[Settle]) -> None:
        self._tx = tx
        self._heads = Heads(tx.db)
        self._new: dict[bytes, Row] = {}
        self._changed: list[tuple[Any, ...]] = []
        keys = [s.row.key for s in settlements]
        keys += [row.key for s in settlements for row in s.follow_ups]
        self._known = _known(tx, keys)
        self._awaited = self._awaited_families(settlements)

    def settle(self, settlement: Settle) -> Settled:
        row = settlement.row
        known = self._known.get(row.key)
        if known is None:
            self._insert(row)
            family = row.family
        else:
            answer = rules.settled(known.state, known.epoch, row.state, row.epoch)
            if answer is not Settled.OK:
                return answer
            self._update(known, row)
            family = known.family
        for follow_up in settlement.follow_ups:
            if follow_up.key not in self._known:
                self._insert(follow_up)
        if settlement.waiters != "keep" and family in self._awaited:
            self._wake(family, settlement)
        return Settled.OK

    def finish(self) -> None:
        """Writes what is left."""
        self._flush()
        self._heads.mend()

    def _insert(self, row: Row) -> None:
        new = rules.inserted(row, self._tx.now)
        self._heads.touch(new.order_scope, new.seq)
        self._new[new.key] = new
        self._remember(new)

    def _update(self, known: _Known, row: Row) -> None:
        tx, key = self._tx, row.key
        if (new := self._new.get(key)) is not None:
            self._new[key] = rules.merged(new, row, tx.now)
            self._remember(self._new[key])
            return
        self._heads.touch(known.order_scope, known.seq)
        state, sink, reason = row.state, row.sink or known.sink, row.reason
        due, blob = rules.at_rest(state, row.due, row.blob, tx.now)
        keeps_blob = state is State.DEAD or not state.is_final
        size = (known.size if blob is None else len(blob)) if keeps_blob else 0
        tx.count(known.kind, known.state.value, known.sink, -1, -known.size)
        tx.count(known.kind, state.value, sink, 1, size)
        self._changed.append(
            (
                state.value,
                sink,
                due,
                due if known.order_scope is None or known.seq is None else None,
                row.attempts,
                row.first_at,
                row.expires_at,
                None if reason is None else reason.code,
                None if reason is None else reason.text,
                keeps_blob,
                blob,
                tx.now,
                key,
            )
        )
        self._note(key, _Known(state, known.epoch, known.kind, sink, size, *known[5:]))

    def _wake(self, family: bytes | None, settlement: Settle) -> None:
        self._flush()
        waiting = self._tx.db.execute(
            f"SELECT {COLUMNS} FROM delivery WHERE state = 'waiting' AND wait_on = ?", (family,)
        ).fetchall()
        for stored in map(row_of, waiting):
            self._heads.touch(stored.order_scope, stored.seq)
            new = rules.woken(stored, settlement, self._tx.now)
            self._tx.rewrite(stored, new)
            self._remember(new)

    def _remember(self, row: Row) -> None:
        self._note(
            row.key,
            _Known(
                row.state,
                row.epoch,
                row.kind.value,
                row.sink,
                0 if row.blob is None else len(row.blob),
                row.family,
                row.wait_on,
                row.order_scope,
                row.seq,
            ),
        )

    def _note(self, key: bytes, known: _Known) -> None:
        self._known[key] = known
        if known.state is State.WAITING and known.wait_on is not None:
            self._awaited.add(known.wait_on)

    def _flush(self) -> None:
        if self._new:
            self._tx.insert(self._new.values())
            self._new.clear()
        if self._changed:
            self._tx.db.executemany(_CONCLUDE, self._changed)
            self._changed.clear()

    def _awaited_families(self, settlements: Sequence[Settle]) -> set[bytes]:
        families = {
            family
            for s in settlements
            if s.waiters != "keep"
            for family in (s.row.family, self._family(s.row.key))
            if family is not None
        }
        sql = "SELECT wait_on FROM delivery WHERE state = 'waiting' AND wait_on IN (%s)"
        return {family for (family,) in select_in(self._tx.db, sql, list(families))}

    def _family(self, key: bytes) -> bytes | None:
        known = self._known.get(key)
        return None if known is None else known.family


def settle(tx: Transaction, settlements: Sequence[Settle]) -> Sequence[Settled]:
    settling = _Settling(tx, settlements)
    answers = [settling.settle(settlement) for settlement in settlements]
    settling.finish()
    return answers


def _known(tx: Transaction, keys: Sequence[bytes]) -> dict[bytes, _Known]:
    sql = """
        SELECT key, state, epoch, kind, sink, ifnull(length(blob), 0), family, wait_on,
            order_scope, seq
        FROM delivery WHERE key IN (%s)
    """
    return {
        values[0]: _Known(STATES[values[1]], *values[2:]) for values in select_in(tx.db, sql, keys)
    }


# Schedule ------------------------------------------------------------------------------------

_DUE = f"""
    SELECT {COLUMNS}, ready, number FROM delivery INDEXED BY ready
    WHERE sink = ? AND ready <= ? %s ORDER BY ready, number LIMIT ?
"""
_HOLD = """
    UPDATE delivery SET
        state = 'claimed', epoch = ?, owner = ?, lease_until = ?, updated = ?, doubtful = ?,
        ready = CASE WHEN blob IS NOT NULL THEN ? END
    WHERE number = ?
"""

Wanted = tuple[Mapping[str, int], Sequence[Kind] | None]


def due(tx: Transaction, wanted: Sequence[Wanted], owner: str, lease: float) -> list[list[Row]]:
    return [_due(tx, sinks, kinds, owner, tx.now + lease) for sinks, kinds in wanted]


def _due(
    tx: Transaction,
    sinks: Mapping[str, int],
    kinds: Collection[Kind] | None,
    owner: str,
    lease_until: float,
) -> list[Row]:
    names = None if kinds is None else [kind.value for kind in kinds]
    sql = _DUE % ("" if names is None else f"AND kind IN ({', '.join('?' * len(names))})")
    found = [
        values
        for sink, limit in sinks.items()
        if limit > 0
        for values in tx.db.execute(sql, (sink, tx.now, *(names or ()), limit))
    ]
    found.sort(key=lambda values: values[-2:])
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


def next_due(tx: Transaction, sinks: Sequence[str]) -> Sequence[float | None]:
    sql = "SELECT min(ready) FROM delivery INDEXED BY ready WHERE sink = ? AND ready IS NOT NULL"
    return [tx.db.execute(sql, (sink,)).fetchone()[0] for sink in sinks]


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
