"""Where dead letters and feedback go: a Kafka topic, or a file of JSON lines without Kafka."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar, final

from anyio.to_thread import run_sync

from router.config import Project
from router.delivery import Publisher, Reporting
from router.delivery import PublishFailed as NotPublished
from router.events import (
    dead_letter_to_kafka,
    dead_letter_to_line,
    feedback_to_kafka,
    feedback_to_line,
)
from router.kafka.connection import KafkaConnection
from router.kafka.errors import PublishFailed
from router.kafka.producer import Producer, producer
from router.sources.kafka import KafkaSourceConfig

DEFAULT_FILE = "dead-letters.jsonl"
FEEDBACK_FILE = "feedback.jsonl"


ItemT = TypeVar("ItemT")
Written: TypeAlias = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
"""Key, value and headers."""


@final
class TopicPublisher(Generic[ItemT]):
    """Publishes to a topic.

    Args:
        write: An item as a record.
    """

    def __init__(self, producer: Producer, topic: str, write: Callable[[ItemT], Written]) -> None:
        self._producer = producer
        self._topic = topic
        self._write = write

    async def publish(self, items: Sequence[ItemT], /) -> None:
        batch = [self._write(item) for item in items]
        try:
            await self._producer.publish(self._topic, batch)
        except PublishFailed as error:
            raise NotPublished(str(error)) from error


@final
class FilePublisher(Generic[ItemT]):
    """Appends to a file, and returns once the lines are on the disk.

    Args:
        write: An item as a line.
    """

    def __init__(self, path: Path, write: Callable[[ItemT], bytes]) -> None:
        self._path = path
        self._write = write

    async def publish(self, items: Sequence[ItemT], /) -> None:
        lines = b"".join(self._write(item) + b"\n" for item in items)
        try:
            await run_sync(self._append, lines)
        except OSError as error:
            raise NotPublished(f"{self._path}: {error.strerror}") from error

    def _append(self, lines: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


def dead_letter_connection(project: Project) -> KafkaConnection | None:
    """The cluster that dead letters go to: the one named, else the first Kafka source's."""
    if project.dead_letters.file is not None:
        return None
    if project.dead_letters.kafka is not None:
        return project.dead_letters.kafka
    return first_cluster(project)


def feedback_connection(project: Project) -> KafkaConnection | None:
    """The cluster that feedback goes to: the one named, else the first Kafka source's."""
    if project.feedback is None or project.feedback.file is not None:
        return None
    return project.feedback.kafka or first_cluster(project)


def first_cluster(project: Project) -> KafkaConnection | None:
    """That of the first Kafka source, which reads replays too."""
    for source in project.sources.values():
        if isinstance(source, KafkaSourceConfig):
            return source
    return None


def dead_letter_file(project: Project) -> Path:
    """The file that dead letters go to where there is no Kafka."""
    return Path(os.path.normpath(project.dead_letters.file or Path(project.root) / DEFAULT_FILE))


@asynccontextmanager
async def open_publisher(project: Project) -> AsyncGenerator[Publisher]:
    """The publisher that a project's ``dead_letters`` section asks for."""
    connection = dead_letter_connection(project)
    if connection is None:
        yield FilePublisher(dead_letter_file(project), dead_letter_to_line)
        return
    async with producer(connection) as opened:
        yield TopicPublisher(opened, project.dead_letters.topic, dead_letter_to_kafka)


@asynccontextmanager
async def open_feedback(project: Project) -> AsyncGenerator[Reporting | None]:
    """Who hears what became of deliveries, by the project's ``feedback`` section."""
    settings = project.feedback
    if settings is None:
        yield None
        return
    connection = feedback_connection(project)
    if connection is None:
        path = Path(settings.file or Path(project.root) / FEEDBACK_FILE)
        publisher = FilePublisher(path, feedback_to_line)
        yield Reporting(publisher, settings.events, settings.max_waiting)
        return
    async with producer(connection) as opened:
        topic = TopicPublisher(opened, settings.topic, feedback_to_kafka)
        yield Reporting(topic, settings.events, settings.max_waiting)
