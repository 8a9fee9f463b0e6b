"""Stores for the tests of ledgers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from router.clock import Clock, ManualClock, SystemClock
from router.ledger import Ledger, LedgerReader
from router.ledger.memory import MemoryLedger
from router.ledger.postgres import PostgresConfig, open_postgres, open_postgres_reader
from router.ledger.redis import RedisConfig, open_redis, open_redis_reader
from router.ledger.sqlite import SqliteConfig, SqliteLedger, open_sqlite
from router.testing.ledgers import LedgerStore
from router.values import Secret
from tests.servers import PASSWORD, Server, fresh_name


@dataclass
class MemoryStore:
    clock: ManualClock = field(default_factory=ManualClock)

    @asynccontextmanager
    async def open(self, owner: str = "one") -> AsyncGenerator[Ledger]:
        yield MemoryLedger(owner=owner, clock=self.clock)

    @asynccontextmanager
    async def second_client(self, ledger: Ledger, owner: str = "two") -> AsyncGenerator[Ledger]:
        assert isinstance(ledger, MemoryLedger)
        yield ledger.sharing(owner)


@dataclass
class SqliteStore:
    path: Path
    clock: ManualClock = field(default_factory=ManualClock)

    def open(self, owner: str = "one") -> AbstractAsyncContextManager[Ledger]:
        config = SqliteConfig(path=str(self.path), ephemeral=True)
        return open_sqlite(config, owner=owner, clock=self.clock)

    @asynccontextmanager
    async def second_client(self, ledger: Ledger, owner: str = "two") -> AsyncGenerator[Ledger]:
        assert isinstance(ledger, SqliteLedger)
        yield ledger.sharing(owner)


class SharedStore(LedgerStore, Protocol):
    """A store that several processes may have open."""

    config: Any

    def open_by_clock(self, owner: str, clock: Clock) -> AbstractAsyncContextManager[Ledger]: ...

    def open_by_server_clock(
        self, owner: str = "one", clock: Clock | None = None
    ) -> AbstractAsyncContextManager[Ledger]: ...

    def reader(self) -> AbstractAsyncContextManager[LedgerReader]: ...


@dataclass
class PostgresStore:
    """A schema of its own on a server, with the test's clock in place of the server's."""

    config: PostgresConfig
    clock: ManualClock = field(default_factory=ManualClock)

    @classmethod
    def on(cls, server: Server, **options: Any) -> PostgresStore:
        password = Secret(PASSWORD)
        return cls(
            PostgresConfig(url=server.url, password=password, schema_name=fresh_name(), **options)
        )

    def open(self, owner: str = "one") -> AbstractAsyncContextManager[Ledger]:
        return self.open_by_clock(owner, self.clock)

    def open_by_clock(self, owner: str, clock: Clock) -> AbstractAsyncContextManager[Ledger]:
        return open_postgres(self.config, owner=owner, clock=clock, time=clock.now)

    def open_by_server_clock(
        self, owner: str = "one", clock: Clock | None = None
    ) -> AbstractAsyncContextManager[Ledger]:
        """As it is opened outside tests; ``clock`` is the replica's, right or wrong."""
        return open_postgres(self.config, owner=owner, clock=clock or SystemClock())

    def reader(self) -> AbstractAsyncContextManager[LedgerReader]:
        return open_postgres_reader(self.config, clock=self.clock, time=self.clock.now)

    def second_client(
        self, ledger: Ledger, owner: str = "two"
    ) -> AbstractAsyncContextManager[Ledger]:
        return self.open(owner)


@dataclass
class RedisStore:
    """Keys of its own on a server, with the test's clock in place of the server's."""

    config: RedisConfig
    clock: ManualClock = field(default_factory=ManualClock)

    @classmethod
    def on(cls, server: Server, **options: Any) -> RedisStore:
        password = Secret(PASSWORD)
        return cls(RedisConfig(url=server.url, password=password, prefix=fresh_name(), **options))

    def open(self, owner: str = "one") -> AbstractAsyncContextManager[Ledger]:
        return self.open_by_clock(owner, self.clock)

    def open_by_clock(self, owner: str, clock: Clock) -> AbstractAsyncContextManager[Ledger]:
        return open_redis(self.config, owner=owner, clock=clock, time=clock.now)

    def open_by_server_clock(
        self, owner: str = "one", clock: Clock | None = None
    ) -> AbstractAsyncContextManager[Ledger]:
        """As it is opened outside tests; ``clock`` is the replica's, right or wrong."""
        return open_redis(self.config, owner=owner, clock=clock or SystemClock())

    def reader(self) -> AbstractAsyncContextManager[LedgerReader]:
        return open_redis_reader(self.config, clock=self.clock, time=self.clock.now)

    def second_client(
        self, ledger: Ledger, owner: str = "two"
    ) -> AbstractAsyncContextManager[Ledger]:
        return self.open(owner)
