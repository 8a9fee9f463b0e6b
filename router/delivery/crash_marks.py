"""Finds the record that keeps killing the process, and has it dead-lettered.

A partition is marked as open while this process works on it, and as clean once it was given up in
an orderly way. One that is found open was left by a process that died, and most die of something
else: it is noted that one did and how far it had come, and work goes on as usual. Where a second
one dies among the same records, they are worked on one by one, each with a durable mark of the
stage it is at. A record that was being worked on in three deaths in a row, in the last two of them
by itself and at the same stage, is not worked on again.

Nothing is written for single records but while they go one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal, final

import orjson

from router.delivery.watched import WatchedLedger
from router.events import Record, TopicPartition
from router.ledger import Doubtful, Fact, Row, State

log = logging.getLogger("router.delivery")

_MOST_DEATHS = 3
_PAGE = 500


class WorkStage(StrEnum):
    """What was being done with a record."""

    MATCH = "match"
    DELIVER = "deliver"


@dataclass(frozen=True, slots=True)
class _Mark:
    """A record being worked on, and how many deaths in a row found it so, this one included."""

    offset: int
    stage: WorkStage
    count: int


@dataclass(frozen=True, slots=True)
class _Died:
    """A process died while it worked on what follows this offset, the next to be settled."""

    settled: int


@dataclass(slots=True)
class _Watch:
    """A partition on which processes died in a row.

    Attributes:
        settled: The next offset that was to be settled when the watch began.
        left: How many records are still to be worked on one by one.
        suspect: The record that was being worked on by itself at the last death.
        in_both: Records before this offset were under way, among others, at the two last deaths.
        marked: A mark stands in the ledger that may be out of date.
    """

    settled: int
    left: int
    suspect: _Mark | None = None
    in_both: int = 0
    marked: bool = False

    def deaths(self, offset: int, stage: WorkStage) -> int:
        """In how many deaths in a row a record was being worked on, as far as this stage goes."""
        suspect = self.suspect
        if suspect is not None and (suspect.offset, suspect.stage) == (offset, stage):
            return suspect.count
        return 1 if offset < self.in_both else 0


@final
class CrashMarks:
    """The marks of one source's partitions. With a ledger that is not durable it does nothing.

    Args:
        window: So many records at most were under way when the process died.
        started_at: Seconds since the epoch: records made later were not.

    Every method may raise ``LedgerDown`` and is safe to repeat.
    """

    def __init__(self, ledger: WatchedLedger, group: str, window: int, started_at: float) -> None:
        self._ledger = ledger
        self._scope = f"crash:{group}"
        self._window = window
        self._started_at = started_at
        self._begun: set[TopicPartition] = set()
        self._watched: dict[TopicPartition, _Watch] = {}

    async def begin(self, settled: Mapping[TopicPartition, int]) -> None:
        """Marks partitions as open; those on which two processes died in a row are watched.

        Args:
            settled: By partition, the next offset to be settled as the ledger knows it.
        """
        new = settled.keys() - self._begun
        if not new or not self._ledger.is_durable:
            return
        known = {fact.member: fact.value for fact in await self._ledger.facts([self._scope])}
        watched: dict[TopicPartition, _Watch] = {}
        notes: list[Fact] = []
        for place in sorted(new):
            found, now = _read(known.get(_member(place), _CLEAN)), settled[place]
            match found:
                case None:
                    notes.append(self._fact(place, _OPEN))
                case _Mark():
                    watched[place] = _Watch(now, self._window, suspect=found)
                case _Died(before) if now < before + self._window:
                    watched[place] = _Watch(now, self._window, in_both=before + self._window)
                case _:
                    notes.append(self._fact(place, _died(now)))
        await self._ledger.put_facts(notes)
        _tell(len(new) - len(watched) - sum(note.value == _OPEN for note in notes), len(watched))
        self._begun |= new
        self._watched |= watched

    def is_watched(self, record: Record) -> bool:
        """Whether the record has to be worked on by itself."""
        watch = self._watched.get(record.place)
        return watch is not None and record.timestamp <= self._started_at

    def is_deadly(self, record: Record) -> bool:
        """Whether the process died often enough while it worked on the record."""
        watch = self._watched.get(record.place)
        suspect = watch.suspect if watch else None
        return (
            suspect is not None
            and suspect.offset == record.offset
            and suspect.count >= _MOST_DEATHS
        )

    async def enter(self, record: Record, stage: WorkStage) -> None:
        """Notes what is about to be done with a record that is watched."""
        watch = self._watched.get(record.place)
        if watch is None:
            return
        mark = _Mark(record.offset, stage, watch.deaths(record.offset, stage) + 1)
        await self._ledger.put_facts([self._fact(record.place, _mark(mark))])
        watch.marked = True

    def leave(self, record: Record) -> None:
        """The record was worked on, and the process lives."""
        watch = self._watched.get(record.place)
        if watch is None:
            return
        watch.left -= 1
        if watch.suspect and record.offset >= watch.suspect.offset:
            watch.suspect = None

    async def rest(self) -> None:
        """Takes away marks of records that are done; ends the watch where enough were."""
        marked = {place: watch for place, watch in self._watched.items() if watch.marked}
        if not marked:
            return
        await self._ledger.put_facts(
            [
                self._fact(place, _died(watch.settled) if watch.left > 0 else _OPEN)
                for place, watch in sorted(marked.items())
            ]
        )
        for place, watch in marked.items():
            watch.marked = False
            if watch.left <= 0:
                self._watched.pop(place, None)

    async def end(self, places: Collection[TopicPartition]) -> None:
        """These partitions are given up in an orderly way."""
        ended = self._begun & set(places)
        self._begun -= ended
        for place in ended:
            self._watched.pop(place, None)
        if ended:
            await self._ledger.put_facts([self._fact(place, _CLEAN) for place in sorted(ended)])

    def _fact(self, place: TopicPartition, value: str) -> Fact:
        return Fact(self._scope, _member(place), value)


_CLEAN: Final = "clean"
_OPEN: Final = "open"


async def claims_left(ledger: WatchedLedger, record: Record, lease: float) -> list[Row]:
    """Claims that processes which died left on a record's deliveries, held by us from here on.

    Only its record could have brought them to an end.
    """
    claimed: list[Row] = []
    while page := await ledger.rows(
        state=State.CLAIMED, after=claimed[-1].key if claimed else None, limit=_PAGE
    ):
        claimed += page
    left = [row for row in claimed if row.position == record.position and row.blob is None]
    claims = await ledger.claim(left, lease) if left else []
    return [
        replace(row, epoch=claim.epoch)
        for row, claim in zip(left, claims, strict=True)
        if isinstance(claim, Doubtful)
    ]


def _member(place: TopicPartition) -> str:
    return f"{place.topic}/{place.partition}"


def _mark(mark: _Mark) -> str:
    return orjson.dumps([mark.offset, mark.stage, mark.count]).decode()


def _died(settled: int) -> str:
    return orjson.dumps([settled]).decode()


def _read(value: str) -> _Mark | _Died | Literal["open"] | None:
    """What is noted of a partition; None: whoever had it gave it up in an orderly way."""
    if value == _CLEAN:
        return None
    if value == _OPEN:
        return _OPEN
    match orjson.loads(value):
        case [int(settled)]:
            return _Died(settled)
        case [int(offset), str(stage), int(count)]:
            return _Mark(offset, WorkStage(stage), count)
        case _:
            return _OPEN


def _tell(once: int, again: int) -> None:
    if once:
        log.warning("an earlier process died while it worked on %d partitions", once)
    if again:
        log.warning(
            "processes died in a row while they worked on %d partitions: "
            "their first records are worked on one by one",
            again,
        )
