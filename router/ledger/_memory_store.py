"""Rows, facts and progress in dictionaries, with the indexes that a database would keep."""

from __future__ import annotations

import heapq
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from router.ledger import _rules as rules
from router.ledger._model import Fact, Kind, ProgressKey, Row, State

Entry = tuple[float, int, bytes]
"""Ready time, row number (insertion order), key."""


@dataclass(slots=True)
class Store:
    """Rows, facts and progress, with the indexes that ``put`` and ``remove`` keep.

    Attributes:
        ready: When each row that ``due`` may hand out becomes ready.
        heaps: By sink and rank; entries that ``ready`` no longer confirms are skipped when met.
        expiring: What ``expired`` may hand out, a heap like those of ``heaps``.
        scopes: Open rows of each order scope as (seq, number, key), lowest first.
        waiting: Keys of waiting rows by the family they wait on.
    """

    rows: dict[bytes, Row] = field(default_factory=dict[bytes, Row])
    facts: defaultdict[str, dict[str, Fact]] = field(
        default_factory=lambda: defaultdict[str, dict[str, Fact]](dict)
    )
    progress: dict[ProgressKey, int] = field(default_factory=dict[ProgressKey, int])
    ready: dict[bytes, float] = field(default_factory=dict[bytes, float])
    heaps: dict[tuple[str, int], list[Entry]] = field(
        default_factory=dict[tuple[str, int], list[Entry]]
    )
    expiring: list[Entry] = field(default_factory=list[Entry])
    scopes: dict[str, list[tuple[int, int, bytes]]] = field(
        default_factory=dict[str, list[tuple[int, int, bytes]]]
    )
    waiting: dict[bytes, dict[bytes, None]] = field(default_factory=dict[bytes, dict[bytes, None]])
    counts: Counter[tuple[Kind, State]] = field(default_factory=Counter[tuple[Kind, State]])
    backlog: Counter[str] = field(default_factory=Counter[str])
    backlog_bytes: Counter[str] = field(default_factory=Counter[str])
    _numbers: dict[bytes, int] = field(default_factory=dict[bytes, int])
    _next_number: int = 0

    def get(self, key: bytes) -> Row | None:
        return self.rows.get(key)

    def waiting_on(self, family: bytes) -> list[Row]:
        """The rows in state ``waiting`` on a family."""
        return [self.rows[key] for key in self.waiting.get(family, ())]

    def put(self, row: Row) -> None:
        """Writes a row and mends every index."""
        old = self.rows.get(row.key)
        if old is None:
            self._numbers[row.key] = self._next_number
            self._next_number += 1
        else:
            self._uncount(old)
        self.rows[row.key] = row
        self._count(row)
        self._reorder(old, row)
        self._refresh(row.key)

    def remove(self, key: bytes) -> None:
        """Forgets a row."""
        old = self.rows.pop(key)
        self._uncount(old)
        self._reorder(old, None)
        self.ready.pop(key, None)
        del self._numbers[key]

    def is_behind(self, row: Row) -> bool:
        """Whether a lower open sequence of its order scope exists."""
        if row.order_scope is None or row.seq is None:
            return False
        open_rows = self.scopes.get(row.order_scope)
        return bool(open_rows) and open_rows[0][0] < row.seq

    def pointed(self, scope: str) -> bytes | None:
        fact = self.facts.get(rules.DIGEST_PREFIX + scope, {}).get("")
        return None if fact is None else fact.blob

    def point(self, scope: str, digest: Row) -> None:
        """Names the digest that took a scope's last member, until it closes."""
        fact = rules.pointer(scope, digest)
        self.facts[fact.scope][fact.member] = fact

    def pop_ready(
        self,
        sink: str,
        limit: int,
        now: float,
        kinds: Sequence[Kind] | None,
        ranks: Sequence[int],
    ) -> list[tuple[int, Entry]]:
        """At most ``limit`` rows of a sink that are ready, with their ranks; the caller claims
        each of them."""
        found: list[tuple[int, Entry]] = []
        for rank in ranks:
            left = limit - len(found)
            found += [(rank, entry) for entry in self._pop((sink, rank), left, now, kinds)]
        return found

    def _pop(
        self, lane: tuple[str, int], limit: int, now: float, kinds: Sequence[Kind] | None
    ) -> list[Entry]:
        heap = self.heaps.get(lane, [])
        found: list[Entry] = []
        others: list[Entry] = []
        while heap and heap[0][0] <= now and len(found) < limit:
            entry = heapq.heappop(heap)
            if not self._confirms(lane, entry):
                continue
            if kinds is None or self.rows[entry[2]].kind in kinds:
                found.append(entry)
                del self.ready[entry[2]]
            else:
                others.append(entry)
        for entry in others:
            heapq.heappush(heap, entry)
        return found

    def pop_expired(self, most: int, now: float) -> list[bytes]:
        """At most so many scheduled deliveries that have had their time; the caller claims each."""
        found: list[bytes] = []
        while self.expiring and self.expiring[0][0] <= now and len(found) < most:
            at, number, key = heapq.heappop(self.expiring)
            if self._numbers.get(key) == number and rules.expires(self.rows[key]) == at:
                found.append(key)
        return list(dict.fromkeys(found))

    def next_ready(self, sink: str) -> float | None:
        """When the sink's next row becomes ready."""
        times = (self._next_of((sink, rank)) for rank in rules.RANKS)
        return min((at for at in times if at is not None), default=None)

    def _next_of(self, lane: tuple[str, int]) -> float | None:
        heap = self.heaps.get(lane, [])
        while heap and not self._confirms(lane, heap[0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _confirms(self, lane: tuple[str, int], entry: Entry) -> bool:
        at, number, key = entry
        return (
            self.ready.get(key) == at
            and self._numbers[key] == number
            and (self.rows[key].sink, self.rows[key].rank) == lane
        )

    def _refresh(self, key: bytes) -> None:
        row = self.rows[key]
        if (expires_at := rules.expires(row)) is not None:
            heapq.heappush(self.expiring, (expires_at, self._numbers[key], key))
        at = rules.ready_at(row.state, row.due, row.lease_until, blob=row.blob is not None)
        if at is None or self.is_behind(row):
            self.ready.pop(key, None)
        else:
            self.ready[key] = at
            heap = self.heaps.setdefault((row.sink, row.rank), [])
            heapq.heappush(heap, (at, self._numbers[key], key))

    def _reorder(self, old: Row | None, new: Row | None) -> None:
        """Keeps the order scope of a row that was opened or closed, and who heads it."""
        row = new or old
        if row is None or row.order_scope is None or row.seq is None:
            return
        was_open = old is not None and not old.state.is_final
        is_open = new is not None and not new.state.is_final
        if was_open == is_open:
            return
        scope = self.scopes.setdefault(row.order_scope, [])
        before = scope[0][0] if scope else None
        entry = (row.seq, self._numbers[row.key], row.key)
        insort(scope, entry) if is_open else scope.remove(entry)
        after = scope[0][0] if scope else None
        if not scope:
            del self.scopes[row.order_scope]
        elif before != after:
            for key in [
                key for seq, _, key in scope if seq in (before, after) and key in self.rows
            ]:
                self._refresh(key)

    def _count(self, row: Row) -> None:
        if row.state is State.WAITING and row.wait_on is not None:
            self.waiting.setdefault(row.wait_on, {})[row.key] = None
        self._tally(row, 1)

    def _uncount(self, row: Row) -> None:
        if row.state is State.WAITING and row.wait_on is not None:
            waiting = self.waiting[row.wait_on]
            del waiting[row.key]
            if not waiting:
                del self.waiting[row.wait_on]
        self._tally(row, -1)

    def _tally(self, row: Row, sign: int) -> None:
        self.counts[row.kind, row.state] += sign
        if not row.state.is_final:
            self.backlog[row.sink] += sign
            self.backlog_bytes[row.sink] += sign * len(row.blob or b"")
