"""Membership in a consumer group: joining, and being told which partitions come and go."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiokafka
import anyio
from aiokafka.abc import ConsumerRebalanceListener

from router.clock import Clock
from router.events import TopicPartition
from router.kafka.connection import KafkaConnection
from router.kafka.consumer import GroupConsumer, unavailable
from router.kafka.extension import has_compiled_extension
from router.kafka.patience import make_patient

_CLOSE_DEADLINE_S = 2.0

PlacesCallback = Callable[[Collection[TopicPartition]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """How to be a member.

    Attributes:
        topics: Read by name; a topic may come into being later.
        pattern: Topics whose whole name matches this are read too.
        metadata_refresh_s: How soon new topics and partitions are noticed.
        partition_bytes: Fetched from one partition at once.
    """

    connection: KafkaConnection
    group: str
    topics: tuple[str, ...]
    pattern: str | None
    session_timeout_s: float
    rebalance_timeout_s: float
    metadata_refresh_s: float
    partition_bytes: int

    def topic_pattern(self) -> str | None:
        """One pattern for names and pattern; None where there are only names."""
        if self.pattern is None:
            return None
        parts = [re.escape(topic) for topic in self.topics] + [f"(?:{self.pattern})"]
        return rf"(?:{'|'.join(parts)})\Z"


class _Callbacks(ConsumerRebalanceListener):
    """Hands the library's callbacks on; it awaits coroutines, which its types don't say."""

    def __init__(self, revoked: PlacesCallback, assigned: PlacesCallback) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, revoked: Any
    ) -> None:
        await self._revoked([TopicPartition(*place) for place in revoked])

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Any
    ) -> None:
        await self._assigned([TopicPartition(*place) for place in assigned])


@asynccontextmanager
async def group_consumer(
    options: GroupOptions, *, revoked: PlacesCallback, assigned: PlacesCallback, clock: Clock
) -> AsyncGenerator[GroupConsumer]:
    """Connects and begins to join the group.

    ``revoked`` is awaited before partitions go to others, ``assigned`` after they came (with an
    empty list too); no heartbeat is sent while ``assigned`` runs, so it has to be short.

    Raises:
        KafkaUnavailable: no broker answers.
    """
    has_compiled_extension()
    with unavailable():
        client = aiokafka.AIOKafkaConsumer(
            **options.connection.client_options(),
            group_id=options.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=round(options.session_timeout_s * 1000),
            heartbeat_interval_ms=round(options.session_timeout_s * 1000 / 4),
            rebalance_timeout_ms=round(options.rebalance_timeout_s * 1000),
            metadata_max_age_ms=round(options.metadata_refresh_s * 1000),
            max_partition_fetch_bytes=options.partition_bytes,
        )
    try:
        with unavailable():
            await client.start()
            make_patient(client, clock)
            client.subscribe(
                topics=() if options.pattern else list(options.topics),
                pattern=options.topic_pattern(),
                listener=_Callbacks(revoked, assigned),
            )
        yield GroupConsumer(client, clock)
    finally:
        with anyio.move_on_after(_CLOSE_DEADLINE_S, shield=True):
            await client.stop()
