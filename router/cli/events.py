"""What dry-run and explain share: where events come from, and which directory is asked."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from router.authoring.inputs import Given, at_time, read_events
from router.cli.output import USAGE, fail, now
from router.clock import SystemClock
from router.config import Project
from router.directories import KINDS as DIRECTORIES
from router.directories.file import SUFFIXES, PeopleError, read_people
from router.problems import did_you_mean
from router.recipients import Directory
from router.sources import SourceConfig
from router.sources.file import FileSourceConfig
from router.sources.kafka import KafkaSourceConfig

F = TypeVar("F", bound=Callable[..., Any])

STDIN = "-"


def event_options(command: F) -> F:
    """``--source``, ``--as-topic``, ``--people`` and ``--at``."""
    for option in (
        click.option(
            "--at",
            "moment",
            metavar="TIME",
            help="Try them at this time: now, or 2026-11-24T10:00:00Z. By default each event is"
            " tried at its own time.",
        ),
        click.option(
            "--people",
            type=click.Path(exists=True, dir_okay=False),
            help="File of people to ask instead of the configured directory.",
        ),
        click.option(
            "--as-topic",
            metavar="TOPIC",
            help="Topic that lines are taken to come from; by default the source's first.",
        ),
        click.option(
            "--source", metavar="NAME", help="Source whose decode: reads the lines; the first one."
        ),
    ):
        command = option(command)
    return command


def choose_source(project: Project, name: str | None) -> tuple[str, SourceConfig]:
    """The source of that name, or the first."""
    if name is None:
        return next(iter(project.sources.items()))
    if name not in project.sources:
        hint = did_you_mean(name, list(project.sources), "Sources")
        raise fail(f'there is no source "{name}".{hint}', USAGE)
    return name, project.sources[name]


def topic_of(source: SourceConfig) -> str:
    """The topic that a source's records would have."""
    match source:
        case KafkaSourceConfig(topics=(first, *_)):
            return first
        case FileSourceConfig(path=path):
            return Path(path).name
        case _:
            return "stdin"


def read_given(
    file: str, source: SourceConfig, as_topic: str | None, moment: str | None
) -> list[Given]:
    """The events of a file or of standard input."""
    name, content = "<stdin>" if file == STDIN else file, read_input(file)
    topic = as_topic or topic_of(source)
    given = read_events(name, content, source.decode, topic=topic, timestamp=now())
    if not given:
        raise fail(f"there is no event in {name}", USAGE)
    return at_time(given, parse_moment(moment))


def read_input(file: str) -> bytes:
    """A file's content, or what comes on standard input."""
    if file == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise fail(f"can't read {file}: {error.strerror}", USAGE) from None


def parse_moment(text: str | None) -> float | None:
    """Seconds since the epoch of ``--at``."""
    if text is None:
        return None
    if text == "now":
        return now()
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise click.BadParameter("write now, or a time as 2026-11-24T10:00:00Z", param_hint="--at")
    return time.timestamp()


@asynccontextmanager
async def opened_directory(project: Project, people: str | None) -> AsyncGenerator[Directory]:
    """The configured directory, or one of a file of people."""
    if people is not None:
        yield _directory_of(Path(people))
        return
    kind = DIRECTORIES.load(project.directory.type)
    async with kind.open(project.directory, clock=SystemClock()) as directory:
        yield directory


def _directory_of(path: Path) -> Directory:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise fail(f"{path}: the name of a file of people ends in {', '.join(SUFFIXES)}", USAGE)
    try:
        return read_people(path.read_text("utf-8-sig"), suffix)
    except (PeopleError, OSError, UnicodeDecodeError) as error:
        raise fail(f"{path}: {error}", USAGE) from None
