"""The brokers that other tests rely on do what those tests rely on."""

from __future__ import annotations

import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from tests.brokers import PASSWORD, USER, Broker, SecureListener, create_topic

pytestmark = pytest.mark.anyio


async def _round_trip(topic: str, group: str, **connection: object) -> None:
    async with AIOKafkaProducer(**connection) as producer:
        await producer.send_and_wait(topic, b"value", key=b"key", headers=[("h", b"1")])
    async with AIOKafkaConsumer(
        topic,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **connection,
    ) as consumer:
        with anyio.fail_after(30):
            record = await consumer.getone()
        assert (record.key, record.value, record.headers) == (b"key", b"value", (("h", b"1"),))
        partition = TopicPartition(topic, record.partition)
        await consumer.commit({partition: OffsetAndMetadata(record.offset + 1, "note")})
        assert await consumer.committed(partition) == record.offset + 1


@pytest.mark.kafka
async def test_group_member_reads_and_commits_with_metadata(
    broker: Broker, unique: Callable[[str], str]
) -> None:
    topic = unique("orders")
    await create_topic(broker, topic)
    await _round_trip(topic, unique("group"), bootstrap_servers=broker.bootstrap)


_HOLD_PARTITION = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer

async def main(bootstrap, topic, group):
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
        session_timeout_ms=2000, heartbeat_interval_ms=500, enable_auto_commit=False,
    ) as consumer:
        print((await consumer.getone()).offset, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.kill
async def test_killed_member_loses_its_partitions_to_another(
    evicting_broker: Broker, unique: Callable[[str], str]
) -> None:
    topic, group = unique("orders"), unique("group")
    bootstrap = evicting_broker.bootstrap
    await create_topic(evicting_broker, topic)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(topic, b"value")
    command = [sys.executable, "-c", _HOLD_PARTITION, bootstrap, topic, group]
    async with await anyio.open_process(command) as member:
        assert member.stdout is not None
        with anyio.fail_after(20):
            assert int(await member.stdout.receive()) == 0
        member.send_signal(signal.SIGKILL)
        await member.wait()

    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=2000,
        heartbeat_interval_ms=500,
    ) as survivor:
        with anyio.fail_after(30):
            assert (await survivor.getone()).offset == 0


@pytest.mark.kafka
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
async def test_secure_listener_takes_known_users(
    secure_listener: SecureListener, unique: Callable[[str], str], mechanism: str
) -> None:
    await _round_trip(
        unique("orders"),
        unique("group"),
        bootstrap_servers=secure_listener.bootstrap,
        security_protocol="SASL_SSL",
        sasl_mechanism=mechanism,
        sasl_plain_username=USER,
        sasl_plain_password=PASSWORD,
        ssl_context=ssl.create_default_context(cafile=secure_listener.ca_file),
    )


_HOLD_BROKER = """
import anyio
from router.sandbox.broker import embedded_broker

async def main():
    async with embedded_broker() as broker:
        print(broker.process.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_embedded_broker_dies_with_its_killed_parent() -> None:
    async with await anyio.open_process([sys.executable, "-c", _HOLD_BROKER]) as parent:
        assert parent.stdout is not None
        with anyio.fail_after(20):
            pid = int(await parent.stdout.receive())

        parent.send_signal(signal.SIGKILL)
        await parent.wait()

    with anyio.fail_after(3):
        while _is_running(pid):  # noqa: ASYNC110 - the kernel tells a stranger nothing
            await anyio.sleep(0.02)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
