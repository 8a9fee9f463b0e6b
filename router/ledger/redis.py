"""``type: redis``: a ledger on a Redis server or cluster, shared by any number of replicas.

Each operation is one script, which Redis runs undisturbed. Leases and windows go by the server's
clock. What survives a crash of the server is what its configuration makes it keep: the promises of
this ledger take ``appendonly yes``, ``appendfsync always`` and ``maxmemory-policy noeviction``.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, final

import anyio

from router.clock import Clock
from router.ledger import _rules as rules
from router.ledger._contract import Ledger, LedgerDown, LedgerReader, LedgerType
from router.ledger._held import HeldClaims, to_its_end
from router.ledger._model import (
    RANKS,
    Behind,
    Cancelled,
    Claim,
    Done,
    Doubtful,
    Fact,
    Granted,
    Held,
    Join,
    Joined,
    Kind,
    ProgressKey,
    Row,
    Settle,
    Settled,
    Take,
    Verdict,
)

try:
    import msgpack as msgpack
    import redis as redis
except ImportError:
    raise ImportError("it needs an extra: pip install 'router[redis]'") from None

from router.ledger._redis.config import RedisConfig
from router.ledger._redis.reader import RedisReader, in_order
from router.ledger._redis.rows import (
    STATES,
    or_false,
    packed,
    packed_join,
    packed_reason,
    progress_field,
    row_of,
    to_store,
)
from router.ledger._redis.store import DELIVERIES, FACTS, Server, Store, Time, opened

log = logging.getLogger(__name__)

_CLOSE_S: Final = 5.0
_READERS: Final = 2
_FIRST: Final = Granted(1)


@final
class RedisLedger(RedisReader):
    """An open ledger.

    Attributes:
        warnings: What the server's settings take from the ledger's promises, a line each.
    """

    is_durable: bool = True
    is_shared: bool = True

    def __init__(self, store: Store, owner: str, warnings: Sequence[str]) -> None:
        super().__init__(store)
        self.owner = owner
        self.warnings = warnings
        self._held = HeldClaims()

    @property
    def uuid(self) -> str:
        return self._store.uuid

    async def admit(self, asks: Sequence[Take]) -> Sequence[Verdict]:
        if not asks:
            return ()
        given = [[to_store(a.bucket), to_store(a.member), a.limit, a.window] for a in asks]
        found = await self._store.run(FACTS, "admit", asks=given)
        return [Verdict(granted, taken) for granted, taken in found]

    async def claim(self, rows: Sequence[Row], lease: float) -> Sequence[Claim]:
        if not rows:
            return ()
        rules.check_ranks(rows)
        given = [packed(row) for row in rows]
        call = self._store.run(
            DELIVERIES, "claim", rows=given, owner=to_store(self.owner), lease=lease
        )
        claims = [_claim_of(*answer) for answer in await to_its_end(call)]
        self._held.claimed(rows, claims)
        return claims

    async def settle(self, settlements: Sequence[Settle]) -> Sequence[Settled]:
        rules.check_settlements(settlements)
        if not settlements:
            return ()
        given = [
            [
                *packed(s.row),
                s.waiters,
                list(s.causes),
                [packed(row) for row in s.follow_ups],
                packed_reason(rules.drop_reason(s)),
            ]
            for s in settlements
        ]
        answers = await self._store.run(DELIVERIES, "settle", settlements=given)
        self._held.settled(settlements)
        return [_SETTLED[answer] for answer in answers]

    async def join(self, joins: Sequence[Join]) -> Sequence[Joined | Done]:
        rules.check_ranks(join.member for join in joins)
        if not joins:
            return ()
        given = [packed_join(join) for join in joins]
        answers = await self._store.run(DELIVERIES, "join", joins=given)
        return [_joined_of(*answer) for answer in answers]

    async def members(self, digests: Sequence[bytes]) -> Sequence[Sequence[Row]]:
        if not digests:
            return ()
        found = await self._store.run(DELIVERIES, "members", families=list(digests))
        return [rules.in_order(map(row_of, of_digest)) for of_digest in found]

    async def due(
        self,
        wanted: Mapping[str, int],
        lease: float,
        kinds: Sequence[Kind] | None = None,
        ranks: Sequence[int] = RANKS,
    ) -> Sequence[Row]:
        if not wanted:
            return ()
        call = self._store.run(
            DELIVERIES,
            "due",
            wanted=[[to_store(sink), most] for sink, most in wanted.items()],
            kinds=False if kinds is None else [kind.value for kind in kinds],
            ranks=list(ranks),
            owner=to_store(self.owner),
            lease=lease,
        )
        rows = [row_of(answer) for answer in await to_its_end(call)]
        self._held.pulled(rows)
        return rows

    async def expired(self, most: int, lease: float) -> Sequence[Row]:
        call = self._store.run(
            DELIVERIES, "expired", most=most, owner=to_store(self.owner), lease=lease
        )
        rows = [row_of(answer) for answer in await to_its_end(call)]
        self._held.pulled(rows)
        return rows

    async def release(self, claims: Sequence[tuple[bytes, int]]) -> None:
        if not claims:
            return
        given = [list(claim) for claim in claims]
        await self._store.run(DELIVERIES, "release", claims=given, owner=to_store(self.owner))
        self._held.released(claims)

    async def reschedule(self, keys: Sequence[bytes], due: float) -> Sequence[bool]:
        if not keys:
            return ()
        return await self._store.run(DELIVERIES, "reschedule", keys=list(keys), due=due)

    async def put_facts(self, facts: Sequence[Fact]) -> None:
        given = [
            [
                to_store(f.scope),
                to_store(f.member),
                to_store(f.value),
                or_false(f.until),
                or_false(f.blob),
            ]
            for f in facts
        ]
        if given:
            await self._store.run(FACTS, "put_facts", facts=given)

    async def drop_facts(self, members: Sequence[tuple[str, str]]) -> None:
        given = [[to_store(scope), to_store(member)] for scope, member in members]
        if given:
            await self._store.run(FACTS, "drop_facts", members=given)

    async def changes(self, prefix: str, since: float) -> Sequence[Fact]:
        found = await self._store.run(FACTS, "changes", prefix=to_store(prefix), since=since)
        return in_order(found)

    async def take(self, scope: str, n: int, per_second: float, burst: float) -> float:
        wait = await self._store.run(
            FACTS,
            "take",
            scope=to_store(rules.RATE_PREFIX + scope),
            n=n,
            per_second=per_second,
            burst=burst,
        )
        return float(wait)

    async def progress(self, keys: Sequence[ProgressKey]) -> Sequence[int | None]:
        fields = [progress_field(key) for key in keys]
        found = await self._store.run(FACTS, "progress", fields=fields)
        return [None if offset is False else offset for offset in found]

    async def put_progress(self, offsets: Mapping[ProgressKey, int]) -> None:
        given = [[progress_field(key), offset] for key, offset in offsets.items()]
        if given:
            await self._store.run(FACTS, "put_progress", offsets=given)

    async def purge(self, older_than: float) -> int:
        count = 0
        while dropped := await self._store.run(DELIVERIES, "purge", older_than=older_than):
            count += dropped
        while dropped := await self._store.run(FACTS, "purge"):
            count += dropped
        return count

    async def end_claims(self) -> None:
        """Ends the leases of what is still claimed here: nobody sends it any more."""
        if claims := [list(claim) for claim in self._held.epochs.items()]:
            owner = to_store(self.owner)
            await self._store.run(DELIVERIES, "end_claims", claims=claims, owner=owner)


_SETTLED: Final = {settled.value.encode(): settled for settled in Settled}


def _claim_of(kind: bytes, *given: Any) -> Claim:
    match kind:
        case b"granted":
            return _FIRST
        case b"doubtful":
            return Doubtful(*given)
        case b"held":
            return Held(float(given[0]))
        case b"done":
            return Done(STATES[given[0]], given[1])
        case b"behind":
            return Behind()
        case _:
            return Cancelled()


def _joined_of(kind: bytes, *given: Any) -> Joined | Done:
    if kind == b"done":
        return Done(STATES[given[0]], given[1])
    digest, members, closes_at, is_new = given
    return Joined(digest, members, float(closes_at), is_new)


@asynccontextmanager
async def open_redis(
    config: RedisConfig, *, owner: str, clock: Clock, time: Time | None = None
) -> AsyncGenerator[Ledger]:
    """Opens the ledger, made where missing; warns where the server may forget what it was told.

    On leaving, what this owner still has claimed is in doubt at once; that of an owner which died
    is so when its leases end.

    Args:
        time: In place of the server's clock, for tests.

    Raises:
        LedgerDown: the server can't be reached.
        ConfigError: E309, it refuses the user or password; E310, it is too old; E303, a newer
            router wrote the ledger.
    """
    async with opened(_server(config), most=config.connections, time=time) as store:
        warnings = _warnings(await store.settings())
        for warning in warnings:
            log.warning("%s", warning)
        ledger = RedisLedger(store, owner, warnings)
        try:
            yield ledger
        finally:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                with suppress(LedgerDown):  # then the leases end by themselves
                    await ledger.end_claims()


@asynccontextmanager
async def open_redis_reader(
    config: RedisConfig, *, clock: Clock, time: Time | None = None
) -> AsyncGenerator[LedgerReader]:
    """Opens the ledger for looking only, whether or not replicas have it open.

    Raises:
        LedgerDown: there is no such ledger, or it can't be reached.
        ConfigError: as with ``open_redis``.
    """
    async with opened(_server(config), most=_READERS, time=time, makes=False) as store:
        yield RedisReader(store)


def _server(config: RedisConfig) -> Server:
    try:
        return config.server()
    except OSError as error:
        raise LedgerDown(f"ledger.tls: {error}") from error


def _warnings(settings: Mapping[str, str] | None) -> list[str]:
    """What the server's settings take from the ledger's promises."""
    if settings is None:
        return [
            "the ledger's server does not show its settings: see to it that it has appendonly"
            " yes, appendfsync always and maxmemory-policy noeviction"
        ]
    found: list[str] = []
    if settings["appendonly"] != "yes":
        found.append(
            "the ledger's server has appendonly no: when it stops, what is scheduled is lost and"
            " what was sent may be sent again"
        )
    elif settings["appendfsync"] != "always":
        found.append(
            f"the ledger's server has appendfsync {settings['appendfsync']}: when its machine"
            " stops, what the last second scheduled is lost, and what it sent may be sent again"
        )
    if settings["maxmemory-policy"] != "noeviction":
        found.append(
            f"the ledger's server has maxmemory-policy {settings['maxmemory-policy']}: short of"
            " memory, it drops rows of the ledger"
        )
    return found


LEDGER = LedgerType("redis", RedisConfig, open_redis, open_redis_reader, is_shared=True)
"""The kind ``redis``."""
