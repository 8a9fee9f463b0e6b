"""Where one test takes place: names of its own on a broker, and a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.ledger import Kind, Row, State
from router.sandbox import Received, Sandbox
from tests.brokers import Broker, create_topic
from tests.system.processes import count_states, eventually, ledger_rows
from tests.system.projects import (
    Project,
    api_sink,
    dead_letter_topics,
    kafka_source,
    order_route,
    secrets_of,
    write_project,
)
from tests.system.topics import commit, committed, publish, read_all


@dataclass(frozen=True, slots=True)
class Place:
    """One test's topic, consumer group and folder."""

    broker: Broker
    topic: str
    group: str
    folder: Path

    async def create(self, partitions: int = 1) -> None:
        """Creates the topic."""
        await create_topic(self.broker, self.topic, partitions)

    def project(
        self,
        box: Sandbox,
        *,
        source: Mapping[str, Any] | None = None,
        sink: Mapping[str, Any] | None = None,
        routes: Mapping[str, Any] | None = None,
        **sections: Any,
    ) -> Project:
        """A project that calls the sandbox's API for each order; options go over the defaults."""
        given = {
            "sources": {"main": self.source(**(source or {}))},
            "sinks": {"api": api_sink(box, **(sink or {}))},
            "routes": routes or {"paid": order_route()},
            "env": secrets_of(box),
        }
        return write_project(self.folder, **(given | sections))

    def source(self, **options: Any) -> dict[str, Any]:
        return kafka_source(self.broker.bootstrap, [self.topic], self.group) | options

    async def publish(self, values: Sequence[bytes | None], partitions: int = 1) -> None:
        await publish(self.broker.bootstrap, self.topic, values, partitions)

    async def committed(self, partition: int = 0) -> int | None:
        return await committed(self.broker.bootstrap, self.group, self.topic, partition)

    async def commits(self, *offsets: int) -> None:
        """Waits until the group has committed these, by partition."""

        async def found() -> bool:
            return [await self.committed(p) for p in range(len(offsets))] == list(offsets)

        await eventually(found, f"offsets {offsets} of {self.group} are committed")

    async def rewind(self, offset: int = 0) -> None:
        """Sets the offset of a group without members, as Kafka's own tools do."""
        await commit(self.broker.bootstrap, self.group, self.topic, offset)

    @property
    def dead_letter_topic(self) -> str:
        return dead_letter_topics(self.group)["topic"]

    @property
    def replay_topic(self) -> str:
        return dead_letter_topics(self.group)["replay_topic"]

    async def dead_letters(self, count: int, within_s: float = 30) -> list[Any]:
        """Records of the dead-letter topic, as soon as there are so many."""
        return await read_all(self.broker.bootstrap, self.dead_letter_topic, count, within_s)

    async def states(self, project: Project, kind: Kind = Kind.DELIVERY) -> dict[State, int]:
        """How many rows of the ledger are in each state."""
        return count_states(await self.rows(project, kind))

    async def rows(self, project: Project, kind: Kind = Kind.DELIVERY) -> list[Row]:
        return await ledger_rows(project, kind)


def orders_of(received: Sequence[Received]) -> list[str]:
    """The ids of the orders that reached the API, in the order of their arrival."""
    return [entry.recipient.rpartition("/")[2] for entry in received]
