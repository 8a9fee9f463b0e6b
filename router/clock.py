"""Time, passed in: the wall clock, a monotonic one, and sleeping."""

from __future__ import annotations

import time
from typing import Protocol, final

import anyio


class Clock(Protocol):
    """Where a component gets its time from.

    ``now`` is seconds since the Unix epoch, ``monotonic`` seconds from an arbitrary start.
    """

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


@final
class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@final
class ManualClock:
    """A clock that moves only when told: rehearsals and tests."""

    def __init__(self, now: float = 1_767_323_045.0) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await anyio.lowlevel.checkpoint()
