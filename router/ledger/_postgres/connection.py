"""Connections: how they are made, what runs on them, and which failures are outages."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import anyio
import asyncpg

from router.ledger._contract import LedgerDown
from router.ledger._postgres.pool import Connection, Pool
from router.ledger._transports import is_closed_transport
from router.problems import ConfigError, Problem

log = logging.getLogger(__name__)

Time: TypeAlias = Callable[[], float]

_CLIENT_PATIENCE_S: Final = 2.0
"""So much longer than the server a client waits for an answer before it gives a connection up."""

# Every statement finds its rows by index, and is written so that it can. Left to its statistics,
# which lag behind a table that fills within minutes, the planner may prefer to read all of it.
_PLANS: Final = {"enable_seqscan": "off", "jit": "off", "plan_cache_mode": "force_generic_plan"}

REFUSALS: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
_OUTAGES: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionRollbackError,
    asyncpg.UndefinedTableError,
    *REFUSALS,
)
AGAIN: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Nothing was written, and the same transaction may well succeed now."""


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach a database.

    Attributes:
        options: For ``asyncpg.connect``.
        schema: The schema that all names are looked up in.
        statement_timeout_s: What the server gives a statement.
        read_only: The server refuses every change.
    """

    options: Mapping[str, Any]
    schema: str
    statement_timeout_s: float
    read_only: bool = False

    def connect_options(self) -> dict[str, Any]:
        """Everything that makes a connection one of ours."""
        milliseconds = f"{self.statement_timeout_s * 1000:.0f}"
        settings = {
            "application_name": "router",
            "search_path": f'"{self.schema}"',
            "default_transaction_isolation": "read committed",
            "statement_timeout": milliseconds,
            # A replica that stops amid a transaction must not hold the others up.
            "idle_in_transaction_session_timeout": milliseconds,
            **_PLANS,
        }
        if self.read_only:
            settings["default_transaction_read_only"] = "on"
        return {
            **self.options,
            "command_timeout": self.statement_timeout_s + _CLIENT_PATIENCE_S,
            "server_settings": settings,
        }


@final
class Connections:
    """A pool of connections on which the ledger's statements run.

    Args:
        time: In place of the server's clock.

    Attributes:
        uuid: Names the store, once it is known; connections to another one are not used.
    """

    def __init__(self, server: Server, most: int, time: Time | None) -> None:
        self.uuid: str | None = None
        self._options = server.connect_options()
        self._pool = Pool(self._connect, most)
        self._time = time

    async def _connect(self) -> Connection:
        connection = await asyncpg.connect(**self._options)
        try:
            if self.uuid is not None and await _name_of_store(connection) != self.uuid:
                raise LedgerDown("PostgreSQL: the store was emptied or replaced")
        except BaseException:
            connection.terminate()
            raise
        return connection

    @property
    def now(self) -> float | None:
        """What statements take as the time; None: they ask the server's clock."""
        return None if self._time is None else self._time()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """One connection; each statement on it is a transaction of its own.

        Raises:
            LedgerDown: the server can't be reached, or not used.
        """
        try:
            async with self._pool.connection() as connection:
                try:
                    # What was asked is brought to its end, which is not far: a statement that is
                    # cut off costs its connection, and nobody knows what became of it.
                    with anyio.CancelScope(shield=True):
                        yield connection
                except Exception as error:
                    if is_outage(error) and not isinstance(error, AGAIN):
                        connection.terminate()
                    raise
        except AGAIN:
            raise
        except Exception as error:
            if not is_outage(error):
                raise
            raise LedgerDown(told(error)) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """One connection with a transaction around all that is done on it."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[Any]:
        """The rows of one statement, a transaction of its own, repeated after a deadlock.

        Raises:
            LedgerDown: it could not be run; it may have taken effect.
        """
        for _ in range(ATTEMPTS):
            try:
                async with self.connection() as connection:
                    return await connection.fetch(sql, *arguments)
            except AGAIN as error:
                log.debug("a statement is repeated: %s", error)
        raise LedgerDown("other replicas keep getting in the way")

    async def close(self, timeout_s: float) -> None:
        """Ends all connections, by force after ``timeout_s``."""
        await self._pool.close(timeout_s)


async def _name_of_store(connection: Connection) -> str | None:
    try:
        return await connection.fetchval("SELECT value FROM meta WHERE name = 'uuid'")
    except asyncpg.UndefinedTableError:
        return None


ATTEMPTS: Final = 20
"""Transactions that met another replica's are tried so often; each time, the other one got on."""


@asynccontextmanager
async def connections(
    server: Server, *, most: int, time: Time | None = None
) -> AsyncGenerator[Connections]:
    """A pool, with its first connection made.

    Raises:
        LedgerDown: the server can't be reached.
        ConfigError: E309, it refuses the user, the password or the database.
    """
    opened = Connections(server, most, time)
    try:
        try:
            async with opened.connection():
                pass
        except LedgerDown as error:
            raise refused(error) or error from error.__cause__
        yield opened
    finally:
        await opened.close(server.statement_timeout_s)


def refused(error: LedgerDown) -> ConfigError | None:
    """What a failed start is told as where the server is there and does not want us."""
    if isinstance(error.__cause__, REFUSALS):
        return ConfigError([Problem("E309", f"ledger: the server refuses us: {error}")])
    return None


def is_outage(error: Exception) -> bool:
    """Whether the server is to blame, and not what was asked of it."""
    is_misuse = isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
    return (isinstance(error, _OUTAGES) and not is_misuse) or is_closed_transport(error)


def told(error: Exception) -> str:
    """The error in one line."""
    text = str(error).strip().partition("\n")[0]
    return f"PostgreSQL: {text or type(error).__name__}"
