"""The operation ``settle``: outcomes, follow-ups and waiting rows in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from router.ledger import _rules as rules
from router.ledger._model import Row, Settle, Settled, State
from router.ledger._sqlite.claims import Known
from router.ledger._sqlite.heads import Heads
from router.ledger._sqlite.rows import COLUMNS, STATES, Transaction, row_of, select_in
from router.messages import Reason

_CONCLUDE = """
    UPDATE delivery SET
        state = ?, sink = ?, owner = NULL, lease_until = NULL, due = ?, ready = ?, attempts = ?,
        first_at = coalesce(?, first_at), expires_at = coalesce(?, expires_at), reason = ?,
        reason_text = ?, blob = CASE WHEN ? THEN coalesce(?, blob) END, updated = ?, doubtful = 0
    WHERE number = ifnull(?, (SELECT number FROM delivery WHERE key = ?))
"""


_ANY_WAITING = "SELECT 1 FROM delivery INDEXED BY waiting WHERE state = 'waiting' LIMIT 1"
_ENDS_FOR_GOOD = (State.DELIVERED, State.SUPPRESSED)
_END_PLAIN_CLAIM = """
    UPDATE delivery SET
        state = ?, owner = NULL, lease_until = NULL, attempts = ?, first_at = ?,
        expires_at = coalesce(?, expires_at), reason = ?, reason_text = ?, updated = ?
    WHERE number = ?
"""
"""What differs once a plain claim has ended, its message not kept."""


class _Settling:
    """One call of ``settle``: what is stored, what is to be written, and in which order."""

    def __init__(self, tx: Transaction, settlements: Sequence[Settle]) -> None:
        self._tx = tx
        self._heads = Heads(tx.db)
        self._new: dict[bytes, Row] = {}
        self._changed: list[tuple[Any, ...]] = []
        self._ended: list[tuple[Any, ...]] = []
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

    def _update(self, known: Known, row: Row) -> None:
        tx, key = self._tx, row.key
        tx.claims.forget(key)
        if known.is_plain and row.state in _ENDS_FOR_GOOD and row.sink in ("", known.sink):
            self._end_plain_claim(known, row)
            return
        if (new := self._new.get(key)) is not None:
            self._new[key] = rules.merged(new, row, tx.now)
            self._remember(self._new[key])
            return
        self._heads.touch(known.order_scope, known.seq)
        state, sink, reason = row.state, row.sink or known.sink, row.reason
        due, blob = rules.at_rest(state, row.due, row.blob, tx.now)
        keeps_blob = state is State.DEAD or not state.is_final
        size = (known.size if blob is None else len(blob)) if keeps_blob else 0
        # `value` is a descriptor in Python, and this runs for every row.
        name = state._value_
        tx.count(known.kind, known.state._value_, known.sink, -1, -known.size)
        tx.count(known.kind, name, sink, 1, size)
        self._changed.append(
            (
                name,
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
                known.number,
                key,
            )
        )
        self._note(key, Known(state, known.epoch, known.kind, sink, size, *known[5:]))

    def _end_plain_claim(self, known: Known, row: Row) -> None:
        tx, reason, name = self._tx, row.reason, row.state._value_
        tx.count(known.kind, "claimed", known.sink, -1, 0)
        tx.count(known.kind, name, known.sink, 1, 0)
        self._ended.append(
            (
                name,
                row.attempts,
                row.first_at,
                row.expires_at,
                None if reason is None else reason.code,
                None if reason is None else reason.text,
                tx.now,
                known.number,
            )
        )
        self._known[row.key] = known._replace(state=row.state, number=None, is_plain=False)

    def _wake(self, family: bytes | None, settlement: Settle) -> None:
        now = self._tx.now
        gone: list[Row] = []
        for waiting in self._waiting_on(family):
            row = rules.woken(waiting, settlement, now)
            self._rewrite(waiting, row)
            if row.state.is_final:
                gone.append(row)
        self._drop_waiting(gone, rules.drop_reason(settlement))

    def _drop_waiting(self, gone: Sequence[Row], reason: Reason) -> None:
        """Ends whatever waits on rows that were dropped, and what waits on that."""
        for row in gone:
            followers: list[Row] = []
            for waiting in self._waiting_on(row.family):
                followers.append(rules.dropped(waiting, reason, self._tx.now))
                self._rewrite(waiting, followers[-1])
            self._drop_waiting(followers, reason)

    def _waiting_on(self, family: bytes | None) -> list[Row]:
        self._flush()
        sql = f"SELECT {COLUMNS} FROM delivery WHERE state = 'waiting' AND wait_on = ?"
        return [row_of(values) for values in self._tx.db.execute(sql, (family,))]

    def _rewrite(self, stored: Row, row: Row) -> None:
        if row is not stored:
            self._heads.touch(stored.order_scope, stored.seq)
            self._tx.rewrite(stored, row)
            self._remember(row)

    def _remember(self, row: Row) -> None:
        self._note(
            row.key,
            Known(
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

    def _note(self, key: bytes, known: Known) -> None:
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
        if self._ended:
            self._tx.db.executemany(_END_PLAIN_CLAIM, self._ended)
            self._ended.clear()

    def _awaited_families(self, settlements: Sequence[Settle]) -> set[bytes]:
        if self._tx.db.execute(_ANY_WAITING).fetchone() is None:
            return set()
        rows = [s.row for s in settlements if s.waiters != "keep"]
        keys = {row.key for row in rows}
        rows += [row for s in settlements for row in s.follow_ups if row.key in keys]
        families = {
            family
            for row in rows
            for family in (row.family, self._family(row.key))
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


def _known(tx: Transaction, keys: Sequence[bytes]) -> dict[bytes, Known]:
    known: dict[bytes, Known] = {}
    unread: list[bytes] = []
    for key in keys:
        if (claim := tx.claims.get(key)) is not None:
            known[key] = claim
        else:
            unread.append(key)
    sql = """
        SELECT key, state, epoch, kind, sink, ifnull(length(blob), 0), family, wait_on,
            order_scope, seq, number
        FROM delivery WHERE key IN (%s)
    """
    for values in select_in(tx.db, sql, unread):
        known[values[0]] = Known(STATES[values[1]], *values[2:])
    return known
