"""The operations ``join`` and ``members``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from router.ledger import _operations as operations
from router.ledger import _rules as rules
from router.ledger._model import Done, Join, Joined, Row
from router.ledger._sqlite import facts
from router.ledger._sqlite.heads import Heads
from router.ledger._sqlite.rows import COLUMNS, Transaction, row_of, rows_by_key, select_in


@final
class _Loaded:
    """Rows that a call of ``join`` has looked at, and what it makes of them."""

    def __init__(self, tx: Transaction, keys: Sequence[bytes]) -> None:
        self._tx = tx
        self._stored: dict[bytes, Row | None] = dict.fromkeys(keys)
        self._stored |= rows_by_key(tx.db, keys)
        self._rows = dict(self._stored)
        self._pointed: dict[str, bytes | None] = {}
        self._moved: dict[str, Row] = {}

    def get(self, key: bytes) -> Row | None:
        if key not in self._rows:
            self._rows[key] = self._stored[key] = rows_by_key(self._tx.db, [key]).get(key)
        return self._rows[key]

    def put(self, row: Row) -> None:
        if self._rows.get(row.key) is None:
            self._rows.pop(row.key, None)  # rows get their numbers in the order of their first put
        self._rows[row.key] = row

    def pointed(self, scope: str) -> bytes | None:
        if scope not in self._pointed:
            fact = facts.stored_fact(self._tx, rules.DIGEST_PREFIX + scope, "")
            self._pointed[scope] = None if fact is None else fact.blob
        return self._pointed[scope]

    def point(self, scope: str, digest: Row) -> None:
        self._pointed[scope] = digest.key
        self._moved[scope] = digest

    def write(self) -> None:
        new: list[Row] = []
        heads = Heads(self._tx.db)
        for key, row in self._rows.items():
            stored = self._stored[key]
            if row is None or row is stored:
                continue
            heads.touch(row.order_scope, row.seq)
            if stored is None:
                new.append(row)
            else:
                self._tx.rewrite(stored, row)
        self._tx.insert(new)
        heads.mend()
        for scope, digest in self._moved.items():
            facts.put(self._tx, rules.pointer(scope, digest))


def join(tx: Transaction, joins: Sequence[Join]) -> Sequence[Joined | Done]:
    loaded = _Loaded(tx, [key for join in joins for key in (join.member.key, join.key)])
    answers = operations.join(loaded, joins, tx.now)
    loaded.write()
    return answers


def members(tx: Transaction, digests: Sequence[bytes]) -> list[list[Row]]:
    found: dict[bytes, list[Row]] = {digest: [] for digest in digests}
    sql = f"SELECT {COLUMNS} FROM delivery WHERE state = 'waiting' AND wait_on IN (%s)"
    for row in map(row_of, select_in(tx.db, sql, list(found))):
        if row.wait_on is not None:
            found[row.wait_on].append(row)
    return [rules.in_order(found[digest]) for digest in digests]
