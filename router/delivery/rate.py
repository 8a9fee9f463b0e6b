"""Token buckets: how many messages may leave now, and when the next may. Monotonic seconds."""

from __future__ import annotations

from collections import OrderedDict
from typing import final

from router.values import Rate


@final
class TokenBucket:
    """Allows bursts of one second's worth (or one message) and a steady rate after that."""

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self._per_second = rate.per_second
        self._burst = max(1.0, rate.count if rate.per_s <= 1 else rate.per_second)
        self._tokens = self._burst
        self._at = now

    def take(self, wanted: int, now: float) -> int:
        """Takes up to ``wanted`` tokens; how many it got."""
        self._refill(now)
        got = min(wanted, int(self._tokens + 1e-9))
        self._tokens -= got
        return got

    def give_back(self, count: int) -> None:
        """Returns tokens that were not used."""
        self._tokens = min(self._burst, self._tokens + count)

    def wait(self, now: float) -> float:
        """Seconds until a token is there."""
        self._refill(now)
        return max(0.0, (1.0 - self._tokens) / self._per_second)

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
            self._at = now


@final
class TargetBuckets:
    """A bucket for each chat or address, the least recently used forgotten first."""

    def __init__(self, rate: Rate, most: int = 100_000) -> None:
        self._rate = rate
        self._most = most
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def try_take(self, target: str, now: float) -> float:
        """0 if a message may go now (its token is taken), else how many seconds to wait."""
        bucket = self._buckets.get(target)
        if bucket is None:
            bucket = self._buckets[target] = TokenBucket(self._rate, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(target)
        return 0.0 if bucket.take(1, now) else bucket.wait(now)
