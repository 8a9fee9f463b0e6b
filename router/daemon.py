"""The daemon: wires sources, rules, lanes, ledger and admin server into one task group."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal, final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.to_thread import run_sync

from router import __version__
from router.admin import (
    Address,
    Overview,
    ReloadReport,
    SinkView,
    admin_app,
    check_admin,
    probe_app,
    serve,
)
from router.clock import Clock, SystemClock
from router.collector import spare_what_lives
from router.config import Loaded, Project
from router.delivery import By, Intake, Limits, Publisher, Reporting, Topics, Window, Worker
from router.delivery.stages import arm
from router.directories import KINDS as DIRECTORIES
from router.events import DecodeConfig
from router.ledger import Ledger, LedgerDown, Stats
from router.opening import open_ledger
from router.own_topics import OwnTopic, ensure_own_topics, own_topics
from router.planning import Ruleset
from router.problems import ConfigError
from router.publishing import open_feedback, open_publisher
from router.recipients import Directory
from router.reloading import changed_parts, content_digest, refusals
from router.sources import KINDS as SOURCES
from router.sources import Source, SourceConfig
from router.sources.kafka import KafkaSourceConfig
from router.telemetry import Metrics

log = logging.getLogger("router.daemon")

_STATS_EVERY_S = 10.0
_LAST_WRITES_S = 1.0
_PURGE_EVERY_S = 600.0
_TOPICS_S = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """How this process runs, beside its configuration.

    Attributes:
        accept_new_ledger: Go on although the group's offsets belong to another ledger.
        watch_s: Seconds between looks at the configuration's content; None never looks.
        fault_point: Where a test has the process killed, such as ``claimed:3``.
    """

    accept_new_ledger: bool = False
    watch_s: float | None = 5.0
    fault_point: str | None = None


@dataclass(slots=True)
class _Feed:
    """A source at work.

    Attributes:
        is_leaving: The configuration has changed it: it ends, and another may follow.
    """

    intake: Intake
    digest: str
    source: Source | None = None
    ended: bool = False
    is_leaving: bool = False


@final
class Daemon:
    """One process of the router.

    Args:
        project: What to run.
        load: Reads the configuration again, for reloads.
    """

    def __init__(
        self,
        project: Project,
        load: Callable[[], Loaded],
        *,
        options: Options = Options(),
        clock: Clock | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.project = project
        self.metrics = metrics or Metrics(__version__)
        self.admin_address: Address | None = None
        self.probe_address: Address | None = None
        self.stats: Stats | None = None
        if options.fault_point:
            arm(options.fault_point)
        self._load = load
        self._options = options
        self._clock = clock or SystemClock()
        self._feeds: dict[str, _Feed] = {}
        self._stopping = anyio.Event()
        self.stopped = anyio.Event()
        self._reloading = anyio.Lock()
        self._started_at = self._clock.now()

    # Life ---------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Works until :meth:`stop` is called, or until every source has ended.

        Raises:
            ConfigError: something can't be opened as configured.
        """
        problems = check_admin(self.project.admin) if self.project.admin.enabled else []
        if problems:
            raise ConfigError(problems)
        try:
            async with AsyncExitStack() as stack:
                ledger = await open_ledger(
                    self.project.ledger,
                    stack,
                    owner=_owner(),
                    clock=self._clock,
                    stopping=self._stopping,
                )
                if ledger is not None:
                    await self._work(ledger, task_status)
        finally:
            self.stopped.set()

    async def _work(self, ledger: Ledger, task_status: TaskStatus[None]) -> None:
        async with self._opened(ledger), anyio.create_task_group() as tasks:
            await self._start(tasks)
            task_status.started()
            await self._until_stopped()
            await self._shut_down()
            tasks.cancel_scope.cancel()

    def stop(self) -> None:
        """Shuts down within the grace period."""
        self._stopping.set()

    @asynccontextmanager
    async def _opened(self, ledger: Ledger) -> AsyncGenerator[None]:
        """Everything else with a lifetime, built from the outside in."""
        project, clock = self.project, self._clock
        rules = project.rules()
        async with AsyncExitStack() as stack:
            publisher: Publisher = await stack.enter_async_context(open_publisher(project))
            reporting: Reporting | None = await stack.enter_async_context(open_feedback(project))
            directory = DIRECTORIES.load(project.directory.type)
            profiles: Directory = await stack.enter_async_context(
                directory.open(project.directory, clock=clock)
            )
            self.worker = Worker(
                rules,
                ledger,
                profiles,
                publisher,
                _limits(project),
                clock,
                self.metrics,
                Random(),
                topics=Topics(
                    project.dead_letters.replay_topic,
                    project.dead_letters.topic,
                    project.feedback.topic if project.feedback else None,
                ),
                reporting=reporting,
            )
            self.ledger = self.worker.ledger
            self.settler = self.worker.settler
            self.metrics.configured(project.routes, project.sink_facts)
            self.metrics.reloaded("applied", project.hash, clock.now())
            yield

    async def _start(self, tasks: TaskGroup) -> None:
        project = self.project
        if project.admin.enabled:
            await self._serve_admin(tasks)
        await self.worker.start(tasks, project.sinks, _digests(project), _decodings(project))
        tasks.start_soon(self._housekeeping)
        await self._ensure_topics(tasks)
        for name, config in project.sources.items():
            self._start_source(name, config, tasks)
        if self._options.watch_s is not None:
            tasks.start_soon(self._watch, self._options.watch_s)
        self._tasks = tasks
        spare_what_lives()
        log.info(
            "started; routes: %d, sinks: %d, sources: %d, ledger: %s",
            len(project.routes),
            len(project.sinks),
            len(project.sources),
            project.ledger.type,
            extra={"router": {"environment": project.environment, "config_hash": project.hash}},
        )

    async def _until_stopped(self) -> None:
        """Until told to, or until no source can give anything more."""
        while not self._stopping.is_set():
            if all(feed.ended and not feed.is_leaving for feed in self._feeds.values()):
                log.info("every source has ended")
                return
            with anyio.move_on_after(0.2):
                await self._stopping.wait()

    async def _shut_down(self) -> None:
        """Reads no more, lets go of what is unclaimed, finishes what is claimed, commits."""
        log.info("shutting down")
        with anyio.move_on_after(self.project.delivery.grace) as grace:
            for feed in self._feeds.values():
                feed.intake.stop()
            while not all(feed.ended for feed in self._feeds.values()):
                await self._clock.sleep(0.02)
            await self.worker.finish()
        if grace.cancelled_caught:
            log.warning("the grace period is over; what is unfinished goes on after a restart")
            with anyio.move_on_after(_LAST_WRITES_S):
                await self.worker.abandon()

    async def _ensure_topics(self, tasks: TaskGroup) -> None:
        """Before sources join their groups; clusters that don't answer now are asked later."""
        topics = own_topics(self.project)
        with anyio.move_on_after(_TOPICS_S):
            topics = await ensure_own_topics(topics)

        async def later(left: Collection[OwnTopic]) -> None:
            while left:
                await self._clock.sleep(_TOPICS_S)
                left = await ensure_own_topics(left)

        if topics:
            tasks.start_soon(later, topics)

    # Sources ------------------------------------------------------------------------------------

    def _start_source(self, name: str, config: SourceConfig, tasks: TaskGroup) -> None:
        intake = self.worker.intake(name, config.decode, config.unmatched)
        feed = _Feed(intake, self.project.part_hashes[f"sources.{name}"])
        self._feeds[name] = feed
        tasks.start_soon(self._run_source, name, config, feed)

    async def _run_source(self, name: str, config: SourceConfig, feed: _Feed) -> None:
        try:
            async with SOURCES.load(config.type).open(
                self._with_replay(config),
                name=name,
                listener=feed.intake,
                ledger=self.ledger,
                clock=self._clock,
                accept_new_ledger=self._options.accept_new_ledger,
            ) as source:
                feed.source = source
                await feed.intake.run(source)
                await feed.intake.revoked(feed.intake.offsets.places)
        finally:
            feed.ended = True

    def _with_replay(self, config: SourceConfig) -> SourceConfig:
        """The first Kafka source reads the replay topic too."""
        if not isinstance(config, KafkaSourceConfig) or config.replay_topic is not None:
            return config
        first = next(s for s in self.project.sources.values() if isinstance(s, KafkaSourceConfig))
        if config is not first:
            return config
        return config.model_copy(update={"replay_topic": self.project.dead_letters.replay_topic})

    # Housekeeping -------------------------------------------------------------------------------

    async def _housekeeping(self) -> None:
        next_purge = self._clock.monotonic()
        while True:
            try:
                await self.look_at_ledger()
                if self._clock.monotonic() >= next_purge:
                    retention = self.project.ledger.retention
                    await self.ledger.purge(self._clock.now() - retention)
                    next_purge = self._clock.monotonic() + _PURGE_EVERY_S
            except LedgerDown as error:
                log.warning("the ledger can't be looked at: %s", error)
            await self._clock.sleep(_STATS_EVERY_S)

    async def look_at_ledger(self) -> Stats:
        """The ledger's numbers, into metrics and the spill budget."""
        self.metrics.forget_former()
        self.stats = await self.worker.look()
        return self.stats

    @property
    def records_read(self) -> int:
        """How many records all sources have given so far."""
        return sum(feed.intake.records_read for feed in self._feeds.values())

    @property
    def is_idle(self) -> bool:
        """Every record read so far is settled, and nothing is under way on a lane."""
        return self.worker.is_idle and all(f.intake.is_idle for f in self._feeds.values())

    # Reload -------------------------------------------------------------------------------------

    async def reload(self) -> ReloadReport:
        """Puts the configuration on disk in force, as a whole, or says why not.

        Lanes whose sink is unchanged go on undisturbed; it never waits for a stuck sink.
        """
        async with self._reloading:
            loaded = await run_sync(self._load)
            old, new = self.project, loaded.project
            problems = list(loaded.problems)
            refused = [] if new is None else refusals(old, new)
            problems += refused
            if new is None or refused:
                log.error("the configuration on disk is refused, the old one stays in force")
                for problem in problems:
                    log.error("%s", problem.headline())
                self.metrics.reloaded("refused", old.hash, self._clock.now())
                return ReloadReport("refused", old.hash, problems=problems)
            if new.hash == old.hash:
                self.metrics.reloaded("unchanged", old.hash, self._clock.now())
                return ReloadReport("unchanged", old.hash, problems=problems)
            changed = changed_parts(old, new)
            rules = await run_sync(new.rules)
            await self._apply(new, rules)
            self.project = new
            self._apply_sources(new)
            self.metrics.configured(new.routes, new.sink_facts)
            self.metrics.forget_former()
            self.metrics.reloaded("applied", new.hash, self._clock.now())
            spare_what_lives()
            log.info("reloaded: %s", ", ".join(changed))
            return ReloadReport("applied", new.hash, changed, problems)

    async def _apply(self, project: Project, rules: Ruleset) -> None:
        """Hands rules and sinks to the worker; waits while the ledger is down."""
        sinks, digests, decodings = project.sinks, _digests(project), _decodings(project)
        while True:
            try:
                await self.worker.apply(rules, sinks, digests, decodings, self._tasks)
            except LedgerDown:
                await self._clock.sleep(1.0)
            else:
                return

    def _apply_sources(self, project: Project) -> None:
        for name, feed in self._feeds.items():
            if not feed.is_leaving and feed.digest != project.part_hashes.get(f"sources.{name}"):
                feed.is_leaving = True
                self._tasks.start_soon(self._replace_source, name, feed)
        for name, config in project.sources.items():
            if name not in self._feeds:
                self._start_source(name, config, self._tasks)

    async def _replace_source(self, name: str, feed: _Feed) -> None:
        """Ends a source that changed, then starts it as it is configured now."""
        feed.intake.stop()
        while not feed.ended:
            await self._clock.sleep(0.05)
        if self._stopping.is_set():
            return
        del self._feeds[name]
        if config := self.project.sources.get(name):
            self._start_source(name, config, self._tasks)

    async def _watch(self, every_s: float) -> None:
        """Reloads when the content on disk has changed and is quiet again."""
        seen = await run_sync(content_digest, self.project)
        changed = False
        while True:
            await self._clock.sleep(every_s)
            digest = await run_sync(content_digest, self.project)
            if digest != seen:
                seen, changed = digest, True
            elif changed:
                changed = False
                await self.reload()

    # Admin --------------------------------------------------------------------------------------

    async def _serve_admin(self, tasks: TaskGroup) -> None:
        settings = self.project.admin
        admin = admin_app(
            self,
            self.metrics.render,
            reload=self.reload,
            overview=self._overview,
            token=settings.token,
            silences=self.worker.silences,
        )
        self.admin_address = await tasks.start(serve, admin, settings.listen)
        probes = probe_app(self, self.metrics.render)
        self.probe_address = await tasks.start(serve, probes, settings.probes)
        log.info("admin on %s, probes on %s", self.admin_address, self.probe_address)

    def is_healthy(self) -> tuple[bool, str]:
        """Working: the loop answers."""
        return True, "working"

    def is_ready(self) -> tuple[bool, str]:
        """Joined to every group, and the ledger is writable."""
        if not self.ledger.is_up:
            return False, "the ledger is down"
        for name in self.project.sources.keys() - self._feeds.keys():
            return False, f"source {name} has not started"
        for name, feed in self._feeds.items():
            if not feed.ended and (feed.source is None or not feed.source.is_joined):
                return False, f"source {name} has not joined its group"
        return True, "joined, and the ledger is writable"

    def _overview(self) -> Overview:
        project, now = self.project, self._clock.now()
        return Overview(
            version=__version__,
            environment=project.environment,
            config_hash=project.hash,
            uptime_s=now - self._started_at,
            sinks=tuple(self._sink_view(name, now) for name in project.sinks),
            counts=self.metrics.balance().as_dict(),
        )

    def _sink_view(self, name: str, now: float) -> SinkView:
        lane = self.worker.lanes[name]
        gate = lane.gates.closed(now)
        balance = self.metrics.balance(sink=name)
        return SinkView(
            name=name,
            type=self.project.sinks[name].type,
            state=_SINK_STATES[gate.by] if gate else "open",
            detail=str(gate.reason) if gate else "",
            counts={
                "waiting": lane.depth,
                "delivered": balance.delivered,
                "scheduled": self.stats.backlog.get(name, 0) if self.stats else 0,
                "suppressed": balance.suppressed,
                "dead": balance.dead,
            },
        )


_SINK_STATES: dict[By, Literal["waiting", "paused", "halted"]] = {
    By.HALT: "halted",
    By.PAUSE: "paused",
    By.BREAKER: "waiting",
    By.RETRY_AFTER: "waiting",
}


def _owner() -> str:
    """Names this process in the ledger. Containers share host names and process numbers, and a
    process that was restarted must not be taken for the one that died."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _digests(project: Project) -> dict[str, str]:
    return {name: project.part_hashes[f"sinks.{name}"] for name in project.sinks}


def _limits(project: Project) -> Limits:
    settings = project.delivery
    return Limits(
        Window(settings.window_records, settings.window_bytes, settings.total_bytes),
        lane_capacity=settings.lane_capacity,
        spill_rows=settings.spill_rows,
        spill_bytes=settings.spill_bytes,
        resume_batch=settings.resume_batch,
        drain_s=settings.drain,
        retention_s=project.ledger.retention,
    )


def _decodings(project: Project) -> dict[str, DecodeConfig]:
    return {name: source.decode for name, source in project.sources.items()}
