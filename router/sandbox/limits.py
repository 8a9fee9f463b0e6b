"""Token buckets by the sandbox's clock: real limits, not a fixed refusal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from router.clock import Clock


@final
@dataclass(slots=True)
class Bucket:
    """``capacity`` calls at once, refilled evenly over ``per_s`` seconds."""

    clock: Clock
    capacity: float
    per_s: float
    _tokens: float = -1.0
    _at: float = 0.0

    def wait_s(self) -> int:
        """Whole seconds until a call fits; 0 when one fits now."""
        self._refill()
        missing = 1.0 - self._tokens
        return 0 if missing <= 1e-9 else math.ceil(missing * self.per_s / self.capacity)

    def take(self) -> None:
        """Counts a call."""
        self._refill()
        self._tokens -= 1.0

    def _refill(self) -> None:
        now = self.clock.monotonic()
        if self._tokens < 0.0 and self._at == 0.0:
            self._tokens = self.capacity
        else:
            gained = (now - self._at) * self.capacity / self.per_s
            self._tokens = min(self.capacity, self._tokens + gained)
        self._at = now


def take_all(buckets: list[Bucket]) -> int:
    """Takes one call from each if it fits in all, and answers 0; else the seconds to wait."""
    wait = max(bucket.wait_s() for bucket in buckets)
    if wait == 0:
        for bucket in buckets:
            bucket.take()
    return wait
