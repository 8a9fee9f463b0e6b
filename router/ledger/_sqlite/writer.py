"""The one thread that writes: everything that waits goes into one transaction.

A commit waits for the disk. While it does, operations queue up, and the next transaction takes
them all: the more is asked of the ledger, the less each operation costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast, final

from router.clock import Clock
from router.ledger._contract import LedgerDown
from router.ledger._sqlite import deliveries
from router.ledger._sqlite.claims import Claims
from router.ledger._sqlite.place import config_error
from router.ledger._sqlite.rows import Transaction
from router.ledger._sqlite.schema import connect, migrate, store_uuid

log = logging.getLogger(__name__)

_GROUP_ITEMS = 4096
_PENDING_ITEMS = 65_536
_CHECKPOINT_S = 1.0
_WAL_PAGES = 4096
"""Past this the writer itself finishes a checkpoint, so that the log starts again."""
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}
"""Errors that leave the connection as good as it was."""

A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Operation:
    """One call: ``run(transaction, items, *arguments)`` gives an aligned list."""

    run: Callable[..., Sequence[Any]]
    items: Sequence[Any]
    arguments: tuple[Any, ...]
    writes: bool
    future: asyncio.Future[Sequence[Any]]


_Result = tuple[_Operation, Sequence[Any] | None, BaseException | None]


@final
class Writer:
    """Runs operations in a thread of its own, grouped into transactions.

    Attributes:
        uuid: The store's, known once ``start`` has returned.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.uuid = ""
        self._path = path
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._queue: SimpleQueue[_Operation | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._pending = 0
        self._room = asyncio.Event()
        self._room.set()
        self._is_open = False
        self._ended = self._loop.create_future()
        self._claims = Claims()
        self._checkpoints = _Checkpoints(path)

    async def start(self) -> None:
        """Opens the file, migrates it, and ends the claims of owners before.

        Raises:
            ConfigError: E303, a newer program wrote it; E304, it is no ledger.
            LedgerDown: it can't be opened.
        """
        ready: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(
            target=self._work, args=(ready,), name="router-ledger", daemon=True
        ).start()
        await ready
        self._checkpoints.start()
        self._is_open = True

    async def run(
        self,
        operation: Callable[..., Sequence[R]],
        items: Sequence[A],
        *arguments: Any,
        writes: bool = True,
    ) -> Sequence[R]:
        """Runs ``operation(transaction, items, *arguments)`` and waits until it is durable.

        Calls that wait at the same time with equal arguments are run as one, in the order in
        which they came.

        Raises:
            LedgerDown: it could not be written.
        """
        if not items:
            return ()
        while self._pending >= _PENDING_ITEMS and self._is_open:
            self._room.clear()
            await self._room.wait()
        if not self._is_open:
            raise LedgerDown("the ledger is closed")
        future: asyncio.Future[Sequence[R]] = self._loop.create_future()
        self._pending += len(items)
        self._queue.put(_Operation(operation, items, arguments, writes, cast("Any", future)))
        return await future

    async def close(self) -> None:
        """Finishes what was asked and closes the file; safe to call once."""
        self._is_open = False
        self._room.set()
        self._checkpoints.stop()
        self._queue.put(None)
        await asyncio.shield(self._ended)

    # In the thread ------------------------------------------------------------------------------

    def _work(self, ready: asyncio.Future[None]) -> None:
        try:
            self._open()
        except Exception as error:
            self._drop_connection()
            self._tell(_fail, ready, error)
            self._tell(_succeed, self._ended)
            return
        self._tell(_succeed, ready)
        while group := self._next_group():
            results = self._execute(group)
            self._tell(self._resolve, results)
            self._checkpoints.finish_if_long(self._db)
        self._checkpoints.join()
        self._drop_connection()
        self._tell(_succeed, self._ended)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it who waited
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _open(self) -> None:
        try:
            self._db = db = connect(self._path)
            migrate(db, self._path)
            self.uuid = store_uuid(db)
            db.execute("BEGIN IMMEDIATE")
            deliveries.end_claims(Transaction(db, self._clock.now()))
            db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise LedgerDown(f"can't open {self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise config_error("E304", f"ledger.path: can't use {self._path}: {error}") from error

    def _next_group(self) -> list[_Operation]:
        """Waits for an operation and takes all that wait with it; empty: close."""
        first = self._queue.get()
        group: list[_Operation] = []
        size = 0
        while first is not None:
            group.append(first)
            size += len(first.items)
            if size >= _GROUP_ITEMS:
                break
            try:
                first = self._queue.get_nowait()
            except Empty:
                break
        else:
            if group:
                self._queue.put(None)
        return group

    def _execute(self, group: list[_Operation]) -> list[_Result]:
        try:
            return self._together(group)
        except Exception as error:
            down = self._rollback(error)
            if len(group) == 1 and down is None:
                return [(group[0], None, error)]
        if down is None:
            try:
                return self._apart(group)
            except Exception as error:
                down = self._rollback(error) or LedgerDown(str(error))
        return [(operation, None, LedgerDown(str(down))) for operation in group]

    def _together(self, group: list[_Operation]) -> list[_Result]:
        """One transaction, in which equal operations run as one over all their items."""
        merged: dict[tuple[Any, ...], list[_Operation]] = {}
        for operation in group:
            merged.setdefault((operation.run, *operation.arguments), []).append(operation)
        db = self._connection()
        writes = any(operation.writes for operation in group)
        if writes:
            db.execute("BEGIN IMMEDIATE")
        tx = Transaction(db, self._clock.now(), self._claims)
        results: list[_Result] = []
        for operations in merged.values():
            results += _run_merged(tx, operations)
        if writes:
            tx.write_counts()
            db.execute("COMMIT")
        return results

    def _apart(self, group: list[_Operation]) -> list[_Result]:
        """One transaction with a savepoint for each, so that a bad one spoils no other."""
        db = self._connection()
        db.execute("BEGIN IMMEDIATE")
        now = self._clock.now()
        results: list[_Result] = []
        for operation in group:
            db.execute("SAVEPOINT operation")
            tx = Transaction(db, now, self._claims)
            try:
                results += _run_merged(tx, [operation])
                tx.write_counts()
            except Exception as error:
                if _is_outage(error):
                    raise
                self._claims.forget_all()
                db.execute("ROLLBACK TO operation")
                results.append((operation, None, error))
            db.execute("RELEASE operation")
        db.execute("COMMIT")
        return results

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = db = connect(self._path)
            if store_uuid(db) != self.uuid:
                self._db = None
                db.close()
                raise LedgerDown(f"{self._path} was replaced by another ledger")
        return self._db

    def _rollback(self, error: Exception) -> LedgerDown | None:
        """Undoes a failed transaction; what its callers are told if the ledger is to blame."""
        self._claims.forget_all()
        try:
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop_connection()
        if isinstance(error, LedgerDown):
            return error
        if not _is_outage(error):
            return None
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
            self._drop_connection()
        return LedgerDown(str(error))

    def _drop_connection(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    # Back in the loop ---------------------------------------------------------------------------

    def _resolve(self, results: Sequence[_Result]) -> None:
        for operation, answers, error in results:
            self._pending -= len(operation.items)
            if operation.future.done():
                continue
            if error is not None:
                operation.future.set_exception(error)
            elif answers is not None:
                operation.future.set_result(answers)
        if self._pending < _PENDING_ITEMS:
            self._room.set()


def _run_merged(tx: Transaction, operations: Sequence[_Operation]) -> list[_Result]:
    first = operations[0]
    if len(operations) == 1:
        return [(first, first.run(tx, first.items, *first.arguments), None)]
    items = [item for operation in operations for item in operation.items]
    answers = first.run(tx, items, *first.arguments)
    results: list[_Result] = []
    start = 0
    for operation in operations:
        end = start + len(operation.items)
        results.append((operation, answers[start:end], None))
        start = end
    return results


def _is_outage(error: Exception) -> bool:
    """Whether the file is to blame, and not what was asked of it."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError
    )


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


@final
class _Checkpoints:
    """Carries the write-ahead log into the file, in a thread that holds no writer up.

    A log that is written to all the time never ends here; once it is long, the writer carries
    over the little that is left itself, and the log starts again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._is_long = False
        self._thread = threading.Thread(
            target=self._work, name="router-ledger-checkpoint", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def finish_if_long(self, db: sqlite3.Connection | None) -> None:
        """Called by the writer between two transactions."""
        if self._is_long and db is not None:
            self._is_long = False
            with contextlib.suppress(sqlite3.Error):
                _checkpoint(db)

    def _work(self) -> None:
        db: sqlite3.Connection | None = None
        while not self._stop.wait(_CHECKPOINT_S):
            try:
                if db is None:
                    db = connect(self._path)
                self._is_long = _checkpoint(db) > _WAL_PAGES
            except sqlite3.Error as error:
                log.warning("checkpoint of the ledger failed: %s", error)
        if db is not None:
            db.close()


def _checkpoint(db: sqlite3.Connection) -> int:
    """Carries over what can be without waiting; how many pages the log has."""
    _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return pages
