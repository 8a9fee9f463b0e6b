"""Rows as the table ``delivery`` keeps them, and the statements that load and write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from router.ledger._model import Kind, Row, State
from router.ledger._postgres.connection import Connection
from router.ledger._postgres.text import (
    from_store,
    optional_from_store,
    optional_to_store,
    to_store,
)
from router.messages import Reason

NOW: Final = "coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8)"
"""The ledger's time, where a statement's first argument may give another."""

KEPT: Final = b"<kept>"
"""The message of a row that was loaded without it; known by identity."""

_NARROW: Final = (
    "key, kind, state, sink, epoch, owner, lease_until, due, attempts, first_at, expires_at, "
    "family, wait_on, waits_for, starts_on, order_scope, seq, cancel_scope, event_time, "
    "event_hash, position, reason, reason_text, updated, doubtful, rank"
)
COLUMNS: Final = f"{_NARROW}, blob"
"""What :func:`row_of` reads."""

NARROW: Final = f"{_NARROW}, CASE WHEN blob IS NOT NULL THEN size END AS kept_size"
"""The same without the message, but with its size."""

# The number is drawn before the rows are sorted, so that rows which are equally long due come in
# the order in which they were given.
_INSERT: Final = """
    INSERT INTO delivery (
        number, key, kind, state, sink, epoch, due, attempts, first_at, expires_at, family, wait_on,
        waits_for, starts_on, order_scope, seq, cancel_scope, event_time, event_hash, position,
        reason, reason_text, blob, owner, lease_until, is_head, rank, doubtful, created, updated
    )
    SELECT * FROM (
        SELECT nextval('delivery_number'), given.* FROM unnest(
            $1::bytea[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::float8[],
            $7::bigint[], $8::float8[], $9::float8[], $10::bytea[], $11::bytea[], $12::bigint[],
            $13::text[], $14::text[], $15::bigint[], $16::text[], $17::float8[], $18::bytea[],
            $19::text[], $20::text[], $21::text[], $22::bytea[], $23::text[], $24::float8[],
            $25::boolean[], $26::smallint[]
        ) AS given (
            key, kind, state, sink, epoch, due, attempts, first_at, expires_at, family, wait_on,
            waits_for, starts_on, order_scope, seq, cancel_scope, event_time, event_hash, position,
            reason, reason_text, blob, owner, lease_until, is_head, rank
        )
        OFFSET 0
    ) AS numbered, (SELECT false, $27::float8, $27::float8) AS same
    ORDER BY key
    ON CONFLICT (key) DO NOTHING RETURNING key
"""
_UPDATE: Final = """
    UPDATE delivery AS d SET
        state = new.state, sink = new.sink, epoch = new.epoch, owner = new.owner,
        lease_until = new.lease_until, due = new.due, attempts = new.attempts,
        first_at = new.first_at, expires_at = new.expires_at, waits_for = new.waits_for,
        reason = new.reason, reason_text = new.reason_text, updated = new.updated,
        doubtful = new.doubtful, blob = CASE WHEN new.is_kept THEN d.blob ELSE new.blob END,
        -- One of an order scope that is opened again is not ready until its heads are mended.
        is_head = d.order_scope IS NULL OR d.seq IS NULL
            OR (d.is_head AND d.open_scope IS NOT NULL)
    FROM unnest(
        $1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::float8[], $7::float8[],
        $8::bigint[], $9::float8[], $10::float8[], $11::bigint[], $12::text[], $13::text[],
        $14::float8[], $15::boolean[], $16::boolean[], $17::bytea[]
    ) AS new (
        key, state, sink, epoch, owner, lease_until, due, attempts, first_at, expires_at,
        waits_for, reason, reason_text, updated, doubtful, is_kept, blob
    )
    WHERE d.key = new.key
"""
COUNT_CHANGES: Final = """
    INSERT INTO tally AS had
    SELECT kind, state, sink, pg_backend_pid() % 16, sum(rows), sum(size)
    FROM changes GROUP BY kind, state, sink ORDER BY kind, state, sink
    ON CONFLICT (kind, state, sink, slot)
    DO UPDATE SET count = had.count + excluded.count, bytes = had.bytes + excluded.bytes
"""
"""Adds ``changes (kind, state, sink, rows, size)`` to the counts.

It comes last in a transaction, since it locks rows that others want.
"""
_COUNT: Final = f"""
    WITH changes AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
        AS given (kind, state, sink, rows, size)
    ) {COUNT_CHANGES}
"""

KINDS: Final = {kind.value: kind for kind in Kind}
STATES: Final = {state.value: state for state in State}


def row_of(record: Sequence[Any]) -> Row:
    """The row from its ``COLUMNS``; from ``NARROW``, its message is ``KEPT`` where it has one."""
    fields = list(record[:27])
    fields[1] = KINDS[fields[1]]
    fields[2] = STATES[fields[2]]
    fields[3] = from_store(fields[3])
    fields[14] = tuple(fields[14].split(",")) if fields[14] else ()
    fields[15] = optional_from_store(fields[15])
    fields[17] = optional_from_store(fields[17])
    fields[20] = from_store(fields[20])
    code, text, updated, doubtful, rank, blob = fields[21:27]
    reason = None if code is None else Reason(code, from_store(text))
    if isinstance(blob, int):
        blob = KEPT
    fields[21:] = reason, blob, updated, doubtful, rank
    return Row(*fields)


class Counts:
    """How many rows of each kind, state and sink came and went, and the bytes of their blobs."""

    def __init__(self) -> None:
        self._rows: Counter[tuple[str, str, str]] = Counter()
        self._bytes: Counter[tuple[str, str, str]] = Counter()

    def add(self, row: Row, size: int, sign: int = 1) -> None:
        key = (row.kind.value, row.state.value, row.sink)
        self._rows[key] += sign
        self._bytes[key] += sign * size

    async def write(self, db: Connection) -> None:
        """Adds them to the table; the last thing a transaction does."""
        changed = [key for key in self._rows if self._rows[key] or self._bytes[key]]
        if not changed:
            return
        kinds, states, sinks = zip(*changed, strict=True)
        await db.execute(
            _COUNT,
            kinds,
            states,
            [to_store(sink) for sink in sinks],
            [self._rows[key] for key in changed],
            [self._bytes[key] for key in changed],
        )


def columns(rows: Iterable[Row]) -> list[Sequence[Any]]:
    """The arguments of ``_INSERT`` for these rows, but for the time."""
    return list(zip(*map(_values, rows), strict=True))


def _values(row: Row) -> tuple[Any, ...]:
    reason = row.reason
    return (
        row.key,
        row.kind.value,
        row.state.value,
        to_store(row.sink),
        row.epoch,
        row.due,
        row.attempts,
        row.first_at,
        row.expires_at,
        row.family,
        row.wait_on,
        row.waits_for,
        ",".join(row.starts_on),
        optional_to_store(row.order_scope),
        row.seq,
        optional_to_store(row.cancel_scope),
        row.event_time,
        row.event_hash,
        to_store(row.position),
        None if reason is None else reason.code,
        None if reason is None else to_store(reason.text),
        row.blob,
        row.owner,
        row.lease_until,
        row.order_scope is None or row.seq is None,
        row.rank,
    )


async def insert(db: Connection, rows: Collection[Row], now: float) -> set[bytes]:
    """Adds new rows; the keys of those that were new indeed.

    Those of an order scope are not ready until its heads are mended.
    """
    if not rows:
        return set()
    return {key for (key,) in await db.fetch(_INSERT, *columns(rows), now)}


async def update(db: Connection, rows: Collection[Row]) -> None:
    """Writes rows anew, their identity aside; their locks are held."""
    if rows:
        await db.execute(_UPDATE, *zip(*map(_changeable, rows), strict=True))


def _changeable(row: Row) -> tuple[Any, ...]:
    reason, is_kept = row.reason, row.blob is KEPT
    return (
        row.key,
        row.state.value,
        to_store(row.sink),
        row.epoch,
        row.owner,
        row.lease_until,
        row.due,
        row.attempts,
        row.first_at,
        row.expires_at,
        row.waits_for,
        None if reason is None else reason.code,
        None if reason is None else to_store(reason.text),
        row.updated,
        row.doubtful,
        is_kept,
        None if is_kept else row.blob,
    )
