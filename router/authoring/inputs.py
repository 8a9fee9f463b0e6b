"""Events to try: lines of JSON, dead letters, and the samples of templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import final

from router.config.documents import read_document
from router.events import (
    DecodeConfig,
    Event,
    NotADeadLetter,
    Poison,
    Record,
    dead_letter_from_line,
    decode,
)
from router.problems import ConfigError, Problems, Source
from router.recipients import Directory, Found, Recipient, Unknown
from router.templating.samples import parse_sample

_SAMPLE_SUFFIXES = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class Given:
    """An event to try.

    Attributes:
        label: Where it comes from: ``events.jsonl:3``.
        recipient: A sample's recipient; known beside those of the directory.
        now: When it is tried, in seconds since the epoch; None is the event's own time.
    """

    label: str
    event: Event | Poison
    recipient: Recipient | None = None
    now: float | None = None

    @property
    def moment(self) -> float:
        if self.now is not None:
            return self.now
        return self.event.record.timestamp if isinstance(self.event, Poison) else self.event.time


def read_events(
    file: str, content: bytes, decoding: DecodeConfig, *, topic: str, timestamp: float
) -> list[Given]:
    """The events of a file: a sample where it is YAML, else one event a line.

    A line may also be a dead letter, of which the original is taken.

    Args:
        topic: The topic that the lines are read as.
        timestamp: Of the lines' records, in seconds since the epoch.

    Raises:
        ConfigError: a sample can't be read.
    """
    if PurePath(file).suffix.lower() in _SAMPLE_SUFFIXES:
        return [read_sample(file, content)]
    return list(_lines(file, content, decoding, topic, timestamp))


def _lines(
    file: str, content: bytes, decoding: DecodeConfig, topic: str, timestamp: float
) -> Iterator[Given]:
    for number, line in enumerate(content.split(b"\n")):
        text = line.strip()
        if text:
            record = _original(text) or Record(topic, 0, number, timestamp, None, text)
            yield Given(f"{file}:{number + 1}", decode(record, decoding))


def _original(line: bytes) -> Record | None:
    try:
        return dead_letter_from_line(line).record
    except NotADeadLetter:
        return None


def read_sample(file: str, content: bytes) -> Given:
    """The event of a template's sample, with its recipient and its time.

    Raises:
        ConfigError: it is no sample, or one without an event.
    """
    problems = Problems()
    text = content.decode("utf-8-sig", "replace")
    document = read_document(Source.of(file, text), text, problems, literal=True)
    problems.raise_if_errors()
    name = PurePath(file).stem
    sample = parse_sample(name, document.node, problems)
    if sample is not None and not document.node.entries.keys() & {"event", "digest"}:
        message = "this sample has variables and no event: there is nothing to route"
        problems.error("T101", message, document.node.at)
    problems.raise_if_errors()
    if sample is None:
        raise ConfigError(problems.found)
    event = replace(sample.view.event, collected=None)
    return Given(file, event, sample.view.recipient, sample.view.now)


def at_time(given: Sequence[Given], now: float | None) -> list[Given]:
    """All of them tried at one time; None leaves each its own."""
    return list(given) if now is None else [replace(one, now=now) for one in given]


@final
class People:
    """These people, and those of another directory; without one, nobody else is known."""

    def __init__(self, people: Mapping[str, Recipient], others: Directory | None = None) -> None:
        self._people = people
        self._others = others

    async def lookup(self, ids: Sequence[str], tenant: str = "") -> Sequence[Found]:
        others: Sequence[Found] = [Unknown(id) for id in ids]
        if self._others is not None:
            others = await self._others.lookup(ids, tenant)
        return [self._either(id, other) for id, other in zip(ids, others, strict=True)]

    def _either(self, id: str, other: Found) -> Found:
        """The person given here, whose devices are those of the directory if none are given."""
        person = self._people.get(id)
        if person is None:
            return other
        if not person.devices and isinstance(other, Recipient):
            return replace(person, devices=other.devices)
        return person


def with_recipients(directory: Directory, given: Sequence[Given]) -> Directory:
    """The directory, and the recipients that samples bring; those win."""
    people = {one.recipient.id: one.recipient for one in given if one.recipient is not None}
    return People(people, directory) if people else directory
