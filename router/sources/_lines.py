"""Lines as records: one event a line, the line's number its offset."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import final

from router.clock import Clock
from router.events import Record, TopicPartition
from router.ledger import Ledger, LedgerDown, ProgressKey
from router.sources._contract import CommitFailed

ReadChunk = Callable[[float], Awaitable[bytes | None]]
"""The next bytes; empty where none came within so many seconds, None at the end."""


@final
class LineSplitter:
    """Cuts chunks into lines. Of a line longer than ``longest`` only so much (and one byte more,
    so that it shows) is kept."""

    def __init__(self, longest: int) -> None:
        self._kept = longest + 1
        self._partial = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without line ends."""
        *ends, rest = chunk.split(b"\n")
        lines: list[bytes] = []
        for end in ends:
            self._keep(end)
            lines.append(self._take())
        self._keep(rest)
        return lines

    def finish(self) -> list[bytes]:
        """The last line, if it has no line end."""
        return [self._take()] if self._partial else []

    def _keep(self, part: bytes) -> None:
        self._partial += part[: max(0, self._kept - len(self._partial))]

    def _take(self) -> bytes:
        line = bytes(self._partial).removesuffix(b"\r")
        self._partial.clear()
        return line


@final
class LineSource:
    """Implements :class:`router.sources.Source` over lines. Blank lines are passed over.

    Args:
        group: The name that progress is kept under.
        topic: The records' topic.
        first: Lines before this one were settled in an earlier run.
        longest: Longer lines are cut: they are poison by their size.
        timestamp: Of the records.
        ledger: Keeps the progress; None where reading can't resume.
    """

    def __init__(
        self,
        read_chunk: ReadChunk,
        *,
        group: str,
        topic: str,
        clock: Clock,
        timestamp: Callable[[], float],
        longest: int,
        first: int = 0,
        ledger: Ledger | None = None,
    ) -> None:
        self.group = group
        self.place = TopicPartition(topic, 0)
        self._read_chunk = read_chunk
        self._clock = clock
        self._timestamp = timestamp
        self._splitter = LineSplitter(longest)
        self._first = first
        self._ledger = ledger
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._seen = 0
        self._is_paused = False
        self._is_at_end = False

    @property
    def is_joined(self) -> bool:
        return True

    @property
    def has_ended(self) -> bool:
        return self._is_at_end and not self._waiting

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        if self._is_paused or self.has_ended:
            await self._clock.sleep(wait)
            return []
        if not self._waiting:
            self._take_in(await self._read_chunk(wait))
        count = min(limit, len(self._waiting))
        return [self._record(*self._waiting.popleft()) for _ in range(count)]

    def _take_in(self, chunk: bytes | None) -> None:
        if chunk is None:
            self._is_at_end = True
        lines = self._splitter.finish() if chunk is None else self._splitter.feed(chunk)
        for number, line in enumerate(lines, self._seen):
            if number >= self._first and line.strip():
                self._waiting.append((number, line))
        self._seen += len(lines)

    def _record(self, number: int, line: bytes) -> Record:
        return Record(self.place.topic, 0, number, self._timestamp(), None, line)

    def position(self, place: TopicPartition) -> int | None:
        if place != self.place:
            return None
        return self._waiting[0][0] if self._waiting else max(self._seen, self._first)

    def end(self, place: TopicPartition) -> int | None:
        return None

    def pause(self, places: Sequence[TopicPartition]) -> None:
        self._is_paused = self._is_paused or self.place in places

    def resume(self, places: Sequence[TopicPartition]) -> None:
        self._is_paused = self._is_paused and self.place not in places

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if set(offsets) - {self.place}:
            raise CommitFailed("a partition of another source")
        if self._ledger is None or not offsets:
            return
        key = ProgressKey(self.group, self.place.topic, 0)
        try:
            await self._ledger.put_progress({key: offsets[self.place]})
        except LedgerDown as error:
            raise CommitFailed(str(error)) from error
