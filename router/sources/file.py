"""Events from a file of JSON lines: for a start without Kafka, for tests and for backfills."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
from pydantic import Field

from router.clock import Clock
from router.ledger import Ledger, ProgressKey
from router.problems import ConfigError, Problem
from router.sources._contract import Listener, Source, SourceConfig, SourceType
from router.sources._lines import LineSource
from router.values import FilePath

log = logging.getLogger("router.sources")

_CHUNK = 256 * 1024
_LOOK_EVERY_S = 0.2

FILE_UNREADABLE = "E307"


class FileSourceConfig(SourceConfig):
    """Events from a file, one JSON object a line.

    Events without an id are told apart by their line and, with `follow`, the time at which they
    were read: give them ids where that matters.
    """

    path: FilePath = Field(description="JSON lines file.", examples=["events.jsonl"])
    follow: bool = Field(
        default=False, description="Wait for more lines at the end instead of ending."
    )


@asynccontextmanager
async def open_source(
    config: FileSourceConfig,
    *,
    name: str,
    listener: Listener,
    ledger: Ledger,
    clock: Clock,
    accept_new_ledger: bool = False,
) -> AsyncGenerator[Source]:
    """Reads the file from where the ledger's progress says.

    Raises:
        ConfigError: the file can't be opened.
        LedgerDown: the progress can't be read.
    """
    path = Path(config.path)
    try:
        file = await anyio.to_thread.run_sync(lambda: path.open("rb"))
    except OSError as error:
        message = f"source {name}: {path} can't be read: {error.strerror}"
        raise ConfigError([Problem(FILE_UNREADABLE, message)]) from error
    with file:
        [first] = await ledger.progress([ProgressKey(name, path.name, 0)])
        modified = os.fstat(file.fileno()).st_mtime
        tail = _Tail(file, name, config.follow, clock)
        source = LineSource(
            tail.read_chunk,
            group=name,
            topic=path.name,
            clock=clock,
            timestamp=clock.now if config.follow else lambda: modified,
            longest=config.decode.max_size,
            first=first or 0,
            ledger=ledger,
        )
        await listener.assigned([source.place])
        yield source


class _Tail:
    """Reads chunks up to the end, or on and on."""

    def __init__(self, file: BinaryIO, name: str, follows: bool, clock: Clock) -> None:
        self._file = file
        self._name = name
        self._follows = follows
        self._clock = clock
        self._has_shrunk = False

    async def read_chunk(self, wait: float) -> bytes | None:
        chunk = await anyio.to_thread.run_sync(self._file.read, _CHUNK)
        if chunk:
            return chunk
        if not self._follows:
            return None
        self._check_size()
        await self._clock.sleep(min(wait, _LOOK_EVERY_S))
        return b""

    def _check_size(self) -> None:
        has_shrunk = os.fstat(self._file.fileno()).st_size < self._file.tell()
        if has_shrunk and not self._has_shrunk:
            log.error(
                "source %s: the file was cut short; lines are read on from the old length",
                self._name,
            )
        self._has_shrunk = has_shrunk


SOURCE = SourceType("file", FileSourceConfig, open_source)
