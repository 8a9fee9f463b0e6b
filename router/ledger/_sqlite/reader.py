"""Looking at a ledger through a connection of one's own, which holds no writer up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, final

import anyio
import anyio.to_thread

from router.clock import Clock
from router.ledger import _rules as rules
from router.ledger._contract import LedgerDown
from router.ledger._model import Fact, Kind, Row, State, Stats
from router.ledger._sqlite import deliveries, facts
from router.ledger._sqlite.rows import COLUMNS, KINDS, STATES, Transaction, row_of
from router.ledger._sqlite.schema import VERSION, connect_reader, newer_schema, schema_version

T = TypeVar("T")


@final
class SqliteReader:
    """The part of a ledger that only looks; one call at a time, each in a worker thread."""

    def __init__(self, db: sqlite3.Connection, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._one = anyio.CapacityLimiter(1)

    @classmethod
    async def open(cls, path: Path, clock: Clock) -> SqliteReader:
        """Raises:
        LedgerDown: there is no ledger, or it can't be read.
        ConfigError: E303, a newer program wrote it.
        """
        return cls(await anyio.to_thread.run_sync(_connect, path), clock)

    async def lookup(self, keys: Sequence[bytes]) -> Sequence[Row | None]:
        return await self._read(lambda tx: deliveries.lookup(tx, keys))

    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]:
        unique = sorted(set(scopes))
        found = await self._read(lambda tx: facts.facts(tx, unique))
        return [fact for of_scope in found for fact in of_scope]

    async def rows(
        self,
        *,
        kind: Kind = Kind.DELIVERY,
        state: State | None = None,
        sink: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: bytes | None = None,
        limit: int = 100,
    ) -> Sequence[Row]:
        conditions: dict[str, Any] = {
            "kind = ?": kind.value,
            "sink = ?": sink,
            "updated >= ?": since,
            "updated < ?": until,
            "key > ?": after,
        }
        given = {text: value for text, value in conditions.items() if value is not None}
        if state is not None:
            given[f"state = '{state.value}'"] = None
        sql = f"""
            SELECT {COLUMNS} FROM delivery WHERE {" AND ".join(given)} ORDER BY key LIMIT ?
        """
        values = [value for value in given.values() if value is not None]
        return await self._read(
            lambda tx: [row_of(found) for found in tx.db.execute(sql, (*values, limit))]
        )

    async def stats(self) -> Stats:
        return await self._read(_stats)

    async def close(self) -> None:
        await anyio.to_thread.run_sync(self._db.close, limiter=self._one)

    async def _read(self, query: Callable[[Transaction], T]) -> T:
        def run() -> T:
            try:
                return query(Transaction(self._db, self._clock.now()))
            except sqlite3.Error as error:
                raise LedgerDown(str(error)) from error

        return await anyio.to_thread.run_sync(run, limiter=self._one)


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise LedgerDown(f"there is no ledger at {path}")
    try:
        db = connect_reader(path)
        version = schema_version(db)
    except sqlite3.Error as error:
        raise LedgerDown(f"can't read the ledger at {path}: {error}") from error
    if version > VERSION:
        raise newer_schema(path, version)
    if version < VERSION:
        raise LedgerDown(f"the ledger at {path} has schema {version}; `router run` migrates it")
    return db


def _stats(tx: Transaction) -> Stats:
    tally = tx.db.execute("SELECT * FROM tally WHERE count > 0")
    stats = rules.stats_of((KINDS[kind], STATES[state], *rest) for kind, state, *rest in tally)
    times = deliveries.next_due(tx, list(stats.backlog))
    oldest = min((at for at in times if at is not None), default=None)
    age = None if oldest is None or oldest > tx.now else tx.now - oldest
    return replace(stats, oldest_due=age)
