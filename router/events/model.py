"""A record as read, and what decoding makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from router.messages.outcome import Reason


class TopicPartition(NamedTuple):
    """Where records are read from; a file or standard input is a topic with partition 0."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record, as the source read it.

    Attributes:
        topic: Kafka topic, or the file's name.
        partition: Kafka partition, 0 for files.
        offset: Kafka offset, or the line's number from 0.
        timestamp: Seconds since the epoch that the broker (or the reader) gave the record.
        key: Kafka key, as bytes.
        value: The payload; None is a tombstone.
        headers: In order, names may repeat.
    """

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    def header(self, name: str) -> bytes | None:
        """The first header of that name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def position(self) -> str:
        """``topic/partition/offset``."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Event:
    """One decoded record: what routes match and templates read.

    Attributes:
        id: The producer's id, or one made of the record's position and timestamp.
        type: The event's type, such as ``payment.failed``.
        source: CloudEvents ``source``, by default the topic.
        subject: What the event is about, if the producer says.
        time: Seconds since the epoch; at most five minutes after the record's timestamp.
        data: The decoded payload.
        headers: Record headers as text, the last of a name wins.
        identity: What makes two records the same event (delivery keys are built on it).
        record: The bytes it came from.
        collected: Where it stands for several events that one message tells of: those events.
    """

    id: str
    type: str
    source: str
    subject: str | None
    time: float
    data: Any
    headers: Mapping[str, str]
    identity: str
    record: Record = field(repr=False)
    collected: Collected | None = field(default=None, repr=False)

    @property
    def topic(self) -> str:
        return self.record.topic

    @property
    def partition(self) -> int:
        return self.record.partition

    @property
    def offset(self) -> int:
        return self.record.offset

    @property
    def key(self) -> str | None:
        """The record's key as text; bytes that are not UTF-8 are shown with replacements."""
        return None if self.record.key is None else self.record.key.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Collected:
    """Events that a digest tells one person of.

    Attributes:
        count: How many there are.
        events: The earliest of them in the order of their times, each with the ``item`` that names
            the person in it.
    """

    count: int
    events: tuple[tuple[Event, Any], ...]


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that can't become an event; it goes to dead letters and the partition moves on.

    Attributes:
        hop: How often it has been replayed.
    """

    record: Record
    reason: Reason
    hop: int = 0
