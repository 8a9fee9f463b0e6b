"""Dead letters as operators handle them: found, filtered, shown, and turned into replays."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from anyio.to_thread import run_sync

from router.config import Project
from router.events import (
    DeadLetter,
    NotADeadLetter,
    Record,
    TopicPartition,
    dead_letter_from_kafka,
    dead_letter_from_line,
    unwrap_replay,
    wrap_replay,
)
from router.kafka.connection import KafkaConnection
from router.publishing import dead_letter_connection, dead_letter_file
from router.sources.kafka import KafkaSourceConfig

Outgoing: TypeAlias = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
"""Key, value and headers to publish."""


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter and where it lies: ``topic/partition/offset``, or the file's line."""

    id: str
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters; None asks nothing.

    Attributes:
        reason: Its code.
        since: Died at this time or later, in seconds since the epoch.
        until: Died before this time.
    """

    route: str | None = None
    sink: str | None = None
    reason: str | None = None
    tenant: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def is_everything(self) -> bool:
        return self == Wanted()

    def takes(self, letter: DeadLetter) -> bool:
        asked = (
            (self.route, letter.route),
            (self.sink, letter.sink),
            (self.reason, letter.reason.code),
            (self.tenant, letter.tenant),
        )
        is_in_time = (self.since is None or letter.at >= self.since) and (
            self.until is None or letter.at < self.until
        )
        return is_in_time and all(wanted in (None, found) for wanted, found in asked)


# Reading ---------------------------------------------------------------------------------------


def place_of(project: Project) -> str:
    """Where a project's dead letters lie, in words."""
    if dead_letter_connection(project) is None:
        return str(dead_letter_file(project))
    return f"topic {project.dead_letters.topic}"


async def read_dead_letters(project: Project, wanted: Wanted) -> AsyncGenerator[Found]:
    """Those that are wanted, oldest first within a partition; what is none is passed over.

    Raises:
        OSError: the file can't be read.
        KafkaUnavailable: the cluster does not answer.
    """
    connection = dead_letter_connection(project)
    if connection is None:
        for found in await run_sync(_read_file, dead_letter_file(project)):
            if wanted.takes(found.letter):
                yield found
        return
    from router.kafka.peek import opened_topic

    async with opened_topic(connection, project.dead_letters.topic) as topic:
        # A record is published after its letter died: none that is wanted is older.
        async for record in topic.stored(since=wanted.since):
            found = _from_record(record)
            if found is not None and wanted.takes(found.letter):
                yield found


async def find_dead_letter(project: Project, id: str) -> Found | None:
    """The one with that id; None where there is none.

    Raises:
        ValueError: the text is no id; the message says what to write.
        OSError: the file can't be read.
        KafkaUnavailable: the cluster does not answer.
    """
    connection = dead_letter_connection(project)
    if connection is None:
        if not id.isdecimal():
            raise ValueError("write the number of its line, as list shows it")
        found = await run_sync(_read_file, dead_letter_file(project))
        return next((one for one in found if one.id == id), None)
    name, _, place = id.rpartition("/")[0].rpartition("/")
    partition, offset = place, id.rpartition("/")[2]
    if not partition.isdecimal() or not offset.isdecimal():
        raise ValueError("write topic/partition/offset, as list shows it")
    from router.kafka.peek import opened_topic

    wanted = name or project.dead_letters.topic
    async with opened_topic(connection, wanted) as topic:
        record = await topic.at(TopicPartition(wanted, int(partition)), int(offset))
    return None if record is None else _from_record(record)


def _read_file(path: Path) -> list[Found]:
    if not path.exists():
        return []
    found: list[Found] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found.append(Found(str(number), dead_letter_from_line(line)))
            except NotADeadLetter:
                continue
    return found


def _from_record(record: Record) -> Found | None:
    try:
        return Found(record.position, dead_letter_from_kafka(record))
    except NotADeadLetter:
        return None


# Showing ---------------------------------------------------------------------------------------


def found_to_dict(found: Found, *, with_original: bool) -> dict[str, Any]:
    """The stable JSON form."""
    letter = found.letter
    record = letter.record
    shown: dict[str, Any] = {
        "id": found.id,
        "at": moment_text(letter.at),
        "stage": letter.stage,
        "reason": {"code": letter.reason.code, "text": letter.reason.text},
        "tenant": letter.tenant,
        "route": letter.route,
        "step": letter.step,
        "sink": letter.sink,
        "attempts": letter.attempts,
        "replays": letter.hop,
        "delivery_key": letter.delivery_key.hex() if letter.delivery_key else None,
        "identity": letter.identity,
        "original": {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": moment_text(record.timestamp),
        },
        "cut": {"size": letter.cut.size, "sha256": letter.cut.sha256} if letter.cut else None,
    }
    if with_original:
        shown["original"] |= {
            "key": _text(record.key),
            "headers": [[name, _text(value)] for name, value in record.headers],
            "value": _value(record.value),
        }
    return shown


def moment_text(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _value(value: bytes | None) -> Any:
    """JSON as it is, text as text, other bytes in base64."""
    try:
        return orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return _text(value)


def _text(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


# Replaying -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Skipped:
    """A dead letter that can't be replayed, and why not."""

    why: str


def replay_connection(project: Project) -> KafkaConnection | None:
    """The cluster that replays go to: that of the first Kafka source, which reads them."""
    kafka = (s for s in project.sources.values() if isinstance(s, KafkaSourceConfig))
    return next(kafka, None)


def route_names(project: Project) -> dict[str, str]:
    """Today's name of every route, by its name and its earlier one."""
    earlier = {route.was: route.id for route in project.routes.values() if route.was}
    return earlier | {name: name for name in project.routes}


def replay_of(letter: DeadLetter, names: Mapping[str, str]) -> Outgoing | Skipped:
    """What to publish on the replay topic for the letter's delivery, route or event.

    Args:
        names: From :func:`route_names`.
    """
    if letter.cut is not None:
        return Skipped("only the beginning of the original was kept")
    if letter.route is not None and letter.route not in names:
        return Skipped(f'there is no route "{letter.route}" any more')
    record, hop = letter.record, letter.hop + 1
    if record.header("router-replay-hop") is not None:
        unwrapped = unwrap_replay(record)
        if not isinstance(unwrapped, tuple):
            return Skipped(unwrapped.reason.text or unwrapped.reason.code)
        record, hop = unwrapped[0], unwrapped[1].hop + 1
    routes = [] if letter.route is None else [names[letter.route]]
    return wrap_replay(record, routes, letter.delivery_key, hop)
