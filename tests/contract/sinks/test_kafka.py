"""The kafka sink against brokers."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from router.events import Record
from router.messages import Delivered, InDoubt, Parcel, Request, Retry
from router.sandbox.broker import embedded_broker
from router.sandbox.process import free_port
from tests.brokers import Broker, create_topic
from tests.contract.sinks.harness import opened, parcel
from tests.contract.sources.builders import a_source, read_some

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

Unique = Callable[[str], str]


def parcels(*bodies: bytes, event_key: bytes | None = b"order-7") -> list[Parcel]:
    return [
        parcel(Request(body=body), key=number, event_key=event_key)
        for number, body in enumerate(bodies, 1)
    ]


def key_of(record: Record) -> bytes | None:
    return record.header("router-delivery-key")


async def published(broker: Broker, topic: str, group: str, count: int) -> list[Record]:
    async with a_source(broker.bootstrap, topic, group) as source:
        return list(await read_some(source, count))


async def test_what_is_sent_is_read(broker: Broker, unique: Unique) -> None:
    topic = unique("t")
    await create_topic(broker, topic)
    async with opened("kafka", bootstrap=broker.bootstrap, topic=topic) as sink:
        assert await sink.send_batch(parcels(b"1", b"2")) == [Delivered(), Delivered()]
    records = await published(broker, topic, unique("g"), 2)
    assert [(r.key, r.value) for r in records] == [(b"order-7", b"1"), (b"order-7", b"2")]
    assert [key_of(r) for r in records] == [f"{n:032x}".encode() for n in (1, 2)]
    assert records[0].header("content-type") == b"application/json"


async def test_a_cloudevent_is_read_as_one(broker: Broker, unique: Unique) -> None:
    topic = unique("t")
    await create_topic(broker, topic)
    options = {"bootstrap": broker.bootstrap, "topic": topic, "format": "cloudevents"}
    async with opened("kafka", **options) as sink:
        await sink.send_batch(parcels(b'{"a":1}'))
    [record] = await published(broker, topic, unique("g"), 1)
    assert record.header("ce_type") == b"order.paid"
    assert record.header("ce_id") == key_of(record)


async def test_a_repeat_is_recognisable_by_its_header(broker: Broker, unique: Unique) -> None:
    topic = unique("t")
    await create_topic(broker, topic)
    async with opened("kafka", bootstrap=broker.bootstrap, topic=topic) as sink:
        await sink.send_batch(parcels(b"1"))
        await sink.send_batch(parcels(b"1"))
    first, second = await published(broker, topic, unique("g"), 2)
    assert first.value == second.value
    assert key_of(first) == key_of(second) is not None


async def test_a_record_that_is_too_large_is_rejected_alone(broker: Broker, unique: Unique) -> None:
    if broker.kind == "tansu":
        pytest.skip("tansu takes any size")
    topic = unique("t")
    await create_topic(broker, topic)
    async with opened("kafka", bootstrap=broker.bootstrap, topic=topic) as sink:
        sent = await sink.send_batch(parcels(b"1", b"x" * 5_000_000, b"3"))
        assert sent[0] == Delivered()
        assert str(sent[1].reason) == "too_large: MessageSizeTooLargeError"  # type: ignore[union-attr]
        assert isinstance(sent[2], Delivered | Retry)
        assert await sink.send_batch(parcels(b"2")) == [Delivered()]


async def test_without_a_broker_nothing_is_in_doubt(unique: Unique) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with opened("kafka", bootstrap=address, topic="t", timeout="2s") as sink:
        with anyio.fail_after(8):
            sent = await sink.send_batch(parcels(b"1", b"2"))
    assert [type(each) for each in sent] == [Retry, Retry]
    assert {each.reason.code for each in sent} == {"not_sent"}  # type: ignore[union-attr]


async def test_a_broker_that_dies_leaves_what_left_in_doubt() -> None:
    async with embedded_broker() as running:
        await create_topic(Broker("noida", running.bootstrap), "t")
        options = {"bootstrap": running.bootstrap, "topic": "t", "timeout": "2s"}
        async with opened("kafka", **options) as sink:
            await sink.send_batch(parcels(b"1"))
            running.process.send_signal(9)
            await running.process.wait()
            with anyio.fail_after(8):
                [lost] = await sink.send_batch(parcels(b"2"))
    assert isinstance(lost, InDoubt)
