"""Plans where partitions start: from Kafka's commits, the ledger and the configuration."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import final

from router.events import TopicPartition
from router.kafka.admin import Committed, admin
from router.kafka.consumer import GroupConsumer
from router.kafka.start import Note, Start, decide_start, first_partition_count
from router.ledger import Ledger, ProgressKey
from router.problems import ConfigError, Problem
from router.sources.kafka import KafkaSourceConfig, parse_start

log = logging.getLogger("router.kafka")

ANOTHER_LEDGER = "E308"


@dataclass(frozen=True, slots=True)
class StartPlan:
    """Where each partition starts, and what has to be committed before: a place once chosen is
    kept at once, so that ``now`` does not mean a later now next time."""

    starts: Mapping[TopicPartition, Start]
    to_commit: Mapping[TopicPartition, tuple[int, str]]


@final
class StartPlanner:
    """Plans for one source; remembers how many partitions topics had at first, and which topics
    were there when it joined."""

    def __init__(
        self, config: KafkaSourceConfig, name: str, ledger: Ledger, accepts_new_ledger: bool
    ) -> None:
        self._config = config
        self._name = name
        self._ledger = ledger
        self._accepts_new_ledger = accepts_new_ledger
        self._first_counts: dict[str, int] = {}
        self._found: frozenset[str] = frozenset()
        self._joined_at: float | None = None

    def joined(self, topics: frozenset[str], now: float) -> None:
        """The group was joined, and these topics are there; the first time counts."""
        if self._joined_at is None:
            self._found, self._joined_at = topics, now

    async def plan(self, consumer: GroupConsumer, places: Collection[TopicPartition]) -> StartPlan:
        """Where these partitions, which are ours now, start.

        Raises:
            ConfigError: what they committed belongs to another ledger.
            KafkaUnavailable: no answer.
            LedgerDown: no answer from the ledger.
        """
        known = await self._committed(consumer, places)
        self._check_ledger([known[place] for place in places if place in known])
        starts = await self._decide(consumer, places, known)
        chosen = {place: (start.offset, self.note(place)) for place, start in starts.items()}
        changed = {
            place: kept
            for place, kept in chosen.items()
            if place not in known or kept != (known[place].offset, known[place].metadata)
        }
        return StartPlan(starts, changed)

    def note(self, place: TopicPartition) -> str:
        """What to keep in Kafka beside an offset of this partition."""
        ledger = self._ledger.uuid if self._ledger.is_durable else None
        return Note(ledger, self._first_counts.get(place.topic)).dump()

    async def _committed(
        self, consumer: GroupConsumer, places: Collection[TopicPartition]
    ) -> dict[TopicPartition, Committed]:
        """What the group committed, for all partitions of the topics: siblings tell which
        partitions are new."""
        current: dict[str, int] = {}
        for topic, partition in places:
            count = max(consumer.partition_count(topic), partition + 1)
            current[topic] = max(current.get(topic, 0), count)
        everywhere = {TopicPartition(t, i) for t, count in current.items() for i in range(count)}
        async with admin(self._config) as opened:
            known = await opened.committed(self._config.group, everywhere | set(places))
        for topic, count in current.items():
            notes = {
                place.partition: Note.parse(committed.metadata)
                for place, committed in known.items()
                if place.topic == topic
            }
            self._first_counts[topic] = first_partition_count(notes, count)
        return known

    async def _decide(
        self,
        consumer: GroupConsumer,
        places: Collection[TopicPartition],
        known: Mapping[TopicPartition, Committed],
    ) -> dict[TopicPartition, Start]:
        ordered = sorted(places)
        keys = [ProgressKey(self._config.group, place.topic, place.partition) for place in ordered]
        progress = dict(zip(ordered, await self._ledger.progress(keys), strict=True))
        bounds = await consumer.bounds(ordered)
        at_time: dict[TopicPartition, int | None] = {}
        for since, some in self._by_time(ordered).items():
            at_time |= await consumer.offsets_at(some, since)
        starts: dict[TopicPartition, Start] = {}
        for place in ordered:
            beginning, end = bounds[place]
            if self._config.start == "earliest" or place.topic == self._config.replay_topic:
                configured = beginning
            else:
                by_time = at_time.get(place)
                configured = end if by_time is None else by_time
            starts[place] = decide_start(
                committed=known[place].offset if place in known else None,
                progress=progress[place],
                beginning=beginning,
                end=end,
                configured=configured,
                is_new_partition=place.partition >= self._first_counts[place.topic],
            )
        return starts

    def _by_time(
        self, places: Collection[TopicPartition]
    ) -> Mapping[float, Collection[TopicPartition]]:
        """Whose start is looked up by time, and by which: the configured one, or for ``now`` when
        we came, in topics that came after us."""
        time = parse_start(self._config.start)
        if time is not None:
            return {time: places}
        late = [place for place in places if place.topic not in self._found]
        is_now = self._config.start == "now"
        return {self._joined_at: late} if is_now and late and self._joined_at is not None else {}

    def _check_ledger(self, commits: Collection[Committed]) -> None:
        if not self._ledger.is_durable or not commits:
            return
        found = {Note.parse(committed.metadata).ledger for committed in commits}
        others = found - {self._ledger.uuid, None}
        if others and not self._accepts_new_ledger:
            other = min(filter(None, others))
            message = (
                f"group {self._config.group} was served with ledger {other}, but this one is "
                f"{self._ledger.uuid}: it does not know what was delivered (a lost volume, or a "
                "second replica with a ledger of its own). Bring that ledger back, or go on with "
                "--accept-new-ledger"
            )
            raise ConfigError([Problem(ANOTHER_LEDGER, message)])
        if others:
            log.warning("source %s: goes on with a new ledger, as told", self._name)
        elif None in found:
            log.warning(
                "source %s: committed offsets name no ledger; somebody else set them", self._name
            )
