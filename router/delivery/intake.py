"""A source's side of the worker: read, hold back, commit, revoke."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import anyio

from router.clock import Clock
from router.delivery.crash_marks import CrashMarks
from router.delivery.decoding import Decoder, Topics
from router.delivery.dispatch import Dispatcher
from router.delivery.matching import Matching
from router.delivery.offsets import Offsets, Ticket
from router.delivery.stages import Stage, reached
from router.events import DecodeConfig, Record, TopicPartition
from router.ledger import LedgerDown, ProgressKey
from router.sources import CommitFailed, Source, Unmatched
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

_READ_LIMIT = 500
_READ_WAIT_S = 0.2
_PAUSED_WAIT_S = 0.01
_READ_AHEAD = 2000
_COMMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a source may be unsettled before it is paused; see ``DeliverySettings``."""

    records: int
    size: int
    total: int


Batch = tuple[Sequence[Record], list[Ticket]]


@final
class Intake:
    """One source's records on their way to the lanes, and its offsets.

    It is the source's listener. Reading never waits for anything else: what can't be taken in is
    held back by pausing partitions while polling goes on.

    Args:
        retention_s: How long a repeat is recognised.
    """

    def __init__(
        self,
        name: str,
        decoding: DecodeConfig,
        topics: Topics,
        window: Window,
        dispatcher: Dispatcher,
        clock: Clock,
        metrics: Metrics,
        *,
        unmatched: Unmatched = "count",
        retention_s: float,
        drain_s: float,
        commit_every_s: float,
    ) -> None:
        self.name = name
        self.offsets = Offsets()
        self.records_read = 0
        self._window = window
        self._dispatcher = dispatcher
        self._ledger = dispatcher.ledger
        self._clock = clock
        self._metrics = metrics
        self._drain_s = drain_s
        self._commit_every_s = commit_every_s
        self._marks = CrashMarks(self._ledger, name, window.records, clock.now())
        self._matching = Matching(
            name,
            Decoder(decoding, topics, unmatched),
            self._marks,
            dispatcher,
            clock,
            metrics,
            retention_s=retention_s,
        )
        self._source: Source | None = None
        self._batches: deque[Batch] = deque()
        self._wake = anyio.Event()
        self._paused: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int | None] = {}
        self._stopping = False
        self._admitting = False

    # Read ---------------------------------------------------------------------------------------

    async def run(self, source: Source) -> None:
        """Reads, plans and commits until the source has ended or :meth:`stop` is called."""
        self._source = source
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._admit_batches, source)
            tasks.start_soon(self._commit_regularly)
            await self._read(source)
            tasks.cancel_scope.cancel()

    def stop(self) -> None:
        """Reads no more."""
        self._stopping = True

    @property
    def is_idle(self) -> bool:
        """Everything that was read is settled."""
        return not self.is_admitting and self.offsets.open_records == 0

    @property
    def is_admitting(self) -> bool:
        """Records that were read are not all planned yet."""
        return bool(self._batches) or self._admitting

    async def _read(self, source: Source) -> None:
        while not self._stopping:
            wait = _READ_WAIT_S if self._pause_or_resume(source) else _PAUSED_WAIT_S
            records = await source.read(_READ_LIMIT, wait)
            if records:
                self.records_read += len(records)
                tickets = self.offsets.open_batch(records, self._clock.monotonic())
                self._batches.append((records, tickets))
                reached(Stage.READ)
                self._wake.set()
            self._positions = {place: source.position(place) for place in self.offsets.places}
            if records:
                await anyio.lowlevel.checkpoint()
            elif source.has_ended and self.is_idle:
                return

    def _pause_or_resume(self, source: Source) -> bool:
        """Partitions over their window wait; all of them where nothing more can be taken in.

        Returns:
            False: something is paused that may soon be read again.
        """
        places = set(self.offsets.places)
        if (
            sum(len(records) for records, _ in self._batches) >= _READ_AHEAD
            or self.offsets.size >= self._window.total
            or not self._dispatcher.has_room
        ):
            wanted = places
        else:
            wanted = self.offsets.over_window(self._window.records, self._window.size)
        self._paused &= places
        if pause := wanted - self._paused:
            source.pause(list(pause))
        if resume := self._paused - wanted:
            source.resume(list(resume))
        self._paused = wanted
        return not wanted

    # Admit --------------------------------------------------------------------------------------

    async def _admit_batches(self, source: Source) -> None:
        while True:
            if not self._batches:
                self._wake = anyio.Event()
                await self._wake.wait()
            self._admitting = True
            await self._matching.admit(source.group, *self._next_batch())
            self._admitting = False

    def _next_batch(self) -> Batch:
        """Everything read meanwhile, up to a batch: what is planned together costs less."""
        records, tickets = self._batches.popleft()
        while self._batches and len(records) + len(self._batches[0][0]) <= _READ_LIMIT:
            more, more_tickets = self._batches.popleft()
            records, tickets = [*records, *more], [*tickets, *more_tickets]
        return records, tickets

    # Commit -------------------------------------------------------------------------------------

    async def _commit_regularly(self) -> None:
        while True:
            await self._clock.sleep(self._commit_every_s)
            await self.commit()
            self._show()

    async def commit(self, only: Iterable[TopicPartition] | None = None) -> None:
        """Commits what moved; a failure is counted and tried again later.

        Positions are those noted right after a read was booked, never those of a read under way.
        """
        source = self._source
        if source is None:
            return
        places = self.offsets.places if only is None else list(only)
        offsets = self.offsets.committable(self._positions)
        offsets = {place: offsets[place] for place in places if place in offsets}
        if not offsets:
            return
        try:
            await source.commit(offsets)
        except CommitFailed as error:
            self._metrics.commit_failed()
            log.warning("offsets were not committed, they will be again: %s", error)
            return
        reached(Stage.COMMITTED)
        self.offsets.mark_committed(offsets)
        self._metrics.committed()
        progress = {ProgressKey(source.group, *place): at for place, at in offsets.items()}
        try:
            await self._ledger.put_progress(progress)
        except LedgerDown:
            log.warning("progress was not stored, it will be with the next commit")

    def _show(self) -> None:
        """How far behind the partitions are, as metrics."""
        now = self._clock.monotonic()
        for partition in self.offsets.partitions:
            shown = self._metrics.partition(*partition.place)
            shown.unsettled(len(partition.open), partition.oldest_age(now))
            shown.paused(partition.place in self._paused)
            end = self._source.end(partition.place) if self._source else None
            if end is not None and partition.committed >= 0:
                shown.lag(max(0, end - partition.committed))
        self._dispatcher.count_expression_errors()

    # Rebalance ----------------------------------------------------------------------------------

    async def assigned(self, places: Sequence[TopicPartition]) -> None:
        """These partitions are read from now on."""
        self.offsets.assign(places)
        self._paused -= set(places)

    async def revoked(self, places: Sequence[TopicPartition]) -> None:
        """Lets go of unclaimed work, waits for what is claimed, commits."""
        self._metrics.revoked(len(places))
        self.offsets.leave(places)
        try:
            with anyio.move_on_after(self._drain_s):
                await self._dispatcher.let_go()
            with anyio.move_on_after(_COMMIT_S):
                await self.commit(places)
                await self._marks.end(places)
        except Exception:
            log.exception("partitions were given up without a commit")
        finally:
            self.offsets.revoke(places)
            self._paused -= set(places)
            self._matching.forget(places)
            for place in places:
                self._positions.pop(place, None)
                self._metrics.forget_partition(*place)

    def lost(self, offsets: int) -> None:
        """So many were gone before they could be read."""
        self._metrics.lost(offsets)
