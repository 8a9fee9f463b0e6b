"""Which claims a process holds, so that they can end with it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar, final

import anyio

from router.ledger._model import Claim, Doubtful, Granted, Row, Settle

T = TypeVar("T")


async def to_its_end(call: Awaitable[T]) -> T:
    """The answer of a call that claims: what is held has to be known, even if its caller has
    given up meanwhile."""
    with anyio.CancelScope(shield=True):
        return await call
    raise AssertionError("a shield lets every error through")


@final
class HeldClaims:
    """What was claimed here and neither settled nor given back, as epochs by key.

    A shared ledger can't know that an owner is dead before its leases end. One that closes in an
    orderly way ends them itself.
    """

    def __init__(self) -> None:
        self.epochs: dict[bytes, int] = {}

    def claimed(self, rows: Sequence[Row], claims: Sequence[Claim]) -> None:
        for row, claim in zip(rows, claims, strict=True):
            if isinstance(claim, Granted | Doubtful):
                self.epochs[row.key] = claim.epoch

    def pulled(self, rows: Iterable[Row]) -> None:
        self.epochs.update((row.key, row.epoch) for row in rows)

    def settled(self, settlements: Iterable[Settle]) -> None:
        for settlement in settlements:
            self.epochs.pop(settlement.row.key, None)

    def released(self, claims: Iterable[tuple[bytes, int]]) -> None:
        for key, _ in claims:
            self.epochs.pop(key, None)
