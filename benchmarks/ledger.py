"""What the ledger costs per key: CPU and rate of claim, settle and look-up, in batches and singly.

    python -m benchmarks.ledger [--kind sqlite|memory|postgres|redis] [--dir DIR] [--rows N]

CPU counts all threads of the process, not a server's; PostgreSQL and Redis are started where they
are installed. ``open`` rows of a backlog show what a full schedule costs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from router.clock import SystemClock
from router.ledger import Granted, Ledger, Row, Settle, Settled, State
from router.ledger.memory import MemoryLedger
from router.ledger.postgres import PostgresConfig, open_postgres
from router.ledger.redis import RedisConfig, open_redis
from router.ledger.sqlite import SqliteConfig, open_sqlite
from router.values import Secret
from tests.servers import PASSWORD, Server, postgres, redis

BATCH = 512
TASKS = 256


def fresh_rows(count: int) -> list[Row]:
    """Rows as a lane claims them: no message, a position, a family."""
    return [
        Row(
            key=os.urandom(16),
            sink="mail",
            family=os.urandom(16),
            event_time=1_767_323_045.0,
            event_hash=os.urandom(16),
            position="orders/3/1234567",
            expires_at=1_767_409_445.0,
        )
        for _ in range(count)
    ]


def delivered(row: Row) -> Settle:
    return Settle(replace(row, state=State.DELIVERED, epoch=1, attempts=1), "drop")


async def measure(name: str, keys: int, work: Callable[[], Awaitable[None]]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:<34} {keys / wall:>10,.0f} keys/s {cpu / keys * 1e6:>8.1f} us CPU/key")


async def batches(ledger: Ledger, rows: Sequence[Row]) -> None:
    """Batches of 512, one at a time."""
    parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    settles = [[delivered(row) for row in part] for part in parts]

    async def lookup() -> None:
        for part in parts:
            await ledger.lookup([row.key for row in part])

    async def claim() -> None:
        for part in parts:
            answers = await ledger.claim(part, 60.0)
            assert all(isinstance(answer, Granted) for answer in answers)

    async def settle() -> None:
        for part in settles:
            assert set(await ledger.settle(part)) == {Settled.OK}

    await measure("lookup of 512 (absent)", len(rows), lookup)
    await measure("claim of 512", len(rows), claim)
    await measure("settle of 512", len(rows), settle)
    await measure("lookup of 512 (present)", len(rows), lookup)


async def retries(ledger: Ledger, rows: Sequence[Row]) -> None:
    """What comes back: claimed, scheduled with its message, pulled when due, delivered."""
    parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    for part in parts:
        await ledger.claim(part, 60.0)
    settles = [
        [Settle(replace(r, state=State.SCHEDULED, epoch=1, due=1.0, blob=bytes(600))) for r in part]
        for part in parts
    ]

    async def schedule() -> None:
        for part in settles:
            await ledger.settle(part)

    async def due() -> None:
        for _ in parts:
            taken = await ledger.due({"mail": BATCH}, 60.0)
            assert len(taken) == BATCH

    await measure("settle of 512 as scheduled (600 B)", len(rows), schedule)
    await measure("due, 512 at a time", len(rows), due)
    await ledger.settle([Settle(replace(r, state=State.DELIVERED, epoch=2)) for r in rows])


async def singles(ledger: Ledger, rows: Sequence[Row]) -> None:
    """256 tasks, each waiting for its own claim and settlement."""

    async def work() -> None:
        left = iter(rows)

        async def worker() -> None:
            for row in left:
                await ledger.claim([row], 60.0)
                await ledger.settle([delivered(row)])

        async with asyncio.TaskGroup() as tasks:
            for _ in range(TASKS):
                tasks.create_task(worker())

    await measure(f"claim + settle singly, {TASKS} tasks", len(rows), work)


async def upkeep(ledger: Ledger) -> None:
    for name, work in (("stats", ledger.stats), ("purge", lambda: ledger.purge(time.time()))):
        start = time.perf_counter()
        await work()
        print(f"{name:<34} {(time.perf_counter() - start) * 1e3:>10.2f} ms")


@asynccontextmanager
async def opened(kind: str, folder: str) -> AsyncIterator[Ledger]:
    if kind == "memory":
        yield MemoryLedger(owner="bench", clock=SystemClock())
        return
    if kind == "sqlite":
        config = SqliteConfig(path=str(Path(folder) / "ledger.db"), ephemeral=True)
        async with open_sqlite(config, owner="bench", clock=SystemClock()) as ledger:
            yield ledger
        return
    server_of, open_on = SERVERS[kind]
    with tempfile.TemporaryDirectory() as place:
        async with server_of(Path(place)) as server, open_on(server) as ledger:
            yield ledger


def on_postgres(server: Server) -> AbstractAsyncContextManager[Ledger]:
    config = PostgresConfig(url=server.url, password=Secret(PASSWORD))
    return open_postgres(config, owner="bench", clock=SystemClock())


def on_redis(server: Server) -> AbstractAsyncContextManager[Ledger]:
    config = RedisConfig(url=server.url, password=Secret(PASSWORD))
    return open_redis(config, owner="bench", clock=SystemClock())


SERVERS = {"postgres": (postgres, on_postgres), "redis": (redis, on_redis)}


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--kind", choices=["sqlite", "memory", "postgres", "redis"], default="sqlite"
    )
    options.add_argument("--dir", help="where the file lies; a temporary folder by default")
    options.add_argument("--rows", type=int, default=100_000, help="ended rows before")
    options.add_argument("--backlog", type=int, default=0, help="open rows before")
    options.add_argument("--keys", type=int, default=40 * BATCH, help="keys of each measurement")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        async with opened(given.kind, folder) as ledger:
            for start in range(0, given.rows, BATCH):
                ended = fresh_rows(min(BATCH, given.rows - start))
                await ledger.settle([Settle(replace(r, state=State.DELIVERED)) for r in ended])
            later = time.time() + 3600
            for start in range(0, given.backlog, BATCH):
                rows = fresh_rows(min(BATCH, given.backlog - start))
                await ledger.settle(
                    [
                        Settle(replace(r, state=State.SCHEDULED, due=later, blob=bytes(600)))
                        for r in rows
                    ]
                )
            print(f"{given.kind}, {given.rows:,} ended and {given.backlog:,} open rows before")
            await batches(ledger, fresh_rows(given.keys))
            await retries(ledger, fresh_rows(given.keys // 4))
            await singles(ledger, fresh_rows(given.keys))
            await upkeep(ledger)


if __name__ == "__main__":
    asyncio.run(main())
