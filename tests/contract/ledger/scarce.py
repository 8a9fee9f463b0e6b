"""A PostgreSQL user who may open few connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from router.values import Secret
from tests.contract.ledger.stores import PostgresStore
from tests.servers import PASSWORD, Server, fresh_name


@asynccontextmanager
async def scarce_store(server: Server, most: int) -> AsyncGenerator[PostgresStore]:
    """A store whose user the server gives at most so many connections."""
    user = fresh_name()
    administrator = await asyncpg.connect(server.url, password=PASSWORD)
    try:
        await administrator.execute(f"CREATE USER {user} PASSWORD 'x' CONNECTION LIMIT {most}")
        await administrator.execute(f"GRANT CREATE ON DATABASE postgres TO {user}")
    finally:
        await administrator.close()
    store = PostgresStore.on(server)
    store.config = store.config.model_copy(update={"user": user, "password": Secret("x")})
    yield store


async def take_connection(store: PostgresStore) -> Any:
    """One of the user's connections, until it is closed."""
    return await asyncpg.connect(**store.config.server().connect_options())
