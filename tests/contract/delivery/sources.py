"""A source whose partitions are lists: records come in order, commits are remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import anyio
import orjson

from router.events import Record, TopicPartition
from router.sources import CommitFailed
from router.sources._contract import Listener

ORDERS = TopicPartition("orders", 0)


@final
class Log:
    """Partitions as a broker keeps them, with what the group has committed."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[Record]] = {}
        self.committed: dict[TopicPartition, int] = {}

    def publish(
        self,
        *values: Any,
        place: TopicPartition = ORDERS,
        timestamp: float,
        key: bytes | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        """Appends events (as JSON; bytes as they are)."""
        partition = self.records.setdefault(place, [])
        for value in values:
            raw = value if isinstance(value, bytes) else orjson.dumps(value)
            partition.append(Record(*place, len(partition), timestamp, key, raw, headers))


@final
class ListSource:
    """Implements :class:`router.sources.Source` over a log; where that has nothing new it looks
    again after ``idle_s`` seconds."""

    group = "group"
    is_joined = True

    def __init__(
        self, log: Log, listener: Listener, *, ends: bool = False, idle_s: float = 0.005
    ) -> None:
        self.log = log
        self.paused: set[TopicPartition] = set()
        self.refuses_commits = False
        self.reads = 0
        self._listener = listener
        self._ends = ends
        self._idle_s = idle_s
        self._positions: dict[TopicPartition, int] = {}

    async def assign(self, *places: TopicPartition) -> None:
        await self._listener.assigned(places)
        for place in places:
            self._positions[place] = self.log.committed.get(place, 0)
            self.paused.discard(place)

    async def revoke(self, *places: TopicPartition) -> None:
        await self._listener.revoked(places)
        for place in places:
            del self._positions[place]

    @property
    def has_ended(self) -> bool:
        return self._ends and all(
            at >= len(self.log.records.get(place, ())) for place, at in self._positions.items()
        )

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        self.reads += 1
        found: list[Record] = []
        for place in sorted(self._positions.keys() - self.paused):
            start = self._positions[place]
            more = self.log.records.get(place, [])[start : start + limit - len(found)]
            self._positions[place] += len(more)
            found += more
        if not found:
            await anyio.sleep(self._idle_s)
        return found

    def position(self, place: TopicPartition) -> int | None:
        return self._positions.get(place)

    def end(self, place: TopicPartition) -> int | None:
        return len(self.log.records.get(place, ()))

    def pause(self, places: Sequence[TopicPartition]) -> None:
        self.paused |= set(places)

    def resume(self, places: Sequence[TopicPartition]) -> None:
        self.paused -= set(places)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.refuses_commits or offsets.keys() - self._positions.keys():
            raise CommitFailed("scripted")
        for place, offset in offsets.items():
            assert offset <= self._positions[place], "a commit past what was read"
            self.log.committed[place] = offset
