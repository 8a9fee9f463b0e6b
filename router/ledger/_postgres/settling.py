"""The operation ``settle``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from router.ledger import _operations as operations
from router.ledger._model import Row, Settle, Settled, State
from router.ledger._postgres.change import Reach, change
from router.ledger._postgres.connection import Connections
from router.ledger._postgres.rows import COUNT_CHANGES, NOW
from router.ledger._postgres.text import to_store

# Outcomes of claims, in one statement: those that write nothing beside their row and free nobody
# else. What `_rules.merged` says of a row, said in SQL.
_CONCLUDE: Final = f"""
    WITH clock AS MATERIALIZED (SELECT {NOW} AS now), new AS MATERIALIZED (
        SELECT d.number, d.sink AS old_sink, d.size AS old_size, given.*
        FROM unnest(
            $2::bytea[], $3::bigint[], $4::text[], $5::text[], $6::float8[], $7::bigint[],
            $8::float8[], $9::float8[], $10::text[], $11::text[], $12::bytea[]
        ) AS given (
            key, epoch, state, sink, due, attempts, first_at, expires_at, reason, reason_text, blob
        ) JOIN delivery AS d USING (key)
        WHERE d.epoch = given.epoch AND d.state = 'claimed' AND d.order_scope IS NULL
        ORDER BY key FOR UPDATE OF d
    ), written AS (
        UPDATE delivery AS d SET
            state = new.state, sink = coalesce(nullif(new.sink, ''), d.sink),
            owner = NULL, lease_until = NULL, doubtful = false, updated = clock.now,
            due = CASE new.state WHEN 'scheduled' THEN coalesce(new.due, clock.now)
                WHEN 'waiting' THEN new.due END,
            attempts = new.attempts, first_at = coalesce(new.first_at, d.first_at),
            expires_at = coalesce(new.expires_at, d.expires_at),
            reason = new.reason, reason_text = new.reason_text,
            blob = CASE WHEN new.state NOT IN ('delivered', 'suppressed')
                THEN coalesce(new.blob, d.blob) END
        FROM new, clock WHERE d.number = new.number
        RETURNING d.key, d.kind, d.state, d.sink, d.size, new.old_sink, new.old_size
    ), changes AS (
        SELECT kind, 'claimed' AS state, old_sink AS sink, -1 AS rows, -old_size AS size
        FROM written
        UNION ALL SELECT kind, state, sink, 1, size FROM written
    ), counted AS ({COUNT_CHANGES})
    SELECT key FROM written
"""


async def settle(connections: Connections, settlements: Sequence[Settle]) -> list[Settled]:
    """Settlements of plain claims are written before the others; none of them bears on another."""
    first: dict[bytes, Settle] = {}
    for settlement in settlements:
        for row in (settlement.row, *settlement.follow_ups):
            first.setdefault(row.key, settlement)
    plain = [s for s in settlements if first[s.row.key] is s and _is_conclusion(s)]
    written = await _conclude(connections, [s.row for s in plain])
    left = [s for s in settlements if s.row.key not in written or first[s.row.key] is not s]
    if not left:
        return [Settled.OK] * len(settlements)
    answers = iter(await _settle_any(connections, left))
    return [
        Settled.OK if s.row.key in written and first[s.row.key] is s else next(answers)
        for s in settlements
    ]


def _is_conclusion(settlement: Settle) -> bool:
    return settlement.waiters == "keep" and not settlement.follow_ups and settlement.row.epoch > 0


async def _conclude(connections: Connections, rows: Sequence[Row]) -> set[bytes]:
    """Writes the outcomes of claims of these epochs; the keys of those that were such claims."""
    if not rows:
        return set()
    values = zip(*map(_conclusion, rows), strict=True)
    return {key for (key,) in await connections.fetch(_CONCLUDE, connections.now, *values)}


def _conclusion(row: Row) -> tuple[Any, ...]:
    return (
        row.key,
        row.epoch,
        row.state.value,
        to_store(row.sink),
        row.due,
        row.attempts,
        row.first_at,
        row.expires_at,
        None if row.reason is None else row.reason.code,
        None if row.reason is None else to_store(row.reason.text),
        row.blob,
    )


async def _settle_any(connections: Connections, settlements: Sequence[Settle]) -> list[Settled]:
    given = [row for s in settlements for row in (s.row, *s.follow_ups)]
    waking = [s for s in settlements if s.waiters != "keep"]
    followers = [row for s in waking for row in s.follow_ups if row.state is State.WAITING]
    reach = Reach(
        {row.key for row in given},
        waking=[s.row for s in waking],
        families={row.family for row in followers if row.family is not None},
    )
    reach.add_scopes_of(given)
    return await change(
        connections, reach, lambda loaded, now: operations.settle(loaded, settlements, now)
    )
