"""The worker: everything between sources and sinks, put together.

A batch's life, and where to read of it: read (``intake``); decode, match (``decoding``,
``matching``); recipients, plan, look-up (``dispatch``); render, claim (``lane``, ``feeding``,
``claiming``); send, conclude (``sending``, ``health``); settle (``settling``); commit (``intake``).
What comes back is in ``resume``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, final

from anyio.abc import TaskGroup

from router.clock import Clock
from router.delivery.dead_letters import Publisher
from router.delivery.decoding import Topics
from router.delivery.dispatch import Dispatcher
from router.delivery.feedback import FEEDBACK, Reporter, Reporting
from router.delivery.intake import Intake, Window
from router.delivery.lane import Lane
from router.delivery.lanes import Lanes, SpillBudget
from router.delivery.outbox import Outbox
from router.delivery.readings import Readings
from router.delivery.resume import Resumer
from router.delivery.settling import Settler
from router.delivery.silences import Silences
from router.delivery.watched import WatchedLedger
from router.events import DecodeConfig, dead_letter_from_line, feedback_from_line
from router.ledger import Ledger, Stats
from router.planning import Ruleset
from router.recipients import Directory
from router.sinks import KINDS, SinkConfig, SinkType
from router.sources import Unmatched
from router.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Limits:
    """How much work is under way at once.

    Attributes:
        lane_capacity: Deliveries that wait for one sink at most.
        spill_rows, spill_bytes: How much of one sink's backlog may stand in the schedule.
        resume_batch: Scheduled rows pulled at once.
        drain_s: How long a revoked partition's sends may still take.
        commit_every_s: Seconds between commits.
        retention_s: How long a repeat is recognised.
    """

    window: Window
    lane_capacity: int = 2000
    spill_rows: int = 100_000
    spill_bytes: int = 1024**3
    resume_batch: int = 500
    drain_s: float = 10.0
    commit_every_s: float = 0.5
    retention_s: float = 604_800.0


@final
class Worker:
    """Plans, sends and settles what intakes read.

    Args:
        topics: The router's own.
        reporting: Who hears what became of deliveries, if anybody does.
        load_kind: Finds a sink type by its name.
    """

    def __init__(
        self,
        rules: Ruleset,
        ledger: Ledger,
        directory: Directory,
        publisher: Publisher,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        random: Random,
        *,
        topics: Topics,
        reporting: Reporting | None = None,
        load_kind: Callable[[str], SinkType[Any]] = KINDS.load,
    ) -> None:
        self.ledger = WatchedLedger(ledger, clock, metrics)
        self.settler = Settler(self.ledger, clock, metrics)
        self._readings = Readings()
        self.silences = Silences(self.ledger, self._readings, clock, metrics)
        self.dispatcher = Dispatcher(rules, directory, self.settler, self.silences, clock, metrics)
        self._budget = SpillBudget(limits.spill_rows, limits.spill_bytes)
        self._lanes = Lanes(
            self.dispatcher,
            self.settler,
            self._budget,
            clock,
            metrics,
            random,
            capacity=limits.lane_capacity,
            load_kind=load_kind,
        )
        feedback = None
        self._reporter: Reporter | None = None
        if reporting is not None:
            feedback = Outbox(
                reporting.publisher, feedback_from_line, "reports of deliveries", clock, random
            )
            self._reporter = Reporter(reporting.events, reporting.max_waiting, clock, metrics)
            self.settler.reporter = self._reporter
        self._resumer = Resumer(
            self.dispatcher,
            self._readings,
            self.settler,
            Outbox(publisher, dead_letter_from_line, "dead letters", clock, random),
            feedback,
            clock,
            metrics,
            random,
            batch=limits.resume_batch,
        )
        self._limits = limits
        self._topics = topics
        self._clock = clock
        self._metrics = metrics

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """By the sink's name."""
        return self.dispatcher.lanes

    @property
    def is_idle(self) -> bool:
        """Nothing is under way on a lane."""
        return not any(lane.depth or lane.in_flight for lane in self.lanes.values())

    async def start(
        self,
        tasks: TaskGroup,
        sinks: Mapping[str, SinkConfig],
        digests: Mapping[str, str],
        decodings: Mapping[str, DecodeConfig],
    ) -> None:
        """Opens the lanes and starts to settle and to resume, in tasks of this group.

        Args:
            digests: Of each sink's configuration and secrets.
            decodings: Of each source.

        Raises:
            LedgerDown: it can't be asked for closed gates and silences.
        """
        await self.silences.load()
        tasks.start_soon(self.settler.run)
        await self.apply(self.dispatcher.rules, sinks, digests, decodings, tasks)
        tasks.start_soon(self._lanes.obey_gates)
        tasks.start_soon(self.silences.obey)
        tasks.start_soon(self._resumer.run)

    async def apply(
        self,
        rules: Ruleset,
        sinks: Mapping[str, SinkConfig],
        digests: Mapping[str, str],
        decodings: Mapping[str, DecodeConfig],
        tasks: TaskGroup,
    ) -> None:
        """Puts a configuration in force: what was planned before ends as it was planned.

        Raises:
            LedgerDown: nothing was changed.
        """
        await self._lanes.apply(sinks, digests, rules.removed, tasks)
        self.dispatcher.rules = rules
        self._readings.use(decodings)

    def intake(self, name: str, decoding: DecodeConfig, unmatched: Unmatched = "count") -> Intake:
        """The worker's side of a source.

        Args:
            unmatched: What is done with events that no route wants.
        """
        return Intake(
            name,
            decoding,
            self._topics,
            self._limits.window,
            self.dispatcher,
            self._clock,
            self._metrics,
            unmatched=unmatched,
            retention_s=self._limits.retention_s,
            drain_s=self._limits.drain_s,
            commit_every_s=self._limits.commit_every_s,
        )

    async def look(self) -> Stats:
        """The ledger's numbers, into metrics and the spill budget; alerts of parked rows.

        Raises:
            LedgerDown: there are none.
        """
        stats = await self.ledger.stats()
        self._budget.update(stats.backlog, stats.backlog_bytes)
        self._lanes.look_for_parked(stats.backlog)
        if self._reporter is not None:
            self._reporter.look(stats.backlog.get(FEEDBACK, 0))
        self._metrics.schedule(
            {(str(kind), str(state)): n for (kind, state), n in stats.rows.items()},
            stats.backlog,
            stats.backlog_bytes,
            stats.oldest_due or 0.0,
        )
        return stats

    async def finish(self) -> None:
        """Once no intake reads any more: takes on nothing, finishes what is being sent, and
        leaves the rest to the schedule or to its records."""
        await self._resumer.stop()
        self._lanes.close()
        await self._lanes.drained()
        await self.settler.flush()

    async def abandon(self) -> None:
        """The time for finishing is over: what is claimed and not being sent is given back."""
        self._lanes.close()
        await self.settler.flush()
