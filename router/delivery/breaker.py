"""A circuit breaker's memory: how many of the last attempts failed. Monotonic seconds."""

from __future__ import annotations

from collections import deque
from typing import final

_SLICES = 10
_SHORTEST_S = 0.1


@final
class Failures:
    """Counts attempts and failures over a sliding window of ten slices."""

    def __init__(self, *, share: float, at_least: int, window: float) -> None:
        self._share = share
        self._at_least = at_least
        self._slice_s = max(window, _SHORTEST_S) / _SLICES
        self._slices: deque[list[float]] = deque(maxlen=_SLICES + 1)

    def count(self, failed: bool, now: float) -> bool:
        """Counts one attempt; True if the breaker should open now."""
        start = now - now % self._slice_s
        if not self._slices or self._slices[-1][0] != start:
            self._slices.append([start, 0, 0])
        current = self._slices[-1]
        current[1] += 1
        current[2] += failed
        if not failed:
            return False
        oldest = now - self._slice_s * _SLICES
        attempts = failures = 0.0
        for at, tried, lost in self._slices:
            if at + self._slice_s > oldest:
                attempts += tried
                failures += lost
        return attempts >= self._at_least and failures / attempts >= self._share

    def forget(self) -> None:
        """Starts anew, once a probe has succeeded."""
        self._slices.clear()
