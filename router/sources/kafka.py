"""Records of Kafka topics, read as a member of a consumer group."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from router.clock import Clock
from router.kafka.connection import KafkaConnection
from router.ledger import Ledger
from router.sources._contract import Listener, Source, SourceConfig, SourceType
from router.values import Duration, Size


def parse_start(text: str) -> float | None:
    """Seconds since the epoch; None for ``now`` and ``earliest``.

    Raises:
        ValueError: it is none of these; the message says what to write.
    """
    if text in ("now", "earliest"):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("write now, earliest or a time such as 2026-01-31T00:00:00Z")
    return time.timestamp()


def _check_start(text: str) -> str:
    parse_start(text)
    return text


def _check_pattern(text: str | None) -> str | None:
    try:
        re.compile(text or "")
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


class KafkaSourceConfig(SourceConfig, KafkaConnection):
    """Topics of a Kafka cluster, read as a member of a consumer group."""

    topics: tuple[str, ...] = Field(
        default=(),
        description="Topics to read; one may come into being later.",
        examples=[["payments"]],
    )
    pattern: Annotated[str | None, AfterValidator(_check_pattern)] = Field(
        default=None,
        description="Regular expression: every topic whose whole name matches is read too.",
        examples=["orders\\..*"],
    )
    group: str = Field(
        min_length=1, description="Consumer group; replicas share it.", examples=["router-prod"]
    )
    start: Annotated[str, AfterValidator(_check_start)] = Field(
        default="now",
        description=(
            "Where a group without any committed offset begins: `now`, `earliest` or a time. With "
            "`now`, a topic that comes into being later is read from its first record."
        ),
        examples=["earliest", "2026-01-31T00:00:00Z"],
    )
    replay_topic: str | None = Field(
        default=None,
        description="The router's own topic for replays; by default that of `dead_letters`.",
    )
    session_timeout: Duration = Field(
        default=15.0, ge=1, description="A member that is silent so long loses its partitions."
    )
    rebalance_timeout: Duration = Field(
        default=60.0, ge=5, description="How long a member may take to hand its partitions over."
    )
    metadata_refresh: Duration = Field(
        default=15.0, gt=0, description="How soon new topics and partitions are noticed."
    )
    partition_bytes: Size = Field(
        default=1024**2, ge=1024, description="Bytes fetched from one partition at once."
    )

    @model_validator(mode="after")
    def _reads_something(self) -> KafkaSourceConfig:
        if not self.topics and self.pattern is None:
            raise ValueError("no topics; write topics: [payments] or a pattern")
        return self

    def reads(self, topic: str) -> bool:
        """This source reads the topic: the router's own outputs must not be among them.

        The replay topic, which it is meant to read, does not count.
        """
        if topic in self.topics:
            return True
        return self.pattern is not None and re.fullmatch(self.pattern, topic) is not None


@asynccontextmanager
async def open_source(
    config: KafkaSourceConfig,
    *,
    name: str,
    listener: Listener,
    ledger: Ledger,
    clock: Clock,
    accept_new_ledger: bool = False,
) -> AsyncGenerator[Source]:
    """Reads in the group until the block ends.

    It opens without a broker and joins in the background. Before the block ends, the caller
    has to drain and commit: closing does not call the listener.
    """
    from router.sources._kafka_group import running_group

    async with running_group(
        config,
        name=name,
        listener=listener,
        ledger=ledger,
        clock=clock,
        accept_new_ledger=accept_new_ledger,
    ) as source:
        yield source


SOURCE = SourceType("kafka", KafkaSourceConfig, open_source)
