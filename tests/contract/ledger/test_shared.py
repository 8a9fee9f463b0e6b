"""What shared kinds have in common: the server's clock, several processes, outages."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.to_thread
import pytest

from router.clock import ManualClock, SystemClock
from router.ledger import (
    Doubtful,
    Fact,
    Granted,
    Held,
    Ledger,
    LedgerDown,
    Row,
    Settle,
    Settled,
    State,
    Take,
    Verdict,
)
from router.messages import Reason
from router.problems import ConfigError
from router.sandbox.process import free_port
from router.testing.ledger_digests import join, joined, members_of
from router.testing.ledger_lives import LENGTH_OF_LIFE, LIFE_ROWS, check_life, life
from router.testing.ledgers import LEASE, delivery, key, outcome, scheduled
from router.values import Secret
from tests.contract.ledger.killed import (
    begin_lives_in_a_killed_process,
    keys_settled_by_a_killed_process,
)
from tests.contract.ledger.stores import PostgresStore, RedisStore, SharedStore
from tests.servers import PASSWORD, Server, postgres, redis

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Kind:
    """One kind: its stores, and its server for tests that stop it."""

    name: str
    store: Callable[..., SharedStore]
    start: Callable[..., AbstractAsyncContextManager[Server]]


KINDS = {
    "postgres": Kind("postgres", PostgresStore.on, postgres),
    "redis": Kind("redis", RedisStore.on, redis),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def server(kind: Kind, servers: Callable[[str], Server]) -> Server:
    return servers(kind.name)


@pytest.fixture
def store(kind: Kind, server: Server) -> SharedStore:
    return kind.store(server)


def codes(error: ConfigError) -> list[str]:
    return [problem.code for problem in error.problems]


# Clocks and owners -----------------------------------------------------------------------------


async def test_leases_end_by_the_servers_clock_whatever_a_replicas_says(
    store: SharedStore,
) -> None:
    early, late = ManualClock(0.0), ManualClock(9e9)
    async with (
        store.open_by_server_clock("early", early) as one,
        store.open_by_server_clock("late", late) as two,
    ):
        assert await one.claim([delivery(1)], 0.4) == [Granted(1)]
        assert await one.claim([delivery(2)], LEASE) == [Granted(1)]
        (held,) = await two.claim([delivery(1)], LEASE)
        assert isinstance(held, Held)

        with anyio.fail_after(5):
            while await two.claim([delivery(1)], LEASE) != [Doubtful(2, 0)]:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        assert isinstance((await two.claim([delivery(2)], LEASE))[0], Held)


async def test_what_is_due_is_so_by_the_servers_clock(store: SharedStore) -> None:
    async with store.open_by_server_clock(clock=ManualClock(9e9)) as ledger:
        await ledger.settle([Settle(scheduled(1))])
        (row,) = await ledger.lookup([key(1)])
        assert row is not None
        assert row.due == row.updated
        (due,) = await ledger.due({"mail": 5}, 0.3)
        assert due.lease_until == pytest.approx(due.updated + 0.3)

        later = outcome(scheduled(1), State.SCHEDULED, due=due.updated + 0.3)
        await ledger.settle([later])
        assert await ledger.due({"mail": 5}, LEASE) == []
        with anyio.fail_after(5):
            while not await ledger.due({"mail": 5}, LEASE):  # noqa: ASYNC110
                await anyio.sleep(0.02)


async def test_a_replica_whose_clock_is_a_minute_off_waits_and_closes_with_the_others(
    store: SharedStore,
) -> None:
    minute = 60.0
    now = SystemClock().now()
    async with (
        store.open_by_server_clock("slow", ManualClock(now - minute)) as slow,
        store.open_by_server_clock("fast", ManualClock(now + minute)) as fast,
    ):
        assert await slow.claim([delivery(1)], minute / 2) == [Granted(1)]
        (held,) = await fast.claim([delivery(1)], minute / 2)
        assert isinstance(held, Held)
        assert held.until == pytest.approx(now + minute / 2, abs=20)

        opened = await joined(slow, join(10, window=minute / 2))
        assert await joined(fast, join(11)) == replace(opened, members=2)
        assert await fast.due({"digests": 5}, LEASE) == []
        assert await members_of(slow, opened.digest) == [10, 11]

        assert await slow.admit([Take("b", "1", 1, minute / 2)]) == [Verdict(True, 1)]
        assert await fast.admit([Take("b", "2", 1, minute / 2)]) == [Verdict(False, 1)]
        assert await slow.take("api", 1, 0.01, 1.0) == 0.0
        assert await fast.take("api", 1, 0.01, 1.0) > minute

        (row,) = await slow.lookup([opened.digest])
        assert row is not None
        await slow.settle([Settle(scheduled(2, due=row.updated + minute / 2))])
        assert await fast.due({"mail": 5}, LEASE) == []
        await fast.put_facts([Fact("gate", "mail", "halt", until=row.updated + minute / 2)])
        assert [fact.member for fact in await slow.facts(["gate"])] == ["mail"]
        await fast.purge(0.0)
        assert await joined(fast, join(12)) == replace(opened, members=3)


async def test_an_outcome_after_the_lease_loses_against_a_new_claim(store: SharedStore) -> None:
    async with store.open_by_server_clock("slow") as slow, store.open_by_server_clock("two") as two:
        await slow.claim([delivery(1)], 0.05)
        await anyio.sleep(0.1)
        assert await two.claim([delivery(1)], LEASE) == [Doubtful(2, 0)]

        assert await slow.settle([outcome(delivery(1), State.DEAD)]) == [Settled.STALE]
        assert await two.settle([outcome(delivery(1), State.SCHEDULED, 2)]) == [Settled.OK]
        assert await slow.settle([outcome(delivery(1), State.DELIVERED)]) == [Settled.OK]


async def test_an_owner_that_closes_leaves_others_claims_alone(store: SharedStore) -> None:
    async with store.open("stays") as stays:
        async with store.open("leaves") as leaves:
            await stays.claim([delivery(1)], LEASE)
            await leaves.claim([delivery(2), delivery(3)], LEASE)
            await leaves.settle([outcome(delivery(3), State.DELIVERED)])
        claims = await stays.claim([delivery(1), delivery(2)], LEASE)
        assert claims == [Held(store.clock.now() + LEASE), Doubtful(2, 0)]


async def test_an_owner_that_closes_leaves_its_namesakes_claims_alone(store: SharedStore) -> None:
    async with store.open("pod-1") as restarted:
        async with store.open("pod-1") as stalled:
            await stalled.claim([delivery(1)], LEASE)
            store.clock.advance(LEASE)
            assert await restarted.claim([delivery(1)], LEASE) == [Doubtful(2, 0)]
        assert await restarted.claim([delivery(1)], LEASE) == [Held(store.clock.now() + LEASE)]


async def test_claims_of_callers_that_gave_up_end_with_their_owner(store: SharedStore) -> None:
    rows = [delivery(n) for n in range(60)]
    async with store.open("stays") as stays:
        async with store.open("leaves") as leaves:
            await leaves.settle([Settle(scheduled(100 + n)) for n in range(60)])
            for n, row in enumerate(rows):
                with anyio.move_on_after(0.0002 * (n % 10)):
                    await leaves.claim([row], LEASE)
                with anyio.move_on_after(0.0002 * (n % 10)):
                    await leaves.due({"mail": 1}, LEASE)
        claims = await stays.claim(rows, LEASE)
        assert {type(claim).__name__ for claim in claims} <= {"Granted", "Doubtful"}
        assert len(await stays.due({"mail": 100}, LEASE)) == 60


async def test_clients_that_open_an_empty_store_at_once_share_it(store: SharedStore) -> None:
    names: list[str] = []

    async def enter(owner: str) -> None:
        async with store.open(owner) as ledger:
            names.append(ledger.uuid)
            await ledger.claim([delivery(len(names))], LEASE)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(enter, f"replica-{number}")
    assert len(set(names)) == 1


# Processes -------------------------------------------------------------------------------------


async def test_what_was_acknowledged_survives_a_killed_replica(
    kind: Kind, store: SharedStore
) -> None:
    options = {**store.config.model_dump(exclude={"retention", "timeout"}), "password": PASSWORD}
    keys = await anyio.to_thread.run_sync(
        partial(keys_settled_by_a_killed_process, kind.name, **options)
    )

    async with store.open_by_server_clock("heir") as ledger:
        rows = await ledger.lookup(keys)
        assert {row.state if row else None for row in rows} == {State.DELIVERED}
        left = await ledger.rows(state=State.CLAIMED)
        asked = [replace(row, state=State.CLAIMED) for row in left]
        claims = await ledger.claim(asked, LEASE)
        assert {type(claim).__name__ for claim in claims} <= {"Held"}
    store.clock.advance(3600 * 24 * 365 * 100)
    async with store.open("heir") as ledger:
        claims = await ledger.claim(asked, LEASE)
        assert {type(claim).__name__ for claim in claims} <= {"Doubtful"}


async def test_a_kill_between_any_two_operations_loses_nothing(
    kind: Kind, store: SharedStore
) -> None:
    options = {**store.config.model_dump(exclude={"retention", "timeout"}), "password": PASSWORD}
    await anyio.to_thread.run_sync(partial(begin_lives_in_a_killed_process, kind.name, **options))

    store.clock.advance(3600 * 24 * 365 * 100)  # long after every lease
    async with store.open("heir") as ledger, store.open("another") as other:
        for cut in range(LENGTH_OF_LIFE):
            for number, step in enumerate(life(cut * LIFE_ROWS)[cut:]):
                await step((ledger, other)[number % 2])
            await check_life(ledger, cut * LIFE_ROWS)
        assert (await ledger.stats()).backlog == {}


async def test_others_may_look_while_it_is_written(store: SharedStore) -> None:
    async with store.open() as ledger, store.reader() as reader:
        assert list(await reader.lookup([key(1)])) == [None]
        await ledger.settle([Settle(scheduled(1)), Settle(delivery(2, state=State.DEAD))])
        await ledger.put_facts([Fact("gate", "mail", "halt")])

        assert await reader.lookup([key(1)]) == await ledger.lookup([key(1)])
        assert [row.key for row in await reader.rows()] == [key(1), key(2)]
        assert [row.key for row in await reader.rows(state=State.DEAD)] == [key(2)]
        assert await reader.facts(["gate"]) == await ledger.facts(["gate"])
        assert await reader.stats() == await ledger.stats()


async def test_there_is_nothing_to_look_at_where_no_ledger_is(store: SharedStore) -> None:
    with pytest.raises(LedgerDown, match="no ledger"):
        async with store.reader():
            pass


# Outages ---------------------------------------------------------------------------------------


@asynccontextmanager
async def stoppable(kind: Kind, folder: Path) -> AsyncGenerator[tuple[SharedStore, Any, Any]]:
    """A store on a server of its own: the store, and what starts and what stops the server."""
    port = free_port()
    async with AsyncExitStack() as stack:
        running: list[AsyncExitStack] = []

        async def start() -> Server:
            running.append(await stack.enter_async_context(AsyncExitStack()))
            return await running[-1].enter_async_context(kind.start(folder, port))

        async def stop() -> None:
            await running[-1].aclose()

        yield kind.store(await start(), timeout="1s"), start, stop


async def works_again(ledger: Ledger) -> None:
    """Until the ledger takes writes."""
    with anyio.fail_after(20):
        while True:
            try:
                await ledger.put_facts([Fact("probe", "", "")])
                return
            except LedgerDown:
                await anyio.sleep(0.05)


async def test_an_outage_is_told_and_passes(kind: Kind, folder: Path) -> None:
    async with stoppable(kind, folder) as (store, start, stop), store.open() as ledger:
        await ledger.claim([delivery(n) for n in range(5)], LEASE)
        ends = [outcome(delivery(n), State.DELIVERED) for n in range(5)]
        assert await ledger.settle(ends[:3]) == [Settled.OK] * 3

        await stop()
        for _ in range(2):
            with pytest.raises(LedgerDown):
                await ledger.settle(ends)
        with pytest.raises(LedgerDown):
            async with store.open("late"):
                pass

        await start()
        await works_again(ledger)
        assert await ledger.settle(ends) == [Settled.SAME] * 3 + [Settled.OK] * 2
        assert sum((await ledger.stats()).rows.values()) == 5


async def test_what_was_acknowledged_survives_a_killed_server(kind: Kind, folder: Path) -> None:
    async with stoppable(kind, folder) as (store, start, stop), store.open() as ledger:
        settled: list[int] = []

        async def settle_until_it_is_gone(number: int) -> None:
            with suppress(LedgerDown):
                while True:
                    number += 1
                    row = delivery(number, blob=b"m" * 100)
                    await ledger.claim([row], LEASE)
                    await ledger.settle([outcome(row, State.SCHEDULED)])
                    settled.append(number)

        async with anyio.create_task_group() as tasks:
            for worker in range(4):
                tasks.start_soon(settle_until_it_is_gone, worker * 100_000)
            while len(settled) < 100:  # noqa: ASYNC110
                await anyio.sleep(0.005)
            kill(kind, folder)
        await stop()
        await start()
        await works_again(ledger)

        rows = await ledger.lookup([key(number) for number in settled])
        assert {row.state if row else None for row in rows} == {State.SCHEDULED}
        assert {row.blob for row in rows if row} == {b"m" * 100}


def kill(kind: Kind, folder: Path) -> None:
    """Stops the server at once, without a chance to write anything."""
    if kind.name == "postgres":  # to its processes this is a crash; SIGKILL would orphan them
        pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
    else:
        os.kill(int((folder / "redis.pid").read_text()), signal.SIGKILL)


@pytest.fixture
def folder() -> Generator[Path]:
    """Where a server of our own keeps its data: a place that its user may enter, too."""
    with TemporaryDirectory(prefix="router-server-") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "server"
        folder.mkdir()
        yield folder


async def test_a_server_that_is_not_there_is_an_outage(store: SharedStore) -> None:
    port = free_port()
    url = store.config.url.replace(store.config.url.rsplit(":", 1)[1].split("/")[0], str(port))
    store.config = store.config.model_copy(update={"url": url})
    with pytest.raises(LedgerDown):
        async with store.open():
            pass
    with pytest.raises(LedgerDown):
        async with store.reader():
            pass


# What is asked of it ---------------------------------------------------------------------------


async def test_a_wrong_password_is_a_mistake_in_the_configuration(store: SharedStore) -> None:
    store.config = store.config.model_copy(update={"password": Secret("hunter2")})
    with pytest.raises(ConfigError) as error:
        async with store.open():
            pass
    assert codes(error.value) == ["E309"]
    assert "hunter2" not in str(error.value)


async def test_a_caller_that_gave_up_spoils_nothing(store: SharedStore) -> None:
    async with store.open() as ledger:
        for n in range(60):
            with anyio.move_on_after(0.0002 * (n % 10)):
                await ledger.claim([delivery(n)], LEASE)
        rows = await ledger.lookup([key(n) for n in range(60)])
        assert [row.key for row in rows if row] == [key(n) for n, row in enumerate(rows) if row]

        async def life(number: int) -> None:
            await ledger.claim([delivery(number)], LEASE)
            state = (State.DELIVERED, State.DEAD)[number % 2]
            assert await ledger.settle([outcome(delivery(number), state)]) == [Settled.OK]
            (row,) = await ledger.lookup([key(number)])
            assert row is not None
            assert (row.key, row.state) == (key(number), state)

        async with anyio.create_task_group() as tasks:
            for number in range(100, 200):
                tasks.start_soon(life, number)


async def test_any_text_comes_back_as_it_went(store: SharedStore) -> None:
    odd = "a\0b\x1bc\\d\ud800e\U0001f600|,{}"
    row = Row(
        key=key(1),
        state=State.SCHEDULED,
        sink=odd,
        order_scope=odd,
        seq=2**53,
        cancel_scope=odd,
        position=odd,
        reason=Reason("bad", odd),
        blob=bytes(range(256)),
        event_hash=b"\0\xff",
    )
    async with store.open() as ledger:
        await ledger.settle([Settle(row)])
        await ledger.put_facts([Fact(odd, odd, odd, blob=b"\0"), Fact(f"cancel:{odd}", odd, "7")])

        (found,) = await ledger.lookup([row.key])
        now = store.clock.now()
        assert found == replace(row, due=now, updated=now)
        assert [(f.scope, f.member, f.value, f.blob) for f in await ledger.facts([odd])] == [
            (odd, odd, odd, b"\0")
        ]
        assert [f.member for f in await ledger.changes(f"cancel:{odd[:3]}", 0.0)] == [odd]
        assert dict((await ledger.stats()).backlog) == {odd: 1}
        assert [due.key for due in await ledger.due({odd: 5}, LEASE)] == [row.key]
        assert await ledger.claim(
            [delivery(2, cancel_scope=f"cancel:{odd}", event_time=8.0)], LEASE
        ) == [Granted(1)]


async def test_large_batches_and_messages_go_through(store: SharedStore) -> None:
    rows = [scheduled(n, blob=bytes([n % 256]) * 20_000) for n in range(1000)]
    async with store.open() as ledger:
        assert await ledger.settle([Settle(row) for row in rows]) == [Settled.OK] * 1000
        taken = await ledger.due({"mail": 1000}, LEASE)
        assert [row.blob for row in taken] == [row.blob for row in rows]
        await ledger.settle([outcome(row, State.DELIVERED) for row in taken])
        assert (await ledger.stats()).backlog == {}
        assert await ledger.purge(store.clock.now() + 1) == 1000
