"""``type: sqlite``: the embedded ledger, one file on a local disk, one owner at a time.

Every answer waits until its transaction is on disk (WAL, ``synchronous=FULL``). Commands may
look at the file while the daemon has it, through ``open_sqlite_reader``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

import anyio
from pydantic import Field

from router.clock import Clock
from router.ledger import _rules as rules
from router.ledger._contract import Ledger, LedgerConfig, LedgerReader, LedgerType
from router.ledger._model import (
    RANKS,
    Claim,
    Done,
    Fact,
    Join,
    Joined,
    Kind,
    ProgressKey,
    Row,
    Settle,
    Settled,
    State,
    Stats,
    Take,
    Verdict,
)
from router.ledger._sqlite import deliveries, place, settling
from router.ledger._sqlite import digests as digest_rows
from router.ledger._sqlite import facts as fact_table
from router.ledger._sqlite.reader import SqliteReader
from router.ledger._sqlite.writer import Writer
from router.values import FilePath

_PURGE_FACTS = 1000
_CLOSE_S = 10.0


class SqliteConfig(LedgerConfig):
    """A ledger in one file, for a single replica."""

    type: str = Field("sqlite", description="`sqlite`.")
    path: FilePath = Field(
        description="The file, on a local disk that outlives the process; made where missing.",
        examples=["/var/lib/router/ledger.db"],
    )
    ephemeral: bool = Field(
        False,
        description=(
            "Accept a network, overlay or in-memory file system: what is scheduled there may be "
            "lost. For demonstrations and tests."
        ),
    )


@final
class SqliteLedger:
    """An open ledger file.

    ``sharing`` gives the same file to another owner of this process.
    """

    is_durable: bool = True
    is_shared: bool = False

    def __init__(self, writer: Writer, reader: SqliteReader, owner: str) -> None:
        self.owner = owner
        self._writer = writer
        self._reader = reader

    @property
    def uuid(self) -> str:
        return self._writer.uuid

    def sharing(self, owner: str) -> SqliteLedger:
        """This file as another owner sees it."""
        return SqliteLedger(self._writer, self._reader, owner)

    async def lookup(self, keys: Sequence[bytes]) -> Sequence[Row | None]:
        return await self._writer.run(deliveries.lookup, keys, writes=False)

    async def admit(self, asks: Sequence[Take]) -> Sequence[Verdict]:
        return await self._writer.run(fact_table.admit, asks)

    async def claim(self, rows: Sequence[Row], lease: float) -> Sequence[Claim]:
        rules.check_ranks(rows)
        return await self._writer.run(deliveries.claim, rows, self.owner, lease)

    async def settle(self, settlements: Sequence[Settle]) -> Sequence[Settled]:
        rules.check_settlements(settlements)
        return await self._writer.run(settling.settle, settlements)

    async def join(self, joins: Sequence[Join]) -> Sequence[Joined | Done]:
        rules.check_ranks(join.member for join in joins)
        return await self._writer.run(digest_rows.join, joins)

    async def members(self, digests: Sequence[bytes]) -> Sequence[Sequence[Row]]:
        return await self._writer.run(digest_rows.members, digests, writes=False)

    async def due(
        self,
        wanted: Mapping[str, int],
        lease: float,
        kinds: Sequence[Kind] | None = None,
        ranks: Sequence[int] = RANKS,
    ) -> Sequence[Row]:
        asked = [(wanted, kinds, ranks)]
        return (await self._writer.run(deliveries.due, asked, self.owner, lease))[0]

    async def expired(self, most: int, lease: float) -> Sequence[Row]:
        return (await self._writer.run(deliveries.expired, [most], self.owner, lease))[0]

    async def next_due(self, sinks: Sequence[str]) -> float | None:
        times = await self._writer.run(deliveries.next_due, sinks, writes=False)
        return min((at for at in times if at is not None), default=None)

    async def release(self, claims: Sequence[tuple[bytes, int]]) -> None:
        await self._writer.run(deliveries.release, claims, self.owner)

    async def reschedule(self, keys: Sequence[bytes], due: float) -> Sequence[bool]:
        return await self._writer.run(deliveries.reschedule, keys, due)

    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]:
        unique = sorted(set(scopes))
        found = await self._writer.run(fact_table.facts, unique, writes=False)
        return [fact for of_scope in found for fact in of_scope]

    async def put_facts(self, facts: Sequence[Fact]) -> None:
        await self._writer.run(fact_table.put_facts, facts)

    async def drop_facts(self, members: Sequence[tuple[str, str]]) -> None:
        await self._writer.run(fact_table.drop_facts, members)

    async def changes(self, prefix: str, since: float) -> Sequence[Fact]:
        return (await self._writer.run(fact_table.changes, [(prefix, since)], writes=False))[0]

    async def take(self, scope: str, n: int, per_second: float, burst: float) -> float:
        return (await self._writer.run(fact_table.take, [(scope, n, per_second, burst)]))[0]

    async def progress(self, keys: Sequence[ProgressKey]) -> Sequence[int | None]:
        return await self._writer.run(fact_table.progress, keys, writes=False)

    async def put_progress(self, offsets: Mapping[ProgressKey, int]) -> None:
        await self._writer.run(fact_table.put_progress, list(offsets.items()))

    async def rows(
        self,
        *,
        kind: Kind = Kind.DELIVERY,
        state: State | None = None,
        sink: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: bytes | None = None,
        limit: int = 100,
    ) -> Sequence[Row]:
        return await self._reader.rows(
            kind=kind, state=state, sink=sink, since=since, until=until, after=after, limit=limit
        )

    async def purge(self, older_than: float) -> int:
        count = 0
        after: int | None = 0
        while after is not None:
            bounds = [(older_than, after)]
            ((dropped, after),) = await self._writer.run(deliveries.purge_rows, bounds)
            count += dropped
        dropped = _PURGE_FACTS
        while dropped == _PURGE_FACTS:
            (dropped,) = await self._writer.run(fact_table.purge_facts, [_PURGE_FACTS])
            count += dropped
        return count

    async def stats(self) -> Stats:
        return await self._reader.stats()


@asynccontextmanager
async def open_sqlite(config: SqliteConfig, *, owner: str, clock: Clock) -> AsyncGenerator[Ledger]:
    """Opens the file as its one owner; claims of the owner before are in doubt from here on.

    Raises:
        LedgerDown: the file can't be opened.
        ConfigError: E305, it lies on a file system that loses it or can't lock it; E306, another
            process has it; E303, a newer router wrote it; E304, it can't be used.
    """
    path = Path(config.path)
    if not config.ephemeral:
        place.check_file_system(path)
    place.create(path)
    with place.exclusive(path, owner):
        writer = Writer(path, clock)
        reader: SqliteReader | None = None
        try:
            await writer.start()
            reader = await SqliteReader.open(path, clock)
            yield SqliteLedger(writer, reader, owner)
        finally:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                if reader is not None:
                    await reader.close()
                await writer.close()


@asynccontextmanager
async def open_sqlite_reader(config: SqliteConfig, *, clock: Clock) -> AsyncGenerator[LedgerReader]:
    """Opens the file for looking only, whether or not a daemon has it.

    Raises:
        LedgerDown: there is no ledger, or it can't be read.
        ConfigError: E303, a newer router wrote it.
    """
    reader = await SqliteReader.open(Path(config.path), clock)
    try:
        yield reader
    finally:
        with anyio.CancelScope(shield=True):
            await reader.close()


LEDGER = LedgerType("sqlite", SqliteConfig, open_sqlite, open_sqlite_reader)
"""The kind ``sqlite``."""
