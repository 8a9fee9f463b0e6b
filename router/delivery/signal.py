"""A wake-up for several waiters at once."""

from __future__ import annotations

from typing import final

import anyio


@final
class Signal:
    """Wakes everybody who waits. Who takes :attr:`next` before looking, then waits on it, misses
    nothing that happens in between."""

    def __init__(self) -> None:
        self.next = anyio.Event()

    def give(self) -> None:
        event, self.next = self.next, anyio.Event()
        event.set()
