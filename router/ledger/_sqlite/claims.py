"""The claims that the writer has made and not seen the end of, so that it need not read them again.

Most deliveries are claimed, sent and settled by one process, with nothing beside them. Their rows
are then known without a look at the file: nobody else writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, final

from router.ledger._model import Row, State

_MOST = 65_536


class Known(NamedTuple):
    """What a settlement is decided by.

    Attributes:
        size: Bytes of the blob.
        number: The row's; None where the call itself has written it.
        is_plain: A claim as it was inserted, of the kind that :func:`is_plain` tells.
    """

    state: State
    epoch: int
    kind: str
    sink: str
    size: int
    family: bytes | None
    wait_on: bytes | None
    order_scope: str | None
    seq: int | None
    number: int | None = None
    is_plain: bool = False


def is_plain(row: Row) -> bool:
    """A claim of it leaves most columns as they are by default."""
    return (
        row.order_scope is None
        and row.seq is None
        and row.blob is None
        and row.reason is None
        and row.first_at is None
        and row.wait_on is None
        and row.waits_for == 0
        and not row.starts_on
    )


@final
class Claims:
    """Plain claims by key. Forgotten with any other write of the row, all with any that fails."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}

    def get(self, key: bytes) -> Known | None:
        return self._known.get(key)

    def remember(self, rows: Iterable[Row], first_number: int) -> None:
        """Plain rows that were inserted under consecutive numbers."""
        if len(self._known) > _MOST:
            self._known.clear()
        for number, row in enumerate(rows, first_number):
            self._known[row.key] = Known(
                State.CLAIMED,
                1,
                row.kind._value_,
                row.sink,
                0,
                row.family,
                None,
                None,
                None,
                number,
                True,
            )

    def forget(self, key: bytes) -> None:
        self._known.pop(key, None)

    def forget_all(self) -> None:
        self._known.clear()
