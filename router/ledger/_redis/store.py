"""One store on a server: how it is reached, opened, and how scripts run on it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, TypeAlias, final

import anyio
import msgpack
from redis import exceptions as failures
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from router.ledger import _redis
from router.ledger._contract import LedgerDown
from router.ledger._redis.rows import from_store, or_false
from router.ledger._transports import is_closed_transport
from router.problems import ConfigError, Problem

log = logging.getLogger(__name__)

Time: TypeAlias = Callable[[], float]

VERSION: Final = 2
_LEAST_SERVER: Final = 7
_OUTAGES: Final = (OSError, TimeoutError, failures.ConnectionError, failures.TimeoutError)
_OUTAGES_BY_WORD: Final = (
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "OOM",
    "OTHERLEDGER",
    "READONLY",
    "TRYAGAIN",
    "WRONGPASS",
)
_OUTAGE_ERRORS: Final = (
    failures.ClusterDownError,
    failures.ClusterError,
    failures.MasterDownError,
    failures.NoPermissionError,
    failures.OutOfMemoryError,
    failures.ReadOnlyError,
    failures.RedisClusterException,
    failures.TryAgainError,
)
_REFUSALS: Final = (
    failures.AuthenticationError,
    failures.AuthenticationWrongNumberOfArgsError,
    failures.NoPermissionError,
)


def _source(names: Sequence[str]) -> str:
    parts = ("common.lua", *names, "end.lua")
    return "\n".join(files(_redis).joinpath(part).read_text() for part in parts)


@dataclass(frozen=True, slots=True)
class Script:
    """A script with its hash, by which a server knows it once it has seen it."""

    text: str
    digest: str

    @classmethod
    def of(cls, *names: str) -> Script:
        text = _source(names)
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


DELIVERIES: Final = Script.of("deliveries.lua", "digests.lua")
FACTS: Final = Script.of("facts.lua")


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach a server.

    Attributes:
        options: For the client.
        prefix: Names the store among others on the server.
        is_cluster: It is a node of a cluster.
        timeout_s: How long an answer may take.
    """

    url: str
    options: Mapping[str, Any]
    prefix: str
    is_cluster: bool
    timeout_s: float

    def client(self, most: int) -> Any:
        # Nothing is repeated behind our back: the ledger's callers know what they may repeat.
        options: dict[str, Any] = {
            **self.options,
            "socket_timeout": self.timeout_s,
            "socket_connect_timeout": self.timeout_s,
            "retry": Retry(NoBackoff(), 0),
        }
        if self.is_cluster:
            return RedisCluster.from_url(self.url, **options)
        pool = BlockingConnectionPool.from_url(
            self.url, max_connections=most, timeout=self.timeout_s, **options
        )
        return Redis.from_pool(pool)


@final
class Store:
    """Runs scripts on one store.

    Args:
        time: In place of the server's clock.

    Attributes:
        uuid: Names the store; a script refuses to run on another one.
    """

    def __init__(self, client: Any, prefix: str, most: int, time: Time | None) -> None:
        self.uuid = ""
        self.prefix = f"{{{prefix}}}:"
        self._client = client
        self._room = anyio.CapacityLimiter(most)
        self._time = time

    async def run(self, script: Script, operation: str, **given: Any) -> Any:
        """An operation's answer.

        Raises:
            LedgerDown: it could not be run; it may have taken effect.
        """
        given["now"] = False if self._time is None else self._time()
        arguments = (self.prefix, operation, self.uuid, msgpack.packb(given, use_bin_type=False))
        async with self._room:
            try:
                try:
                    answer = await self._client.evalsha(script.digest, 1, *arguments)
                except failures.NoScriptError:
                    answer = await self._client.eval(script.text, 1, *arguments)
            except Exception as error:
                if is_outage(error):
                    raise LedgerDown(told(error)) from error
                raise
        return msgpack.unpackb(answer, raw=True, strict_map_key=False)

    async def command(self, *words: Any) -> Any:
        """The answer to a plain command on the store's keys."""
        return await self._client.execute_command(*words)

    async def settings(self) -> Mapping[str, str] | None:
        """The server's settings that decide what it keeps; None where it does not tell."""
        names = ("appendonly", "appendfsync", "maxmemory-policy")
        try:
            found = await self._client.config_get(*names)
        except failures.ResponseError:
            return None
        texts = {_text(name): _text(value) for name, value in found.items()}
        return {name: texts.get(name, "") for name in names}


@asynccontextmanager
async def opened(
    server: Server, *, most: int, time: Time | None = None, makes: bool = True
) -> AsyncGenerator[Store]:
    """A store that is known to be there.

    Args:
        makes: Makes the store where there is none.

    Raises:
        LedgerDown: the server can't be reached, or there is no store.
        ConfigError: E309, it refuses the user or password; E310, it is too old; E303, a newer
            router wrote the store.
    """
    client = server.client(most)
    try:
        store = Store(client, server.prefix, most, time)
        try:
            await _enter(store, client, makes=makes)
        except Exception as error:
            raise refused(error) from error
        yield store
    finally:
        with anyio.move_on_after(server.timeout_s, shield=True):
            await client.aclose()


async def _enter(store: Store, client: Any, *, makes: bool) -> None:
    info = await client.info("server")
    version = str(info["redis_version"])
    if int(version.partition(".")[0]) < _LEAST_SERVER:
        text = f"ledger: Redis {version} is too old; it takes {_LEAST_SERVER}.0 or later"
        raise ConfigError([Problem("E310", text)])
    meta = f"{store.prefix}meta"
    if makes:
        await store.command("HSETNX", meta, "schema", VERSION)
        await store.command("HSETNX", meta, "uuid", str(uuid.uuid4()))
    schema, name = await store.command("HMGET", meta, "schema", "uuid")
    if schema is None or name is None:
        raise LedgerDown(f"there is no ledger under {store.prefix}")
    if int(schema) > VERSION:
        text = (
            f"ledger: the store {store.prefix} has schema {int(schema)}, written by a newer "
            f"router; this one knows schema {VERSION}, so run that version or use another prefix"
        )
        raise ConfigError([Problem("E303", text)])
    store.uuid = _text(name)
    if int(schema) < VERSION:
        if not makes:
            text = f"the ledger under {store.prefix} has schema {int(schema)}"
            raise LedgerDown(f"{text}; `router run` migrates it")
        await _migrate(store)


async def _migrate(store: Store) -> None:
    """Brings the store to this program's schema; safe to repeat, and while replicas run."""
    last: bytes | None = None
    while adopted := await store.run(FACTS, "adopt_grants", **{"from": or_false(last)}):
        last = adopted
    await store.command("HSET", f"{store.prefix}meta", "schema", VERSION)


def _text(value: bytes | str) -> str:
    return from_store(value) if isinstance(value, bytes) else value


def refused(error: Exception) -> Exception:
    """What a failed start is told as."""
    if isinstance(error, _REFUSALS):
        return ConfigError([Problem("E309", f"ledger: the server refuses us: {told(error)}")])
    return LedgerDown(told(error)) if is_outage(error) else error


def is_outage(error: Exception) -> bool:
    """Whether the server is to blame, and not what was asked of it."""
    if isinstance(error, (*_OUTAGES, *_OUTAGE_ERRORS)) or is_closed_transport(error):
        return True
    return isinstance(error, failures.ResponseError) and str(error).startswith(_OUTAGES_BY_WORD)


def told(error: Exception) -> str:
    """The error in one line."""
    text = str(error).strip().partition("\n")[0]
    return f"Redis: {text or type(error).__name__}"
