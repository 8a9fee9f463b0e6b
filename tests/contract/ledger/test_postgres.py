"""What is PostgreSQL's own: its schema, its locks, its privileges, TLS."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import asyncpg
import pytest
from pydantic import ValidationError

from router.clock import SystemClock
from router.ledger import Granted, LedgerDown, Settle, Settled, State
from router.ledger._postgres import connection
from router.ledger._postgres.change import SCOPE_LOCKS
from router.ledger._tls import LedgerTls
from router.ledger.postgres import PostgresConfig, open_postgres
from router.problems import ConfigError
from router.testing.ledgers import LEASE, delivery, key, outcome, scheduled, waiting
from router.values import Secret
from tests.contract.ledger.scarce import scarce_store, take_connection
from tests.contract.ledger.stores import PostgresStore
from tests.servers import PASSWORD, USER, Server, fresh_name

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(postgres_server: Server) -> PostgresStore:
    return PostgresStore.on(postgres_server)


@asynccontextmanager
async def administrator(server: Server, schema: str) -> AsyncGenerator[Any]:
    """A connection that sees the store's tables."""
    opened = await asyncpg.connect(server.url, password=PASSWORD)
    try:
        await opened.execute(f'SET search_path = "{schema}"')
        yield opened
    finally:
        await opened.close()


def codes(error: ConfigError) -> list[str]:
    return [problem.code for problem in error.problems]


async def test_a_schema_of_a_newer_router_is_left_alone(
    store: PostgresStore, postgres_server: Server
) -> None:
    async with store.open():
        pass
    async with administrator(postgres_server, store.config.schema_name) as db:
        await db.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")

    for entered in (store.open(), store.reader()):
        with pytest.raises(ConfigError, match="version 99") as error:
            async with entered:
                pass
        assert codes(error.value) == ["E303"]


async def test_a_locked_table_is_an_outage_that_passes(postgres_server: Server) -> None:
    store = PostgresStore.on(postgres_server, timeout="300ms")
    schema = store.config.schema_name
    async with store.open() as ledger, administrator(postgres_server, schema) as db:
        await ledger.settle([Settle(scheduled(1))])
        async with db.transaction():
            await db.execute("LOCK TABLE delivery")
            with pytest.raises(LedgerDown, match="timeout"):
                await ledger.claim([delivery(2)], LEASE)

        assert await ledger.settle([Settle(scheduled(1))]) == [Settled.SAME]
        assert await ledger.claim([delivery(2)], LEASE)


async def test_a_replica_that_stops_amid_a_transaction_holds_nobody_up(
    postgres_server: Server,
) -> None:
    store = PostgresStore.on(postgres_server, timeout="400ms")
    async with store.open() as ledger:
        await ledger.claim([delivery(1)], LEASE)
        server = store.config.server()
        stuck = await asyncpg.connect(**server.connect_options())
        transaction = stuck.transaction()
        await transaction.start()
        await stuck.execute("SELECT FROM delivery WHERE key = $1 FOR UPDATE", key(1))

        with anyio.fail_after(5):
            while True:
                try:
                    answer = await ledger.settle([outcome(delivery(1), State.DELIVERED)])
                    break
                except LedgerDown:
                    continue
        assert answer == [Settled.OK]
        stuck.terminate()


async def test_cut_connections_are_made_anew(store: PostgresStore, postgres_server: Server) -> None:
    schema = store.config.schema_name
    async with store.open() as ledger, administrator(postgres_server, schema) as db:
        await ledger.settle([Settle(scheduled(1))])
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            "router",
        )
        with anyio.fail_after(5):
            while True:
                try:
                    answer = await ledger.settle([Settle(scheduled(1))])
                    break
                except LedgerDown:
                    continue
        assert answer == [Settled.SAME]


async def test_a_pool_that_can_not_grow_uses_what_it_has(
    postgres_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with scarce_store(postgres_server, most=2) as store, store.open() as ledger:
        answers: list[object] = []

        async def claim(n: int) -> None:
            answers.extend(await ledger.claim([delivery(n)], LEASE))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for n in range(30):
                    tasks.start_soon(claim, n)
        assert answers == [Granted(1)] * 30
    assert "no more connections" in caplog.text
    assert "of 8" in caplog.text


async def test_without_any_connection_the_ledger_is_down(postgres_server: Server) -> None:
    async with scarce_store(postgres_server, most=1) as store:
        taken = await take_connection(store)
        with pytest.raises(LedgerDown, match="too many connections"):
            async with store.open():
                pass
        await taken.close()


async def test_a_migration_takes_longer_than_any_statement_may(
    postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_CLIENT_PATIENCE_S", 0.0)
    store = PostgresStore.on(postgres_server, timeout="300ms")
    async with administrator(postgres_server, "public") as db:
        async with anyio.create_task_group() as tasks, db.transaction():
            await db.execute("SELECT pg_advisory_xact_lock($1)", SCOPE_LOCKS)

            async def open_it() -> None:
                async with store.open() as ledger:
                    assert await ledger.lookup([key(1)]) == [None]

            tasks.start_soon(open_it)
            await anyio.sleep(0.8)


async def test_a_store_that_was_emptied_or_replaced_is_not_gone_on_with(
    store: PostgresStore, postgres_server: Server
) -> None:
    schema = store.config.schema_name
    async with store.open() as ledger, administrator(postgres_server, schema) as db:
        await ledger.claim([delivery(1)], LEASE)
        await db.execute(f"DROP SCHEMA {schema} CASCADE")
        with pytest.raises(LedgerDown, match="does not exist"):
            await ledger.settle([outcome(delivery(1), State.DELIVERED)])
        with pytest.raises(LedgerDown, match="emptied or replaced"):
            await ledger.settle([outcome(delivery(1), State.DELIVERED)])
        async with store.open() as other:
            assert other.uuid != ledger.uuid
            with pytest.raises(LedgerDown, match="emptied or replaced"):
                await ledger.lookup([key(1)])


async def figures(server: Server, schema: str) -> Any:
    """What the server counted of the table of deliveries, once its clients are gone."""
    async with administrator(server, schema) as db:
        return await db.fetchrow(
            "SELECT * FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'delivery'",
            schema,
        )


async def test_rows_are_found_by_index_before_anything_was_analysed(
    store: PostgresStore, postgres_server: Server
) -> None:
    """Whatever a batch does, it reads its own rows, not the table."""
    schema = store.config.schema_name
    async with store.open() as ledger, administrator(postgres_server, schema) as db:
        await db.execute("ALTER TABLE delivery SET (autovacuum_enabled = off)")
        for start in range(0, 6000, 500):
            ended = [delivery(n, state=State.DELIVERED) for n in range(start, start + 500)]
            await ledger.settle([Settle(row) for row in ended])
    before = await figures(postgres_server, schema)

    async with store.open() as ledger:
        rows = [delivery(n, family=key(n)) for n in range(10_000, 10_100)]
        await ledger.lookup([row.key for row in rows])
        await ledger.claim(rows, LEASE)
        fallbacks = [waiting(n + 10_000, wait_on=key(n)) for n in range(10_000, 10_100)]
        await ledger.settle(
            [
                outcome(row, State.SCHEDULED, blob=b"m", waiters="start", follow_ups=(fallback,))
                for row, fallback in zip(rows, fallbacks, strict=True)
            ]
        )
        await ledger.due({"mail": 100, "sms": 100}, LEASE)
        await ledger.settle([outcome(row, State.DELIVERED, 2, waiters="drop") for row in rows])
        await ledger.next_due(["mail", "sms"])
        await ledger.stats()
        await ledger.release([(row.key, 2) for row in rows])
    after = await figures(postgres_server, schema)

    assert after["seq_tup_read"] == before["seq_tup_read"]
    assert 0 < after["idx_tup_fetch"] - before["idx_tup_fetch"] < 3000


async def test_a_settlement_touches_no_index(store: PostgresStore, postgres_server: Server) -> None:
    async with store.open() as ledger:
        for n in range(0, 300, 10):
            rows = [delivery(m) for m in range(n, n + 10)]
            await ledger.claim(rows, LEASE)
            await ledger.settle([outcome(row, State.DELIVERED) for row in rows])
    found = await figures(postgres_server, store.config.schema_name)
    assert found["n_tup_upd"] == 300
    assert found["n_tup_hot_upd"] > 290


# Who may come in, and how ----------------------------------------------------------------------


async def test_a_user_who_may_not_make_a_schema_is_told(
    store: PostgresStore, postgres_server: Server
) -> None:
    user = fresh_name()
    async with administrator(postgres_server, "public") as db:
        await db.execute(f"CREATE USER {user} PASSWORD 'x'")
    store.config = store.config.model_copy(update={"user": user, "password": Secret("x")})
    with pytest.raises(ConfigError, match="permission denied") as error:
        async with store.open():
            pass
    assert codes(error.value) == ["E309"]


async def test_a_user_without_any_right_to_make_things_may_use_what_is_there(
    store: PostgresStore, postgres_server: Server
) -> None:
    async with store.open() as ledger:
        name = ledger.uuid
    user, schema = fresh_name(), store.config.schema_name
    async with administrator(postgres_server, schema) as db:
        await db.execute(f"CREATE USER {user} PASSWORD 'x'")
        await db.execute(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
        tables = f"ALL TABLES IN SCHEMA {schema}"
        await db.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {user}")
        await db.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {user}")
    store.config = store.config.model_copy(update={"user": user, "password": Secret("x")})
    async with store.open() as ledger:
        assert ledger.uuid == name
        assert await ledger.claim([delivery(1)], LEASE)
        await ledger.settle([outcome(delivery(1), State.DELIVERED)])
        assert await ledger.purge(store.clock.now() + 1) == 1


async def test_a_missing_database_is_told(store: PostgresStore) -> None:
    url = store.config.url.removesuffix("postgres") + "nowhere"
    store.config = store.config.model_copy(update={"url": url})
    with pytest.raises(ConfigError, match="nowhere") as error:
        async with store.open():
            pass
    assert codes(error.value) == ["E309"]


async def test_tls_takes_a_server_that_the_authority_vouches_for(
    store: PostgresStore, postgres_server: Server
) -> None:
    assert postgres_server.tls is not None
    tls = LedgerTls(ca_file=str(postgres_server.tls.ca_file))
    store.config = store.config.model_copy(update={"tls": tls})
    async with store.open() as ledger:
        assert await ledger.claim([delivery(1)], LEASE)
        async with administrator(postgres_server, store.config.schema_name) as db:
            encrypted = await db.fetchval(
                "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                "WHERE application_name = 'router'"
            )
        assert encrypted

    store.config = store.config.model_copy(update={"tls": LedgerTls()})
    with pytest.raises(LedgerDown, match="certificate"):
        async with store.open():
            pass


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://{USER}:secret@db/router",
        "postgresql://db/router?password=secret",
        "mysql://db/router",
    ],
)
async def test_an_address_with_a_password_or_of_another_server_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as error:
        PostgresConfig(url=url)
    told = [line["msg"] for line in error.value.errors(include_input=False)]
    assert "secret" not in str(told)


async def test_a_missing_certificate_file_is_told(postgres_server: Server) -> None:
    config = PostgresConfig(url=postgres_server.url, tls=LedgerTls(ca_file="/nowhere.pem"))
    with pytest.raises(LedgerDown, match=r"ledger\.tls"):
        async with open_postgres(config, owner="one", clock=SystemClock()):
            pass
