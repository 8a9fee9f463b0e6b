"""How often deliveries have been replayed: a dead letter says so, and a loop ends by it.

A dead delivery is revived in the ledger as it is, and what is kept of it knows nothing of that. Its
count is a fact beside it, until it has come out of the schedule and is kept with its count again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from router.delivery.input_rows import REPLAYED
from router.delivery.job import Job
from router.delivery.watched import WatchedLedger
from router.ledger import Fact, Row

_KEPT_S: Final = 30 * 86_400.0
"""So long a delivery may wait between its replay and its next attempt."""


async def note_hops(ledger: WatchedLedger, hops: Mapping[bytes, int], now: float) -> None:
    """Keeps how often deliveries have been replayed, by key; before they are revived.

    Raises:
        LedgerDown: some may be kept, some not; do it again.
    """
    if hops:
        until = now + _KEPT_S
        await ledger.put_facts([Fact(_scope(k), "", str(n), until) for k, n in hops.items()])


async def recall_hops(ledger: WatchedLedger, found: Iterable[tuple[Row, Job]]) -> None:
    """Tells jobs that were revived how often they have been replayed.

    Args:
        found: Each with its row, as it came out of the schedule.

    Raises:
        LedgerDown: nobody knows.
    """
    revived = {_scope(row.key): job for row, job in found if _is_revived(row)}
    if revived:
        for fact in await ledger.facts(sorted(revived)):
            revived[fact.scope].hop = int(fact.value)


def _is_revived(row: Row) -> bool:
    """It has begun anew: whatever else is scheduled says why it waits."""
    is_anew = row.reason is None or row.reason.code == REPLAYED.code
    return is_anew and row.attempts == 0


def _scope(key: bytes) -> str:
    return f"replayed:{key.hex()}"
