"""What tests do with topics beside the daemon: publish, read everything, see what is committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import DeleteGroupsRequest

Headers = Sequence[tuple[str, bytes]]


def order(number: int | str, kind: str = "order.paid", **data: Any) -> bytes:
    """An event as plain JSON."""
    return orjson.dumps({"id": f"o-{number}", "type": kind, **data})


async def publish(
    bootstrap: str, topic: str, values: Sequence[bytes | None], partitions: int = 1
) -> None:
    """Publishes values, over the partitions in turn.

    Each is a batch of its own: tansu tells a partition's end by the number of its batches.
    """
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number, value in enumerate(values):
            await producer.send_and_wait(topic, value, partition=number % partitions)


async def publish_record(
    bootstrap: str,
    topic: str,
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: Headers = (),
) -> None:
    """Publishes one record with all it can have."""
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, max_request_size=4 * 1024**2
    ) as producer:
        await producer.send_and_wait(topic, value, key=key, headers=list(headers))


async def committed(bootstrap: str, group: str, topic: str, partition: int = 0) -> int | None:
    """The next offset that a group will read."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
    ) as consumer:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        return await consumer.committed(place)


async def commit(bootstrap: str, group: str, topic: str, offset: int) -> None:
    """Commits for a group that has no members; the metadata is left empty."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
    ) as consumer:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        await consumer.commit({place: offset})


async def forget_group(bootstrap: str, group: str) -> None:
    """Removes a group without members, and what it committed, on a cluster of one broker."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        (broker,) = client.cluster.brokers()
        response = await client.send(broker.nodeId, DeleteGroupsRequest([group]))
        assert response.results == [(group, 0)]
    finally:
        await client.close()


async def read_all(bootstrap: str, topic: str, count: int, within_s: float = 30) -> list[Any]:
    """The first so many records of a topic, without a group."""
    records: list[Any] = []
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        with anyio.move_on_after(within_s):
            while len(records) < count:
                batches = await consumer.getmany(timeout_ms=200)
                records += [record for batch in batches.values() for record in batch]
    return records
