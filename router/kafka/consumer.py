"""Reads as a member of a consumer group: batches in, explicit offsets out.

Works around what aiokafka 0.14 does not do: a batch that can't be read (broken checksum, unknown
compression) costs neither the records fetched with it nor the partition; waits end in time while
the group rebalances; commits have a deadline.
"""

from __future__ import annotations

import gzip
import logging
import struct
import zlib
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any, final

import aiokafka
import anyio
import cramjam
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    GroupAuthorizationFailedError,
    IllegalStateError,
    InvalidMessageError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)

from router.clock import Clock
from router.events import UNREADABLE_HEADER, Record, TopicPartition
from router.kafka.errors import (
    CommitRefused,
    KafkaRefused,
    KafkaUnavailable,
    OutOfRange,
    explain,
)

log = logging.getLogger("router.kafka")

_REFUSALS = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)
_UNREADABLE = (
    CorruptRecordException,
    InvalidMessageError,
    RecordTooLargeError,
    UnsupportedCodecError,
    # what decompressors and the parser make of garbage
    cramjam.DecompressionError,
    zlib.error,
    struct.error,
    gzip.BadGzipFile,
    EOFError,
    LookupError,
    OverflowError,
    ValueError,
)
_TRIES_BEFORE_SKIP = 3
_CAREFUL_WAIT_S = 0.3


@final
class GroupConsumer:
    """An open member of a consumer group."""

    def __init__(self, client: aiokafka.AIOKafkaConsumer, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._next: dict[TopicPartition, int] = {}
        self._broken: dict[TopicPartition, tuple[int, int]] = {}

    # Reading ---------------------------------------------------------------------------------

    async def poll(self, limit: int, wait: float) -> list[Record]:
        """The next records, also of partitions that were never told where to start.

        A record that can't be read comes without value and with a header that says why.

        Raises:
            OutOfRange: a partition has to be told where to go on.
            KafkaRefused: not allowed; trying again is fine.
            KafkaUnavailable: this consumer will not recover.
        """
        try:
            records = await self._fetch((), limit, wait)
        except _SkippedBatch:
            return await self._poll_carefully(limit, min(wait, _CAREFUL_WAIT_S))
        return records

    async def _fetch(
        self, places: Collection[TopicPartition], limit: int, wait: float
    ) -> list[Record]:
        batches: Mapping[Any, list[Any]] = {}
        try:
            with anyio.move_on_after(wait + 0.1):
                batches = await self._client.getmany(
                    *map(_theirs, places), timeout_ms=round(wait * 1000), max_records=limit
                )
        except OffsetOutOfRangeError as error:
            (place, offset), *_ = error.args[0].items()
            raise OutOfRange(TopicPartition(*place), offset) from None
        except NoOffsetForPartitionError:
            return []
        except _REFUSALS as error:
            raise KafkaRefused(explain(error)) from error
        except _UNREADABLE as error:
            raise _SkippedBatch(explain(error)) from error
        except (KafkaError, ConsumerStoppedError) as error:
            raise KafkaUnavailable(explain(error)) from error
        await self._note_positions()
        return [self._record(message) for batch in batches.values() for message in batch]

    def _record(self, message: Any) -> Record:
        headers = message.headers
        return Record(
            message.topic,
            message.partition,
            message.offset,
            message.timestamp / 1000 if message.timestamp >= 0 else self._clock.now(),
            message.key,
            message.value,
            tuple([(name, value or b"") for name, value in headers]) if headers else (),
        )

    async def _note_positions(self) -> None:
        """Positions move without records too: over transaction marks and compacted gaps."""
        for place in list(self._next):
            try:
                self._next[place] = await self._client.position(_theirs(place))
            except IllegalStateError:
                self._next.pop(place, None)

    async def _poll_carefully(self, limit: int, wait: float) -> list[Record]:
        """After a broken batch: partition by partition, so that it is known whose it is.

        The library moves positions past records that it dropped with the exception; all of
        them are fetched again.
        """
        self._go_back(self._next)
        records: list[Record] = []
        paused = {TopicPartition(*place) for place in self._client.paused()}
        for place in sorted(set(self._next) - paused):
            room = limit - len(records)
            if room <= 0:
                break
            try:
                records += await self._fetch((place,), room, wait)
            except _SkippedBatch:
                self._go_back((place,))
                records += await self._poll_one_by_one(place, room, wait)
        return records

    async def _poll_one_by_one(
        self, place: TopicPartition, limit: int, wait: float
    ) -> list[Record]:
        """Everything before the broken batch; where there is nothing, the first offset of it,
        given up after several tries."""
        records: list[Record] = []
        while len(records) < limit:
            try:
                fetched = await self._fetch((place,), 1, wait)
            except _SkippedBatch as error:
                self._go_back((place,))
                if not records:
                    return self._give_up(place, str(error))
                break
            if not fetched:
                break
            records += fetched
        return records

    def _give_up(self, place: TopicPartition, why: str) -> list[Record]:
        offset = self._next[place]
        last, tries = self._broken.get(place, (-1, 0))
        is_same_batch = tries >= _TRIES_BEFORE_SKIP and last == offset - 1
        if not is_same_batch:
            tries = tries + 1 if last == offset else 1
        self._broken[place] = (offset, tries)
        if tries < _TRIES_BEFORE_SKIP:
            return []
        if not is_same_batch:
            log.error(
                "%s/%d: a batch from offset %d on can't be read and is skipped: %s",
                *(place.topic, place.partition, offset, why),
            )
        self.seek(place, offset + 1)
        header = (UNREADABLE_HEADER, why.encode())
        now = self._clock.now()
        return [Record(place.topic, place.partition, offset, now, None, None, (header,))]

    def _go_back(self, places: Collection[TopicPartition]) -> None:
        for place in list(places):
            try:
                self._client.seek(_theirs(place), self._next[place])
            except IllegalStateError:
                self._next.pop(place, None)

    # Positions -------------------------------------------------------------------------------

    def position(self, place: TopicPartition) -> int | None:
        """The next offset that will be read; None before :meth:`seek`."""
        return self._next.get(place)

    def end(self, place: TopicPartition) -> int | None:
        """The offset after the last record, as the latest fetch told; None before the first."""
        theirs = _theirs(place)
        return self._client.highwater(theirs) if theirs in self._client.assignment() else None

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Goes on from this offset."""
        self._client.seek(_theirs(place), offset)
        self._next[place] = offset

    def forget(self, places: Collection[TopicPartition]) -> None:
        """These partitions are another's, or will be told anew where to start."""
        for place in places:
            self._next.pop(place, None)

    def pause(self, places: Collection[TopicPartition]) -> None:
        self._client.pause(*map(_theirs, self._assigned(places)))

    def resume(self, places: Collection[TopicPartition]) -> None:
        self._client.resume(*map(_theirs, self._assigned(places)))

    def _assigned(self, places: Collection[TopicPartition]) -> list[TopicPartition]:
        assigned = self._client.assignment()
        return [place for place in places if _theirs(place) in assigned]

    def partition_count(self, topic: str) -> int:
        return len(self._client.partitions_for_topic(topic) or ())

    @property
    def topics(self) -> frozenset[str]:
        """Those it reads that are there."""
        return frozenset(filter(self.partition_count, self._client.subscription()))

    async def bounds(
        self, places: Collection[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """First offset and the one past the last stable record, by partition.

        Raises:
            KafkaUnavailable: no answer.
        """
        theirs = [_theirs(place) for place in places]
        with unavailable():
            first = await self._client.beginning_offsets(theirs)
            last = await self._client.end_offsets(theirs)
        return {place: (first[_theirs(place)], last[_theirs(place)]) for place in places}

    async def offsets_at(
        self, places: Collection[TopicPartition], time: float
    ) -> dict[TopicPartition, int | None]:
        """The first offset at or after a time (seconds since the epoch); None where none is.

        Raises:
            KafkaUnavailable: no answer.
        """
        wanted: dict[Any, int] = {_theirs(place): max(0, round(time * 1000)) for place in places}
        with unavailable():
            found: Any = await self._client.offsets_for_times(wanted)
        return {
            place: found[_theirs(place)].offset if found[_theirs(place)] else None
            for place in places
        }

    async def commit(
        self, offsets: Mapping[TopicPartition, tuple[int, str]], deadline_s: float = 3.0
    ) -> None:
        """Commits offsets with their metadata.

        Raises:
            CommitRefused: not done in time, or the group has moved on. The commit of one that
                was late may land all the same.
        """
        wanted: dict[Any, Any] = {_theirs(place): kept for place, kept in offsets.items()}
        try:
            with anyio.fail_after(deadline_s):
                await self._client.commit(wanted)
        except TimeoutError:
            raise CommitRefused(f"not done within {deadline_s:g} s") from None
        except KafkaError as error:
            raise CommitRefused(explain(error)) from error


class _SkippedBatch(Exception):
    """The library raised in the midst of a batch and lost its place."""


@contextmanager
def unavailable() -> Generator[None]:
    """Turns what the library raises into :class:`KafkaUnavailable`."""
    try:
        yield
    except (KafkaError, OSError, KeyError) as error:
        raise KafkaUnavailable(explain(error)) from error


def _theirs(place: TopicPartition) -> aiokafka.TopicPartition:
    return aiokafka.TopicPartition(place.topic, place.partition)
