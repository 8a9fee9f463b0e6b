"""A pool of connections that gets by with fewer where the server has no more to give."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, final

import anyio
import asyncpg

log = logging.getLogger(__name__)

Connection: TypeAlias = Any
"""A connection of asyncpg."""

_GROWS_AGAIN_S: Final = 10.0
"""So long after a refusal the server is asked for more again."""

_KEPT_IDLE_S: Final = 300.0
"""Of connections that nobody needs one is kept, and others for so long."""


@final
class Pool:
    """Connections, made when needed and used again, the last used first.

    Args:
        connect: Makes one.
        most: So many are open at once.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], most: int) -> None:
        self._connect = connect
        self._most = most
        self._room = anyio.CapacityLimiter(most)
        self._open: set[Connection] = set()
        self._idle: list[tuple[Connection, float]] = []
        self._grows_at: float | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """One that nobody else has. Where the server has none left, one in use is waited for.

        Raises:
            asyncpg.TooManyConnectionsError: the server has none left, and there are none in use.
        """
        while True:
            self._allow_growth()
            async with self._room:
                found = self._take_idle() or await self._grown()
                if found is None:
                    continue
                try:
                    yield found
                finally:
                    self._give_back(found)
                return

    async def close(self, timeout_s: float) -> None:
        """Ends all connections, by force after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._idle:
                    connection, _ = self._idle.pop()
                    await connection.close()
        except Exception as error:
            log.debug("connections were cut: %s", error)
        for connection in self._open:
            connection.terminate()
        self._open.clear()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open.discard(connection)
        return None

    async def _grown(self) -> Connection | None:
        """A new one; None where there is none to be had but those in use."""
        try:
            connection = await self._connect()
        except asyncpg.TooManyConnectionsError as error:
            if not self._open:
                raise
            self._make_do(error)
            return None
        self._open.add(connection)
        return connection

    def _give_back(self, connection: Connection) -> None:
        now = time.monotonic()
        if connection.is_closed():
            self._open.discard(connection)
        else:
            self._idle.append((connection, now))
        while len(self._idle) > 1 and self._idle[0][1] < now - _KEPT_IDLE_S:
            unneeded, _ = self._idle.pop(0)
            self._open.discard(unneeded)
            unneeded.terminate()

    def _make_do(self, error: Exception) -> None:
        """For a while, no more are asked for than there are."""
        if self._room.total_tokens == self._most:
            text = "PostgreSQL has no more connections: %s; going on with %d of %d"
            log.warning(text, error, len(self._open), self._most)
        self._room.total_tokens = len(self._open)
        self._grows_at = time.monotonic() + _GROWS_AGAIN_S

    def _allow_growth(self) -> None:
        if self._grows_at is not None and time.monotonic() >= self._grows_at:
            self._grows_at = None
            self._room.total_tokens = self._most
