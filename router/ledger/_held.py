"""Which claims a process holds, so that they can end with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from router.ledger._contract import Claim, Doubtful, Granted, Row, Settle


@final
class HeldClaims:
    """The keys that were claimed here and neither settled nor given back.

    A shared ledger can't know that an owner is dead before its leases end. One that closes in an
    orderly way ends them itself.
    """

    def __init__(self) -> None:
        self.keys: set[bytes] = set()

    def claimed(self, rows: Sequence[Row], claims: Sequence[Claim]) -> None:
        self.keys.update(
            row.key
            for row, claim in zip(rows, claims, strict=True)
            if isinstance(claim, Granted | Doubtful)
        )

    def pulled(self, rows: Iterable[Row]) -> None:
        self.keys.update(row.key for row in rows)

    def settled(self, settlements: Iterable[Settle]) -> None:
        self.keys.difference_update(settlement.row.key for settlement in settlements)

    def released(self, claims: Iterable[tuple[bytes, int]]) -> None:
        self.keys.difference_update(key for key, _ in claims)
