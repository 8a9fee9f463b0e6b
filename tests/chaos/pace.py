"""How evenly the harness itself runs: providers that stand still answer nobody in time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import final

import anyio

_TICK_S = 0.1
_NOTABLE_S = 0.5
_AROUND_S = 3.0
"""What was under way so long before a standstill, or came so long after it, may have met it."""


@final
@dataclass(slots=True)
class Pace:
    """The times in which this process did nothing, from and to."""

    standstills: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    async def watch(self) -> None:
        """Notes standstills, for ever."""
        while True:
            began = time.time()
            await anyio.sleep(_TICK_S)
            self.woke(began, time.time())

    def woke(self, began: float, ended: float) -> None:
        """A short sleep took from then to then."""
        if ended - began - _TICK_S >= _NOTABLE_S:
            self.standstills.append((began, ended))

    def may_have_met(self, at: float) -> bool:
        """Whether a request of then may have been answered too late because of one."""
        return any(a - _AROUND_S <= at <= b + _AROUND_S for a, b in self.standstills)

    @property
    def longest_s(self) -> float:
        return max((b - a for a, b in self.standstills), default=0.0)
