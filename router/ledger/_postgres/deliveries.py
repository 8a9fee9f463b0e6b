"""The operations on rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from router.ledger import _operations as operations
from router.ledger._contract import (
    Claim,
    Granted,
    Kind,
    Row,
    Settle,
    Settled,
    State,
    Stats,
)
from router.ledger._postgres.change import Reach, change
from router.ledger._postgres.connection import Connections
from router.ledger._postgres.rows import (
    COLUMNS,
    COUNT_CHANGES,
    KINDS,
    NOW,
    STATES,
    row_of,
)
from router.ledger._postgres.text import from_store, to_store

_FIRST: Final = Granted(1)
PURGE_CHUNK: Final = 1000

# Looking -------------------------------------------------------------------------------------

_LOOKUP: Final = f"SELECT {COLUMNS} FROM delivery WHERE key = ANY($1::bytea[])"
_STATS: Final = f"""
    WITH total AS (
        SELECT kind, state, sink, sum(count)::bigint AS count, sum(bytes)::bigint AS bytes
        FROM tally GROUP BY kind, state, sink HAVING sum(count) <> 0
    ), clock AS (SELECT {NOW} AS now)
    SELECT kind, state, sink, count, bytes, now - (
        SELECT min(first.ready) FROM (SELECT DISTINCT sink FROM total) AS open
        CROSS JOIN LATERAL (
            SELECT ready FROM delivery WHERE sink = open.sink AND ready IS NOT NULL
            ORDER BY ready LIMIT 1
        ) AS first
    ) AS age
    FROM total, clock
"""
_NEXT_DUE: Final = """
    SELECT min(first.ready) FROM unnest($1::text[]) AS wanted (sink) CROSS JOIN LATERAL (
        SELECT ready FROM delivery WHERE sink = wanted.sink AND ready IS NOT NULL
        ORDER BY ready LIMIT 1
    ) AS first
"""


async def lookup(connections: Connections, keys: Sequence[bytes]) -> list[Row | None]:
    found = {row[0]: row_of(row) for row in await connections.fetch(_LOOKUP, keys)}
    return [found.get(key) for key in keys]


async def rows(
    connections: Connections,
    kind: Kind,
    state: State | None,
    sink: str | None,
    since: float | None,
    until: float | None,
    after: bytes | None,
    limit: int,
) -> list[Row]:
    conditions: dict[str, Any] = {
        "kind = ": kind.value,
        "state = ": None if state is None else state.value,
        "sink = ": None if sink is None else to_store(sink),
        "updated >= ": since,
        "updated < ": until,
        "key > ": after,
    }
    given = {text: value for text, value in conditions.items() if value is not None}
    where = [f"{text}${number}" for number, text in enumerate(given, start=2)]
    if state is State.DEAD:
        where.append("is_dead")
    sql = f"SELECT {COLUMNS} FROM delivery WHERE {' AND '.join(where)} ORDER BY key LIMIT $1"
    return [row_of(record) for record in await connections.fetch(sql, limit, *given.values())]


async def stats(connections: Connections) -> Stats:
    counts: dict[tuple[Kind, State], int] = {}
    backlog: dict[str, int] = {}
    backlog_bytes: dict[str, int] = {}
    age: float | None = None
    for record in await connections.fetch(_STATS, connections.now):
        kind, state_name, sink, count, size, age = record
        state = STATES[state_name]
        key = KINDS[kind], state
        counts[key] = counts.get(key, 0) + count
        if not state.is_final:
            sink = from_store(sink)
            backlog[sink] = backlog.get(sink, 0) + count
            backlog_bytes[sink] = backlog_bytes.get(sink, 0) + size
    return Stats(counts, backlog, backlog_bytes, None if age is None or age < 0 else age)


async def next_due(connections: Connections, sinks: Sequence[str]) -> float | None:
    ((at,),) = await connections.fetch(_NEXT_DUE, [to_store(sink) for sink in sinks])
    return at


# Claims and settlements ----------------------------------------------------------------------

# New deliveries that nothing else bears on, in one statement. Who loses a race for a key does not
# get it back.
_CLAIM_NEW: Final = f"""
    WITH clock AS MATERIALIZED (SELECT {NOW} AS now), added AS (
        INSERT INTO delivery (
            number, key, kind, sink, attempts, first_at, expires_at, family, event_time,
            event_hash, position, blob, state, epoch, owner, lease_until, waits_for, starts_on,
            created, updated, doubtful, is_head
        )
        SELECT numbered.*, 'claimed', 1, $2, now + $3::float8, 0, '', now, now, false, true
        FROM clock, (
            SELECT nextval('delivery_number'), given.* FROM unnest(
                $4::bytea[], $5::text[], $6::text[], $7::bigint[], $8::float8[], $9::float8[],
                $10::bytea[], $11::float8[], $12::bytea[], $13::text[], $14::bytea[]
            ) AS given (
                key, kind, sink, attempts, first_at, expires_at, family, event_time, event_hash,
                position, blob
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


async def settle(connections: Connections, settlements: Sequence[Settle]) -> list[Settled]:
    given = [row for s in settlements for row in (s.row, *s.follow_ups)]
    reach = Reach(
        {row.key for row in given},
        waking=[s.row for s in settlements if s.waiters != "keep"],
        families={
            row.family
            for s in settlements
            if s.waiters != "keep"
            for row in s.follow_ups
            if row.state is State.WAITING and row.family is not None
        },
    )
    reach.add_scopes_of(given)
    return await change(
        connections, reach, lambda loaded, now: operations.settle(loaded, settlements, now)
    )


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


# Schedule ------------------------------------------------------------------------------------

_DUE: Final = f"""
    WITH clock AS MATERIALIZED (SELECT {NOW} AS now), taken AS MATERIALIZED (
        SELECT first.* FROM clock, unnest($4::text[], $5::bigint[]) AS wanted (sink, most)
        CROSS JOIN LATERAL (
            SELECT number, state AS was, ready AS since FROM delivery
            WHERE sink = wanted.sink AND ready <= clock.now
                AND ($6::text[] IS NULL OR kind = ANY ($6))
            ORDER BY ready, number LIMIT wanted.most FOR UPDATE SKIP LOCKED
        ) AS first
    ), held AS (
        UPDATE delivery AS d SET
            state = 'claimed', epoch = d.epoch + 1, owner = $2,
            lease_until = clock.now + $3::float8, updated = clock.now,
            doubtful = d.doubtful OR d.state = 'claimed'
        FROM taken, clock WHERE d.number = taken.number
        RETURNING {COLUMNS}, was, since, d.number, size
    ), changes AS (
        SELECT kind, was AS state, sink, -1 AS rows, -size AS size FROM held
        UNION ALL SELECT kind, state, sink, 1, size FROM held
    ), counted AS ({COUNT_CHANGES})
    SELECT {COLUMNS}, was FROM held ORDER BY since, number
"""


async def due(
    connections: Connections,
    wanted: Mapping[str, int],
    kinds: Sequence[Kind] | None,
    owner: str,
    lease: float,
) -> list[Row]:
    found = await connections.fetch(
        _DUE,
        connections.now,
        owner,
        lease,
        [to_store(sink) for sink in wanted],
        list(wanted.values()),
        None if kinds is None else [kind.value for kind in kinds],
    )
    return [replace(row_of(record), state=STATES[record["was"]]) for record in found]


# Upkeep --------------------------------------------------------------------------------------

_PURGE: Final = f"""
    WITH chunk AS MATERIALIZED (
        SELECT number, created FROM delivery WHERE number > $2 ORDER BY number LIMIT {PURGE_CHUNK}
    ), ended AS (
        SELECT number FROM delivery AS d
        WHERE number IN (SELECT number FROM chunk) AND updated < $1
            AND state IN ('delivered', 'suppressed', 'dead')
        FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM delivery WHERE number IN (SELECT number FROM ended)
        RETURNING kind, state, sink, size
    ), changes AS (
        SELECT kind, state, sink, -1 AS rows, -size AS size FROM gone
    ), counted AS ({COUNT_CHANGES})
    SELECT (SELECT count(*) FROM gone) AS count,
        (SELECT max(number) FROM chunk WHERE NOT EXISTS (
            SELECT FROM chunk WHERE created >= $1
        )) AS last
"""
_END_CLAIMS: Final = f"""
    UPDATE delivery SET lease_until = least(lease_until, {NOW}) WHERE number IN (
        SELECT number FROM delivery
        WHERE key = ANY($2::bytea[]) AND owner = $3 AND state = 'claimed'
        FOR UPDATE SKIP LOCKED
    )
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


async def end_claims(connections: Connections, keys: Collection[bytes], owner: str) -> None:
    """Ends the leases of an owner's claims: they are in doubt at once."""
    if keys:
        await connections.fetch(_END_CLAIMS, connections.now, list(keys), owner)
