"""Ledgers for the worker's tests, by kind; one store can be opened again, as after a restart."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, cast, final

from router.clock import Clock
from router.ledger import Ledger, LedgerDown
from router.ledger.memory import MemoryLedger
from router.ledger.sqlite import SqliteConfig, open_sqlite
from tests.contract.ledger.stores import SharedStore


class Store(Protocol):
    """Opens one ledger, each time with what it held before (but for memory)."""

    @property
    def is_durable(self) -> bool: ...

    def open(self, clock: Clock) -> Any: ...


@final
class MemoryStore:
    is_durable = False

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncGenerator[Ledger]:
        yield MemoryLedger(owner="one", clock=clock)


@final
class SqliteStore:
    is_durable = True

    def __init__(self, path: Path) -> None:
        self._config = SqliteConfig(path=str(path / "ledger.db"), ephemeral=True)

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncGenerator[Ledger]:
        async with open_sqlite(self._config, owner="one", clock=clock) as ledger:
            yield ledger


@final
class ServerStore:
    """A ledger on a server; its time is the worker's clock, which tests may make run faster."""

    is_durable = True

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    def open(self, clock: Clock) -> AbstractAsyncContextManager[Ledger]:
        return self._store.open_by_clock("one", clock)


@final
class Outage:
    """Stands before a ledger and makes its calls fail while ``is_down``.

    The next call of an operation named in ``loses`` takes effect, and then fails all the same.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.is_down = False
        self.loses: set[str] = set()
        self.under_way = 0
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        return self._through(found) if callable(found) else found

    def _through(self, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            if self.is_down:
                raise LedgerDown("an outage")
            self.under_way += 1
            try:
                result = await operation(*arguments, **named)
            finally:
                self.under_way -= 1
            if operation.__name__ in self.loses:
                self.loses.discard(operation.__name__)
                raise LedgerDown("the answer was lost")
            return result

        return call

    @property
    def as_ledger(self) -> Ledger:
        return cast("Ledger", self)
