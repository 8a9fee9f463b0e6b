"""The ledgers on which a day can be lived."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import final

from router.clock import Clock
from router.ledger import Ledger
from router.ledger.memory import MemoryLedger
from router.ledger.sqlite import SqliteConfig, open_sqlite
from tests.contract.ledger.stores import SharedStore


@final
class InMemory:
    """Forgets with the process: a day of one process only."""

    is_durable = False

    async def open(self, stack: AsyncExitStack, owner: str, clock: Clock) -> Ledger:
        return MemoryLedger(owner=owner, clock=clock)


@final
@dataclass
class InFile:
    """SQLite, in a folder."""

    folder: Path
    is_durable = True

    async def open(self, stack: AsyncExitStack, owner: str, clock: Clock) -> Ledger:
        config = SqliteConfig.model_validate(
            {"path": str(self.folder / "ledger.db"), "ephemeral": True}
        )
        return await stack.enter_async_context(open_sqlite(config, owner=owner, clock=clock))


@final
@dataclass
class OnServer:
    """PostgreSQL or Redis, by the day's time."""

    store: SharedStore
    is_durable = True

    async def open(self, stack: AsyncExitStack, owner: str, clock: Clock) -> Ledger:
        return await stack.enter_async_context(self.store.open_by_clock(owner, clock))
