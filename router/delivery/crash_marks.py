"""Finds the record that keeps killing the process, and has it dead-lettered.

A partition is marked as open while this process works on it, and as clean once it was given up in
an orderly way. One that is found open was left by a process that died: its first records are then
worked on one by one, each with a durable mark of the stage it is at. A record that was being worked
on in three such deaths in a row, at the same stage, is not worked on again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, final

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


@dataclass(slots=True)
class _Watch:
    """A partition left by a process that died.

    Attributes:
        suspect: The record that was being worked on then.
        left: How many records are still to be worked on one by one.
        marked: A mark stands in the ledger that may be out of date.
    """

    suspect: _Mark | None
    left: int
    marked: bool = False


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

    async def begin(self, places: Collection[TopicPartition]) -> None:
        """Marks partitions as open; those found open are watched from here on."""
        new = set(places) - self._begun
        if not new or not self._ledger.is_durable:
            return
        known = {fact.member: fact.value for fact in await self._ledger.facts([self._scope])}
        watched: dict[TopicPartition, _Watch] = {}
        for place in new:
            state = known.get(_member(place), _CLEAN)
            if state != _CLEAN:
                watched[place] = _Watch(_read(state), self._window)
        await self._ledger.put_facts(
            [self._fact(place, _OPEN) for place in sorted(new - watched.keys())]
        )
        if watched:
            log.warning(
                "an earlier process died while it worked on %d partitions: "
                "their first records are worked on one by one",
                len(watched),
            )
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
        suspect = watch.suspect
        again = suspect and (suspect.offset, suspect.stage) == (record.offset, stage)
        mark = _Mark(record.offset, stage, suspect.count + 1 if suspect and again else 1)
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
        marked = [place for place, watch in self._watched.items() if watch.marked]
        if marked:
            await self._ledger.put_facts([self._fact(place, _OPEN) for place in sorted(marked)])
        for place in marked:
            if watch := self._watched.get(place):
                watch.marked = False
                if watch.left <= 0:
                    del self._watched[place]

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


_CLEAN = "clean"
_OPEN = "open"


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


def _read(value: str) -> _Mark | None:
    """The mark found on a partition, if there is one."""
    if value == _OPEN:
        return None
    fields: list[Any] = orjson.loads(value)
    offset, stage, count = fields
    return _Mark(offset, WorkStage(stage), count)
