"""Administration: topics and what a group committed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, final

import aiokafka
import anyio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from router.events import TopicPartition
from router.kafka.connection import KafkaConnection
from router.kafka.errors import KafkaUnavailable, TopicRefused, explain

_DEADLINE_S = 15.0
_TOPIC_EXISTS = 36
_REPLICAS = 3


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to create. Without ``replication`` it has three replicas, if there are so many
    brokers."""

    name: str
    partitions: int = 1
    replication: int | None = None
    config: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Committed:
    """What a group committed for a partition: the next offset, and the text kept with it."""

    offset: int
    metadata: str


@final
class Admin:
    """An open administration client."""

    def __init__(self, client: AIOKafkaAdminClient) -> None:
        self._client = client

    async def ensure_topics(self, topics: Collection[TopicSpec]) -> None:
        """Creates the topics that are not there; those that are stay as they are.

        Raises:
            TopicRefused: a topic is missing, and the cluster won't create it.
            KafkaUnavailable: no answer.
        """
        if not topics:
            return
        async with _answers():
            cluster: Any = await self._client.describe_cluster()
            replicas = min(_REPLICAS, len(cluster["brokers"]))
            new = [
                NewTopic(
                    spec.name,
                    spec.partitions,
                    spec.replication or replicas,
                    topic_configs=dict(spec.config),
                )
                for spec in topics
            ]
            response: Any = await self._client.create_topics(new)
        for name, code, *message in response.topic_errors:
            if code not in (0, _TOPIC_EXISTS):
                raise TopicRefused(f"topic {name}: {message[0] if message else ''} (error {code})")

    async def topics(self) -> frozenset[str]:
        """The topics that are there, as far as this client may see.

        It asks about all: asking for one by name would create it on some clusters.

        Raises:
            KafkaUnavailable: no answer.
        """
        async with _answers():
            return frozenset(await self._client.list_topics())

    async def topic_max_bytes(self, topic: str) -> int | None:
        """The topic's ``max.message.bytes``; None where the cluster doesn't tell.

        Raises:
            KafkaUnavailable: no answer.
        """
        wanted = ConfigResource(ConfigResourceType.TOPIC, topic)
        async with _answers():
            responses: Any = await self._client.describe_configs([wanted])
        for response in responses:
            for code, _message, _type, _name, entries in response.resources:
                for entry in entries if code == 0 else ():
                    if entry[0] == "max.message.bytes" and str(entry[1]).isdecimal():
                        return int(entry[1])
        return None

    async def committed(
        self, group: str, places: Collection[TopicPartition]
    ) -> dict[TopicPartition, Committed]:
        """What the group committed, partitions without a commit left out.

        Raises:
            KafkaUnavailable: no answer.
        """
        if not places:
            return {}
        wanted = [aiokafka.TopicPartition(*place) for place in places]
        async with _answers():
            found = await self._client.list_consumer_group_offsets(group, partitions=wanted)
        return {
            TopicPartition(*place): Committed(committed.offset, committed.metadata or "")
            for place, committed in found.items()
            if committed.offset >= 0
        }


@asynccontextmanager
async def admin(connection: KafkaConnection) -> AsyncGenerator[Admin]:
    """Connects for administration.

    Raises:
        KafkaUnavailable: no broker answers.
    """
    async with _answers():
        client = AIOKafkaAdminClient(**connection.client_options(), request_timeout_ms=10_000)
    try:
        async with _answers():
            await client.start()
        yield Admin(client)
    finally:
        with anyio.move_on_after(2, shield=True):
            await client.close()


async def ensure_topics(connection: KafkaConnection, topics: Collection[TopicSpec]) -> None:
    """Creates missing topics; see :meth:`Admin.ensure_topics`."""
    async with admin(connection) as opened:
        await opened.ensure_topics(topics)


@asynccontextmanager
async def _answers() -> AsyncGenerator[None]:
    try:
        with anyio.fail_after(_DEADLINE_S):
            yield
    except TimeoutError as error:
        raise KafkaUnavailable(f"no answer within {_DEADLINE_S:g} s") from error
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(explain(error)) from error
