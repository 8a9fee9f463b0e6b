"""Looking at a ledger on Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Any

from router.ledger import _rules as rules
from router.ledger._model import Fact, Kind, Row, State, Stats
from router.ledger._redis.rows import KINDS, STATES, fact_of, from_store, or_false, row_of, to_store
from router.ledger._redis.store import DELIVERIES, FACTS, Store


class RedisReader:
    """The part of a ledger that only looks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def lookup(self, keys: Sequence[bytes]) -> Sequence[Row | None]:
        if not keys:
            return ()
        found = await self._store.run(DELIVERIES, "lookup", keys=list(keys))
        return [row_of(answer) if answer else None for answer in found]

    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]:
        found = await self._store.run(FACTS, "facts", scopes=[to_store(s) for s in set(scopes)])
        return in_order(found)

    async def rows(
        self,
        *,
        kind: Kind = Kind.DELIVERY,
        state: State | None = None,
        sink: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: bytes | None = None,
        limit: int = 100,
    ) -> Sequence[Row]:
        """Open and dead rows are found by key; others by when they changed, which takes a walk
        through all of them that changed since."""

        def is_wanted(row: Row) -> bool:
            return (
                row.kind is kind
                and (state is None or row.state is state)
                and (sink is None or row.sink == sink)
                and (since is None or row.updated >= since)
                and (until is None or row.updated < until)
                and (after is None or row.key > after)
            )

        found: list[Row] = []
        if state is State.DEAD:
            async for row in self._by_key("dead", after):
                if is_wanted(row):
                    found.append(row)
                    if len(found) == limit:
                        break
            return found
        if state is None or not state.is_final:
            found = [row async for row in self._by_key("open", after) if is_wanted(row)]
        if state is None or state.is_final:
            found += [row async for row in self._ended(since) if is_wanted(row)]
        return nsmallest(limit, found, key=lambda row: row.key)

    async def _by_key(self, index: str, after: bytes | None) -> AsyncIterator[Row]:
        while keys := await self._store.run(
            DELIVERIES, "keys", index=index, **{"from": or_false(after)}
        ):
            for row in await self.lookup(keys):
                if row is not None:
                    yield row
            after = keys[-1]

    async def _ended(self, since: float | None) -> AsyncIterator[Row]:
        start = 0 if since is None else await self._store.run(DELIVERIES, "rank", since=since)
        while keys := await self._store.run(DELIVERIES, "keys", index="ended", **{"from": start}):
            for row in await self.lookup(keys):
                if row is not None and row.state.is_final:
                    yield row
            start += len(keys)

    async def stats(self) -> Stats:
        tally, now = await self._store.run(DELIVERIES, "stats")
        stats = rules.stats_of(_tallied(name, count, size) for name, count, size in tally if count)
        first = await self.next_due(list(stats.backlog)) if stats.backlog else None
        age = None if first is None or first > now else now - first
        return replace(stats, oldest_due=age)

    async def next_due(self, sinks: Sequence[str]) -> float | None:
        at = await self._store.run(DELIVERIES, "next_due", sinks=[to_store(s) for s in sinks])
        return None if at is False else float(at)


def _tallied(name: bytes, count: int, size: int) -> tuple[Kind, State, str, int, int]:
    kind, state, sink = name.split(b"|", 2)
    return KINDS[kind], STATES[state], from_store(sink), count, size


def in_order(found: Sequence[Any]) -> list[Fact]:
    return sorted(map(fact_of, found), key=lambda fact: (fact.scope, fact.member))
