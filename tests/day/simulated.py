"""An event loop whose time passes only where nothing is left to do: a day takes a minute.

Whatever sleeps or has a deadline on it (asyncio, anyio) goes by simulated time. While something is
under way outside the loop, such as a call to a ledger, time stands still until it answers.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, TypeVar, final

import anyio

T = TypeVar("T")

_LOOK_S = 1.0
_ASKING_S = 1e-6


@final
class SimulatedLoop(asyncio.SelectorEventLoop):
    """Seconds since its start are its time."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._outside = 0
        self._thread = get_ident()
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._seconds

    def jump(self, seconds: float) -> None:
        """Lets time pass at once; what was to be woken meanwhile is woken late."""
        assert self.is_quiet, "time would pass for a call that is under way"
        self._seconds += seconds

    def spend(self, seconds: float) -> None:
        """What is done takes a little time, if it is done on the loop."""
        if get_ident() == self._thread:
            self._seconds += seconds

    @property
    def is_quiet(self) -> bool:
        """Nothing is under way outside."""
        return self._outside == 0

    @contextmanager
    def outside(self) -> Generator[None]:
        """Something happens outside the loop: time stands still."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1


@final
class _Selector(selectors.DefaultSelector):
    """Waits only for what happens outside; all other waits are over at once."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or not self._loop.is_quiet:
            return super().select(_LOOK_S if timeout is None or timeout > 0 else 0)
        found = super().select(0)
        if not found and timeout > 0:
            self._loop.jump(timeout)
        return found


@final
class SimulatedClock:
    """The clocks of the simulated loop that runs; other threads may ask it too.

    Asking takes time, if little: who waits by asking again and again is done some day.

    Args:
        start: Seconds since the epoch, now.
    """

    def __init__(self, start: float) -> None:
        self._loop = simulated_loop()
        self._start = start - self._loop.time()

    def now(self) -> float:
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        self._loop.spend(_ASKING_S)
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def simulated_loop() -> SimulatedLoop:
    """The loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop


def run(work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Runs it to its end, by simulated time."""
    return anyio.run(work, *arguments, backend_options={"loop_factory": SimulatedLoop})
