"""Order scopes: which row may run, kept true through each operation."""

from __future__ import annotations

import sqlite3

_LOWEST = """
    SELECT min(seq) FROM delivery INDEXED BY ordered
    WHERE order_scope = ? AND state IN ('claimed', 'scheduled', 'waiting')
"""
_RAISE = """
    UPDATE delivery INDEXED BY ordered SET ready = CASE
        WHEN state <> 'claimed' THEN due
        WHEN blob IS NOT NULL THEN lease_until
    END
    WHERE order_scope = ? AND seq = ? AND state IN ('claimed', 'scheduled', 'waiting')
"""
_LOWER = """
    UPDATE delivery INDEXED BY ordered SET ready = NULL
    WHERE order_scope = ? AND seq = ? AND state IN ('claimed', 'scheduled', 'waiting')
"""


class Heads:
    """The lowest open sequence of each order scope that an operation touches.

    Touch a scope before its first row is written; ``mend`` once all are.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._before: dict[str, int | None] = {}
        self._now: dict[str, int | None] = {}

    def touch(self, scope: str | None, seq: int | None) -> None:
        """Notes that a row of this scope is about to be written."""
        if scope is not None and seq is not None and scope not in self._before:
            (lowest,) = self._db.execute(_LOWEST, (scope,)).fetchone()
            self._before[scope] = self._now[scope] = lowest

    def open(self, scope: str | None, seq: int | None) -> bool:
        """Opens a sequence, unless a lower one is open: then False, and nothing is noted."""
        if scope is None or seq is None:
            return True
        self.touch(scope, seq)
        lowest = self._now[scope]
        if lowest is not None and lowest < seq:
            return False
        self._now[scope] = seq
        return True

    def mend(self) -> None:
        """Makes the rows that head each touched scope ready, and the former heads wait."""
        for scope, before in self._before.items():
            (lowest,) = self._db.execute(_LOWEST, (scope,)).fetchone()
            if lowest is None:
                continue
            self._db.execute(_RAISE, (scope, lowest))
            if before is not None and before > lowest:
                self._db.execute(_LOWER, (scope, before))
