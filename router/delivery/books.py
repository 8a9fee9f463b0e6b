"""Keeps the books of rows that a settlement writes beside its own: fallbacks.

Whether such a row was new, or ended another, only the ledger knows: it is asked before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from router.ledger import Row, State
from router.telemetry import Account

Rows = Mapping[bytes, Row | None]


def book_changes(account_of: Callable[[Row], Account], before: Rows, after: Rows) -> None:
    """Enters rows that are new, and takes out those that wait no longer."""
    for key, row in after.items():
        if row is None:
            continue
        was = before.get(key)
        if was is None:
            book_new(account_of(row), row)
        elif was.state is State.WAITING and row.state is State.SUPPRESSED:
            account = account_of(row)
            account.resumed()
            account.suppressed(_code(row))


def book_new(account: Account, row: Row) -> None:
    """Enters a row that was written without having been a job: planned, and out again at once."""
    account.planned()
    if row.state is State.SUPPRESSED and row.epoch == 0:
        account.suppressed(_code(row))
    elif row.state is State.DEAD and row.epoch == 0:
        account.dead(_code(row))
    else:
        account.scheduled("waiting" if row.state is State.WAITING else "fallback")


def book_once(account: Account, row: Row, *, is_ours: bool) -> None:
    """Enters a row that was written here, or, where another's stood there, a duplicate of it."""
    if is_ours:
        book_new(account, row)
    else:
        account.planned()
        account.duplicate()


def book_lost(account: Account, row: Row) -> None:
    """Enters the end of a delivery that was under way in a process which is gone."""
    account.planned()
    book_exit(account, row)


def book_exit(account: Account, row: Row) -> None:
    """Enters how a delivery left the worker's hands."""
    match row.state:
        case State.DELIVERED:
            account.delivered()
        case State.SUPPRESSED:
            account.suppressed(_code(row))
        case State.DEAD:
            account.dead(_code(row))
        case _:
            account.scheduled(_code(row))


def open_keys(rows: Iterable[Row | None]) -> set[bytes]:
    """Keys of rows that have not ended."""
    return {row.key for row in rows if row is not None and not row.state.is_final}


def _code(row: Row) -> str:
    return row.reason.code if row.reason else ""
