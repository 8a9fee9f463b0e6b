"""``make day``: a day in a minute, with its books, and what has to hold in it.

Days of other seeds are lived at once, one a core. Exit status: 0 if the books balance and every law
holds, 1 if not.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from anyio.from_thread import start_blocking_portal

from tests.contract.ledger.stores import PostgresStore, RedisStore
from tests.day import table
from tests.day.books import balance
from tests.day.day import Plan, live
from tests.day.laws import broken
from tests.day.ledgers import InFile, InMemory, OnServer
from tests.day.process import Ledgers
from tests.day.simulated import run
from tests.day.table import Lived
from tests.servers import postgres, redis

_SERVERS = {"postgres": (postgres, PostgresStore), "redis": (redis, RedisStore)}
_MEMORY = Path("/dev/shm")


def main() -> int:
    """Lives the days, and tells of them."""
    options = _options().parse_args()
    days = max(1, min(options.at_once, options.events // 1000))
    plans = [Plan(options.seed + n, options.events // days) for n in range(days)]
    print(f"on {options.ledger}\n\n{table.header()}", flush=True)
    with ProcessPoolExecutor(days, mp_context=get_context("spawn")) as pool:
        lived: list[Lived] = []
        for day in [pool.submit(_live, plan, options.ledger) for plan in plans]:
            lived.append(day.result())
            print(table.lines(lived[-1]), flush=True)
    bad = [day for day in lived if not day.is_good]
    print(table.failures(bad, options.ledger), end="")
    print(f"\n{len(lived) - len(bad)} held, {len(bad)} failed")
    return 1 if bad else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("make day", description="A day in a minute, and its books.")
    parser.add_argument("--seed", type=int, default=1, help="of the first day")
    parser.add_argument("--events", type=int, default=100_000, help="of all days together")
    parser.add_argument("--ledger", choices=["memory", "sqlite", *_SERVERS], default="sqlite")
    parser.add_argument(
        "--at-once",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="so many days at the same time; by default one a core",
    )
    return parser


def _live(plan: Plan, ledger: str) -> Lived:
    # What the router says of all that goes wrong is what is wanted.
    logging.disable(logging.CRITICAL)
    started = time.monotonic()
    try:
        with _ledgers(ledger) as ledgers:
            journal = run(live, plan, ledgers)
    except Exception:
        return Lived(plan, time.monotonic() - started, failure=traceback.format_exc())
    return Lived(
        plan,
        time.monotonic() - started,
        books=balance(journal),
        laws={name: tuple(found) for name, found in broken(journal).items()},
        attempts=len(journal.attempts),
        troubles=journal.troubles,
        processes=len(journal.lives),
    )


@contextmanager
def _ledgers(kind: str) -> Generator[Ledgers]:
    """In memory where the machine has a place for files there: what a disk does to a ledger is
    tested elsewhere."""
    if kind == "memory":
        yield InMemory()
        return
    with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        folder = Path(name)
        if kind == "sqlite":
            yield InFile(folder)
            return
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        start, store = _SERVERS[kind]
        try:
            with (
                start_blocking_portal() as portal,
                portal.wrap_async_context_manager(start(folder)) as server,
            ):
                yield OnServer(store.on(server))
        except pytest.skip.Exception as error:
            raise SystemExit(f"no {kind}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
