"""A day from its first to its last minute, in a process of its own, and what came of it."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from anyio.from_thread import start_blocking_portal

from tests.contract.ledger.stores import PostgresStore, RedisStore
from tests.day.books import Books, balance
from tests.day.day import Plan, live
from tests.day.laws import broken
from tests.day.ledgers import InFile, InMemory, OnServer
from tests.day.process import Ledgers
from tests.day.simulated import run
from tests.servers import postgres, redis

_SERVERS: Final = {"postgres": (postgres, PostgresStore), "redis": (redis, RedisStore)}
_MEMORY: Final = Path("/dev/shm")
KINDS: Final = ("memory", "sqlite", *_SERVERS)
"""Of ledgers."""


@dataclass(frozen=True, slots=True)
class Lived:
    """A day that is over.

    Attributes:
        laws: What breaks each.
        failure: Why it came to no end.
    """

    plan: Plan
    seconds: float
    books: Books | None = None
    laws: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    attempts: int = 0
    troubles: Counter[str] = field(default_factory=Counter[str])
    processes: int = 0
    failure: str = ""

    @property
    def is_good(self) -> bool:
        return self.books is not None and not self.books.problems and not any(self.laws.values())


def live_through(plan: Plan, ledger: str) -> Lived:
    """Lives a day on a ledger of that kind, and judges it."""
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
