"""The operations on rows that only look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from router.ledger import _rules as rules
from router.ledger._model import Kind, Row, State, Stats
from router.ledger._postgres.connection import Connections
from router.ledger._postgres.rows import COLUMNS, KINDS, NOW, STATES, row_of
from router.ledger._postgres.text import from_store, to_store

_LOOKUP: Final = f"SELECT {COLUMNS} FROM delivery WHERE key = ANY($1::bytea[])"
_MEMBERS: Final = f"SELECT {COLUMNS} FROM delivery WHERE awaited = ANY($1::bytea[])"
_STATS: Final = f"""
    WITH total AS (
        SELECT kind, state, sink, sum(count)::bigint AS count, sum(bytes)::bigint AS bytes
        FROM tally GROUP BY kind, state, sink HAVING sum(count) <> 0
    ), clock AS (SELECT {NOW} AS now)
    SELECT kind, state, sink, count, bytes, now - (
        SELECT min(first.ready) FROM (SELECT DISTINCT sink FROM total) AS open
        CROSS JOIN (VALUES (0), (1), (2)) AS ranks (rank) CROSS JOIN LATERAL (
            SELECT ready FROM delivery
            WHERE sink = open.sink AND rank = ranks.rank AND ready IS NOT NULL
            ORDER BY ready LIMIT 1
        ) AS first
    ) AS age
    FROM total, clock
"""
_NEXT_DUE: Final = """
    SELECT min(first.ready) FROM unnest($1::text[]) AS wanted (sink)
    CROSS JOIN (VALUES (0), (1), (2)) AS ranks (rank) CROSS JOIN LATERAL (
        SELECT ready FROM delivery
        WHERE sink = wanted.sink AND rank = ranks.rank AND ready IS NOT NULL
        ORDER BY ready LIMIT 1
    ) AS first
"""


async def lookup(connections: Connections, keys: Sequence[bytes]) -> list[Row | None]:
    found = {row[0]: row_of(row) for row in await connections.fetch(_LOOKUP, keys)}
    return [found.get(key) for key in keys]


async def members(connections: Connections, digests: Sequence[bytes]) -> list[list[Row]]:
    found: dict[bytes, list[Row]] = {digest: [] for digest in digests}
    for row in map(row_of, await connections.fetch(_MEMBERS, list(found))):
        if row.wait_on is not None:
            found[row.wait_on].append(row)
    return [rules.in_order(found[digest]) for digest in digests]


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
    found = await connections.fetch(_STATS, connections.now)
    stats = rules.stats_of(
        (KINDS[kind], STATES[state], from_store(sink), count, size)
        for kind, state, sink, count, size, _ in found
    )
    age: float | None = found[0]["age"] if found else None
    return replace(stats, oldest_due=None if age is None or age < 0 else age)


async def next_due(connections: Connections, sinks: Sequence[str]) -> float | None:
    ((at,),) = await connections.fetch(_NEXT_DUE, [to_store(sink) for sink in sinks])
    return at
