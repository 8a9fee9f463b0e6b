"""Rows as the table ``delivery`` keeps them, and the transaction that counts what it changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from router.ledger import _rules as rules
from router.ledger._model import Kind, Row, State
from router.ledger._sqlite.claims import Claims, is_plain
from router.messages import Reason

COLUMNS = (
    "key, kind, state, sink, epoch, owner, lease_until, due, attempts, first_at, expires_at, "
    "family, wait_on, waits_for, starts_on, order_scope, seq, cancel_scope, event_time, "
    "event_hash, position, reason, reason_text, blob, updated, doubtful, rank"
)
"""What :func:`row_of` reads."""

_COUNT_OF_COLUMNS = COLUMNS.count(",") + 1

_INSERT = f"""
    INSERT INTO delivery ({COLUMNS}, ready, created)
    VALUES ({", ".join("?" * 29)})
"""
_INSERT_PLAIN_CLAIM = """
    INSERT INTO delivery (
        key, kind, state, sink, epoch, owner, lease_until, attempts, expires_at, family, waits_for,
        starts_on, cancel_scope, event_time, event_hash, position, updated, doubtful, rank, created
    )
    VALUES (?, ?, 'claimed', ?, 1, ?, ?, ?, ?, ?, 0, '', ?, ?, ?, ?, ?, 0, ?, ?)
"""
_REWRITE = """
    UPDATE delivery SET
        state = ?, sink = ?, epoch = ?, owner = ?, lease_until = ?, due = ?, ready = ?,
        attempts = ?, first_at = ?, expires_at = ?, waits_for = ?, reason = ?, reason_text = ?,
        blob = ?, updated = ?, doubtful = ?
    WHERE key = ?
"""
_COUNT = """
    INSERT INTO tally VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET count = count + excluded.count, bytes = bytes + excluded.bytes
"""

KINDS = {kind.value: kind for kind in Kind}
STATES = {state.value: state for state in State}

_SIZES = (1, 4, 16, 64, 128, 256, 512)


@dataclass(slots=True)
class Transaction:
    """One transaction under way: its connection, the ledger's time, and the counts it changes.

    Attributes:
        claims: What is known of rows without reading them.
    """

    db: sqlite3.Connection
    now: float
    claims: Claims = field(default_factory=Claims)
    _counts: dict[tuple[str, str, str], tuple[int, int]] = field(
        default_factory=dict[tuple[str, str, str], tuple[int, int]]
    )

    def count(self, kind: str, state: str, sink: str, rows: int, size: int) -> None:
        """Notes that ``rows`` rows with ``size`` bytes of blobs came (or went, below zero)."""
        key = (kind, state, sink)
        had_rows, had_size = self._counts.get(key, (0, 0))
        self._counts[key] = (had_rows + rows, had_size + size)

    def write_counts(self) -> None:
        """Adds what was noted to the table of counts."""
        changes = [(*key, *change) for key, change in self._counts.items() if any(change)]
        self._counts.clear()
        if changes:
            self.db.executemany(_COUNT, changes)

    def insert(self, rows: Iterable[Row]) -> None:
        """Adds new rows; those of an order scope are not ready until its heads are mended."""
        self.db.executemany(_INSERT, [self._new(row) for row in rows])

    def insert_claims(self, rows: Iterable[Row], owner: str, lease_until: float) -> None:
        """Adds rows under their first claim; order scopes as with ``insert``."""
        plain: list[Row] = []
        others: list[Row] = []
        for row in rows:
            (plain if is_plain(row) else others).append(row)
        if others:
            self.db.executemany(_INSERT, [self._claimed(row, owner, lease_until) for row in others])
        if plain:
            values = [self._plainly_claimed(row, owner, lease_until) for row in plain]
            self.db.executemany(_INSERT_PLAIN_CLAIM, values)
            (last,) = self.db.execute("SELECT last_insert_rowid()").fetchone()
            self.claims.remember(plain, last - len(plain) + 1)

    def rewrite(self, old: Row, new: Row) -> None:
        """Writes a stored row anew, its identity aside; order scopes as with ``insert``."""
        self.claims.forget(new.key)
        blob = new.blob
        ready = None
        if new.order_scope is None or new.seq is None:
            ready = rules.ready_at(new.state, new.due, new.lease_until, blob=blob is not None)
        self.count(old.kind.value, old.state.value, old.sink, -1, -len(old.blob or b""))
        self.count(new.kind.value, new.state.value, new.sink, 1, len(blob or b""))
        code, text = (None, None) if new.reason is None else (new.reason.code, new.reason.text)
        self.db.execute(
            _REWRITE,
            (
                new.state.value,
                new.sink,
                new.epoch,
                new.owner,
                new.lease_until,
                new.due,
                ready,
                new.attempts,
                new.first_at,
                new.expires_at,
                new.waits_for,
                code,
                text,
                blob,
                new.updated,
                new.doubtful,
                new.key,
            ),
        )

    def delete(self, row: Row) -> None:
        self.claims.forget(row.key)
        self.count(row.kind.value, row.state.value, row.sink, -1, -len(row.blob or b""))
        self.db.execute("DELETE FROM delivery WHERE key = ?", (row.key,))

    def _new(self, row: Row) -> tuple[Any, ...]:
        return self._values(
            row, row.state, row.epoch, row.owner, row.lease_until, row.due, row.doubtful
        )

    def _claimed(self, row: Row, owner: str, lease_until: float) -> tuple[Any, ...]:
        return self._values(row, State.CLAIMED, 1, owner, lease_until, None, False)

    def _plainly_claimed(self, row: Row, owner: str, lease_until: float) -> tuple[Any, ...]:
        # `value` is a descriptor in Python, and this runs for every row.
        kind, now = row.kind._value_, self.now
        self.count(kind, "claimed", row.sink, 1, 0)
        return (
            row.key,
            kind,
            row.sink,
            owner,
            lease_until,
            row.attempts,
            row.expires_at,
            row.family,
            row.cancel_scope,
            row.event_time,
            row.event_hash,
            row.position,
            now,
            row.rank,
            now,
        )

    def _values(
        self,
        row: Row,
        state: State,
        epoch: int,
        owner: str | None,
        lease_until: float | None,
        due: float | None,
        doubtful: bool,
    ) -> tuple[Any, ...]:
        blob, reason = row.blob, row.reason
        # `value` is a descriptor in Python, and this runs for every row.
        kind, state_name = row.kind._value_, state._value_
        self.count(kind, state_name, row.sink, 1, 0 if blob is None else len(blob))
        ready = None
        if row.order_scope is None or row.seq is None:
            ready = rules.ready_at(state, due, lease_until, blob=blob is not None)
        return (
            row.key,
            kind,
            state_name,
            row.sink,
            epoch,
            owner,
            lease_until,
            due,
            row.attempts,
            row.first_at,
            row.expires_at,
            row.family,
            row.wait_on,
            row.waits_for,
            ",".join(row.starts_on),
            row.order_scope,
            row.seq,
            row.cancel_scope,
            row.event_time,
            row.event_hash,
            row.position,
            None if reason is None else reason.code,
            None if reason is None else reason.text,
            blob,
            self.now,
            doubtful,
            row.rank,
            ready,
            self.now,
        )


def row_of(values: Sequence[Any]) -> Row:
    """The row from its ``COLUMNS``."""
    fields = list(values[:_COUNT_OF_COLUMNS])
    fields[1] = KINDS[fields[1]]
    fields[2] = STATES[fields[2]]
    starts_on, reason, text = fields[14], fields[21], fields.pop(22)
    fields[14] = tuple(starts_on.split(",")) if starts_on else ()
    fields[21] = None if reason is None else Reason(reason, text)
    fields[24] = bool(fields[24])
    return Row(*fields)


def rows_by_key(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Row]:
    """The stored rows among these keys."""
    found = select_in(db, f"SELECT {COLUMNS} FROM delivery WHERE key IN (%s)", keys)
    return {values[0]: row_of(values) for values in found}


def select_in(
    db: sqlite3.Connection, sql: str, values: Sequence[bytes] | Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Runs ``sql`` (``%s`` stands for the list) over any number of values.

    Lists are padded to a few lengths, so that statements stay prepared.
    """
    for start in range(0, len(values), _SIZES[-1]):
        part = values[start : start + _SIZES[-1]]
        size = next(size for size in _SIZES if size >= len(part))
        padding = (None,) * (size - len(part))
        yield from db.execute(_with_places(sql, size), (*part, *padding))


@lru_cache(256)
def _with_places(sql: str, count: int) -> str:
    """The same text each time: the connection finds its prepared statement by it."""
    return sql % ", ".join("?" * count)
