"""What is Redis's own: its settings, its scripts, its memory, clusters, TLS."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from router.ledger import Fact, LedgerDown, ProgressKey, Settle, Settled, State, Take
from router.ledger._tls import LedgerTls
from router.ledger.redis import RedisConfig, RedisLedger
from router.problems import ConfigError
from router.testing.ledgers import LEASE, delivery, key, outcome, scheduled, waiting
from tests.contract.ledger.stores import RedisStore
from tests.servers import PASSWORD, Server, redis

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(redis_server: Server) -> RedisStore:
    return RedisStore.on(redis_server)


@asynccontextmanager
async def administrator(server: Server) -> AsyncGenerator[Any]:
    """A plain connection to the server."""
    client = Redis.from_url(server.url, password=PASSWORD)
    try:
        yield client
    finally:
        await client.aclose()


def codes(error: ConfigError) -> list[str]:
    return [problem.code for problem in error.problems]


# What the server keeps -------------------------------------------------------------------------


def warnings_of_the_ledger(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("router.ledger") and record.levelno >= logging.WARNING
    ]


async def test_a_server_that_keeps_everything_gives_no_warning(
    store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with store.open() as ledger:
        assert isinstance(ledger, RedisLedger)
        assert list(ledger.warnings) == []
    assert not warnings_of_the_ledger(caplog)


async def test_a_server_that_may_forget_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis(tmp_path, durable=False) as server:
        async with RedisStore.on(server).open() as ledger:
            assert isinstance(ledger, RedisLedger)
            assert ["appendonly no" in w for w in ledger.warnings] == [True, False]
            assert ["allkeys-lru" in w for w in ledger.warnings] == [False, True]
            assert warnings_of_the_ledger(caplog) == ledger.warnings

        async with administrator(server) as client:
            await client.config_set("appendonly", "yes")
            await client.config_set("maxmemory-policy", "noeviction")
        async with RedisStore.on(server).open() as ledger:
            assert isinstance(ledger, RedisLedger)
            (warning,) = ledger.warnings
            assert "appendfsync everysec" in warning


async def test_settings_that_are_not_shown_are_warned_about(redis_server: Server) -> None:
    async with administrator(redis_server) as client:
        await client.execute_command(
            "ACL", "SETUSER", "shy", "on", ">x", "~*", "&*", "+@all", "-config"
        )
    store = RedisStore.on(redis_server, user="shy")
    store.config = RedisConfig(
        url=redis_server.url, user="shy", password="x", prefix=store.config.prefix
    )
    async with store.open() as ledger:
        assert isinstance(ledger, RedisLedger)
        (warning,) = ledger.warnings
        assert "does not show its settings" in warning
        assert await ledger.claim([delivery(1)], LEASE)


async def test_a_server_without_memory_is_an_outage_that_passes(tmp_path: Path) -> None:
    async with redis(tmp_path) as server, administrator(server) as client:
        async with RedisStore.on(server).open() as ledger:
            await ledger.settle([Settle(scheduled(1))])
            await client.config_set("maxmemory", "1mb")
            with pytest.raises(LedgerDown, match="memory"):
                await ledger.settle([Settle(scheduled(n)) for n in range(2, 50)])
            assert await ledger.lookup([key(2)]) == [None]

            await client.config_set("maxmemory", "0")
            assert await ledger.settle([Settle(scheduled(n)) for n in (1, 2)]) == [
                Settled.SAME,
                Settled.OK,
            ]


# The store -------------------------------------------------------------------------------------


async def test_a_store_of_a_newer_router_is_left_alone(
    store: RedisStore, redis_server: Server
) -> None:
    async with store.open():
        pass
    async with administrator(redis_server) as client:
        await client.hset(f"{{{store.config.prefix}}}:meta", "schema", "99")
    for entered in (store.open(), store.reader()):
        with pytest.raises(ConfigError, match="schema 99") as error:
            async with entered:
                pass
        assert codes(error.value) == ["E303"]


async def test_a_store_that_was_emptied_is_not_gone_on_with(tmp_path: Path) -> None:
    async with redis(tmp_path) as server, administrator(server) as client:
        store = RedisStore.on(server)
        async with store.open() as ledger:
            name = ledger.uuid
            await ledger.claim([delivery(1)], LEASE)
            await client.flushall()
            with pytest.raises(LedgerDown, match="emptied or replaced"):
                await ledger.settle([outcome(delivery(1), State.DELIVERED)])
        async with store.open() as ledger:
            assert ledger.uuid != name


async def test_scripts_that_the_server_forgot_are_sent_again(
    store: RedisStore, redis_server: Server
) -> None:
    async with store.open() as ledger, administrator(redis_server) as client:
        assert await ledger.settle([Settle(scheduled(1))]) == [Settled.OK]
        await client.script_flush()
        assert await ledger.settle([Settle(scheduled(1))]) == [Settled.SAME]
        await ledger.put_facts([Fact("gate", "mail", "x")])


async def everything_once(ledger: Any) -> None:
    """Fills the store with one of each thing it holds."""
    await ledger.claim([delivery(1, cancel_scope="cancel:r"), delivery(9, blob=b"m")], LEASE)
    await ledger.settle([outcome(delivery(1), State.DELIVERED), Settle(waiting(2))])
    await ledger.settle([Settle(scheduled(3, order_scope="s", seq=1))])
    await ledger.settle([Settle(delivery(4, state=State.DEAD, blob=b"m"))])
    await ledger.put_facts([Fact("gate", "mail", "x", until=9e9)])
    await ledger.admit([Take("b", "m", 1, 60.0)])
    await ledger.take("api", 1, 1.0, 1.0)
    await ledger.put_progress({ProgressKey("g", "t", 0): 7})


async def test_every_key_starts_with_the_prefix_in_one_slot(tmp_path: Path) -> None:
    async with redis(tmp_path) as server, administrator(server) as client:
        async with RedisStore.on(server, timeout="2s").open() as ledger:
            await everything_once(ledger)
        names = await client.keys("*")
        prefix = names[0].split(b"}")[0] + b"}:"
        assert len(names) > 15
        assert {name.startswith(prefix) for name in names} == {True}


async def test_what_has_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    async with redis(tmp_path) as server, administrator(server) as client:
        store = RedisStore.on(server)
        async with store.open() as ledger:
            rows = [delivery(n, order_scope=f"s{n}", seq=1, blob=b"m") for n in range(50)]
            await ledger.claim(rows, LEASE)
            await ledger.settle([outcome(row, State.SCHEDULED) for row in rows])
            await ledger.due({"mail": 50}, LEASE)
            await ledger.settle([outcome(row, State.DEAD, 2) for row in rows])
            await ledger.put_facts([Fact(f"f{n}", "m", "", until=1.0) for n in range(50)])
            store.clock.advance(1)
            assert await ledger.purge(store.clock.now()) == 100
        names = {name.split(b":", 1)[1] for name in await client.keys("*")}
        assert names <= {b"meta", b"number", b"tally", b"bytes"}


# Ways to reach it ------------------------------------------------------------------------------


async def test_a_node_of_a_cluster_will_do(tmp_path: Path) -> None:
    async with redis(tmp_path, cluster=True) as server:
        store = RedisStore.on(server, cluster=True)
        async with store.open() as ledger, store.second_client(ledger) as other:
            await everything_once(ledger)
            assert [row.key for row in await other.due({"mail": 5}, LEASE)] == [key(3)]
            assert len(await other.rows()) == 5
            async with store.reader() as reader:
                assert await reader.stats() == await other.stats()


async def test_tls_takes_a_server_that_the_authority_vouches_for(tmp_path: Path) -> None:
    async with redis(tmp_path, tls=True) as server:
        assert server.tls is not None
        tls = LedgerTls(ca_file=str(server.tls.ca_file))
        async with RedisStore.on(server, tls=tls).open() as ledger:
            assert await ledger.claim([delivery(1)], LEASE)
        with pytest.raises(LedgerDown, match="certificate"):
            async with RedisStore.on(server, tls=LedgerTls()).open():
                pass
        with pytest.raises(LedgerDown):
            async with RedisStore.on(server).open():
                pass


async def test_a_server_that_hangs_is_an_outage_that_passes(tmp_path: Path) -> None:
    async with redis(tmp_path) as server:
        async with RedisStore.on(server, timeout="200ms").open() as ledger:
            await ledger.claim([delivery(1)], LEASE)
            server.process.send_signal(signal.SIGSTOP)
            with anyio.fail_after(2), pytest.raises(LedgerDown):
                await ledger.claim([delivery(2)], LEASE)
            server.process.send_signal(signal.SIGCONT)
            with anyio.fail_after(5):
                while True:
                    try:
                        answer = await ledger.settle([outcome(delivery(1), State.DELIVERED)])
                        break
                    except LedgerDown:
                        continue
            assert answer == [Settled.OK]


@pytest.mark.parametrize(
    "url",
    ["redis://:secret@db:6379/0", "redis://db:6379/0?password=secret", "rediss://db", "db:6379"],
)
async def test_an_address_with_a_password_or_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as error:
        RedisConfig(url=url)
    told = [line["msg"] for line in error.value.errors(include_input=False)]
    assert "secret" not in str(told)
