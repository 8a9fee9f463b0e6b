"""A ledger that an older router wrote is brought up to date at its opening and loses nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import msgpack
import pytest
from redis.asyncio import Redis

from router.ledger import Fact, Ledger, LedgerDown, Settle, State, Take, Verdict
from router.ledger._sqlite.schema import connect
from router.ledger.sqlite import SqliteConfig, open_sqlite_reader
from router.testing.ledger_digests import join, joined, members_of
from router.testing.ledgers import (
    LEASE,
    LedgerStore,
    delivery,
    key,
    keys_due,
    outcome,
    scheduled,
    stored,
    waiting,
)
from tests.contract.ledger.stores import PostgresStore, RedisStore, SqliteStore
from tests.servers import PASSWORD, Server

pytestmark = pytest.mark.anyio

_BEFORE_RANKS = (
    "DROP INDEX {ready}",
    "DROP INDEX {expiring}",
    "ALTER TABLE delivery DROP COLUMN rank",
    "UPDATE meta SET value = '1' WHERE name = 'schema'",
)
_SQLITE_READY = "CREATE INDEX ready ON delivery (sink, ready) WHERE ready IS NOT NULL"
_POSTGRES_EXPIRING = "ALTER TABLE delivery DROP COLUMN expiring"
_POSTGRES_READY = """
    CREATE INDEX delivery_ready ON delivery (sink, ready, number) WHERE ready IS NOT NULL
"""


async def fill(ledger: Ledger) -> str:
    """What an older router may have left; the store's name."""
    ordered = [scheduled(n, order_scope="s", seq=n) for n in (3, 4)]
    rows = [scheduled(1), scheduled(2, due=9e9), *ordered, waiting(5, due=9e9)]
    await ledger.settle([Settle(row) for row in rows])
    await ledger.claim([delivery(6), delivery(7, blob=b"claimed")], LEASE)
    await ledger.settle([Settle(delivery(8, state=State.DEAD, blob=b"dead"))])
    await ledger.put_facts([Fact("gate", "mail", "open")])
    await ledger.admit([Take("bucket", member, 2, 60.0) for member in "abc"])
    return ledger.uuid


async def check(ledger: Ledger, name: str) -> None:
    """Everything is there, of the usual rank, and what is new works."""
    assert ledger.uuid == name
    assert {(await stored(ledger, n)).rank for n in range(1, 9)} == {1}
    await ledger.settle([Settle(scheduled(20, rank=0)), Settle(scheduled(21, rank=2))])
    assert await keys_due(ledger, limit=3) == [20, 1, 3]
    assert await ledger.next_due(["sms"]) == 9e9
    await ledger.settle([outcome(scheduled(3), State.DELIVERED)])
    assert await keys_due(ledger) == [4, 7, 21]
    assert (await stored(ledger, 7)).blob == b"claimed"
    assert await ledger.reschedule([key(8)], 1.0) == [True]
    assert [fact.value for fact in await ledger.facts(["gate"])] == ["open"]
    asks = [Take("bucket", member, 3, 60.0) for member in "abcde"]
    granted = [Verdict(True, 2)] * 2 + [Verdict(False, 2), Verdict(True, 3), Verdict(False, 3)]
    assert await ledger.admit(asks) == granted
    answer = await joined(ledger, join(30))
    assert await members_of(ledger, answer.digest) == [30]


async def migrates(store: LedgerStore, age: Callable[[], Awaitable[None]]) -> None:
    async with store.open() as ledger:
        name = await fill(ledger)
    await age()
    async with store.open() as ledger:
        await check(ledger, name)
    async with store.open() as ledger:
        assert ledger.uuid == name
        assert (await stored(ledger, 20)).rank == 0


async def test_sqlite(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")

    async def age() -> None:
        db = connect(store.path)
        for statement in (*_BEFORE_RANKS, _SQLITE_READY):
            db.execute(statement.format(ready="ready", expiring="expiring"))
        db.close()
        config = SqliteConfig(path=str(store.path))
        with pytest.raises(LedgerDown, match="schema 1; `router run` migrates it"):
            async with open_sqlite_reader(config, clock=store.clock):
                pass

    await migrates(store, age)


async def test_a_migration_that_fails_leaves_sqlite_as_it_was(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    async with store.open() as ledger:
        await fill(ledger)
    db = connect(store.path)
    db.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")  # its column is there already
    with pytest.raises(LedgerDown, match="duplicate column"):
        async with store.open():
            pass
    assert db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == ("1",)
    assert db.execute("SELECT count(*) FROM delivery").fetchone() == (8,)
    assert "ready" in {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    db.close()


async def test_postgres(postgres_server: Server) -> None:
    store = PostgresStore.on(postgres_server)

    async def age() -> None:
        db = await asyncpg.connect(postgres_server.url, password=PASSWORD)
        await db.execute(f'SET search_path = "{store.config.schema_name}"')
        for statement in (*_BEFORE_RANKS, _POSTGRES_READY, _POSTGRES_EXPIRING):
            names = {"ready": "delivery_ready", "expiring": "delivery_expiring"}
            await db.execute(statement.format(**names))
        await db.close()
        with pytest.raises(LedgerDown, match="version 1; `router run` migrates it"):
            async with store.reader():
                pass

    await migrates(store, age)


async def test_redis(redis_server: Server) -> None:
    store = RedisStore.on(redis_server)

    async def age() -> None:
        client: Any = Redis.from_url(redis_server.url, password=PASSWORD)
        prefix = f"{{{store.config.prefix}}}:"
        for name in await client.keys(f"{prefix}row:*"):
            row = msgpack.unpackb(await client.get(name), raw=True)
            await client.set(name, msgpack.packb(row[:27], use_bin_type=False))
        for name in await client.keys(f"{prefix}grant*"):
            await client.delete(name)
        await client.hset(f"{prefix}meta", "schema", 1)
        await client.aclose()
        with pytest.raises(LedgerDown, match="schema 1; `router run` migrates it"):
            async with store.reader():
                pass

    await migrates(store, age)


async def test_what_an_older_replica_wrote_meanwhile_is_found_where_it_belongs(
    redis_server: Server,
) -> None:
    """One that knows no ranks runs on beside the new one, and puts every row among the usual."""
    store = RedisStore.on(redis_server)
    prefix = f"{{{store.config.prefix}}}:"
    async with store.open() as ledger:
        rows = [scheduled(n, rank=rank) for n, rank in ((1, 0), (2, 0), (3, 2))]
        await ledger.settle([Settle(row) for row in rows])
        client: Any = Redis.from_url(redis_server.url, password=PASSWORD)
        urgent, usual = f"{prefix}ready0:mail", f"{prefix}ready:mail"
        first, second = await client.zrange(urgent, 0, -1)
        score = await client.zscore(urgent, first)
        # The first was claimed by the older one, the second was made ready by it.
        row = msgpack.unpackb(await client.get(prefix.encode() + b"row:" + key(1)), raw=True)
        row[2], row[4], row[6] = b"claimed", 1, store.clock.now() + LEASE
        packed = msgpack.packb(row[:27], use_bin_type=False)
        await client.set(prefix.encode() + b"row:" + key(1), packed)
        await client.zadd(usual, {first: store.clock.now() + LEASE})
        await client.zrem(urgent, second)
        await client.zadd(usual, {second: score})
        await client.aclose()

        assert sorted(await keys_due(ledger) + await keys_due(ledger)) == [2, 3]
        store.clock.advance(LEASE)
        assert sorted(await keys_due(ledger)) == [1, 2, 3]
