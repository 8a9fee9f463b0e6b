"""The way to a ledger: it can be cut, and answers can be lost on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar, cast, final

import anyio

from router.ledger import Ledger, LedgerDown
from tests.day.simulated import simulated_loop

T = TypeVar("T")
_Operation: TypeAlias = Callable[..., Awaitable[Any]]


@final
class Way:
    """Stands before a ledger as one process sees it.

    Attributes:
        is_down: Calls fail.
        loses: The next call of each operation named here takes effect, and fails all the same.
        dies: Set once the process is to die (see :meth:`die_after`).
    """

    def __init__(self, ledger: Ledger) -> None:
        self.is_down = False
        self.loses: set[str] = set()
        self.dies = anyio.Event()
        self._calls_left: int | None = None
        self._ledger = ledger

    async def ask(self, question: Awaitable[T]) -> T:
        """Asks the ledger past all trouble: what the day itself wants to know."""
        with simulated_loop().outside():
            return await question

    @property
    def direct(self) -> Ledger:
        return self._ledger

    @property
    def as_ledger(self) -> Ledger:
        return cast("Ledger", self)

    def die_after(self, calls: int) -> None:
        """The process is to die when so many more calls have taken effect: nobody hears of the
        last one's answer, and none is made after it."""
        self._calls_left = calls

    def __getattr__(self, name: str) -> Any:
        found: Any = getattr(self._ledger, name)
        return self._through(cast("_Operation", found)) if callable(found) else found

    def _through(self, operation: _Operation) -> _Operation:
        async def call(*arguments: Any, **named: Any) -> Any:
            if self.dies.is_set():
                await anyio.sleep_forever()
            if self.is_down:
                raise LedgerDown("an outage")
            with simulated_loop().outside():
                result = await operation(*arguments, **named)
            if self._calls_left is not None:
                self._calls_left -= 1
                if self._calls_left <= 0:
                    self.dies.set()
                    await anyio.sleep_forever()
            if operation.__name__ in self.loses:
                self.loses.discard(operation.__name__)
                raise LedgerDown("the answer was lost")
            return result

        return call
