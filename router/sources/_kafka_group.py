"""A running member of a consumer group: connects, starts partitions where they should, reads."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import final

import anyio

from router.clock import Clock
from router.events import Record, TopicPartition
from router.kafka.consumer import GroupConsumer
from router.kafka.errors import CommitRefused, KafkaRefused, KafkaUnavailable, OutOfRange
from router.kafka.membership import GroupOptions, group_consumer
from router.kafka.start import Start, Why
from router.ledger import Ledger, LedgerDown, ProgressKey
from router.problems import ConfigError
from router.sources._contract import CommitFailed, Listener
from router.sources._kafka_starts import StartPlanner
from router.sources.kafka import KafkaSourceConfig

log = logging.getLogger("router.kafka")

_COMMIT_DEADLINE_S = 3.0
_LOOK_UP_DEADLINE_S = 5.0
_START_DEADLINE_S = 20.0
_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 5.0


@final
class KafkaSource:
    """Implements :class:`router.sources.Source`.

    Attributes:
        group: The consumer group.
        counts: How often each noteworthy thing happened, by bounded code: the ``Why`` of starts,
            ``callback_failed``, ``commit_failed``, ``disconnected``.
    """

    def __init__(
        self,
        config: KafkaSourceConfig,
        name: str,
        listener: Listener,
        ledger: Ledger,
        clock: Clock,
        accept_new_ledger: bool,
    ) -> None:
        self.group = config.group
        self.counts: Counter[str] = Counter()
        self._config = config
        self._name = name
        self._listener = listener
        self._ledger = ledger
        self._planner = StartPlanner(config, name, ledger, accept_new_ledger)
        self._clock = clock
        self._consumer: GroupConsumer | None = None
        self._failure: ConfigError | None = None
        self._is_joined = False
        self._handing_over = anyio.Lock()
        self._taking_back = anyio.CancelScope()
        self._is_closing = False
        self._generation = 0
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._started: set[TopicPartition] = set()
        self._news = anyio.Event()
        self._is_broken = False
        self._trouble: str | None = None

    # Source ----------------------------------------------------------------------------------

    @property
    def is_joined(self) -> bool:
        return self._is_joined and self._failure is None

    @property
    def has_ended(self) -> bool:
        return False

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        """The next records of started partitions.

        Raises:
            ConfigError: the committed offsets belong to another ledger.
        """
        if self._failure:
            raise self._failure
        consumer = self._consumer
        if consumer is None or self._is_broken:
            await self._await_news(wait)
            return []
        if self._assigned - self._started:
            await self._await_news(wait)
            wait = 0.0
        try:
            records = await consumer.poll(limit, wait)
        except OutOfRange as error:
            await self._restart_from_beginning(consumer, error)
        except KafkaRefused as error:
            self._report(f"not allowed to read: {error}")
            await self._await_news(wait)
        except KafkaUnavailable as error:
            self._break(error)
        else:
            return [record for record in records if record.place in self._started]
        return []

    def _break(self, error: KafkaUnavailable) -> None:
        """The connection will not recover: ``run`` makes a new one."""
        self._report(f"connection lost: {error}")
        self._is_broken = True
        self._tell()

    def position(self, place: TopicPartition) -> int | None:
        if self._consumer is None or place not in self._started:
            return None
        return self._consumer.position(place)

    def end(self, place: TopicPartition) -> int | None:
        if self._consumer is None or place not in self._started:
            return None
        return self._consumer.end(place)

    def pause(self, places: Sequence[TopicPartition]) -> None:
        if self._consumer:
            self._consumer.pause([place for place in places if place in self._started])

    def resume(self, places: Sequence[TopicPartition]) -> None:
        if self._consumer:
            self._consumer.resume([place for place in places if place in self._started])

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commits those of our partitions, and raises if there were others."""
        consumer = self._consumer
        owned = {place: offset for place, offset in offsets.items() if place in self._started}
        if owned and consumer:
            try:
                await consumer.commit(
                    {place: (offset, self._planner.note(place)) for place, offset in owned.items()},
                    _COMMIT_DEADLINE_S,
                )
            except CommitRefused as error:
                self.counts["commit_failed"] += 1
                raise CommitFailed(str(error)) from error
            await self._keep_progress(owned)
        if consumer is None or len(owned) < len(offsets):
            self.counts["commit_failed"] += 1
            others = sorted(set(offsets) - set(owned)) if consumer else sorted(offsets)
            raise CommitFailed(f"not ours any more: {', '.join(map(_shown, others))}")

    async def _keep_progress(self, offsets: Mapping[TopicPartition, int]) -> None:
        """In the ledger too: the group's offsets may expire in Kafka, or be set back there."""
        try:
            await self._ledger.put_progress(
                {ProgressKey(self.group, *place): offset for place, offset in offsets.items()}
            )
        except LedgerDown as error:
            log.warning("source %s: progress is not noted in the ledger: %s", self._name, error)

    def close(self) -> None:
        """Hands nothing over any more: who ends the block has drained and committed.

        A rebalance runs in a task of the library's own, which closing waits for.
        """
        self._is_closing = True
        self._taking_back.cancel()

    # Connection ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connects, joins, and does so again whenever the connection breaks; never returns."""
        backoff = _FIRST_BACKOFF_S
        while True:
            try:
                async with group_consumer(
                    self._options(),
                    revoked=self._on_revoked,
                    assigned=self._on_assigned,
                    clock=self._clock,
                ) as consumer:
                    log.info("source %s: connected to %s", self._name, self._servers)
                    self._consumer, self._is_broken = consumer, False
                    await self._start_partitions(consumer)
                    await self._on_revoked(self._assigned)
                    self.counts["disconnected"] += 1
            except KafkaUnavailable as error:
                self._report(f"can't reach {self._servers}: {error}; trying again")
            finally:
                if self._is_joined:
                    backoff = _FIRST_BACKOFF_S
                self._consumer = None
                self._is_joined = False
            await self._clock.sleep(backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF_S)

    def _options(self) -> GroupOptions:
        config = self._config
        replay = (config.replay_topic,) if config.replay_topic else ()
        return GroupOptions(
            connection=config,
            group=config.group,
            topics=tuple(dict.fromkeys(config.topics + replay)),
            pattern=config.pattern,
            session_timeout_s=config.session_timeout,
            rebalance_timeout_s=config.rebalance_timeout,
            metadata_refresh_s=config.metadata_refresh,
            partition_bytes=config.partition_bytes,
        )

    @property
    def _servers(self) -> str:
        return ", ".join(self._config.bootstrap)

    # Assignment ------------------------------------------------------------------------------

    async def _on_assigned(self, places: Collection[TopicPartition]) -> None:
        if self._consumer:
            self._consumer.pause(places)
            self._planner.joined(self._consumer.topics, self._clock.now())
        self._generation += 1
        self._assigned = frozenset(places)
        self._is_joined = True
        log.info("source %s: assigned %s", self._name, _listed(places))
        self._tell()

    async def _on_revoked(self, places: Collection[TopicPartition]) -> None:
        self._generation += 1
        async with self._handing_over:
            await self._take_back(set(places) & self._started)
            self._assigned -= set(places)
        if places:
            log.info("source %s: revoked %s", self._name, _listed(places))

    async def _take_back(self, places: set[TopicPartition]) -> None:
        """The listener drains and commits inside; only then are the partitions not ours."""
        if not places or self._is_closing:
            return
        try:
            with anyio.CancelScope() as self._taking_back:
                await self._listener.revoked(sorted(places))
        except Exception:
            self.counts["callback_failed"] += 1
            log.exception("source %s: handing partitions over failed", self._name)
        finally:
            self._started -= places
            if self._consumer:
                self._consumer.forget(places)

    async def _start_partitions(self, consumer: GroupConsumer) -> None:
        """Starts what is assigned, again and again, until the connection breaks.

        Not in the callback: no heartbeat is sent there, and the ledger may be down for long.
        """
        backoff = _FIRST_BACKOFF_S
        while not self._is_broken:
            waiting = self._assigned - self._started
            if not waiting or self._failure:
                await self._await_news(None)
                continue
            try:
                await self._start(consumer, waiting, self._generation)
            except ConfigError as error:
                self._failure = error
                self._tell()
            except (KafkaUnavailable, CommitRefused, LedgerDown, TimeoutError) as error:
                self._report(f"partitions can't start yet: {str(error) or 'no answer in time'}")
                await self._clock.sleep(backoff)
                backoff = min(2 * backoff, _MAX_BACKOFF_S)
            else:
                backoff = _FIRST_BACKOFF_S
                self._trouble = None
                self._tell()

    async def _start(
        self, consumer: GroupConsumer, places: Collection[TopicPartition], generation: int
    ) -> None:
        with anyio.fail_after(_START_DEADLINE_S):
            plan = await self._planner.plan(consumer, places)
            if generation != self._generation:
                return
            if plan.to_commit:
                await consumer.commit(plan.to_commit, _COMMIT_DEADLINE_S)
        async with self._handing_over:
            if generation != self._generation:
                return
            for place, start in sorted(plan.starts.items()):
                consumer.seek(place, start.offset)
                self._announce(place, start)
            await self._hand_out(consumer, places)

    async def _hand_out(self, consumer: GroupConsumer, places: Collection[TopicPartition]) -> None:
        self._started |= set(places)
        try:
            await self._listener.assigned(sorted(places))
        except Exception:
            self.counts["callback_failed"] += 1
            log.exception("source %s: taking partitions over failed", self._name)
        consumer.resume(places)

    async def _restart_from_beginning(self, consumer: GroupConsumer, error: OutOfRange) -> None:
        """Kafka deleted what was to be read next, or the topic is another one now."""
        place = error.place
        if place not in self._started:
            return
        try:
            with anyio.fail_after(_LOOK_UP_DEADLINE_S):
                beginning, end = (await consumer.bounds([place]))[place]
        except (KafkaUnavailable, TimeoutError) as failed:
            self._report(f"{_shown(place)} can't go on yet: {str(failed) or 'no answer in time'}")
            return
        if error.offset < beginning:
            lost = beginning - error.offset
            text = f"{lost} offsets were deleted before they were read; read on from {beginning}"
            start = Start(beginning, Why.RETENTION, "alert", text, lost)
        else:
            text = f"offset {error.offset} is past the end {end}; read from {beginning}"
            start = Start(beginning, Why.OUT_OF_RANGE, "alert", text)
        async with self._handing_over:
            if place not in self._started:
                return
            consumer.pause([place])
            await self._take_back({place})
            consumer.seek(place, start.offset)
            self._announce(place, start)
            await self._hand_out(consumer, [place])

    # Reports ---------------------------------------------------------------------------------

    def _announce(self, place: TopicPartition, start: Start) -> None:
        self.counts[start.why] += 1
        if start.lost:
            self._listener.lost(start.lost)
        if start.severity == "alert":
            log.error("source %s: %s: %s", self._name, _shown(place), start.text)
        elif start.severity == "notice":
            log.warning("source %s: %s: %s", self._name, _shown(place), start.text)

    def _report(self, trouble: str) -> None:
        """Logs a trouble once, until it changes or ends."""
        if trouble != self._trouble:
            log.warning("source %s: %s", self._name, trouble)
        self._trouble = trouble

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _await_news(self, wait: float | None) -> None:
        with anyio.move_on_after(wait):
            await self._news.wait()


def _shown(place: TopicPartition) -> str:
    return f"{place.topic}/{place.partition}"


def _listed(places: Collection[TopicPartition]) -> str:
    return ", ".join(map(_shown, sorted(places))) or "no partitions"


@asynccontextmanager
async def running_group(
    config: KafkaSourceConfig,
    *,
    name: str,
    listener: Listener,
    ledger: Ledger,
    clock: Clock,
    accept_new_ledger: bool,
) -> AsyncGenerator[KafkaSource]:
    """A source that is connected, and connects again, in the background until the block ends."""
    source = KafkaSource(config, name, listener, ledger, clock, accept_new_ledger)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        try:
            yield source
        finally:
            source.close()
            tasks.cancel_scope.cancel()
