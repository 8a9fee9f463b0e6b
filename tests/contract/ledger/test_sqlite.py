"""What is the embedded ledger's own: its file, its owner, its thread, and their failures."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from router.clock import SystemClock
from router.ledger import RANKS, Fact, LedgerDown, Row, Settle, Settled, State
from router.ledger._sqlite import deliveries, schema
from router.ledger._sqlite.rows import Transaction
from router.ledger.sqlite import SqliteConfig, open_sqlite, open_sqlite_reader
from router.problems import ConfigError
from router.testing.ledger_lives import LENGTH_OF_LIFE, LIFE_ROWS, check_life, life
from router.testing.ledgers import LEASE, delivery, key, outcome, scheduled
from tests.contract.ledger.killed import (
    begin_lives_in_a_killed_process,
    keys_settled_by_a_killed_process,
)
from tests.contract.ledger.stores import SqliteStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "ledger.db")


def codes(error: ConfigError) -> list[str]:
    return [problem.code for problem in error.problems]


# The file and its owner ------------------------------------------------------------------------


async def test_a_file_in_use_names_who_has_it(store: SqliteStore) -> None:
    async with store.open("first-replica"):
        with pytest.raises(ConfigError, match="in use by first-replica \\(pid ") as error:
            async with store.open("second-replica"):
                pass
    assert codes(error.value) == ["E306"]
    async with store.open("second-replica") as ledger:
        assert await ledger.claim([delivery(1)], LEASE)


async def test_a_file_of_a_newer_router_is_left_alone(store: SqliteStore) -> None:
    async with store.open():
        pass
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    db.close()

    with pytest.raises(ConfigError, match="schema 99") as error:
        async with store.open():
            pass
    assert codes(error.value) == ["E303"]
    config = SqliteConfig(path=str(store.path))
    with pytest.raises(ConfigError, match="schema 99"):
        async with open_sqlite_reader(config, clock=store.clock):
            pass


async def test_a_file_that_is_no_database_is_refused(store: SqliteStore) -> None:
    store.path.write_text("To whom it may concern, this is a letter. " * 50)
    with pytest.raises(ConfigError, match="not a database") as error:
        async with store.open():
            pass
    assert codes(error.value) == ["E304"]


async def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(ConfigError, match="can't use") as error:
        async with SqliteStore(tmp_path / "occupied" / "ledger.db").open():
            pass
    assert codes(error.value) == ["E304"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no file system in memory here")
async def test_a_file_system_in_memory_has_to_be_accepted() -> None:
    config = SqliteConfig(path="/dev/shm/router-ledger-test/ledger.db")
    with pytest.raises(ConfigError, match="ephemeral: true") as error:
        async with open_sqlite(config, owner="one", clock=SystemClock()):
            pass
    assert codes(error.value) == ["E305"]


async def test_the_file_is_its_owners_alone(store: SqliteStore) -> None:
    async with store.open() as ledger:
        await ledger.claim([delivery(1)], LEASE)
        modes = {file.name: file.stat().st_mode & 0o077 for file in store.path.parent.iterdir()}
    assert {"ledger.db", "ledger.db-wal", "ledger.db.lock"} <= modes.keys()
    assert set(modes.values()) == {0}


async def test_a_message_is_gone_from_the_disk_with_its_row(store: SqliteStore) -> None:
    secret = b"Dear Ada, your code is 314159"
    async with store.open() as ledger:
        await ledger.settle([Settle(scheduled(n, blob=secret * 40)) for n in range(20)])
    assert secret in store.path.read_bytes()

    async with store.open() as ledger:
        rows = await ledger.due({"mail": 20}, LEASE)
        await ledger.settle([outcome(row, State.DELIVERED) for row in rows])
    assert secret not in store.path.read_bytes()


# Readers ---------------------------------------------------------------------------------------


async def test_others_may_look_while_it_is_written(store: SqliteStore) -> None:
    config = SqliteConfig(path=str(store.path))
    async with store.open() as ledger, open_sqlite_reader(config, clock=store.clock) as reader:
        assert await reader.lookup([key(1)]) == [None]
        await ledger.settle([Settle(scheduled(1))])
        await ledger.put_facts([Fact("gate", "mail", "halt")])

        assert await reader.lookup([key(1)]) == await ledger.lookup([key(1)])
        assert await reader.rows(state=State.SCHEDULED) == await ledger.rows()
        assert await reader.facts(["gate"]) == await ledger.facts(["gate"])
        assert await reader.stats() == await ledger.stats()


async def test_a_closed_ledger_can_be_looked_at(store: SqliteStore) -> None:
    async with store.open() as ledger:
        await ledger.settle([Settle(scheduled(1))])
    config = SqliteConfig(path=str(store.path))
    async with open_sqlite_reader(config, clock=store.clock) as reader:
        assert [row.key for row in await reader.rows()] == [key(1)]


async def test_there_is_nothing_to_look_at_where_no_ledger_is(store: SqliteStore) -> None:
    config = SqliteConfig(path=str(store.path))
    with pytest.raises(LedgerDown, match="no ledger"):
        async with open_sqlite_reader(config, clock=store.clock):
            pass
    assert not store.path.exists()


# The thread ------------------------------------------------------------------------------------


async def test_calls_at_the_same_time_get_their_own_answers(store: SqliteStore) -> None:
    async with store.open() as ledger:

        async def life(number: int) -> None:
            await ledger.claim([delivery(number)], LEASE)
            state = (State.DELIVERED, State.DEAD)[number % 2]
            assert await ledger.settle([outcome(delivery(number), state)]) == [Settled.OK]
            (row,) = await ledger.lookup([key(number)])
            assert row is not None
            assert (row.key, row.state) == (key(number), state)

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(life, number)


async def test_a_call_that_fails_spoils_no_other(store: SqliteStore) -> None:
    too_large = delivery(0, state=State.DELIVERED, attempts=2**70)
    failures: list[Exception] = []
    async with store.open() as ledger:

        async def settle(row: Row) -> None:
            try:
                assert await ledger.settle([Settle(row)]) == [Settled.OK]
            except OverflowError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            for number in range(1, 30):
                tasks.start_soon(settle, delivery(number, state=State.DELIVERED))
                if number == 15:
                    tasks.start_soon(settle, too_large)

        assert len(failures) == 1
        rows = await ledger.lookup([key(number) for number in range(30)])
        assert [row is not None for row in rows] == [False] + [True] * 29
        assert sum((await ledger.stats()).rows.values()) == 29


async def test_claims_of_all_sorts_end_as_they_are_told(store: SqliteStore) -> None:
    claims = [
        replace(
            delivery(number, event_time=float(number), attempts=number),
            order_scope=f"scope-{number}" if number % 3 == 0 else None,
            seq=number if number % 3 == 0 else None,
            cancel_scope="cancel:none" if number % 5 == 0 else None,
        )
        for number in range(20)
    ]
    states = [State.DELIVERED, State.SUPPRESSED, State.DEAD, State.SCHEDULED]
    ends = [
        replace(row, state=states[number % 4], epoch=1, first_at=5.0, attempts=number + 1, due=9.0)
        for number, row in enumerate(claims)
    ]
    async with store.open() as ledger:
        await ledger.claim(claims, LEASE)
        before = await ledger.lookup([row.key for row in claims])
        assert await ledger.settle([Settle(row) for row in ends]) == [Settled.OK] * 20
        after = await ledger.lookup([row.key for row in claims])
    for number, (was, row) in enumerate(zip(before, after, strict=True)):
        assert was is not None
        assert row is not None
        assert (was.state, was.owner, was.epoch) == (State.CLAIMED, "one", 1)
        told = {"state": states[number % 4], "attempts": number + 1, "first_at": 5.0}
        at_rest = {"owner": None, "lease_until": None, "due": None if number % 4 < 3 else 9.0}
        assert row == replace(was, **told, **at_rest)  # type: ignore[arg-type]


async def test_a_claim_whose_transaction_failed_is_none(store: SqliteStore) -> None:
    too_large = delivery(0, attempts=2**70)
    async with store.open() as ledger:
        with pytest.raises(OverflowError):
            await ledger.claim([delivery(1), too_large], LEASE)
        assert await ledger.lookup([key(1)]) == [None]
        await ledger.claim([delivery(2)], LEASE)
        assert await ledger.settle([outcome(delivery(1), State.DELIVERED)]) == [Settled.OK]
        one, two = await ledger.lookup([key(1), key(2)])
    assert one is not None
    assert two is not None
    assert (one.state, two.state) == (State.DELIVERED, State.CLAIMED)


async def test_of_thousands_of_sinks_those_without_rows_are_not_asked_for(
    store: SqliteStore,
) -> None:
    async with store.open() as ledger:
        await ledger.settle([Settle(scheduled(n, sink=sink)) for n, sink in enumerate("adm")])
    said: list[str] = []
    db = schema.connect(store.path)
    db.set_trace_callback(said.append)
    wanted = {f"m@{n}": 5 for n in range(1000)} | {"a": 5, "m": 5}
    tx = Transaction(db, store.clock.now())
    (rows,) = deliveries.due(tx, [(wanted, None, RANKS)], "one", LEASE)
    assert {row.sink for row in rows} == {"a", "m"}
    times = deliveries.next_due(tx, list(wanted))
    db.close()
    assert [at for at in times if at is not None] != []
    assert len(said) < 20


async def test_a_caller_that_gave_up_holds_nobody_up(store: SqliteStore) -> None:
    async with store.open() as ledger:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ledger.claim([delivery(1)], LEASE)
        assert scope.cancelled_caught
        assert await ledger.claim([delivery(2)], LEASE)


async def test_a_closed_ledger_is_down(store: SqliteStore) -> None:
    async with store.open() as ledger:
        pass
    with pytest.raises(LedgerDown):
        await ledger.claim([delivery(1)], LEASE)


# Failures --------------------------------------------------------------------------------------


async def test_a_locked_file_is_an_outage_that_passes(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.05)
    async with store.open() as ledger:
        await ledger.settle([Settle(scheduled(1))])
        intruder = sqlite3.connect(store.path, isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")

        with pytest.raises(LedgerDown, match="locked"):
            await ledger.claim([delivery(2)], LEASE)
        assert await ledger.lookup([key(2)]) == [None]

        intruder.execute("ROLLBACK")
        intruder.close()
        assert await ledger.settle([Settle(scheduled(1))]) == [Settled.SAME]
        assert await ledger.claim([delivery(2)], LEASE)


@contextmanager
def files_no_larger_than(size: int) -> Generator[None]:
    """Writing past this many bytes of any file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_takes_no_more_is_an_outage_that_passes(store: SqliteStore) -> None:
    async with store.open() as ledger:
        await ledger.settle([Settle(scheduled(1))])
        large = [Settle(scheduled(n, blob=bytes(100_000))) for n in range(2, 60)]

        with files_no_larger_than(2_000_000):
            for _ in range(2):
                with pytest.raises(LedgerDown):
                    await ledger.settle(large)

        assert await ledger.lookup([key(2)]) == [None]
        assert await ledger.settle(large) == [Settled.OK] * len(large)
        assert await ledger.settle([Settle(scheduled(1))]) == [Settled.SAME]
    async with store.open() as ledger:
        assert len(await ledger.rows(limit=100)) == 59


async def test_a_kill_between_any_two_operations_loses_nothing(store: SqliteStore) -> None:
    options = {"path": str(store.path), "ephemeral": True}
    await anyio.to_thread.run_sync(partial(begin_lives_in_a_killed_process, "sqlite", **options))

    store.clock.advance(3600 * 24 * 365 * 100)  # what was scheduled there is due here
    async with store.open("heir") as ledger:
        for cut in range(LENGTH_OF_LIFE):
            for step in life(cut * LIFE_ROWS)[cut:]:
                await step(ledger)
            await check_life(ledger, cut * LIFE_ROWS)
        assert (await ledger.stats()).backlog == {}


async def test_what_was_acknowledged_survives_a_kill(store: SqliteStore) -> None:
    work = partial(keys_settled_by_a_killed_process, "sqlite", path=str(store.path), ephemeral=True)
    keys = await anyio.to_thread.run_sync(work)

    async with store.open("heir") as ledger:
        rows = await ledger.lookup(keys)
        assert {row.state if row else None for row in rows} == {State.DELIVERED}
        left = await ledger.rows(state=State.CLAIMED)
        claims = await ledger.claim([replace(row, state=State.CLAIMED) for row in left], LEASE)
        assert {type(claim).__name__ for claim in claims} <= {"Doubtful"}
