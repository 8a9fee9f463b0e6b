"""Facts that other replicas and commands write: what is new of them, time after time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from router.delivery.watched import WatchedLedger
from router.ledger import Fact

LOOK_EVERY_S: Final = 2.0
"""How often it is worth looking."""

_OVERLAP_S: Final = 10.0


@final
class FactWatch:
    """Facts of scopes with a prefix.

    What is new is told by the ledger's own times, since this machine's clock may be ahead; what
    was written about then may be told of twice.
    """

    def __init__(self, ledger: WatchedLedger, prefix: str) -> None:
        self._ledger = ledger
        self._prefix = prefix
        self._since = 0.0

    async def changes(self) -> Sequence[Fact]:
        """All at first, then what was written since the last look.

        Raises:
            LedgerDown: nobody knows.
        """
        facts = await self._ledger.changes(self._prefix, self._since)
        self._since = max([self._since, *(fact.at - _OVERLAP_S for fact in facts)])
        return facts
