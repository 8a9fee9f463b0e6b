"""Producer and administration against brokers."""

from collections.abc import Callable

import anyio
import pytest

from router.events import (
    DeadLetter,
    TopicPartition,
    dead_letter_from_kafka,
    dead_letter_to_kafka,
)
from router.kafka import KafkaConnection
from router.kafka.admin import TopicSpec, admin, ensure_topics
from router.kafka.errors import KafkaUnavailable, PublishFailed
from router.kafka.producer import producer
from router.messages import Reason
from router.sandbox.broker import embedded_broker
from router.sandbox.process import free_port
from tests.brokers import Broker, create_topic
from tests.contract.sources.builders import a_source, read_some
from tests.unit.events.builders import a_record

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

Unique = Callable[[str], str]


def to(bootstrap: str) -> KafkaConnection:
    return KafkaConnection(bootstrap=(bootstrap,))


async def test_what_is_published_is_read_again(broker: Broker, unique: Unique):
    topic = unique("t")
    await create_topic(broker, topic)
    async with producer(to(broker.bootstrap)) as opened:
        await opened.publish(topic, [])
        await opened.publish(
            topic, [(b"k", b"v", [("h", b"1")]), (None, b"w", ()), (b"k", None, ())]
        )
    async with a_source(broker.bootstrap, topic, unique("g")) as source:
        records = await read_some(source, 3)
    assert [(r.key, r.value, r.headers) for r in records] == [
        (b"k", b"v", (("h", b"1"),)),
        (None, b"w", ()),
        (b"k", None, ()),
    ]


async def test_a_dead_letter_travels_whole(broker: Broker, unique: Unique):
    topic = unique("t")
    await create_topic(broker, topic)
    letter = DeadLetter(
        record=a_record(raw=b"\xff", headers=(("traceparent", b"00"), ("router-route", b"x"))),
        reason=Reason("invalid_utf8", "byte 0 is not UTF-8"),
        stage="decode",
        route=None,
        step=None,
        sink=None,
        delivery_key=None,
        attempts=0,
        identity=None,
        at=1_767_323_050.5,
    )
    async with producer(to(broker.bootstrap)) as opened:
        await opened.publish(topic, [dead_letter_to_kafka(letter)])
    async with a_source(broker.bootstrap, topic, unique("g")) as source:
        [record] = await read_some(source, 1)
    assert dead_letter_from_kafka(record) == letter


async def test_a_record_that_is_too_large_fails_alone(broker: Broker, unique: Unique):
    if broker.kind == "tansu":
        pytest.skip("tansu takes any size")
    topic = unique("t")
    await create_topic(broker, topic)
    async with producer(to(broker.bootstrap)) as opened:
        with pytest.raises(PublishFailed) as raised:
            await opened.publish(topic, [(None, b"a", ()), (None, b"x" * 5_000_000, ())])
        assert 1 in raised.value.failed
        assert "Large" in raised.value.failed[1]
        await opened.publish(topic, [(None, b"b", ())])


async def test_without_a_broker_nothing_is_published_until_there_is_one(unique: Unique):
    port = free_port()
    async with producer(to(f"127.0.0.1:{port}")) as opened:
        with anyio.fail_after(10):
            with pytest.raises(PublishFailed) as raised:
                await opened.publish("t", [(None, b"0", ()), (None, b"1", ())], timeout_s=2)
        assert set(raised.value.failed) == {0, 1}
        async with embedded_broker(port=port) as running:
            await ensure_topics(to(running.bootstrap), [TopicSpec("t")])
            await opened.publish("t", [(None, b"0", ())])


async def test_a_broker_that_dies_fails_the_batch_in_time(unique: Unique):
    async with producer(to("127.0.0.1:1")) as idle:
        assert idle is not None
    async with embedded_broker() as running:
        bootstrap = running.bootstrap
        await ensure_topics(to(bootstrap), [TopicSpec("t")])
        async with producer(to(bootstrap)) as opened:
            await opened.publish("t", [(None, b"0", ())])
            running.process.send_signal(9)
            await running.process.wait()
            with anyio.fail_after(6):
                with pytest.raises(PublishFailed):
                    await opened.publish("t", [(None, b"1", ())], timeout_s=2)


async def test_topics_are_created_once(broker: Broker, unique: Unique):
    specs = [TopicSpec(unique("a"), partitions=3), TopicSpec(unique("b"))]
    async with admin(to(broker.bootstrap)) as opened:
        await opened.ensure_topics(specs)
        await opened.ensure_topics(specs)
        await opened.ensure_topics([])
    async with producer(to(broker.bootstrap)) as publisher:
        for spec in specs:
            await publisher.publish(spec.name, [(None, b"x", ())])


async def test_the_largest_message_of_a_topic_is_known(broker: Broker, unique: Unique):
    topic = unique("t")
    async with admin(to(broker.bootstrap)) as opened:
        spec = TopicSpec(topic, config={"max.message.bytes": "2000000"})
        await opened.ensure_topics([spec])
        assert await opened.topic_max_bytes(topic) == 2_000_000


async def test_a_group_that_never_committed_has_nothing(broker: Broker, unique: Unique):
    topic = unique("t")
    await create_topic(broker, topic)
    async with admin(to(broker.bootstrap)) as opened:
        assert await opened.committed(unique("g"), [TopicPartition(topic, 0)]) == {}
        assert await opened.committed(unique("g"), []) == {}


async def test_administration_without_a_broker_says_so():
    with anyio.fail_after(10):
        with pytest.raises(KafkaUnavailable):
            async with admin(to(f"127.0.0.1:{free_port()}")):
                pass
