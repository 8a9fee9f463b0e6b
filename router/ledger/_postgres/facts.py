"""The operations on facts, rates and progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from router.ledger import _rules as rules
from router.ledger._contract import LedgerDown
from router.ledger._model import Fact, ProgressKey, Take, Verdict
from router.ledger._postgres.change import FACT_LOCKS, lock
from router.ledger._postgres.connection import AGAIN, ATTEMPTS, Connection, Connections
from router.ledger._postgres.rows import NOW
from router.ledger._postgres.text import from_store, to_store

R = TypeVar("R")

_CHUNK: Final = 1000
_LAST: Final = "\U0010ffff"
_COLUMNS: Final = "scope, member, value, until, at, blob"
_FACTS: Final = f"""
    SELECT {_COLUMNS} FROM fact
    WHERE scope = ANY($2::text[]) AND (until IS NULL OR until > {NOW}) ORDER BY scope, member
"""
_CHANGES: Final = f"""
    SELECT {_COLUMNS} FROM fact
    WHERE scope >= $1 AND scope < $2 AND starts_with(scope, $1) AND at >= $3
    ORDER BY scope, member
"""
_KNOWN: Final = f"""
    SELECT {_COLUMNS}, clock.now FROM (SELECT {NOW} AS now) AS clock LEFT JOIN (
        SELECT fact.* FROM fact JOIN unnest($2::text[], $3::text[]) AS asked (scope, member)
        USING (scope, member)
    ) AS known ON true
"""
_TAKEN: Final = """
    SELECT (
        SELECT count(*) FROM fact
        WHERE scope = asked.bucket AND value = $4 AND at > $1 - asked.per
            AND (until IS NULL OR until > $1)
    ) FROM unnest($2::text[], $3::float8[]) WITH ORDINALITY AS asked (bucket, per, place)
    ORDER BY place
"""
_PUT: Final = """
    INSERT INTO fact SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::float8[], $5::float8[], $6::bytea[]
    ) AS given (scope, member, value, until, at, blob)
    ORDER BY scope, member
    ON CONFLICT (scope, member) DO UPDATE SET
        value = excluded.value, until = excluded.until, at = excluded.at, blob = excluded.blob
"""
_DROP: Final = """
    DELETE FROM fact WHERE (scope, member) IN (
        SELECT scope, member FROM fact JOIN unnest($1::text[], $2::text[]) AS given (scope, member)
        USING (scope, member) ORDER BY scope, member FOR UPDATE OF fact
    )
"""
_PURGE: Final = f"""
    DELETE FROM fact WHERE (scope, member) IN (
        SELECT scope, member FROM fact WHERE until <= {NOW} LIMIT {_CHUNK} FOR UPDATE SKIP LOCKED
    ) RETURNING 1
"""
_PROGRESS: Final = """
    SELECT progress.next_offset
    FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY
        AS asked (consumer_group, topic, partition, place)
    LEFT JOIN progress USING (consumer_group, topic, partition) ORDER BY place
"""
_PUT_PROGRESS: Final = """
    INSERT INTO progress AS had
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
        AS given (consumer_group, topic, partition, next_offset)
    ORDER BY consumer_group, topic, partition
    ON CONFLICT (consumer_group, topic, partition)
    DO UPDATE SET next_offset = greatest(had.next_offset, excluded.next_offset)
"""


def _fact(record: Sequence[Any]) -> Fact:
    scope, member, value, until, at, blob = record[:6]
    return Fact(from_store(scope), from_store(member), from_store(value), until, at, blob)


# Looking -------------------------------------------------------------------------------------


async def facts(connections: Connections, scopes: Sequence[str]) -> list[Fact]:
    wanted = [to_store(scope) for scope in scopes]
    found = map(_fact, await connections.fetch(_FACTS, connections.now, wanted))
    return sorted(found, key=lambda fact: (fact.scope, fact.member))


async def changes(connections: Connections, prefix: str, since: float) -> list[Fact]:
    start = to_store(prefix)
    return [
        _fact(record) for record in await connections.fetch(_CHANGES, start, start + _LAST, since)
    ]


async def progress(connections: Connections, keys: Sequence[ProgressKey]) -> list[int | None]:
    found = await connections.fetch(
        _PROGRESS,
        [to_store(key.group) for key in keys],
        [to_store(key.topic) for key in keys],
        [key.partition for key in keys],
    )
    return [offset for (offset,) in found]


# Writing -------------------------------------------------------------------------------------


async def admit(connections: Connections, asks: Sequence[Take]) -> list[Verdict]:
    async def granting(db: Connection) -> list[Verdict]:
        known, now = await _known(db, connections, [(ask.bucket, ask.member) for ask in asks])
        taken = await db.fetch(
            _TAKEN,
            now,
            [to_store(ask.bucket) for ask in asks],
            [ask.window for ask in asks],
            rules.GRANTED,
        )
        granted: Counter[str] = Counter()
        verdicts: list[Verdict] = []
        new: dict[tuple[str, str], Fact] = {}
        for ask, (count,) in zip(asks, taken, strict=True):
            place = ask.bucket, ask.member
            stored = known.get(place)
            if stored is not None and rules.is_live(stored.until, now):
                is_granted = stored.value == rules.GRANTED
            else:
                is_granted = count + granted[ask.bucket] < ask.limit
                granted[ask.bucket] += is_granted
                value = rules.GRANTED if is_granted else rules.REFUSED
                new[place] = known[place] = Fact(*place, value, until=now + ask.window, at=now)
            verdicts.append(Verdict(is_granted, count + granted[ask.bucket]))
        await _put(db, new.values())
        return verdicts

    return await _exclusively(connections, {ask.bucket for ask in asks}, granting)


async def put_facts(connections: Connections, new: Sequence[Fact]) -> None:
    marks = [fact for fact in new if fact.scope.startswith(rules.CANCEL_PREFIX)]

    async def putting(db: Connection) -> None:
        known, now = await _known(db, connections, [(mark.scope, mark.member) for mark in marks])
        for fact in new:
            place = fact.scope, fact.member
            known[place] = rules.written(known.get(place), fact, now)
        places = {(fact.scope, fact.member) for fact in new}
        await _put(db, [known[place] for place in places])

    await _exclusively(connections, {mark.scope for mark in marks}, putting)


async def drop_facts(connections: Connections, members: Sequence[tuple[str, str]]) -> None:
    scopes, names = zip(*members, strict=True)
    await connections.fetch(_DROP, [to_store(s) for s in scopes], [to_store(m) for m in names])


async def take(
    connections: Connections, scope: str, n: int, per_second: float, burst: float
) -> float:
    stored = rules.RATE_PREFIX + scope

    async def taking(db: Connection) -> float:
        known, now = await _known(db, connections, [(stored, "")])
        bucket = rules.Bucket.of(known.get((stored, "")), burst, now)
        left, wait = rules.take(bucket, n, per_second, burst, now)
        await _put(db, [left.fact(stored, per_second, burst)])
        return wait

    return await _exclusively(connections, {stored}, taking)


async def put_progress(connections: Connections, offsets: Mapping[ProgressKey, int]) -> None:
    await connections.fetch(
        _PUT_PROGRESS,
        [to_store(key.group) for key in offsets],
        [to_store(key.topic) for key in offsets],
        [key.partition for key in offsets],
        list(offsets.values()),
    )


async def purge(connections: Connections) -> int:
    """Drops facts that have ended, a chunk at a time; how many."""
    count, dropped = 0, _CHUNK
    while dropped == _CHUNK:
        dropped = len(await connections.fetch(_PURGE, connections.now))
        count += dropped
    return count


async def _exclusively(
    connections: Connections, scopes: set[str], work: Callable[[Connection], Awaitable[R]]
) -> R:
    """Runs ``work`` in a transaction that alone writes facts of these scopes by what they were."""
    for _ in range(ATTEMPTS):
        try:
            async with connections.transaction() as db:
                await lock(db, FACT_LOCKS, scopes)
                return await work(db)
        except AGAIN:
            continue
    raise LedgerDown("other replicas keep getting in the way")


async def _known(
    db: Connection, connections: Connections, places: Sequence[tuple[str, str]]
) -> tuple[dict[tuple[str, str], Fact], float]:
    """The stored facts of these scopes and members, and the time."""
    scopes = [to_store(scope) for scope, _ in places]
    members = [to_store(member) for _, member in places]
    found = await db.fetch(_KNOWN, connections.now, scopes, members)
    facts = [_fact(record) for record in found if record["scope"] is not None]
    return {(fact.scope, fact.member): fact for fact in facts}, found[0]["now"]


async def _put(db: Connection, facts: Iterable[Fact]) -> None:
    values = [
        (to_store(f.scope), to_store(f.member), to_store(f.value), f.until, f.at, f.blob)
        for f in facts
    ]
    if values:
        await db.execute(_PUT, *zip(*values, strict=True))
