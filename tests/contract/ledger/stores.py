"""Stores for the tests of ledgers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from router.clock import ManualClock
from router.ledger import Ledger
from router.ledger.memory import MemoryLedger
from router.ledger.sqlite import SqliteConfig, SqliteLedger, open_sqlite


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
