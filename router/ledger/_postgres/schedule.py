"""What is due, and what has had its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from router.ledger._model import Kind, Row
from router.ledger._postgres.connection import Connections
from router.ledger._postgres.rows import COLUMNS, COUNT_CHANGES, NOW, STATES, row_of
from router.ledger._postgres.text import to_store

PURGE_CHUNK: Final = 1000

_HOLD: Final = f"""
    held AS (
        UPDATE delivery AS d SET
            state = 'claimed', epoch = d.epoch + 1, owner = $2,
            lease_until = clock.now + $3::float8, updated = clock.now,
            doubtful = d.doubtful OR d.state = 'claimed'
        FROM clock WHERE d.number = ANY (ARRAY(SELECT number FROM taken))
        RETURNING {COLUMNS}, number, size
    ), changes AS (
        SELECT kind, was AS state, sink, -1 AS rows, -size AS size
        FROM held JOIN taken USING (number)
        UNION ALL SELECT kind, state, sink, 1, size FROM held
    ), counted AS ({COUNT_CHANGES})
    SELECT {COLUMNS}, was FROM held JOIN taken USING (number)
"""
"""Claims the rows that a query has ``taken``: their ``number``, and in which state each ``was``."""

_DUE: Final = f"""
    WITH clock AS MATERIALIZED (SELECT {NOW} AS now), taken AS MATERIALIZED (
        SELECT first.* FROM clock, unnest($4::text[], $5::bigint[]) AS wanted (sink, most)
        CROSS JOIN LATERAL (
            -- Rank after rank, each only as far as the ones before it left room.
            SELECT of_rank.* FROM unnest($7::int[]) AS ranks (rank) CROSS JOIN LATERAL (
                SELECT number, state AS was, ready AS since FROM delivery
                WHERE sink = wanted.sink AND rank = ranks.rank AND ready <= clock.now
                    AND ($6::text[] IS NULL OR kind = ANY ($6))
                ORDER BY ready, number LIMIT wanted.most FOR UPDATE SKIP LOCKED
            ) AS of_rank LIMIT wanted.most
        ) AS first
    ), {_HOLD} ORDER BY rank, since, number
"""


async def due(
    connections: Connections,
    wanted: Mapping[str, int],
    kinds: Sequence[Kind] | None,
    owner: str,
    lease: float,
    ranks: Sequence[int],
) -> list[Row]:
    found = await connections.fetch(
        _DUE,
        connections.now,
        owner,
        lease,
        [to_store(sink) for sink in wanted],
        list(wanted.values()),
        None if kinds is None else [kind.value for kind in kinds],
        list(ranks),
    )
    return [_held(record) for record in found]


_EXPIRED: Final = f"""
    WITH clock AS MATERIALIZED (SELECT {NOW} AS now), taken AS MATERIALIZED (
        SELECT first.* FROM clock CROSS JOIN LATERAL (
            SELECT number, state AS was, expiring AS since FROM delivery
            WHERE expiring <= clock.now ORDER BY expiring, number LIMIT $4 FOR UPDATE SKIP LOCKED
        ) AS first
    ), {_HOLD} ORDER BY since, number
"""


async def expired(connections: Connections, most: int, owner: str, lease: float) -> list[Row]:
    found = await connections.fetch(_EXPIRED, connections.now, owner, lease, most)
    return [_held(record) for record in found]


def _held(record: Any) -> Row:
    return replace(row_of(record), state=STATES[record["was"]])


# Upkeep --------------------------------------------------------------------------------------

_PURGE: Final = f"""
    WITH chunk AS MATERIALIZED (
        SELECT number, created FROM delivery WHERE number > $2 ORDER BY number LIMIT {PURGE_CHUNK}
    ), ended AS (
        SELECT number FROM delivery AS d
        WHERE number = ANY (ARRAY(SELECT number FROM chunk)) AND updated < $1
            AND state IN ('delivered', 'suppressed', 'dead')
        FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM delivery WHERE number = ANY (ARRAY(SELECT number FROM ended))
        RETURNING kind, state, sink, size
    ), changes AS (
        SELECT kind, state, sink, -1 AS rows, -size AS size FROM gone
    ), counted AS ({COUNT_CHANGES})
    SELECT (SELECT count(*) FROM gone) AS count,
        (SELECT max(number) FROM chunk WHERE NOT EXISTS (
            SELECT FROM chunk WHERE created >= $1
        )) AS last
"""


async def purge(connections: Connections, older_than: float) -> int:
    """Drops ended rows last changed before a time, a chunk at a time; how many.

    Rows arrive in the order of their numbers, or nearly so: the first that arrived since ends the
    search.
    """
    count, last = 0, 0
    while last is not None:
        ((dropped, last),) = await connections.fetch(_PURGE, older_than, last)
        count += dropped
    return count
