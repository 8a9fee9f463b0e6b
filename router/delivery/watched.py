"""The ledger as the worker sees it: every call is timed, and it is known whether it is up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar, final

from router.clock import Clock
from router.ledger import (
    RANKS,
    Claim,
    Done,
    Fact,
    Join,
    Joined,
    Kind,
    Ledger,
    LedgerDown,
    ProgressKey,
    Row,
    Settle,
    Settled,
    State,
    Stats,
    Take,
    Verdict,
)
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

T = TypeVar("T")

_LONG_OUTAGE_S = 5.0


@final
class WatchedLedger:
    """Passes every call on to a ledger.

    It is down from a failed call to the next successful write. After an outage long enough for
    leases to have ended, nobody's claim is taken over for one lease: who holds it may still be
    about to write its outcome.

    Attributes:
        is_up: Whether it takes writes, as far as is known.
    """

    def __init__(self, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        self.is_up = True
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._down_since = 0.0
        self._back_at: float | None = None
        metrics.ledger_up(True)

    @property
    def uuid(self) -> str:
        return self._ledger.uuid

    @property
    def owner(self) -> str:
        return self._ledger.owner

    @property
    def is_durable(self) -> bool:
        return self._ledger.is_durable

    @property
    def is_shared(self) -> bool:
        return self._ledger.is_shared

    def may_take_over(self, lease: float) -> bool:
        """Whether claims that have ended were ended by their holders' death, not by an outage."""
        if not self.is_up:
            return False
        return self._back_at is None or self._clock.monotonic() >= self._back_at + lease

    async def _read(self, operation: str, call: Awaitable[T]) -> T:
        started = self._clock.monotonic()
        try:
            result = await call
        except LedgerDown as error:
            self._failed(operation, error, started)
            raise
        self._metrics.ledger(operation).took(self._clock.monotonic() - started)
        return result

    async def _write(self, operation: str, call: Awaitable[T]) -> T:
        started = self._clock.monotonic()
        try:
            result = await call
        except LedgerDown as error:
            self._failed(operation, error, started)
            raise
        now = self._clock.monotonic()
        self._metrics.ledger(operation).took(now - started)
        if not self.is_up or now - started >= _LONG_OUTAGE_S:
            self._came_back(started, now)
        return result

    def _failed(self, operation: str, error: LedgerDown, started: float) -> None:
        self._metrics.ledger(operation).failed()
        if self.is_up:
            log.error("the ledger is down; nothing is taken in, outcomes wait: %s", error)
            self._metrics.ledger_up(False)
            self._down_since = started
            self.is_up = False

    def _came_back(self, started: float, now: float) -> None:
        if now - (started if self.is_up else self._down_since) >= _LONG_OUTAGE_S:
            self._back_at = now
        if not self.is_up:
            log.warning("the ledger is back")
            self._metrics.ledger_up(True)
            self.is_up = True

    # Operations ---------------------------------------------------------------------------------

    async def lookup(self, keys: Sequence[bytes]) -> Sequence[Row | None]:
        return await self._read("lookup", self._ledger.lookup(keys))

    async def admit(self, asks: Sequence[Take]) -> Sequence[Verdict]:
        return await self._write("admit", self._ledger.admit(asks))

    async def claim(self, rows: Sequence[Row], lease: float) -> Sequence[Claim]:
        return await self._write("claim", self._ledger.claim(rows, lease))

    async def settle(self, settlements: Sequence[Settle]) -> Sequence[Settled]:
        return await self._write("settle", self._ledger.settle(settlements))

    async def join(self, joins: Sequence[Join]) -> Sequence[Joined | Done]:
        return await self._write("join", self._ledger.join(joins))

    async def members(self, digests: Sequence[bytes]) -> Sequence[Sequence[Row]]:
        return await self._read("members", self._ledger.members(digests))

    async def due(
        self,
        wanted: Mapping[str, int],
        lease: float,
        kinds: Sequence[Kind] | None = None,
        ranks: Sequence[int] = RANKS,
    ) -> Sequence[Row]:
        return await self._write("due", self._ledger.due(wanted, lease, kinds, ranks))

    async def expired(self, most: int, lease: float) -> Sequence[Row]:
        return await self._write("expired", self._ledger.expired(most, lease))

    async def next_due(self, sinks: Sequence[str]) -> float | None:
        return await self._read("next_due", self._ledger.next_due(sinks))

    async def release(self, claims: Sequence[tuple[bytes, int]]) -> None:
        await self._write("release", self._ledger.release(claims))

    async def reschedule(self, keys: Sequence[bytes], due: float) -> Sequence[bool]:
        return await self._write("reschedule", self._ledger.reschedule(keys, due))

    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]:
        return await self._read("facts", self._ledger.facts(scopes))

    async def put_facts(self, facts: Sequence[Fact]) -> None:
        await self._write("put_facts", self._ledger.put_facts(facts))

    async def drop_facts(self, members: Sequence[tuple[str, str]]) -> None:
        await self._write("drop_facts", self._ledger.drop_facts(members))

    async def changes(self, prefix: str, since: float) -> Sequence[Fact]:
        return await self._read("changes", self._ledger.changes(prefix, since))

    async def take(self, scope: str, n: int, per_second: float, burst: float) -> float:
        return await self._write("take", self._ledger.take(scope, n, per_second, burst))

    async def progress(self, keys: Sequence[ProgressKey]) -> Sequence[int | None]:
        return await self._read("progress", self._ledger.progress(keys))

    async def put_progress(self, offsets: Mapping[ProgressKey, int]) -> None:
        await self._write("put_progress", self._ledger.put_progress(offsets))

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
        call = self._ledger.rows(
            kind=kind, state=state, sink=sink, since=since, until=until, after=after, limit=limit
        )
        return await self._read("rows", call)

    async def purge(self, older_than: float) -> int:
        return await self._read("purge", self._ledger.purge(older_than))

    async def stats(self) -> Stats:
        return await self._read("stats", self._ledger.stats())
