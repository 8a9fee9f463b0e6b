"""What a log may hold besides readable records: broken batches, transaction marks."""

from collections.abc import Callable

import anyio
import pytest
from aiokafka import AIOKafkaProducer

from router.events import DecodeConfig, Poison, Record, TopicPartition, decode
from tests.brokers import Broker, create_topic
from tests.contract.sources.builders import a_source, read_some, read_until, send
from tests.contract.sources.corrupting_proxy import MARK, corrupting_proxy

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

Unique = Callable[[str], str]


async def send_batch(broker: Broker, topic: str, *values: bytes) -> None:
    """Appends these as one batch."""
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        for value in values:
            assert batch.append(key=None, value=value, timestamp=None)
        await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()


def shown(records: list[Record]) -> list[tuple[int, int, bytes | None]]:
    return sorted((r.partition, r.offset, r.value) for r in records)


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_a_broken_batch_costs_its_own_records_only(
    broker: Broker, unique: Unique, limit: int
):
    topic = unique("t")
    await create_topic(broker, topic, 2)
    await send(broker, topic, b"0", b"1", partition=0)
    await send_batch(broker, topic, b"2", MARK, b"4")
    await send(broker, topic, b"5", partition=0)
    await send(broker, topic, b"0", b"1", b"2", partition=1)
    async with corrupting_proxy(broker.bootstrap) as bootstrap:
        async with a_source(bootstrap, topic, unique("g")) as source:
            records: list[Record] = []
            with anyio.fail_after(30):
                while len(records) < 9:
                    records += await source.read(limit, 0.2)
            assert source.position(TopicPartition(topic, 0)) == 6
    assert shown(records) == [
        (0, 0, b"0"),
        (0, 1, b"1"),
        (0, 2, None),
        (0, 3, None),
        (0, 4, None),
        (0, 5, b"5"),
        (1, 0, b"0"),
        (1, 1, b"1"),
        (1, 2, b"2"),
    ]
    for record in records:
        if record.value is None:
            poison = decode(record, DecodeConfig())
            assert isinstance(poison, Poison)
            assert poison.reason.code == "unreadable"


async def test_a_committed_transactions_marks_are_passed(broker: Broker, unique: Unique):
    if broker.kind == "tansu":
        pytest.skip("tansu has no transactions")
    topic = unique("t")
    await create_topic(broker, topic)
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, transactional_id=unique("tx"), acks="all"
    )
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"kept")
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
    finally:
        await producer.stop()
    place = TopicPartition(topic, 0)
    async with a_source(broker.bootstrap, topic, unique("g")) as source:
        records = await read_some(source, 1)
        records += await read_until(source, lambda: source.position(place) == 4)
        await send(broker, topic, b"after")
        records += await read_some(source, 1)
    assert [(r.offset, r.value) for r in records] == [(0, b"kept"), (4, b"after")]
