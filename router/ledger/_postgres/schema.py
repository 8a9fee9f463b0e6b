"""The schema's versions, and the name that a store keeps."""

from __future__ import annotations

import uuid
from importlib.resources import files
from typing import Final

from router.ledger import _postgres
from router.ledger._contract import LedgerDown
from router.ledger._postgres.change import SCOPE_LOCKS
from router.ledger._postgres.connection import Connections, Server, refused
from router.problems import ConfigError, Problem

MIGRATIONS: Final = ("0001.sql", "0002.sql", "0003.sql")
"""What leads from each version to the next; the first makes an empty schema version 1."""

VERSION: Final = len(MIGRATIONS)

_MIGRATION_S: Final = 3600.0
"""One that writes a large table anew is not cut off."""

_LEAST_SERVER: Final = 13
_META: Final = "CREATE TABLE meta (name text PRIMARY KEY, value text NOT NULL)"
_PUT: Final = "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2"


async def migrate(connections: Connections, server: Server) -> str:
    """Brings the schema to this program's version, all or nothing, one replica at a time.

    Returns:
        The store's uuid.

    Raises:
        ConfigError: E303, a newer program wrote it; E309, the user may not make what is missing;
            E310, the server is too old.
        LedgerDown: it could not be done.
    """
    await _check_server(connections)
    if await version(connections) != VERSION:
        try:
            await _migrate(connections, server)
        except LedgerDown as error:
            raise refused(error) or error from error.__cause__
    await check(connections, server)
    ((name,),) = await connections.fetch("SELECT value FROM meta WHERE name = 'uuid'")
    return name


async def _check_server(connections: Connections) -> None:
    ((number, text),) = await connections.fetch(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')"
    )
    if number < _LEAST_SERVER * 10_000:
        problem = f"ledger: PostgreSQL {text} is too old; it takes {_LEAST_SERVER} or later"
        raise ConfigError([Problem("E310", problem)])


async def _migrate(connections: Connections, server: Server) -> None:
    async with connections.transaction() as db:
        await db.execute("SET LOCAL statement_timeout = 0")
        lock = "SELECT pg_advisory_xact_lock($1)"
        await db.execute(lock, SCOPE_LOCKS, timeout=_MIGRATION_S)
        if await db.fetchval("SELECT to_regnamespace($1) IS NULL", f'"{server.schema}"'):
            await db.execute(f'CREATE SCHEMA "{server.schema}"')
        if await db.fetchval("SELECT to_regclass('meta') IS NULL"):
            await db.execute(_META)
            await db.execute(_PUT, "schema", "0")
            await db.execute(_PUT, "uuid", str(uuid.uuid4()))
        found = int(await db.fetchval("SELECT value FROM meta WHERE name = 'schema'"))
        for name in MIGRATIONS[found:]:
            sql = files(_postgres).joinpath(name).read_text()
            await db.execute(sql, timeout=_MIGRATION_S)
        await db.execute(_PUT, "schema", str(max(found, VERSION)))


async def check(connections: Connections, server: Server) -> None:
    """Raises:
    LedgerDown: there is no ledger, or an older one.
    ConfigError: E303, a newer program wrote it.
    """
    found = await version(connections)
    if found > VERSION:
        text = (
            f'ledger: schema "{server.schema}" has version {found}, written by a newer router; '
            f"this one knows version {VERSION}, so run that version or use another schema"
        )
        raise ConfigError([Problem("E303", text)])
    if found == 0:
        raise LedgerDown(f'there is no ledger in schema "{server.schema}"')
    if found < VERSION:
        raise LedgerDown(f"the ledger has version {found}; `router run` migrates it")


async def version(connections: Connections) -> int:
    """The schema's version; 0 where there is none."""
    ((exists,),) = await connections.fetch("SELECT to_regclass('meta') IS NOT NULL")
    if not exists:
        return 0
    ((found,),) = await connections.fetch("SELECT value FROM meta WHERE name = 'schema'")
    return int(found)
