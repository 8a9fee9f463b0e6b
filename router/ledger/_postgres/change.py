"""Transactions that load rows under lock, decide in memory, and write what changed.

Whatever decides works on :class:`Loaded` as on any other store of rows. Where a decision turns out
to need more than was locked (or another replica inserted a row meanwhile), the transaction is
rolled back and made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar, final
from zlib import crc32

from router.ledger import _rules as rules
from router.ledger._contract import LedgerDown
from router.ledger._model import Fact, Row, State
from router.ledger._postgres.connection import AGAIN, ATTEMPTS, Connection, Connections
from router.ledger._postgres.rows import KEPT, NARROW, NOW, Counts, insert, row_of, update
from router.ledger._postgres.text import from_store, to_store

log = logging.getLogger(__name__)

R = TypeVar("R")

_BUCKETS: Final = 256
SCOPE_LOCKS: Final = 0x726F7574
"""The first number of the advisory locks of order scopes ..."""
FACT_LOCKS: Final = SCOPE_LOCKS + 1
"""... and of facts that are written by what they were."""

_LOCK: Final = "SELECT pg_advisory_xact_lock($1, bucket) FROM unnest($2::integer[]) AS bucket"
_LOAD: Final = f"""
    WITH locked AS (
        SELECT {NARROW} FROM delivery WHERE key = ANY($2::bytea[]) ORDER BY key FOR UPDATE
    )
    SELECT locked.*, clock.now FROM (SELECT {NOW} AS now) AS clock LEFT JOIN locked ON true
"""
# Asked once the rows above are locked, so that it sees what their last writer put beside them.
_LOAD_WAITING: Final = f"""
    WITH RECURSIVE waiting (family, number) AS (
        SELECT unnest($1::bytea[]), NULL::bigint
        UNION
        SELECT next.family, next.number FROM waiting CROSS JOIN LATERAL (
            SELECT family, number FROM delivery WHERE awaited = waiting.family OFFSET 0
        ) AS next
    )
    SELECT {NARROW} FROM delivery WHERE number = ANY (ARRAY(SELECT number FROM waiting))
    ORDER BY key FOR UPDATE
"""
_LOWEST: Final = """
    SELECT scope, (SELECT seq FROM delivery WHERE open_scope = scope ORDER BY seq LIMIT 1)
    FROM unnest($1::text[]) AS scope
"""
_MARKS: Final = "SELECT scope, member, value, until FROM fact WHERE scope = ANY($1::text[])"
_POINTED: Final = "SELECT scope, blob FROM fact WHERE scope = ANY($1::text[]) AND member = ''"
_POINT: Final = """
    INSERT INTO fact (scope, member, value, until, at, blob)
    SELECT scope, '', '', until, at, blob
    FROM unnest($1::text[], $2::float8[], $3::float8[], $4::bytea[])
        AS given (scope, until, at, blob)
    ORDER BY scope
    ON CONFLICT (scope, member) DO UPDATE SET
        until = excluded.until, at = excluded.at, blob = excluded.blob
"""
_DELETE: Final = "DELETE FROM delivery WHERE key = ANY($1::bytea[])"
_MEND: Final = """
    WITH head AS (
        SELECT scope, was,
            (SELECT seq FROM delivery WHERE open_scope = scope ORDER BY seq LIMIT 1) AS seq
        FROM unnest($1::text[], $2::bigint[]) AS given (scope, was)
    )
    UPDATE delivery AS d SET is_head = (d.seq = head.seq) FROM head
    WHERE d.open_scope = head.scope AND (d.seq = head.seq OR d.seq = head.was)
        AND d.is_head <> (d.seq = head.seq)
"""


@dataclass(slots=True)
class Reach:
    """What a transaction loads and locks.

    Attributes:
        scopes: Order scopes in which it may open or close rows.
        waking: Rows on whose families others may wait, as given; what is stored counts.
        families: Further ones whose waiting rows it may touch, and theirs in turn.
        cancel_scopes: Whose marks it looks at.
        digest_scopes: Whose open digests it looks for; their rows are loaded as well.
    """

    keys: set[bytes]
    scopes: set[str] = field(default_factory=set[str])
    waking: Sequence[Row] = ()
    families: set[bytes] = field(default_factory=set[bytes])
    cancel_scopes: set[str] = field(default_factory=set[str])
    digest_scopes: set[str] = field(default_factory=set[str])

    def all_families(self, stored: Mapping[bytes, Row]) -> set[bytes]:
        """Every family whose waiting rows are to be loaded."""
        waking = {stored.get(row.key, row).family for row in self.waking}
        return self.families | {family for family in waking if family is not None}

    def add_scopes_of(self, rows: Iterable[Row]) -> None:
        self.scopes.update(
            row.order_scope for row in rows if row.order_scope is not None and row.seq is not None
        )


class ReachedTooShort(Exception):
    """The transaction has to be made anew: its reach has grown, or a row came in between."""


@final
class Loaded:
    """Rows as one transaction sees them, and what it makes of them.

    Args:
        sizes: Bytes of the rows' messages.
        families: Those whose waiting rows are among ``stored``.
        lowest: The lowest open sequence of each order scope.
        marks: Facts by cancel scope.
        pointed: The digest that took each digest scope's last member.
    """

    def __init__(
        self,
        reach: Reach,
        stored: Mapping[bytes, Row],
        sizes: Mapping[bytes, int],
        families: Collection[bytes],
        lowest: Mapping[str, int | None],
        marks: Mapping[str, Sequence[Fact]],
        pointed: Mapping[str, bytes],
    ) -> None:
        self._marks = marks
        self._pointed = dict(pointed)
        self._moved: dict[str, Row] = {}
        self._reach = reach
        self._stored = stored
        self._sizes = sizes
        self._rows = dict(stored)
        self._before = lowest
        self._lowest = {scope: seq for scope, seq in lowest.items() if seq is not None}
        self._families = families
        self._waiting: dict[bytes, dict[bytes, None]] = {}
        for row in stored.values():
            self._note_waiting(row)

    def marks_of(self, scope: str) -> Sequence[Fact]:
        return self._marks.get(scope, ())

    def get(self, key: bytes) -> Row | None:
        row = self._rows.get(key)
        if row is None and key not in self._reach.keys:
            self._reach.keys.add(key)
            raise ReachedTooShort("a row")
        return row

    def pointed(self, scope: str) -> bytes | None:
        return self._pointed.get(scope)

    def point(self, scope: str, digest: Row) -> None:
        self._pointed[scope] = digest.key
        self._moved[scope] = digest

    def put(self, row: Row) -> None:
        self._rows[row.key] = row
        self._note_waiting(row)
        if row.order_scope is not None and row.seq is not None and not row.state.is_final:
            lowest = self._lowest.get(row.order_scope, row.seq)
            self._lowest[row.order_scope] = min(lowest, row.seq)

    def remove(self, key: bytes) -> None:
        del self._rows[key]

    def is_behind(self, row: Row) -> bool:
        """Whether a lower sequence was open before, or was opened since."""
        if row.order_scope is None or row.seq is None:
            return False
        lowest = self._lowest.get(row.order_scope)
        return lowest is not None and lowest < row.seq

    def waiting_on(self, family: bytes) -> list[Row]:
        if family not in self._families:
            self._reach.families.add(family)
            raise ReachedTooShort("a family")
        rows = [self._rows.get(key) for key in self._waiting.get(family, ())]
        return [row for row in rows if row is not None and row.state is State.WAITING]

    def _note_waiting(self, row: Row) -> None:
        if row.state is State.WAITING and row.wait_on is not None:
            self._waiting.setdefault(row.wait_on, {})[row.key] = None

    async def write(self, db: Connection, now: float) -> None:
        """Writes what has changed.

        Raises:
            ReachedTooShort: another replica has inserted one of the new rows meanwhile.
        """
        new = [row for key, row in self._rows.items() if key not in self._stored]
        changed = [row for row in self._rows.values() if self._is_changed(row)]
        gone = [row for key, row in self._stored.items() if key not in self._rows]
        if len(await insert(db, new, now)) < len(new):
            raise ReachedTooShort("a row of another replica's")
        await update(db, changed)
        if gone:
            await db.execute(_DELETE, [row.key for row in gone])
        await self._mend(db, [*new, *changed, *gone])
        await _point(db, [rules.pointer(*moved) for moved in self._moved.items()])
        await self._count(db, new, changed, gone)

    def _is_changed(self, row: Row) -> bool:
        stored = self._stored.get(row.key)
        return stored is not None and stored is not row

    async def _mend(self, db: Connection, rows: Collection[Row]) -> None:
        """Makes the rows that head each touched scope ready, and the former heads wait."""
        touched = {row.order_scope for row in rows if row.seq is not None} - {None}
        scopes = [scope for scope in touched if scope is not None]
        if scopes:
            befores = [self._before.get(scope) for scope in scopes]
            await db.execute(_MEND, [to_store(scope) for scope in scopes], befores)

    async def _count(
        self, db: Connection, new: list[Row], changed: list[Row], gone: list[Row]
    ) -> None:
        counts = Counts()
        for row in new:
            counts.add(row, len(row.blob or b""))
        for row in changed:
            size = self._sizes[row.key]
            counts.add(self._stored[row.key], size, -1)
            counts.add(row, size if row.blob is KEPT else len(row.blob or b""))
        for row in gone:
            counts.add(row, self._sizes[row.key], -1)
        await counts.write(db)


async def change(connections: Connections, reach: Reach, decide: Callable[[Loaded, float], R]) -> R:
    """Loads rows, lets ``decide(rows, now)`` change them, writes them, in one transaction.

    ``decide`` may be called several times, each time with rows as they are then.

    Raises:
        LedgerDown: it could not be done.
    """
    for _ in range(ATTEMPTS):
        try:
            async with connections.transaction() as db:
                loaded, now = await _load(db, reach, connections.now)
                answer = decide(loaded, now)
                await loaded.write(db, now)
                return answer
        except (ReachedTooShort, *AGAIN) as error:
            log.debug("a transaction is made anew: %s", error)
    raise LedgerDown("other replicas keep getting in the way")


async def _load(db: Connection, reach: Reach, given_now: float | None) -> tuple[Loaded, float]:
    await lock(db, SCOPE_LOCKS, reach.scopes)
    pointed = await _pointed(db, reach.digest_scopes) if reach.digest_scopes else {}
    reach.keys.update(pointed.values())
    records = await db.fetch(_LOAD, given_now, list(reach.keys))
    now = records[0]["now"]
    records = [record for record in records if record["key"] is not None]
    stored = {record["key"]: row_of(record) for record in records}
    families = reach.all_families(stored)
    if families:
        waiting = await db.fetch(_LOAD_WAITING, list(families))
        records += waiting
        stored |= {record["key"]: row_of(record) for record in waiting}
        families |= {record["family"] for record in waiting}
    known = len(reach.scopes)
    reach.add_scopes_of(stored.values())
    if len(reach.scopes) > known:
        raise ReachedTooShort("an order scope")
    sizes = {record["key"]: record["kept_size"] or 0 for record in records}
    lowest = await _lowest(db, reach.scopes) if reach.scopes else {}
    marks = await _marks(db, reach.cancel_scopes) if reach.cancel_scopes else {}
    return Loaded(reach, stored, sizes, families, lowest, marks, pointed), now


async def lock(db: Connection, kind: int, names: Collection[str]) -> None:
    """Until the transaction ends, nobody else has the lock of any of these names."""
    if names:
        buckets = {crc32(name.encode("utf-8", "surrogatepass")) % _BUCKETS for name in names}
        await db.execute(_LOCK, kind, sorted(buckets))


async def _pointed(db: Connection, scopes: Collection[str]) -> dict[str, bytes]:
    """The digests that took these scopes' last members; nobody else joins them meanwhile."""
    names = {rules.DIGEST_PREFIX + scope: scope for scope in scopes}
    await lock(db, FACT_LOCKS, names)
    found = await db.fetch(_POINTED, [to_store(name) for name in names])
    return {names[from_store(name)]: digest for name, digest in found}


async def _point(db: Connection, pointers: Sequence[Fact]) -> None:
    values = [(to_store(f.scope), f.until, f.at, f.blob) for f in pointers]
    if values:
        await db.execute(_POINT, *zip(*values, strict=True))


async def _lowest(db: Connection, scopes: Collection[str]) -> dict[str, int | None]:
    found = await db.fetch(_LOWEST, [to_store(scope) for scope in scopes])
    return {from_store(scope): seq for scope, seq in found}


async def _marks(db: Connection, scopes: Collection[str]) -> dict[str, list[Fact]]:
    marks: dict[str, list[Fact]] = {}
    for scope, member, value, until in await db.fetch(_MARKS, [to_store(s) for s in scopes]):
        fact = Fact(from_store(scope), from_store(member), from_store(value), until)
        marks.setdefault(fact.scope, []).append(fact)
    return marks
