"""``type: memory``: a ledger that ends with its process, for rehearsals, tests and experiments.

Nothing in it is durable, so an offset is only committed once its deliveries have ended.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import final

from pydantic import Field

from router.clock import Clock
from router.ledger import _operations as operations
from router.ledger import _rules as rules
from router.ledger._contract import Ledger, LedgerConfig, LedgerType
from router.ledger._memory_store import Store
from router.ledger._model import (
    RANKS,
    Claim,
    Done,
    Fact,
    Join,
    Joined,
    Kind,
    ProgressKey,
    Row,
    Settle,
    Settled,
    State,
    Stats,
    Take,
    Verdict,
)


class MemoryConfig(LedgerConfig):
    """A ledger in memory: everything is forgotten when the process ends."""

    type: str = Field("memory", description="`memory`.")


@final
class MemoryLedger:
    """A ledger over plain dictionaries.

    ``sharing`` gives the same store to another owner; ``clock`` is the ledger's own time.
    """

    uuid: str = ""
    is_durable: bool = False
    is_shared: bool = False

    def __init__(self, *, owner: str, clock: Clock, store: Store | None = None) -> None:
        self.owner = owner
        self._clock = clock
        self._store = store or Store()

    def sharing(self, owner: str) -> MemoryLedger:
        """This store as another owner sees it."""
        return MemoryLedger(owner=owner, clock=self._clock, store=self._store)

    async def lookup(self, keys: Sequence[bytes]) -> Sequence[Row | None]:
        return [self._store.get(key) for key in keys]

    async def admit(self, asks: Sequence[Take]) -> Sequence[Verdict]:
        now = self._clock.now()
        return [self._admit(ask, now) for ask in asks]

    def _admit(self, ask: Take, now: float) -> Verdict:
        members = self._store.facts[ask.bucket]
        taken = sum(
            fact.value == rules.GRANTED
            and fact.at > now - ask.window
            and rules.is_live(fact.until, now)
            for fact in members.values()
        )
        known = members.get(ask.member)
        if known is not None and rules.is_live(known.until, now):
            return Verdict(known.value == rules.GRANTED, taken)
        granted = taken < ask.limit
        value = rules.GRANTED if granted else rules.REFUSED
        members[ask.member] = Fact(ask.bucket, ask.member, value, until=now + ask.window, at=now)
        return Verdict(granted, taken + granted)

    async def claim(self, rows: Sequence[Row], lease: float) -> Sequence[Claim]:
        rules.check_ranks(rows)
        now = self._clock.now()
        return operations.claim(self._store, rows, self._marks, self.owner, lease, now)

    def _marks(self, scope: str) -> Iterable[Fact]:
        return self._store.facts.get(scope, {}).values()

    async def settle(self, settlements: Sequence[Settle]) -> Sequence[Settled]:
        rules.check_settlements(settlements)
        return operations.settle(self._store, settlements, self._clock.now())

    async def join(self, joins: Sequence[Join]) -> Sequence[Joined | Done]:
        rules.check_ranks(join.member for join in joins)
        return operations.join(self._store, joins, self._clock.now())

    async def members(self, digests: Sequence[bytes]) -> Sequence[Sequence[Row]]:
        return [rules.in_order(self._store.waiting_on(digest)) for digest in digests]

    async def due(
        self,
        wanted: Mapping[str, int],
        lease: float,
        kinds: Sequence[Kind] | None = None,
        ranks: Sequence[int] = RANKS,
    ) -> Sequence[Row]:
        now = self._clock.now()
        found = [
            entry
            for sink, limit in wanted.items()
            for entry in self._store.pop_ready(sink, limit, now, kinds, ranks)
        ]
        return [self._take_due(key, now + lease, now) for _, (_, _, key) in sorted(found)]

    def _take_due(self, key: bytes, lease_until: float, now: float) -> Row:
        row = self._store.rows[key]
        held = rules.held(row, self.owner, lease_until, now)
        self._store.put(held)
        return replace(held, state=row.state)

    async def expired(self, most: int, lease: float) -> Sequence[Row]:
        now = self._clock.now()
        keys = self._store.pop_expired(most, now)
        return [self._take_due(key, now + lease, now) for key in keys]

    async def next_due(self, sinks: Sequence[str]) -> float | None:
        times = (self._store.next_ready(sink) for sink in sinks)
        return min((at for at in times if at is not None), default=None)

    async def release(self, claims: Sequence[tuple[bytes, int]]) -> None:
        operations.release(self._store, claims, self.owner, self._clock.now())

    async def reschedule(self, keys: Sequence[bytes], due: float) -> Sequence[bool]:
        return operations.reschedule(self._store, keys, due, self._clock.now())

    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]:
        now = self._clock.now()
        return [
            members[member]
            for scope in sorted(set(scopes))
            if (members := self._store.facts.get(scope))
            for member in sorted(members)
            if rules.is_live(members[member].until, now)
        ]

    async def put_facts(self, facts: Sequence[Fact]) -> None:
        now = self._clock.now()
        for fact in facts:
            members = self._store.facts[fact.scope]
            members[fact.member] = rules.written(members.get(fact.member), fact, now)

    async def drop_facts(self, members: Sequence[tuple[str, str]]) -> None:
        for scope, member in members:
            self._store.facts.get(scope, {}).pop(member, None)

    async def changes(self, prefix: str, since: float) -> Sequence[Fact]:
        return [
            members[member]
            for scope, members in sorted(self._store.facts.items())
            if scope.startswith(prefix)
            for member in sorted(members)
            if members[member].at >= since
        ]

    async def take(self, scope: str, n: int, per_second: float, burst: float) -> float:
        now = self._clock.now()
        stored = rules.RATE_PREFIX + scope
        bucket = rules.Bucket.of(self._store.facts[stored].get(""), burst, now)
        left, wait = rules.take(bucket, n, per_second, burst, now)
        self._store.facts[stored][""] = left.fact(stored, per_second, burst)
        return wait

    async def progress(self, keys: Sequence[ProgressKey]) -> Sequence[int | None]:
        return [self._store.progress.get(key) for key in keys]

    async def put_progress(self, offsets: Mapping[ProgressKey, int]) -> None:
        for key, offset in offsets.items():
            self._store.progress[key] = max(offset, self._store.progress.get(key, offset))

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
        matching = (
            row
            for row in self._store.rows.values()
            if row.kind is kind
            and (state is None or row.state is state)
            and (sink is None or row.sink == sink)
            and (since is None or row.updated >= since)
            and (until is None or row.updated < until)
            and (after is None or row.key > after)
        )
        return heapq.nsmallest(limit, matching, key=lambda row: row.key)

    async def purge(self, older_than: float) -> int:
        now = self._clock.now()
        ended = [
            r.key for r in self._store.rows.values() if r.state.is_final and r.updated < older_than
        ]
        for key in ended:
            self._store.remove(key)
        gone = [
            f
            for m in self._store.facts.values()
            for f in m.values()
            if not rules.is_live(f.until, now)
        ]
        for fact in gone:
            del self._store.facts[fact.scope][fact.member]
        for scope in [scope for scope, members in self._store.facts.items() if not members]:
            del self._store.facts[scope]
        return len(ended) + len(gone)

    async def stats(self) -> Stats:
        now = self._clock.now()
        store = self._store
        times = (store.next_ready(sink) for sink, _ in list(store.heaps))
        oldest = min((at for at in times if at is not None), default=None)
        return Stats(
            rows={key: count for key, count in store.counts.items() if count},
            backlog={sink: count for sink, count in store.backlog.items() if count},
            backlog_bytes={
                sink: store.backlog_bytes[sink] for sink, n in store.backlog.items() if n
            },
            oldest_due=None if oldest is None or oldest > now else now - oldest,
        )


@asynccontextmanager
async def open_memory(
    config: MemoryConfig, *, owner: str, clock: Clock
) -> AsyncGenerator[Ledger, None]:
    """A ledger that lives as long as the block."""
    yield MemoryLedger(owner=owner, clock=clock)


LEDGER = LedgerType("memory", MemoryConfig, open_memory)
"""The kind ``memory``."""
