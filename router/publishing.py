"""Where dead letters go: a Kafka topic, or a file of JSON lines where there is no Kafka."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

from anyio.to_thread import run_sync

from router.config import Project
from router.delivery import Publisher
from router.delivery import PublishFailed as NotPublished
from router.events import DeadLetter, dead_letter_to_kafka, dead_letter_to_line
from router.kafka.connection import KafkaConnection
from router.kafka.errors import PublishFailed
from router.kafka.producer import Producer, producer
from router.sources.kafka import KafkaSourceConfig

log = logging.getLogger("router.dead_letters")

DEFAULT_FILE = "dead-letters.jsonl"


@final
class TopicPublisher:
    """Publishes to a topic, each letter with its original bytes, key and headers."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        batch = [dead_letter_to_kafka(letter) for letter in letters]
        try:
            await self._producer.publish(self._topic, batch)
        except PublishFailed as error:
            raise NotPublished(str(error)) from error


@final
class FilePublisher:
    """Appends to a file, and returns once the lines are on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        lines = b"".join(dead_letter_to_line(letter) + b"\n" for letter in letters)
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
    for source in project.sources.values():
        if isinstance(source, KafkaSourceConfig):
            return source
    return None


def dead_letter_file(project: Project) -> Path:
    """The file that dead letters go to where there is no Kafka."""
    return Path(project.dead_letters.file or Path(project.root) / DEFAULT_FILE)


@asynccontextmanager
async def open_publisher(project: Project) -> AsyncGenerator[Publisher]:
    """The publisher that a project's ``dead_letters`` section asks for."""
    connection = dead_letter_connection(project)
    if connection is None:
        yield FilePublisher(dead_letter_file(project))
        return
    async with producer(connection) as opened:
        yield TopicPublisher(opened, project.dead_letters.topic)
