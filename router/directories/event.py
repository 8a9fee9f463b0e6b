"""No directory: all that is known of a recipient stands in the event."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from router.clock import Clock
from router.directories._contract import DirectoryConfig, DirectoryType
from router.recipients import Directory, Found, Recipient


class EventDirectoryConfig(DirectoryConfig):
    """Recipients as the event describes them; nothing is looked up."""


class EventDirectory:
    """Answers every id with a recipient of that id and nothing else."""

    async def lookup(self, ids: Sequence[str], tenant: str = "") -> Sequence[Found]:
        return [Recipient(id) for id in ids]


@asynccontextmanager
async def open_directory(
    config: EventDirectoryConfig, *, clock: Clock
) -> AsyncGenerator[Directory]:
    yield EventDirectory()


DIRECTORY = DirectoryType("event", EventDirectoryConfig, open_directory)
