"""Rows, outcomes and stores for tests of ledgers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Protocol

from router.clock import ManualClock
from router.ledger import Ledger, Row, Settle, State

LEASE = 30.0
FAMILY = b"f" * 16


class LedgerStore(Protocol):
    """One store under test, with the clock that its ledgers go by."""

    clock: ManualClock

    def open(self, owner: str = "one") -> AbstractAsyncContextManager[Ledger]:
        """Opens the store; a durable one opened again, after it was closed, kept everything."""
        ...

    def second_client(
        self, ledger: Ledger, owner: str = "two"
    ) -> AbstractAsyncContextManager[Ledger]:
        """The same store as another owner sees it, while ``ledger`` stays open."""
        ...


def key(number: int) -> bytes:
    """A delivery key."""
    return number.to_bytes(16, "big")


def delivery(number: int = 1, **fields: Any) -> Row:
    """A row as a sink's lane would claim it."""
    given: dict[str, Any] = {
        "sink": "mail",
        "event_time": 1000.0,
        "event_hash": b"h" * 16,
        **fields,
    }
    return Row(key=key(number), **given)


def scheduled(number: int = 1, **fields: Any) -> Row:
    """A row that nobody claimed, with what is needed to run it."""
    return delivery(number, state=State.SCHEDULED, **{"blob": b"message", **fields})


def waiting(number: int, **fields: Any) -> Row:
    """A fallback that waits on ``FAMILY`` and stands in for its rejection."""
    given = {"sink": "sms", "wait_on": FAMILY, "waits_for": 1, "starts_on": ("rejected",), **fields}
    return replace(scheduled(number, **given), state=State.WAITING)


def outcome(row: Row, state: State, epoch: int = 1, **fields: Any) -> Settle:
    """What became of a row under an epoch."""
    of_settlement = ("waiters", "causes", "follow_ups", "dropped_as")
    how = {name: fields.pop(name) for name in of_settlement if name in fields}
    return Settle(replace(row, state=state, epoch=epoch, **fields), **how)


async def stored(ledger: Ledger, number: int) -> Row:
    """The row, which has to exist."""
    (row,) = await ledger.lookup([key(number)])
    assert row is not None, f"row {number} is not in the ledger"
    return row


async def keys_due(ledger: Ledger, sink: str = "mail", limit: int = 100) -> list[int]:
    """Claims what is due for a sink; the numbers of its keys."""
    return [int.from_bytes(row.key, "big") for row in await ledger.due({sink: limit}, LEASE)]
