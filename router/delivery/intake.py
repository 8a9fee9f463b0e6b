"""A source's side of the worker: read, decode, match, plan, look up; commit, revoke."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import anyio

from router.clock import Clock
from router.delivery.dead_letters import event_dead_letter_row
from router.delivery.dispatch import Dispatcher, Work
from router.delivery.offsets import Offsets, Ticket
from router.delivery.stages import Stage, reached
from router.events import (
    DecodeConfig,
    Event,
    Poison,
    Record,
    Replay,
    TopicPartition,
    decode,
    peek_type,
    unwrap_replay,
)
from router.ledger import LedgerDown, Settle
from router.planning import Draft, select
from router.sources import CommitFailed, Source
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

_READ_LIMIT = 500
_READ_WAIT_S = 0.2
_BATCHES_AHEAD = 4
_YIELD_EVERY_S = 0.004
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a source may be unsettled before it is paused; see ``DeliverySettings``."""

    records: int
    size: int
    total: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event, and the replay that brought it, if one did."""

    event: Event
    replay: Replay | None


Batch = tuple[Sequence[Record], list[Ticket]]


@final
class Intake:
    """One source's records on their way to the lanes, and its offsets.

    It is the source's listener. Reading never waits for anything else: what can't be taken in is
    held back by pausing partitions while polling goes on.
    """

    def __init__(
        self,
        name: str,
        decoding: DecodeConfig,
        replay_topic: str | None,
        window: Window,
        dispatcher: Dispatcher,
        clock: Clock,
        metrics: Metrics,
        *,
        drain_s: float,
    ) -> None:
        self.name = name
        self.offsets = Offsets()
        self.records_read = 0
        self._decoding = decoding
        self._replay_topic = replay_topic
        self._window = window
        self._dispatcher = dispatcher
        self._clock = clock
        self._metrics = metrics
        self._drain_s = drain_s
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
            tasks.start_soon(self._admit_batches)
            tasks.start_soon(self._commit_regularly)
            await self._read()
            tasks.cancel_scope.cancel()

    def stop(self) -> None:
        """Reads no more."""
        self._stopping = True

    @property
    def is_idle(self) -> bool:
        """Everything that was read is settled."""
        return not self._batches and not self._admitting and self.offsets.open_records == 0

    async def _read(self) -> None:
        source = self._source
        assert source is not None
        while not self._stopping:
            self._pause_or_resume(source)
            records = await source.read(_READ_LIMIT, _READ_WAIT_S)
            if records:
                self.records_read += len(records)
                self._batches.append((records, self.offsets.open_batch(records)))
                reached(Stage.READ)
                self._wake.set()
            self._positions = {place: source.position(place) for place in self.offsets.places}
            if records:
                await anyio.lowlevel.checkpoint()
            elif source.has_ended and self.is_idle:
                return

    def _pause_or_resume(self, source: Source) -> None:
        """Partitions over their window wait; all of them where nothing more can be taken in."""
        places = set(self.offsets.places)
        if (
            len(self._batches) >= _BATCHES_AHEAD
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

    # Admit --------------------------------------------------------------------------------------

    async def _admit_batches(self) -> None:
        while True:
            if not self._batches:
                self._wake = anyio.Event()
                await self._wake.wait()
            records, tickets = self._batches.popleft()
            self._admitting = True
            await self._admit(records, tickets)
            self._admitting = False

    async def _admit(self, records: Sequence[Record], tickets: list[Ticket]) -> None:
        """Decodes, matches and plans a batch; tickets of unwanted records are released."""
        rules = self._dispatcher.rules
        counts: Counter[tuple[str, str]] = Counter()
        works: list[Work] = []
        size = 0
        started = self._clock.monotonic()
        for record, ticket in zip(records, tickets, strict=True):
            if not ticket.is_current:
                continue
            incoming = self._decode(record, counts)
            reached(Stage.DECODED)
            if isinstance(incoming, Incoming):
                event, replay = incoming.event, incoming.replay
                routes = rules.matching(event)
                counts[record.topic, "matched" if routes else "unmatched"] += 1
                for route in routes:
                    if replay is not None and not _asks_for(replay, route.id):
                        continue
                    selected = select(route, event)
                    self._metrics.route(route.id).matched()
                    for failure in selected.failures:
                        self._dispatcher.fail(failure, event, ticket, replay)
                    for index, drafts in enumerate(_chunks(selected.drafts)):
                        ticket.hold()
                        works.append(
                            Work(event, route, drafts, ticket, self.name, replay, index == 0)
                        )
                        size += len(drafts) or 1
                        if size >= _CHUNK:
                            await self._plan(works)
                            works, size = [], 0
            elif incoming is not None:
                row = event_dead_letter_row(
                    incoming.record, incoming.reason, self._clock.now(), stage="decode"
                )
                ticket.hold()
                self._dispatcher.settler.write(Settle(row), ticket)
            ticket.release()
            if self._clock.monotonic() - started > _YIELD_EVERY_S:
                await anyio.lowlevel.checkpoint()
                started = self._clock.monotonic()
        await self._plan(works)
        for (topic, outcome), count in counts.items():
            self._metrics.topic(self.name, topic).event(outcome, count)  # type: ignore[arg-type]
        for topic, count in Counter(r.topic for r in records).items():
            self._metrics.topic(self.name, topic).read(count)

    def _decode(self, record: Record, counts: Counter[tuple[str, str]]) -> Incoming | Poison | None:
        """The event, or the poison; None where no route can want the record."""
        replay: Replay | None = None
        if record.topic == self._replay_topic:
            unwrapped = unwrap_replay(record)
            if isinstance(unwrapped, Poison):
                counts[record.topic, "poison"] += 1
                return unwrapped
            record, replay = unwrapped
        else:
            kind = peek_type(record, self._decoding)
            if kind is not None and not self._dispatcher.rules.matcher.wants(record.topic, kind):
                counts[record.topic, "unmatched"] += 1
                return None
        decoded = decode(record, self._decoding)
        if isinstance(decoded, Poison):
            counts[record.topic, "poison"] += 1
            log.warning("a record can't be decoded: %s", decoded.reason.code)
            return decoded
        return Incoming(decoded, replay)

    async def _plan(self, works: list[Work]) -> None:
        """Plans work, insisting while the ledger is down: partitions pause meanwhile."""
        while works:
            try:
                await self._dispatcher.plan(works)
            except LedgerDown as error:
                self._dispatcher.ledger_failed(error)
                await self._clock.sleep(0.5)
            else:
                break
        while not self._dispatcher.has_room:
            await self._clock.sleep(0.02)

    # Commit -------------------------------------------------------------------------------------

    async def _commit_regularly(self) -> None:
        while True:
            await self._clock.sleep(0.5)
            await self.commit()

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
        else:
            reached(Stage.COMMITTED)
            self.offsets.mark_committed(offsets)
            self._metrics.committed()

    # Rebalance ----------------------------------------------------------------------------------

    async def assigned(self, places: Sequence[TopicPartition]) -> None:
        """These partitions are read from now on."""
        self.offsets.assign(places)
        self._paused -= set(places)

    async def revoked(self, places: Sequence[TopicPartition]) -> None:
        """Lets go of unclaimed work, waits for what is claimed, commits."""
        self._metrics.revoked(len(places))
        self.offsets.leave(places)
        with anyio.move_on_after(self._drain_s):
            await self._dispatcher.let_go()
        with anyio.move_on_after(3.0):
            await self.commit(places)
        self.offsets.revoke(places)
        self._paused -= set(places)
        for place in places:
            self._positions.pop(place, None)
        for topic, partition in places:
            self._metrics.forget_partition(topic, partition)


def _asks_for(replay: Replay, route: str) -> bool:
    return not replay.routes or any(name.split("/")[0] == route for name in replay.routes)


def _chunks(drafts: tuple[Draft, ...]) -> Iterable[tuple[Draft, ...]]:
    if len(drafts) <= _CHUNK:
        return [drafts]
    return [drafts[i : i + _CHUNK] for i in range(0, len(drafts), _CHUNK)]
