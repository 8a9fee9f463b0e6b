"""Open Kafka sources, and what a worker does around them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, final

import aiokafka
import anyio

from router.clock import SystemClock
from router.events import Record, TopicPartition
from router.ledger.memory import MemoryLedger
from router.sources._kafka_group import KafkaSource, running_group
from router.sources.kafka import KafkaSourceConfig
from tests.brokers import Broker


@final
class Hearing:
    """A listener that remembers; ``on_revoke`` is what it does while it still may commit."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, tuple[TopicPartition, ...]]] = []
        self.owned: set[TopicPartition] = set()
        self.offsets_lost = 0
        self.on_revoke: Callable[[Sequence[TopicPartition]], Awaitable[None]] | None = None

    async def assigned(self, places: Sequence[TopicPartition]) -> None:
        self.heard.append(("assigned", tuple(places)))
        self.owned |= set(places)

    async def revoked(self, places: Sequence[TopicPartition]) -> None:
        self.heard.append(("revoked", tuple(places)))
        if self.on_revoke:
            await self.on_revoke(places)
        self.owned -= set(places)

    def lost(self, offsets: int) -> None:
        self.offsets_lost += offsets


def a_ledger(uuid: str | None = None) -> MemoryLedger:
    """A ledger in memory; with a uuid it passes for a durable one."""
    ledger = MemoryLedger(owner="test", clock=SystemClock())
    if uuid is not None:
        ledger.uuid, ledger.is_durable = uuid, True
    return ledger


@asynccontextmanager
async def a_source(
    bootstrap: str,
    topic: str,
    group: str,
    *,
    hearing: Hearing | None = None,
    ledger: MemoryLedger | None = None,
    accept_new_ledger: bool = False,
    **config: Any,
) -> AsyncGenerator[KafkaSource]:
    """A source of this topic, from the earliest record by default."""
    fields: dict[str, Any] = {
        "type": "kafka",
        "bootstrap": bootstrap,
        "group": group,
        "topics": [topic],
        "start": "earliest",
        "session_timeout": "6s",
        "metadata_refresh": "500ms",
    }
    async with running_group(
        KafkaSourceConfig.model_validate(fields | config),
        name="main",
        listener=hearing or Hearing(),
        ledger=ledger or a_ledger(),
        clock=SystemClock(),
        accept_new_ledger=accept_new_ledger,
    ) as source:
        yield source


async def read_some(source: KafkaSource, count: int, deadline_s: float = 20) -> list[Record]:
    """Reads until so many records came."""
    records: list[Record] = []
    with anyio.fail_after(deadline_s):
        while len(records) < count:
            records += await source.read(100, 0.2)
    return records


async def read_until(
    source: KafkaSource, condition: Callable[[], bool], deadline_s: float = 20
) -> list[Record]:
    """Reads until something holds."""
    records: list[Record] = []
    with anyio.fail_after(deadline_s):
        while not condition():
            records += await source.read(100, 0.1)
    return records


async def until(condition: Callable[[], bool], deadline_s: float = 20) -> None:
    """Waits until something holds, while others work."""
    with anyio.fail_after(deadline_s):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def keep_reading(source: KafkaSource, records: list[Record]) -> None:
    """Reads until cancelled, as a worker does."""
    while True:
        records += await source.read(100, 0.1)


async def send(broker: Broker, topic: str, *values: bytes | None, **fields: Any) -> None:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, **fields)
    finally:
        await producer.stop()
