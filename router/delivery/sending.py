"""A lane's workers: what was granted is sent, and concluded by what the sink answers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import final

import anyio

from router.clock import Clock
from router.delivery.gates import By, Gates
from router.delivery.health import SINK_BUG, Health
from router.delivery.job import Job
from router.delivery.parts import after_part
from router.delivery.settling import Settler
from router.delivery.stages import Stage, reached
from router.messages import (
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Reason,
    Rejected,
    Retry,
)
from router.planning import EXPIRED, Arrived, Scheduled, Settlement, Suppressed, has_expired
from router.sinks import BatchSink, Sink, SinkConfig
from router.telemetry import AttemptOutcome, SinkMetrics, log_bug

log = logging.getLogger("router.delivery")

MARGIN_S = 5.0
"""Seconds beside the sink's timeout that an attempt may take, all in all."""

BATCH = 500

_NAMES: dict[type[Outcome], AttemptOutcome] = {
    Delivered: "delivered",
    Retry: "retry",
    Halt: "halt",
    Rejected: "rejected",
    InDoubt: "in_doubt",
}
_TIMED_OUT = InDoubt(Reason("timeout", "no answer in time"))
_MISSING = InDoubt(Reason(SINK_BUG, "the sink answered for fewer messages"))


@final
class Workers:
    """Long-lived workers on a deque of claimed deliveries; each is started when it is first needed,
    since most of many sinks are quiet.

    Args:
        on_room: Called when the feeder may look for more.

    Attributes:
        claimed: Deliveries that are claimed and not settled, wherever they are in the lane.
        width: How many go at once at most.
        probe: The delivery that tries out a closed sink, while it is under way.
        has_unwritten_order: A delivery that others have to stay behind is on its way to the
            schedule, so the ledger may not know of it yet.
    """

    def __init__(
        self,
        config: SinkConfig,
        gates: Gates,
        health: Health,
        settler: Settler,
        clock: Clock,
        count: SinkMetrics,
        on_room: Callable[[], None],
    ) -> None:
        self.lease_s = 2 * (config.timeout + MARGIN_S)
        self.claimed: set[Job] = set()
        self.width = config.concurrency
        self.probe: Job | None = None
        self.has_unwritten_order = False
        self._config = config
        self._gates = gates
        self._health = health
        self._settler = settler
        self._clock = clock
        self._count = count
        self._on_room = on_room
        self._ready: deque[Job] = deque()
        self._idle: list[anyio.Event] = []
        self._started = 0
        self._start: Callable[[], object] | None = None

    @property
    def room(self) -> int:
        """How many more may be claimed: as many as are sent wait claimed at most."""
        return 2 * self.at_once - len(self.claimed)

    @property
    def at_once(self) -> int:
        """How many go at once now."""
        return self._gates.at_once(self.width)

    def hand(self, jobs: Iterable[Job]) -> None:
        """Takes claimed deliveries to send."""
        self._ready.extend(jobs)
        left = len(self._ready)
        while left and self._idle:
            self._idle.pop().set()
            left -= 1
        self._start_more(left)

    def _start_more(self, wanted: int) -> None:
        if self._start is not None:
            for _ in range(min(wanted, self._config.concurrency - self._started)):
                self._started += 1
                self._start()

    def shelve(self) -> None:
        """Gives what is claimed and not being sent to the schedule."""
        while self._ready:
            self.put_off(self._ready.popleft(), self._clock.now(), _STOPPED)

    async def run(self, sink: Sink | BatchSink) -> None:
        """Sends until cancelled."""
        async with anyio.create_task_group() as tasks:
            if isinstance(sink, BatchSink):
                self.width = self._config.concurrency * BATCH
                self._start = lambda: tasks.start_soon(self._work_in_batches, sink)
            else:
                self._start = lambda: tasks.start_soon(self._work, sink)
            self._start_more(len(self._ready))
            self._on_room()
            await anyio.Event().wait()

    async def _work(self, sink: Sink) -> None:
        while True:
            await self._something_ready()
            job = self._ready.popleft()
            if self._may_go(job):
                await self._send(sink, job)
            if len(self.claimed) <= self.width or not self._ready:
                self._on_room()

    async def _work_in_batches(self, sink: BatchSink) -> None:
        while True:
            await self._something_ready()
            taken = [self._ready.popleft() for _ in range(min(BATCH, len(self._ready)))]
            if jobs := [job for job in taken if self._may_go(job)]:
                await self._send_batch(sink, jobs)
            self._on_room()

    async def _something_ready(self) -> None:
        while not self._ready:
            parked = anyio.Event()
            self._idle.append(parked)
            await parked.wait()

    # Before the send ----------------------------------------------------------------------------

    def _may_go(self, job: Job) -> bool:
        """Looks once more, just before the send, at what may have changed since the claim."""
        now = self._clock.now()
        if self._clock.monotonic() - job.claimed_at >= self._config.timeout + MARGIN_S:
            # Its lease might end during the send.
            self.put_off(job, now, Reason("lease", "it waited too long"))
        elif has_expired(job.expires_at, now):
            self.end(job, Suppressed(EXPIRED))
        elif job is not self.probe and (gate := self._gates.closed(now)):
            self.put_off(job, now, gate.reason)
        elif (until := self._gates.target_until(job.target.address, now)) is not None:
            self.put_off(job, until, TARGET_WAITS)
        else:
            if job.is_repeat:
                self._count.repeat()
            return True
        return False

    def put_off(self, job: Job, until: float, reason: Reason) -> None:
        """Hands a delivery to the schedule, due then, or as it expires if that is sooner."""
        due = until if job.expires_at is None else min(until, job.expires_at)
        self.end(job, Scheduled(due, reason))

    # Send ---------------------------------------------------------------------------------------

    async def _send(self, sink: Sink, job: Job) -> None:
        started = self._clock.monotonic()
        outcome: Outcome
        try:
            with anyio.fail_after(self._config.timeout + MARGIN_S - 1):
                outcome = await sink.send(job.parcel())
        except TimeoutError:
            outcome = _TIMED_OUT
        except Exception as error:
            outcome = _bug(error)
        self._conclude(job, outcome, started)

    async def _send_batch(self, sink: BatchSink, jobs: list[Job]) -> None:
        started = self._clock.monotonic()
        outcomes: Sequence[Outcome]
        try:
            with anyio.fail_after(self._config.timeout + MARGIN_S - 1):
                outcomes = list(await sink.send_batch([job.parcel() for job in jobs]))
        except TimeoutError:
            outcomes = [_TIMED_OUT] * len(jobs)
        except Exception as error:
            outcomes = [_bug(error)] * len(jobs)
        for index, job in enumerate(jobs):
            outcome = outcomes[index] if index < len(outcomes) else _MISSING
            self._conclude(job, outcome, started)

    # After it -----------------------------------------------------------------------------------

    def _conclude(self, job: Job, outcome: Outcome, started: float) -> None:
        reached(Stage.SENT)
        name = _NAMES.get(type(outcome))
        if name is None:
            name, outcome = "in_doubt", InDoubt(Reason(SINK_BUG, "the sink gave no outcome"))
        job.attempts += 1
        seconds = self._clock.monotonic() - started
        if job.first_at is None:
            job.first_at = self._clock.now() - seconds
        self._count.attempt(name, seconds)
        if not isinstance(outcome, Delivered):
            self._tell(job, outcome)
        is_probe = self.probe is job
        if is_probe:
            self.probe_ended()
        now = self._clock.now()
        settlement = after_part(job, self._health.conclude(job, outcome, is_probe=is_probe), now)
        if isinstance(settlement, Arrived):
            self._count.delivered_after(max(0.0, now - job.event_time))
        self.end(job, settlement)
        self.note_gates()
        reached(Stage.CONCLUDED)

    def _tell(self, job: Job, outcome: Retry | Halt | Rejected | InDoubt) -> None:
        if isinstance(outcome, InDoubt):
            self._count.in_doubt()
            job.is_repeat = True
        elif isinstance(outcome, Retry):
            self._count.retry(outcome.reason.code)
        who = {"recipient": job.recipient} if isinstance(outcome, Retry) and job.recipient else {}
        told = job.names | {"attempt": job.attempts} | who
        log.log(
            logging.DEBUG if isinstance(outcome, Retry) else logging.WARNING,
            "sink %s: %s",
            self._gates.sink,
            outcome.reason,
            extra={"router": told},
        )

    def end(self, job: Job, settlement: Settlement) -> None:
        """Hands what became of a delivery to the settler; every job of a lane ends here."""
        self.claimed.discard(job)
        if self.probe is job:
            self.probe_ended()
        if job.order_scope is not None and job.epoch == 0 and isinstance(settlement, Scheduled):
            self.has_unwritten_order = True
        self._settler.settle(job, settlement)

    def probe_ended(self) -> None:
        """The probe is back, or never went out."""
        self.probe = None
        self._gates.probe_ended()

    def note_gates(self) -> None:
        """Passes on what has changed of the gates."""
        changed = self._gates.take_changes()
        if changed:
            self._settler.note(changed)
            self.show_gates()

    def show_gates(self) -> None:
        """The gates as metrics."""
        for by in By:
            self._count.gates("sink", by.value, int(self._gates.is_closed_by(by)))
        self._count.gates("target", "retry_after", self._gates.targets)


TARGET_WAITS = Reason("target_waits", "the target has to wait")
_STOPPED = Reason("stopped", "the process stops")


def _bug(error: Exception) -> InDoubt:
    log_bug(log, "a sink has a bug", error)
    return InDoubt(Reason(SINK_BUG, type(error).__name__))
