"""``type: redis``: a ledger on a Redis server or cluster, shared by any number of replicas.

Each operation is one script, which Redis runs undisturbed. Leases and windows go by the server's
clock. What survives a crash of the server is what its configuration makes it keep: the promises of
this ledger take ``appendonly yes``, ``appendfsync always`` and ``maxmemory-policy noeviction``.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from heapq import nsmallest
from typing import Any, Final, final
from urllib.parse import urlsplit

import anyio
from pydantic import Field, field_validator

from router.clock import Clock
from router.ledger import _rules as rules
from router.ledger._contract import Ledger, LedgerConfig, LedgerDown, LedgerReader, LedgerType
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
    State,
    Stats,
    Take,
    Verdict,
)
from router.ledger._tls import LedgerTls
from router.values import Duration, Secret

try:
    import msgpack as msgpack
    import redis as redis
except ImportError:
    raise ImportError("it needs an extra: pip install 'router[redis]'") from None

from router.ledger._redis.rows import (
    KINDS,
    STATES,
    fact_of,
    from_store,
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


class RedisConfig(LedgerConfig):
    """A ledger on Redis 7 or later, for any number of replicas.

    What is scheduled there is as durable as Redis is told to be: it takes `appendonly yes`,
    `appendfsync always` and `maxmemory-policy noeviction`.
    """

    type: str = Field("redis", description="`redis`.")
    url: str = Field(
        description="Server and database, without password; of a cluster, any node.",
        examples=["redis://redis.internal:6379/0"],
    )
    user: str | None = Field(None, description="Who to log in as, where the server has users.")
    password: Secret | None = Field(
        None, description="The password.", examples=["!env LEDGER_PASSWORD"]
    )
    prefix: str = Field(
        "router",
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Names the ledger among others on the server; every key starts with it.",
    )
    cluster: bool = Field(
        False,
        description="The server is a node of a cluster. The ledger stays in one of its slots.",
    )
    tls: LedgerTls | None = Field(None, description="Encryption; absent means plain text.")
    connections: int = Field(
        8, ge=1, le=100, description="Most connections that a replica opens at once."
    )
    timeout: Duration = Field(
        5.0, ge=0.1, description="How long the server may take to connect, and to answer."
    )

    @field_validator("url")
    @classmethod
    def _without_password(cls, url: str) -> str:
        if not url.startswith("redis://"):
            raise ValueError("write redis://host:port/0, and tls: {} for an encrypted connection")
        if urlsplit(url).password is not None or "password=" in url:
            raise ValueError("a password does not belong into the URL; write it as password: !env")
        return url

    def server(self) -> Server:
        """Raises:
        OSError: a TLS file can't be read.
        """
        options: dict[str, Any] = {}
        if self.user is not None:
            options["username"] = self.user
        if self.password is not None:
            options["password"] = self.password.reveal()
        if self.tls is not None:
            self.tls.context()
            options |= _tls_options(self.tls)
        return Server(self._tls_url, options, self.prefix, self.cluster, self.timeout)

    @property
    def _tls_url(self) -> str:
        return self.url if self.tls is None else self.url.replace("redis://", "rediss://", 1)


def _tls_options(tls: LedgerTls) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.verify,
    }
    if tls.ca_file is not None:
        options["ssl_ca_certs"] = tls.ca_file
    if tls.cert_file is not None:
        options |= {"ssl_certfile": tls.cert_file, "ssl_keyfile": tls.key_file or tls.cert_file}
        if tls.key_password is not None:
            options["ssl_password"] = tls.key_password.reveal()
    return options


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
        return _in_order(found)

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
        counts: dict[tuple[Kind, State], int] = {}
        backlog: dict[str, int] = {}
        backlog_bytes: dict[str, int] = {}
        for name, count, size in tally:
            if not count:
                continue
            kind, state_name, sink = name.split(b"|", 2)
            state = STATES[state_name]
            key = KINDS[kind], state
            counts[key] = counts.get(key, 0) + count
            if not state.is_final:
                sink = from_store(sink)
                backlog[sink] = backlog.get(sink, 0) + count
                backlog_bytes[sink] = backlog_bytes.get(sink, 0) + size
        first = await self._next_due(list(backlog)) if backlog else None
        age = None if first is None or first > now else now - first
        return Stats(counts, backlog, backlog_bytes, age)

    async def _next_due(self, sinks: Sequence[str]) -> float | None:
        at = await self._store.run(DELIVERIES, "next_due", sinks=[to_store(s) for s in sinks])
        return None if at is False else float(at)


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

    async def next_due(self, sinks: Sequence[str]) -> float | None:
        return await self._next_due(sinks)

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
        return _in_order(found)

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


def _in_order(found: Sequence[Any]) -> list[Fact]:
    return sorted(map(fact_of, found), key=lambda fact: (fact.scope, fact.member))


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
