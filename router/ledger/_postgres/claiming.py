"""Taking rows, and giving them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from router.ledger import _operations as operations
from router.ledger._model import Claim, Granted, Row
from router.ledger._postgres.change import Reach, change
from router.ledger._postgres.connection import Connections
from router.ledger._postgres.rows import COUNT_CHANGES, NOW
from router.ledger._postgres.text import to_store

_FIRST: Final = Granted(1)

# New deliveries that nothing else bears on, in one statement. Who loses a race for a key does not
# get it back.
_CLAIM_NEW: Final = f"""
    WITH clock AS MATERIALIZED (SELECT {NOW} AS now), added AS (
        INSERT INTO delivery (
            number, key, kind, sink, attempts, first_at, expires_at, family, event_time,
            event_hash, position, blob, rank, state, epoch, owner, lease_until, waits_for,
            starts_on, created, updated, doubtful, is_head
        )
        SELECT numbered.*, 'claimed', 1, $2, now + $3::float8, 0, '', now, now, false, true
        FROM clock, (
            SELECT nextval('delivery_number'), given.* FROM unnest(
                $4::bytea[], $5::text[], $6::text[], $7::bigint[], $8::float8[], $9::float8[],
                $10::bytea[], $11::float8[], $12::bytea[], $13::text[], $14::bytea[],
                $15::smallint[]
            ) AS given (
                key, kind, sink, attempts, first_at, expires_at, family, event_time, event_hash,
                position, blob, rank
            )
            OFFSET 0
        ) AS numbered
        ORDER BY key
        ON CONFLICT (key) DO NOTHING RETURNING key, kind, sink, size
    ), changes AS (
        SELECT kind, 'claimed' AS state, sink, 1 AS rows, size FROM added
    ), counted AS ({COUNT_CHANGES})
    SELECT key FROM added
"""


async def claim(
    connections: Connections, asked: Sequence[Row], owner: str, lease: float
) -> list[Claim]:
    plain = {row.key: row for row in reversed(asked) if _is_plain(row)}
    added = await _claim_new(connections, list(plain.values()), owner, lease)
    left = [row for row in asked if row.key not in added or plain[row.key] is not row]
    if not left:
        return [_FIRST] * len(asked)
    answers = iter(await _claim_any(connections, left, owner, lease))
    return [
        _FIRST if row.key in added and plain[row.key] is row else next(answers) for row in asked
    ]


def _is_plain(row: Row) -> bool:
    """Whether neither order nor a cancel mark nor another row has a say in its first claim."""
    return (
        row.order_scope is None
        and row.seq is None
        and row.cancel_scope is None
        and row.wait_on is None
        and not row.waits_for
        and not row.starts_on
        and row.reason is None
    )


async def _claim_new(
    connections: Connections, rows: Sequence[Row], owner: str, lease: float
) -> set[bytes]:
    """Inserts those that are unknown, claimed; their keys."""
    if not rows:
        return set()
    values = zip(*map(_plain_values, rows), strict=True)
    added = await connections.fetch(_CLAIM_NEW, connections.now, owner, lease, *values)
    return {key for (key,) in added}


def _plain_values(row: Row) -> tuple[Any, ...]:
    return (
        row.key,
        row.kind.value,
        to_store(row.sink),
        row.attempts,
        row.first_at,
        row.expires_at,
        row.family,
        row.event_time,
        row.event_hash,
        to_store(row.position),
        row.blob,
        row.rank,
    )


async def _claim_any(
    connections: Connections, asked: Sequence[Row], owner: str, lease: float
) -> list[Claim]:
    reach = Reach(
        {row.key for row in asked},
        cancel_scopes={row.cancel_scope for row in asked if row.cancel_scope is not None},
    )
    reach.add_scopes_of(asked)
    return await change(
        connections,
        reach,
        lambda loaded, now: operations.claim(loaded, asked, loaded.marks_of, owner, lease, now),
    )


# Giving back ---------------------------------------------------------------------------------

_END_CLAIMS: Final = f"""
    UPDATE delivery SET lease_until = least(lease_until, {NOW}) WHERE number = ANY (ARRAY(
        SELECT number FROM unnest($2::bytea[], $3::bigint[]) AS given (key, epoch)
        JOIN delivery AS d USING (key)
        WHERE d.epoch = given.epoch AND owner = $4 AND state = 'claimed'
        FOR UPDATE OF d SKIP LOCKED
    ))
"""


async def release(
    connections: Connections, claims: Sequence[tuple[bytes, int]], owner: str
) -> None:
    reach = Reach({key for key, _ in claims})
    await change(
        connections, reach, lambda loaded, now: operations.release(loaded, claims, owner, now)
    )


async def reschedule(connections: Connections, keys: Sequence[bytes], due: float) -> list[bool]:
    reach = Reach(set(keys))
    return await change(
        connections, reach, lambda loaded, now: operations.reschedule(loaded, keys, due, now)
    )


async def end_claims(connections: Connections, epochs: Mapping[bytes, int], owner: str) -> None:
    """Ends the leases of an owner's claims: they are in doubt at once."""
    if epochs:
        keys, numbers = list(epochs), list(epochs.values())
        await connections.fetch(_END_CLAIMS, connections.now, keys, numbers, owner)
