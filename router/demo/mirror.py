"""Topics that sinks publish to, kept in the sandbox's record as what a provider received."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio

from router.clock import Clock
from router.events import Record
from router.kafka.connection import KafkaConnection
from router.kafka.peek import Topic, opened_topic
from router.messages import Channel
from router.sandbox import Received
from router.sandbox import Record as Inbox
from router.sinks.kafka import DELIVERY_KEY

PROVIDER = "kafka"
_PAUSE_S = 0.3
_LOOK_BACK_S = 60.0


@asynccontextmanager
async def mirrored(
    connection: KafkaConnection, topics: Sequence[str], inbox: Inbox, clock: Clock
) -> AsyncGenerator[None]:
    """Every record of these topics comes into the inbox, until the block ends."""
    async with anyio.create_task_group() as tasks:
        for topic in dict.fromkeys(topics):
            tasks.start_soon(_mirror, connection, topic, inbox, clock)
        yield
        tasks.cancel_scope.cancel()


async def _mirror(connection: KafkaConnection, name: str, inbox: Inbox, clock: Clock) -> None:
    ends: dict[int, int] = {}
    since: float | None = None
    async with opened_topic(connection, name, clock=clock) as topic:
        while True:
            for record in await _new(topic, since, ends):
                inbox.add(_received(record))
                # Records carry their producer's time, so a later one may be a little older.
                since = max(since or 0.0, record.timestamp - _LOOK_BACK_S)
            await clock.sleep(_PAUSE_S)


async def _new(topic: Topic, since: float | None, ends: dict[int, int]) -> Sequence[Record]:
    """Records that were not seen yet; ``ends`` is where each partition was read to."""
    found: list[Record] = []
    async for record in topic.stored(since):
        if record.offset >= ends.get(record.partition, 0):
            ends[record.partition] = record.offset + 1
            found.append(record)
    return found


def _received(record: Record) -> Received:
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    key = (record.key or b"").decode("utf-8", "replace")
    return Received(
        provider=PROVIDER,
        channel=Channel.REQUEST,
        recipient=record.topic,
        title=" ".join(filter(None, (headers.get("ce_type"), key))),
        text=(record.value or b"").decode("utf-8", "replace"),
        key=headers.get(DELIVERY_KEY),
        raw=record.value or b"",
        details=headers,
    )
