"""Looks into a topic without a consumer group: nothing is committed, nobody is disturbed."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Collection, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, final

import aiokafka
import anyio
from aiokafka.errors import KafkaError

from router.clock import Clock, SystemClock
from router.events import Record, TopicPartition
from router.kafka.connection import KafkaConnection
from router.kafka.errors import KafkaUnavailable, explain
from router.kafka.patience import make_patient

_DEADLINE_S = 15.0
_BATCH = 500
_POLL_S = 1.0


@final
class Topic:
    """An open topic, read from the outside. Without partitions it does not exist (yet)."""

    def __init__(
        self,
        client: aiokafka.AIOKafkaConsumer,
        name: str,
        partitions: Collection[int],
        clock: Clock,
    ) -> None:
        self.name = name
        self._client = client
        self._clock = clock
        self._partitions = sorted(partitions)

    @property
    def exists(self) -> bool:
        return bool(self._partitions)

    async def stored(self, since: float | None = None) -> AsyncGenerator[Record]:
        """Every record that is there now, partition by partition.

        Args:
            since: Only from this time on, in seconds since the epoch.

        Raises:
            KafkaUnavailable: no answer.
        """
        for partition in self._partitions:
            async for record in self._stored_in(partition, since):
                yield record

    async def _stored_in(self, partition: int, since: float | None) -> AsyncGenerator[Record]:
        place = aiokafka.TopicPartition(self.name, partition)
        with _answers():
            self._client.assign([place])
            end = (await self._within(self._client.end_offsets([place])))[place]
            if since is None:
                await self._within(self._client.seek_to_beginning(place))
            else:
                wanted: Any = {place: max(0, math.ceil(since * 1000))}
                found: Any = await self._within(self._client.offsets_for_times(wanted))
                if found[place] is None:
                    return
                self._client.seek(place, found[place].offset)
        while await self._position(place) < end:
            for record in await self._fetch():
                if record.offset >= end:
                    return
                yield record

    async def coming(self, wait: float) -> AsyncGenerator[Record]:
        """Records that come from now on, for so many seconds.

        Raises:
            KafkaUnavailable: no answer.
        """
        places = [aiokafka.TopicPartition(self.name, number) for number in self._partitions]
        if not places:
            return
        until = self._clock.monotonic() + wait
        with _answers():
            self._client.assign(places)
            await self._within(self._client.seek_to_end(*places))
            for place in places:
                await self._position(place)
        while self._clock.monotonic() < until:
            for record in await self._fetch():
                yield record

    async def at(self, place: TopicPartition, offset: int) -> Record | None:
        """The record of one offset; None where the topic does not have it.

        Raises:
            KafkaUnavailable: no answer.
        """
        if place.partition not in self._partitions:
            return None
        theirs = aiokafka.TopicPartition(*place)
        with _answers():
            self._client.assign([theirs])
            first = (await self._within(self._client.beginning_offsets([theirs])))[theirs]
            end = (await self._within(self._client.end_offsets([theirs])))[theirs]
            if not first <= offset < end:
                return None
            self._client.seek(theirs, offset)
        while await self._position(theirs) <= offset:
            for record in await self._fetch():
                return record if record.offset == offset else None
        return None

    async def _position(self, place: Any) -> int:
        with _answers():
            return await self._within(self._client.position(place))

    async def _fetch(self) -> Collection[Record]:
        with _answers():
            batches: Any = await self._within(
                self._client.getmany(timeout_ms=round(_POLL_S * 1000), max_records=_BATCH)
            )
        return [self._record(message) for batch in batches.values() for message in batch]

    async def _within(self, call: Any) -> Any:
        with anyio.fail_after(_DEADLINE_S):
            return await call

    def _record(self, message: Any) -> Record:
        return Record(
            message.topic,
            message.partition,
            message.offset,
            message.timestamp / 1000 if message.timestamp >= 0 else self._clock.now(),
            message.key,
            message.value,
            tuple((name, value or b"") for name, value in message.headers or ()),
        )


@contextmanager
def _answers() -> Generator[None]:
    """Turns the library's errors, and its silence, into :class:`KafkaUnavailable`."""
    try:
        yield
    except TimeoutError as error:
        raise KafkaUnavailable(f"no answer within {_DEADLINE_S:g} s") from error
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(explain(error)) from error


@asynccontextmanager
async def opened_topic(
    connection: KafkaConnection, name: str, *, clock: Clock | None = None
) -> AsyncGenerator[Topic]:
    """Connects for the length of the block.

    Raises:
        KafkaUnavailable: no broker answers.
    """
    with _answers():
        client = aiokafka.AIOKafkaConsumer(
            **connection.client_options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
    try:
        with _answers():
            with anyio.fail_after(_DEADLINE_S):
                await client.start()
                make_patient(client, clock or SystemClock())
                partitions = await _partitions(client, name)
        yield Topic(client, name, partitions, clock or SystemClock())
    finally:
        with anyio.move_on_after(2, shield=True):
            await client.stop()


async def _partitions(client: Any, topic: str) -> Collection[int]:
    """Asks about all topics: asking for one by name would create it on some clusters."""
    metadata = await client._client.fetch_all_metadata()
    return metadata.partitions_for_topic(topic) or ()
