"""People from a file: YAML, JSON or CSV, read again when it changes."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

import anyio
import anyio.to_thread
from pydantic import Field, field_validator

from router.clock import Clock
from router.directories._contract import DirectoryConfig, DirectoryType
from router.directories._people import SUFFIXES, PeopleError, Roster, read_people
from router.messages import Reason
from router.recipients import Directory, Found, Unavailable
from router.values import FilePath

log = logging.getLogger("router.directories")

_LOOK_EVERY_S = 1.0


class FileDirectoryConfig(DirectoryConfig):
    """People from a file, for small teams, demos and tests."""

    path: FilePath = Field(
        description="YAML, JSON or CSV file of people; read again when it changes.",
        examples=["people.yaml"],
    )

    @field_validator("path")
    @classmethod
    def _has_known_suffix(cls, path: str) -> str:
        if Path(path).suffix.lower() not in SUFFIXES:
            raise ValueError(f"unknown kind of file; its name ends in one of {', '.join(SUFFIXES)}")
        return path


@final
class FileDirectory:
    """The people of one file.

    Content that can't be used never replaces content that could; a file that is gone makes
    everybody unavailable.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = anyio.Lock()
        self._looked_at: float | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._people: Roster | None = None
        self._trouble: str | None = None

    async def lookup(self, ids: Sequence[str], tenant: str = "") -> Sequence[Found]:
        await self._refresh()
        if self._people is None:
            missing = Unavailable(Reason("directory_unreadable", self._trouble or ""))
            return [missing] * len(ids)
        return await self._people.lookup(ids, tenant)

    async def _refresh(self) -> None:
        async with self._lock:
            now = self._clock.monotonic()
            if self._looked_at is not None and now - self._looked_at < _LOOK_EVERY_S:
                return
            await anyio.to_thread.run_sync(self._read_if_changed)
            self._looked_at = now

    def _read_if_changed(self) -> None:
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text("utf-8-sig")
        except OSError as error:
            self._stamp = self._people = None
            self._report(f"{self._path} can't be read: {error.strerror or error}")
            return
        except UnicodeDecodeError as error:
            self._stamp = None
            self._report(f"{self._path} is not UTF-8 at byte {error.start}")
            return
        self._stamp = stamp
        try:
            self._people = read_people(text, self._path.suffix.lower())
        except PeopleError as error:
            self._report(f"{self._path}: {error}")
        else:
            self._trouble = None
            log.info("%d people read from %s", len(self._people), self._path)

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            kept = "" if self._people is None else "; the people read before stay"
            log.error("directory: %s%s", trouble, kept)
        self._trouble = trouble


@asynccontextmanager
async def open_directory(config: FileDirectoryConfig, *, clock: Clock) -> AsyncGenerator[Directory]:
    """Opens a directory of the file's people; a file that can't be read is no error here."""
    yield FileDirectory(Path(config.path), clock)


DIRECTORY = DirectoryType("file", FileDirectoryConfig, open_directory)
