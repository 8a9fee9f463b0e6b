"""The operations on facts, rates and progress."""

from __future__ import annotations

from collections.abc import Sequence

from router.ledger import _rules as rules
from router.ledger._model import Fact, ProgressKey, Take, Verdict
from router.ledger._sqlite.rows import Transaction, select_in

_COLUMNS = "scope, member, value, until, at, blob"
_ONE = f"SELECT {_COLUMNS} FROM fact WHERE scope = ? AND member = ?"
_PUT = "INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?, ?, ?)"
_TAKEN = """
    SELECT count(*) FROM fact
    WHERE scope = ? AND value = ? AND at > ? AND (until IS NULL OR until > ?)
"""


def admit(tx: Transaction, asks: Sequence[Take]) -> Sequence[Verdict]:
    return [_admit(tx, ask) for ask in asks]


def _admit(tx: Transaction, ask: Take) -> Verdict:
    (taken,) = tx.db.execute(
        _TAKEN, (ask.bucket, rules.GRANTED, tx.now - ask.window, tx.now)
    ).fetchone()
    known = stored_fact(tx, ask.bucket, ask.member)
    if known is not None and rules.is_live(known.until, tx.now):
        return Verdict(known.value == rules.GRANTED, taken)
    granted = taken < ask.limit
    value = rules.GRANTED if granted else rules.REFUSED
    put(tx, Fact(ask.bucket, ask.member, value, until=tx.now + ask.window, at=tx.now))
    return Verdict(granted, taken + granted)


def facts(tx: Transaction, scopes: Sequence[str]) -> list[list[Fact]]:
    """One list for each scope asked for."""
    unique = sorted(set(scopes))
    found: dict[str, list[Fact]] = {scope: [] for scope in unique}
    sql = f"SELECT {_COLUMNS} FROM fact WHERE scope IN (%s) ORDER BY scope, member"
    for values in select_in(tx.db, sql, unique):
        fact = Fact(*values)
        if rules.is_live(fact.until, tx.now):
            found[fact.scope].append(fact)
    return [found[scope] for scope in scopes]


def put_facts(tx: Transaction, new: Sequence[Fact]) -> Sequence[None]:
    for fact in new:
        is_mark = fact.scope.startswith(rules.CANCEL_PREFIX)
        stored = stored_fact(tx, fact.scope, fact.member) if is_mark else None
        put(tx, rules.written(stored, fact, tx.now))
    return [None] * len(new)


def drop_facts(tx: Transaction, members: Sequence[tuple[str, str]]) -> Sequence[None]:
    tx.db.executemany("DELETE FROM fact WHERE scope = ? AND member = ?", members)
    return [None] * len(members)


def changes(tx: Transaction, asks: Sequence[tuple[str, float]]) -> list[list[Fact]]:
    sql = f"""
        SELECT {_COLUMNS} FROM fact
        WHERE scope >= ?1 AND substr(scope, 1, length(?1)) = ?1 AND at >= ?2
        ORDER BY scope, member
    """
    return [[Fact(*values) for values in tx.db.execute(sql, ask)] for ask in asks]


def take(tx: Transaction, asks: Sequence[tuple[str, int, float, float]]) -> Sequence[float]:
    return [
        _take(tx, rules.RATE_PREFIX + scope, n, per_second, burst)
        for scope, n, per_second, burst in asks
    ]


def _take(tx: Transaction, scope: str, n: int, per_second: float, burst: float) -> float:
    bucket = rules.Bucket.of(stored_fact(tx, scope, ""), burst, tx.now)
    left, wait = rules.take(bucket, n, per_second, burst, tx.now)
    put(tx, left.fact(scope, per_second, burst))
    return wait


def progress(tx: Transaction, keys: Sequence[ProgressKey]) -> list[int | None]:
    sql = """
        SELECT next_offset FROM progress WHERE consumer_group = ? AND topic = ? AND partition = ?
    """
    found = (tx.db.execute(sql, (key.group, key.topic, key.partition)).fetchone() for key in keys)
    return [None if values is None else values[0] for values in found]


def put_progress(tx: Transaction, offsets: Sequence[tuple[ProgressKey, int]]) -> Sequence[None]:
    tx.db.executemany(
        """
        INSERT INTO progress VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET next_offset = max(next_offset, excluded.next_offset)
        """,
        [(key.group, key.topic, key.partition, offset) for key, offset in offsets],
    )
    return [None] * len(offsets)


def purge_facts(tx: Transaction, limits: Sequence[int]) -> list[int]:
    """Drops facts that have ended, at most ``limit`` at a time; how many."""
    sql = """
        DELETE FROM fact WHERE (scope, member) IN (
            SELECT scope, member FROM fact WHERE until <= ? LIMIT ?
        )
    """
    return [tx.db.execute(sql, (tx.now, limit)).rowcount for limit in limits]


def stored_fact(tx: Transaction, scope: str, member: str) -> Fact | None:
    values = tx.db.execute(_ONE, (scope, member)).fetchone()
    return None if values is None else Fact(*values)


def put(tx: Transaction, fact: Fact) -> None:
    tx.db.execute(_PUT, (fact.scope, fact.member, fact.value, fact.until, fact.at, fact.blob))
