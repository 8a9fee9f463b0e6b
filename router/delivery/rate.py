"""Token buckets: how many messages may leave now, and when the next may. Monotonic seconds.

With a ledger that replicas share, the buckets of sinks and targets are the ledger's: a sink's is
used in slices of a quarter second, so that it costs a call a slice, not one a message.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Protocol, final

from router.ledger import Ledger
from router.values import Rate

_SLICE_S = 0.25


class Bucket(Protocol):
    """The tokens of a sink."""

    @property
    def wants_slice(self) -> bool:
        """Nothing can be taken before :meth:`fetch`."""
        ...

    async def fetch(self, now: float) -> None:
        """Gets more tokens from where they are shared."""
        ...

    def take(self, wanted: int, now: float) -> int:
        """Takes up to ``wanted`` tokens; how many it got."""
        ...

    def give_back(self, count: int) -> None:
        """Returns tokens that were not used."""
        ...

    def wait(self, now: float) -> float:
        """Seconds until a token is there."""
        ...


@final
class TokenBucket:
    """Allows bursts of one second's worth (or one message) and a steady rate after that."""

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self._per_second = rate.per_second
        self._burst = max(1.0, rate.count if rate.per_s <= 1 else rate.per_second)
        self._tokens = self._burst
        self._at = now

    @property
    def wants_slice(self) -> bool:
        return False

    async def fetch(self, now: float) -> None:
        """There is nowhere to fetch from."""

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
class SharedBucket:
    """A bucket that all replicas draw on, in slices that the ledger grants."""

    __slots__ = ("_ledger", "_rate", "_scope", "_slice", "_tokens", "_usable_at")

    def __init__(self, ledger: Ledger, scope: str, rate: Rate) -> None:
        self._ledger = ledger
        self._scope = scope
        self._rate = rate
        self._slice = max(1, round(rate.per_second * _SLICE_S))
        self._tokens = 0
        self._usable_at = 0.0

    @property
    def wants_slice(self) -> bool:
        return self._tokens == 0

    async def fetch(self, now: float) -> None:
        """Gets a slice, which may have to wait for its time."""
        burst = max(1.0, self._rate.per_second)
        wait = await self._ledger.take(self._scope, self._slice, self._rate.per_second, burst)
        self._usable_at = now + wait
        self._tokens += self._slice

    def take(self, wanted: int, now: float) -> int:
        if now < self._usable_at:
            return 0
        got = min(wanted, self._tokens)
        self._tokens -= got
        return got

    def give_back(self, count: int) -> None:
        self._tokens += count

    def wait(self, now: float) -> float:
        return max(0.0, self._usable_at - now)


class Targets(Protocol):
    """The tokens of each chat or address."""

    async def try_take(self, target: str, now: float) -> float:
        """0 if a message may go now (its token is taken), else how many seconds to wait."""
        ...


@final
class TargetBuckets:
    """A bucket for each chat or address, the least recently used forgotten first."""

    def __init__(self, rate: Rate, most: int = 100_000) -> None:
        self._rate = rate
        self._most = most
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    async def try_take(self, target: str, now: float) -> float:
        """0 if a message may go now (its token is taken), else how many seconds to wait."""
        bucket = self._buckets.get(target)
        if bucket is None:
            bucket = self._buckets[target] = TokenBucket(self._rate, now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(target)
        return 0.0 if bucket.take(1, now) else bucket.wait(now)


@final
class SharedTargets:
    """The buckets of all replicas' chats or addresses, in the ledger.

    A token that is not there yet is promised to whom asked for it: this process remembers until
    when it has to wait, and does not ask again.
    """

    def __init__(self, ledger: Ledger, scope: str, rate: Rate, most: int = 100_000) -> None:
        self._ledger = ledger
        self._scope = scope
        self._rate = rate
        self._most = most
        self._promised: OrderedDict[str, float] = OrderedDict()

    async def try_take(self, target: str, now: float) -> float:
        """0 if a message may go now (its token is taken), else how many seconds to wait."""
        if (at := self._promised.get(target)) is not None:
            if now < at:
                return at - now
            del self._promised[target]
            return 0.0
        name = blake2b(target.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        rate = self._rate
        burst = max(1.0, rate.count if rate.per_s <= 1 else rate.per_second)
        wait = await self._ledger.take(f"{self._scope}:{name}", 1, rate.per_second, burst)
        if wait <= 0:
            return 0.0
        self._promised[target] = now + wait
        if len(self._promised) > self._most:
            self._promised.popitem(last=False)
        return wait
