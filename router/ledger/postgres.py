"""``type: postgres``: a ledger in a PostgreSQL database, shared by any number of replicas.

Every answer waits until its transaction is committed. Leases and windows go by the server's clock,
whatever the replicas' clocks say. Commands may look at it through ``open_postgres_reader``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, final
from urllib.parse import urlsplit

import anyio
from pydantic import Field, field_validator

from router.clock import Clock
from router.ledger import _rules as rules
from router.ledger._contract import Ledger, LedgerConfig, LedgerDown, LedgerReader, LedgerType
from router.ledger._held import HeldClaims, to_its_end
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
from router.ledger._tls import LedgerTls
from router.values import Duration, Secret

try:
    import asyncpg as asyncpg
except ImportError:
    raise ImportError("it needs an extra: pip install 'router[postgres]'") from None

from router.ledger._postgres import claiming, digests, looking, schedule, schema, settling
from router.ledger._postgres import facts as fact_table
from router.ledger._postgres.connection import Connections, Server, Time, connections

_CLOSE_S = 5.0
_READERS = 2


class PostgresConfig(LedgerConfig):
    """A ledger in a PostgreSQL database, for any number of replicas."""

    type: str = Field("postgres", description="`postgres`.")
    url: str = Field(
        description=(
            "Server and database, without password. Several hosts may be named, of which the one "
            "that takes writes is used."
        ),
        examples=["postgresql://router@db.internal:5432/router"],
    )
    user: str | None = Field(None, description="Who to log in as, where the URL does not say.")
    password: Secret | None = Field(
        None, description="The user's password.", examples=["!env LEDGER_PASSWORD"]
    )
    schema_name: str = Field(
        "router",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="The schema that holds the ledger's tables; made where missing.",
    )
    tls: LedgerTls | None = Field(
        None,
        description=(
            "Encryption with a verified server; absent means what the URL's `sslmode` says, by "
            "default encrypted only where the server offers it, and unverified."
        ),
    )
    connections: int = Field(
        8, ge=1, le=100, description="Most connections that a replica opens at once."
    )
    timeout: Duration = Field(
        5.0, ge=0.1, description="How long the server may take to connect, and for a statement."
    )

    @field_validator("url")
    @classmethod
    def _without_password(cls, url: str) -> str:
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("write postgresql://host:port/database")
        if ":" in urlsplit(url).netloc.rpartition("@")[0] or "password=" in url:
            raise ValueError("a password does not belong into the URL; write it as password: !env")
        return url

    def server(self, *, read_only: bool = False) -> Server:
        """Raises:
        OSError: a TLS file can't be read.
        """
        options: dict[str, Any] = {"dsn": self.url, "timeout": self.timeout}
        if self.user is not None:
            options["user"] = self.user
        if self.password is not None:
            options["password"] = self.password.reveal()
        if self.tls is not None:
            options["ssl"] = self.tls.context()
        if not read_only:
            options["target_session_attrs"] = "read-write"
        return Server(options, self.schema_name, self.timeout, read_only)


class PostgresReader:
    """The part of a ledger that only looks."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def lookup(self, keys: Sequence[bytes]) -> Sequence[Row | None]:
        return await looking.lookup(self._connections, keys) if keys else ()

    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]:
        return await fact_table.facts(self._connections, scopes)

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
        return await looking.rows(self._connections, kind, state, sink, since, until, after, limit)

    async def stats(self) -> Stats:
        return await looking.stats(self._connections)


@final
class PostgresLedger(PostgresReader):
    """An open ledger."""

    is_durable: bool = True
    is_shared: bool = True

    def __init__(self, connections: Connections, uuid: str, owner: str) -> None:
        super().__init__(connections)
        self.uuid = uuid
        self.owner = owner
        self._held = HeldClaims()

    async def admit(self, asks: Sequence[Take]) -> Sequence[Verdict]:
        return await fact_table.admit(self._connections, asks) if asks else ()

    async def claim(self, rows: Sequence[Row], lease: float) -> Sequence[Claim]:
        if not rows:
            return ()
        rules.check_ranks(rows)
        call = claiming.claim(self._connections, rows, self.owner, lease)
        answers = await to_its_end(call)
        self._held.claimed(rows, answers)
        return answers

    async def settle(self, settlements: Sequence[Settle]) -> Sequence[Settled]:
        rules.check_settlements(settlements)
        if not settlements:
            return ()
        answers = await settling.settle(self._connections, settlements)
        self._held.settled(settlements)
        return answers

    async def join(self, joins: Sequence[Join]) -> Sequence[Joined | Done]:
        rules.check_ranks(join.member for join in joins)
        return await digests.join(self._connections, joins) if joins else ()

    async def members(self, digests: Sequence[bytes]) -> Sequence[Sequence[Row]]:
        return await looking.members(self._connections, digests) if digests else ()

    async def due(
        self,
        wanted: Mapping[str, int],
        lease: float,
        kinds: Sequence[Kind] | None = None,
        ranks: Sequence[int] = RANKS,
    ) -> Sequence[Row]:
        if not wanted:
            return ()
        call = schedule.due(self._connections, wanted, kinds, self.owner, lease, ranks)
        rows = await to_its_end(call)
        self._held.pulled(rows)
        return rows

    async def expired(self, most: int, lease: float) -> Sequence[Row]:
        rows = await to_its_end(schedule.expired(self._connections, most, self.owner, lease))
        self._held.pulled(rows)
        return rows

    async def next_due(self, sinks: Sequence[str]) -> float | None:
        return await looking.next_due(self._connections, sinks) if sinks else None

    async def release(self, claims: Sequence[tuple[bytes, int]]) -> None:
        if claims:
            await claiming.release(self._connections, claims, self.owner)
            self._held.released(claims)

    async def reschedule(self, keys: Sequence[bytes], due: float) -> Sequence[bool]:
        return await claiming.reschedule(self._connections, keys, due) if keys else ()

    async def put_facts(self, facts: Sequence[Fact]) -> None:
        if facts:
            await fact_table.put_facts(self._connections, facts)

    async def drop_facts(self, members: Sequence[tuple[str, str]]) -> None:
        if members:
            await fact_table.drop_facts(self._connections, members)

    async def changes(self, prefix: str, since: float) -> Sequence[Fact]:
        return await fact_table.changes(self._connections, prefix, since)

    async def take(self, scope: str, n: int, per_second: float, burst: float) -> float:
        return await fact_table.take(self._connections, scope, n, per_second, burst)

    async def progress(self, keys: Sequence[ProgressKey]) -> Sequence[int | None]:
        return await fact_table.progress(self._connections, keys)

    async def put_progress(self, offsets: Mapping[ProgressKey, int]) -> None:
        if offsets:
            await fact_table.put_progress(self._connections, offsets)

    async def purge(self, older_than: float) -> int:
        dropped = await schedule.purge(self._connections, older_than)
        return dropped + await fact_table.purge(self._connections)

    async def end_claims(self) -> None:
        """Ends the leases of what is still claimed here: nobody sends it any more."""
        await claiming.end_claims(self._connections, self._held.epochs, self.owner)


@asynccontextmanager
async def open_postgres(
    config: PostgresConfig, *, owner: str, clock: Clock, time: Time | None = None
) -> AsyncGenerator[Ledger]:
    """Opens the ledger, with its tables made or migrated where needed.

    On leaving, what this owner still has claimed is in doubt at once; that of an owner which died
    is so when its leases end.

    Args:
        time: In place of the server's clock, for tests.

    Raises:
        LedgerDown: the server can't be reached.
        ConfigError: E309, it refuses the user, the password or the database; E303, a newer router
            wrote the tables; E310, it is too old.
    """
    server = _server(config)
    async with connections(server, most=config.connections, time=time) as opened:
        opened.uuid = await schema.migrate(opened, server)
        ledger = PostgresLedger(opened, opened.uuid, owner)
        try:
            yield ledger
        finally:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                with suppress(LedgerDown):  # then the leases end by themselves
                    await ledger.end_claims()


@asynccontextmanager
async def open_postgres_reader(
    config: PostgresConfig, *, clock: Clock, time: Time | None = None
) -> AsyncGenerator[LedgerReader]:
    """Opens the ledger for looking only, whether or not replicas have it open.

    Raises:
        LedgerDown: there is no such ledger, or it can't be reached.
        ConfigError: as with ``open_postgres``.
    """
    server = _server(config, read_only=True)
    async with connections(server, most=_READERS, time=time) as opened:
        await schema.check(opened, server)
        yield PostgresReader(opened)


def _server(config: PostgresConfig, *, read_only: bool = False) -> Server:
    try:
        return config.server(read_only=read_only)
    except OSError as error:
        raise LedgerDown(f"ledger.tls: {error}") from error


LEDGER = LedgerType("postgres", PostgresConfig, open_postgres, open_postgres_reader, is_shared=True)
"""The kind ``postgres``."""
