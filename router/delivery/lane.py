"""A sink's lane: a queue, one feeder, and long-lived workers.

The feeder does what may be done in batches: it looks at gates, takes rate tokens, renders, and
claims. Workers send. No ledger call and no task is made for a single delivery, and nothing waits
for a token while it holds a claim. A lane that can't keep up spills into the schedule.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, final

import anyio
from anyio.abc import TaskStatus

from router.clock import Clock
from router.delivery.gates import Gates
from router.delivery.health import Health
from router.delivery.job import Job
from router.delivery.rate import TargetBuckets, TokenBucket
from router.delivery.settling import Settler
from router.delivery.stages import Stage, reached
from router.ledger import (
    Behind,
    Cancelled,
    Claim,
    Done,
    Doubtful,
    Granted,
    Held,
    LedgerDown,
    State,
)
from router.messages import (
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Reason,
    Rejected,
    Retry,
)
from router.planning import (
    EXPIRED,
    Dead,
    Scheduled,
    Settlement,
    Suppressed,
    has_expired,
    render,
)
from router.sinks import BatchSink, Sink, SinkConfig, SinkTools, SinkType
from router.telemetry import Metrics
from router.telemetry.metrics import AttemptOutcome
from router.templating import RenderError

log = logging.getLogger("router.delivery")

_YIELD_EVERY_S = 0.004
_LATE_HELD_S = 0.05
_HELD_LOOK_S = 2.0
"""Held claims are looked at so often: their send, this process's own too, may end long before."""
_SPILL_AFTER_S = 1.0
_BATCH = 500
_MARGIN_S = 5.0


@final
class Lane:
    """One sink's way out.

    Args:
        others_have_room: Whether another lane is under half full: this one is to blame then.
        may_spill: Asks the budget for so many rows; False once it is used up.
        random: For jitter.
    """

    def __init__(
        self,
        name: str,
        kind: SinkType[Any],
        config: SinkConfig,
        gates: Gates,
        settler: Settler,
        clock: Clock,
        metrics: Metrics,
        *,
        capacity: int,
        random: Random,
        others_have_room: Callable[[], bool],
        may_spill: Callable[[int], bool],
    ) -> None:
        self.name = name
        self.gates = gates
        self.capacity = capacity
        self.lease_s = 2 * (config.timeout + _MARGIN_S)
        self._kind = kind
        self._config = config
        self._settler = settler
        self._clock = clock
        self._metrics = metrics
        self._count = metrics.sink(name)
        self._health = Health(gates, config, clock, self._count, random)
        self._others_have_room = others_have_room
        self._may_spill = may_spill
        now = clock.monotonic()
        self._bucket = TokenBucket(config.rate, now) if config.rate else None
        self._targets = TargetBuckets(config.target_rate) if config.target_rate else None
        self._fresh: deque[Job] = deque()
        self._resumed: deque[Job] = deque()
        self._later: list[tuple[float, int, Job]] = []
        self._ready: deque[Job] = deque()
        self._idle: list[anyio.Event] = []
        self._wake = anyio.Event()
        self._unclaimed_in_hand = 0
        self._claimed: set[Job] = set()
        self._width = config.concurrency
        self._probing: Job | None = None
        self._full_since: float | None = None
        self._spilling = False
        self._turn = 0
        self._is_open = False
        self._closing = False

    # Queue --------------------------------------------------------------------------------------

    def put(self, jobs: Iterable[Job]) -> None:
        """Takes new deliveries; the caller looks at :attr:`is_full` between batches."""
        self._fresh.extend(jobs)
        self._nudge()

    def put_resumed(self, job: Job) -> None:
        """Takes a delivery out of the schedule, claimed already."""
        self._claimed.add(job)
        self._resumed.append(job)
        self._nudge()

    @property
    def depth(self) -> int:
        """Deliveries that wait here and are not claimed."""
        return len(self._fresh) + len(self._later) + self._unclaimed_in_hand

    @property
    def in_flight(self) -> int:
        """Deliveries that are claimed and not settled."""
        return len(self._claimed)

    @property
    def is_full(self) -> bool:
        return self.depth >= self.capacity

    def room_for_due(self) -> int:
        """How many scheduled deliveries the lane could send about now."""
        now = self._clock.now()
        if not self._is_open or self._closing:
            return 0
        if self.gates.closed(now):
            return 0
        if self.gates.wants_probe(now):
            return 1 if self.depth == 0 and not self._claimed else 0
        room = 2 * self._width - len(self._claimed)
        if self._bucket is not None:
            tokens = self._bucket.take(room, self._clock.monotonic()) if room > 0 else 0
            self._bucket.give_back(tokens)
            room = tokens
        return max(0, room)

    def withdraw(self) -> None:
        """Lets go of unclaimed deliveries whose partition went to another replica."""
        for queue in (self._fresh, [job for _, _, job in self._later]):
            for job in queue:
                if job.is_withdrawn:
                    self._metrics.route(job.route).sink(self.name).withdrawn()
        self._fresh = deque(job for job in self._fresh if not job.is_withdrawn)
        self._later = [entry for entry in self._later if not entry[2].is_withdrawn]
        heapq.heapify(self._later)

    def close(self) -> list[Job]:
        """Takes no more; gives back what is not claimed. What is claimed is still sent."""
        self._closing = True
        left = [*self._fresh, *(job for _, _, job in self._later)]
        self._fresh.clear()
        self._later.clear()
        self._nudge()
        return left

    async def drained(self, *, withdrawn: bool = False) -> None:
        """Waits until nothing is claimed, or nothing of partitions that went to others."""
        while any(job.is_withdrawn or not withdrawn for job in self._claimed):
            await self._clock.sleep(0.01)

    def _nudge(self) -> None:
        self._wake.set()

    # Life ---------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Opens the sink, sends until cancelled, closes it."""
        task_status.started()
        failures = 0
        while True:
            try:
                async with self._kind.open(self._config, SinkTools(self.name, self._clock)) as sink:
                    failures = 0
                    self._is_open = True
                    async with anyio.create_task_group() as tasks:
                        if isinstance(sink, BatchSink):
                            self._width = _BATCH
                            tasks.start_soon(self._work_in_batches, sink)
                        else:
                            for _ in range(self._config.concurrency):
                                tasks.start_soon(self._work, sink)
                        await self._feed()
            except OSError as error:
                failures += 1
                wait = min(30.0, 2.0**failures)
                log.error("sink %s can't be opened, again in %gs: %s", self.name, wait, error)
                reason = Reason("not_open", type(error).__name__)
                self.gates.wait(self._clock.now() + wait, reason, self._clock.now())
                await self._clock.sleep(wait)
            finally:
                self._is_open = False

    # Feeder -------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        while True:
            self._wake = anyio.Event()
            now = self._clock.now()
            self._promote()
            self._watch_fullness()
            probing = False
            if gate := self.gates.closed(now):
                await self._hold_back(gate.until, gate.reason)
                room = 0
            elif self.gates.wants_probe(now):
                probing, room = True, 1
            else:
                room = 2 * self._width - len(self._claimed)
                if self._spilling:
                    await self._spill()
            jobs = self._choose(room) if room > 0 else []
            self._count.lane_depth(self.depth)
            if not jobs:
                await self._rest(now)
                continue
            if probing:
                self.gates.probe()
                self._probing = jobs[0]
            await self._go(jobs)
            if probing and jobs[0] not in self._ready:
                self._probe_ended()

    async def _rest(self, now: float) -> None:
        """Until something comes, or it is time for something that waits."""
        mono = self._clock.monotonic()
        waits = [1.0]
        if self._later:
            waits.append(self._later[0][0] - mono)
        if self._bucket is not None and (self._fresh or self._resumed):
            waits.append(self._bucket.wait(mono) or 0.005)
        if gate := self.gates.closed(now):
            waits.append(gate.until - now)
        with anyio.move_on_after(max(0.001, min(waits))):
            await self._wake.wait()

    def _promote(self) -> None:
        now = self._clock.monotonic()
        while self._later and self._later[0][0] <= now:
            self._fresh.append(heapq.heappop(self._later)[2])

    def _choose(self, room: int) -> list[Job]:
        """The next deliveries, new and resumed in turn, that may go now."""
        mono, now = self._clock.monotonic(), self._clock.now()
        room = min(room, len(self._fresh) + len(self._resumed), _BATCH)
        if self._bucket is not None:
            room = self._bucket.take(room, mono)
        chosen: list[Job] = []
        unused = 0
        for _ in range(room):
            job = self._next_job()
            if job is None:
                unused += 1
            elif job.is_withdrawn and job.epoch == 0:
                self._metrics.route(job.route).sink(self.name).withdrawn()
                unused += 1
            elif has_expired(job.expires_at, now):
                self._end(job, Suppressed(EXPIRED))
                unused += 1
            elif (until := self.gates.target_until(job.target.address, now)) is not None:
                self._put_off(job, until, Reason("target_waits", "the target has to wait"))
                unused += 1
            elif self._targets and (wait := self._targets.try_take(job.target.address, mono)):
                self._put_off(job, now + wait, Reason("target_rate", "one target's rate"))
                unused += 1
            else:
                chosen.append(job)
        if self._bucket is not None and unused:
            self._bucket.give_back(unused)
        return chosen

    def _next_job(self) -> Job | None:
        self._turn ^= 1
        first, second = (self._fresh, self._resumed) if self._turn else (self._resumed, self._fresh)
        if first:
            return first.popleft()
        return second.popleft() if second else None

    def _put_off(self, job: Job, until: float, reason: Reason) -> None:
        """A short wait is spent here while unclaimed, a long one in the schedule."""
        now = self._clock.now()
        if job.epoch == 0 and until - now <= 2.0:
            self._hold_here(job, until - now)
        elif job.message is None:
            self._hold_here(job, min(until - now, 2.0))
        else:
            self._end(job, Scheduled(until, reason))

    def _hold_here(self, job: Job, seconds: float) -> None:
        ready_at = self._clock.monotonic() + seconds
        heapq.heappush(self._later, (ready_at, id(job), job))

    async def _go(self, jobs: Sequence[Job]) -> None:
        """Renders and claims, and hands to the workers what was granted."""
        resumed = [job for job in jobs if job.epoch]
        fresh = [job for job in jobs if not job.epoch]
        self._unclaimed_in_hand = len(fresh)
        granted = await self._claim(await self._render(fresh))
        self._unclaimed_in_hand = 0
        self._ready.extend(granted)
        self._ready.extend(resumed)
        for _ in range(min(len(self._ready), len(self._idle))):
            self._idle.pop().set()

    async def _render(self, jobs: Sequence[Job]) -> list[Job]:
        rendered: list[Job] = []
        started = self._clock.monotonic()
        for job in jobs:
            if job.message is None and not self._render_one(job):
                continue
            reached(Stage.RENDERED)
            rendered.append(job)
            if self._clock.monotonic() - started > _YIELD_EVERY_S:
                await anyio.lowlevel.checkpoint()
                started = self._clock.monotonic()
        return rendered

    def _render_one(self, job: Job) -> bool:
        assert job.delivery is not None
        assert job.rules is not None
        try:
            job.message = render(job.delivery, job.rules.templates, self._clock.now())
        except RenderError as error:
            self._end(job, Dead(Reason("render_failed", str(error))))
            return False
        return True

    async def _claim(self, jobs: list[Job]) -> list[Job]:
        if not jobs:
            return []
        asked = self._clock.monotonic()
        try:
            rows = [job.row(State.CLAIMED) for job in jobs]
            claims = await self._settler.ledger.claim(rows, self.lease_s)
            reached(Stage.CLAIMED)
        except LedgerDown as error:
            log.warning("nothing can be claimed for sink %s: %s", self.name, error)
            self._fresh.extendleft(reversed(jobs))
            await self._clock.sleep(0.5)
            return []
        return [
            job for job, claim in zip(jobs, claims, strict=True) if self._take(job, claim, asked)
        ]

    def _take(self, job: Job, claim: Claim, asked: float) -> bool:
        """Whether a claim lets the delivery go; if not, what becomes of it."""
        account = self._metrics.route(job.route).sink(self.name)
        match claim:
            case Granted():
                job.epoch = claim.epoch
            case Doubtful():
                job.epoch, job.attempts = claim.epoch, max(1, claim.attempts)
                self._count.in_doubt()
                if job.in_doubt == "dead_letter":
                    self._end(job, Dead(Reason("in_doubt", "an earlier attempt broke off")))
                    return False
                job.is_repeat = True
            case Held():
                rest = claim.until - self._clock.now() + _LATE_HELD_S
                self._hold_here(job, min(max(_LATE_HELD_S, rest), _HELD_LOOK_S))
                return False
            case Done():
                account.duplicate()
                if claim.other_event:
                    self._metrics.duplicate_event()
                if job.ticket is not None:
                    job.ticket.release()
                return False
            case Behind():
                self._end(job, Scheduled(self._clock.now(), Reason("behind", "order")))
                return False
            case Cancelled():
                self._end(job, Suppressed(Reason("cancelled", "cancel_on")))
                return False
        job.claimed_at = asked
        self._claimed.add(job)
        return True

    # Holding back -------------------------------------------------------------------------------

    def _watch_fullness(self) -> None:
        now = self._clock.monotonic()
        if self.depth < self.capacity:
            self._full_since = None
            if self.depth <= self.capacity // 2:
                self._spilling = False
        elif self._full_since is None:
            self._full_since = now
        elif now - self._full_since > _SPILL_AFTER_S and self._others_have_room():
            self._spilling = True

    async def _hold_back(self, until: float, reason: Reason) -> None:
        """The gate is closed: what waits here goes to the schedule, within the budget."""
        resumed = list(self._resumed)
        self._resumed.clear()
        for job in resumed:
            self._end(job, Scheduled(until, reason))
        if until - self._clock.now() > _SPILL_AFTER_S:
            await self._schedule(len(self._fresh), until, reason)

    async def _spill(self) -> None:
        surplus = self.depth - self.capacity // 2
        await self._schedule(surplus, self._clock.now(), Reason("spilled", "the lane is full"))

    async def _schedule(self, count: int, due: float, reason: Reason) -> None:
        count = min(count, len(self._fresh), _BATCH)
        if count <= 0 or not self._may_spill(count):
            return
        jobs = [self._fresh.popleft() for _ in range(count)]
        self._unclaimed_in_hand = count
        now = self._clock.now()
        for job in await self._render(jobs):
            if has_expired(job.expires_at, now):
                self._end(job, Suppressed(EXPIRED))
            else:
                self._end(job, Scheduled(due, reason))
        self._unclaimed_in_hand = 0
        self._count.spilled(count)

    # Workers ------------------------------------------------------------------------------------

    async def _work(self, sink: Sink) -> None:
        while True:
            await self._something_ready()
            await self._send(sink, self._ready.popleft())
            if len(self._claimed) <= self._width or not self._ready:
                self._nudge()

    async def _work_in_batches(self, sink: BatchSink) -> None:
        while True:
            await self._something_ready()
            batch = [self._ready.popleft() for _ in range(min(_BATCH, len(self._ready)))]
            await self._send_batch(sink, batch)
            self._nudge()

    async def _something_ready(self) -> None:
        while not self._ready:
            parked = anyio.Event()
            self._idle.append(parked)
            await parked.wait()

    def _is_late(self, job: Job) -> bool:
        """Its lease might end during the send."""
        spent = self._clock.monotonic() - job.claimed_at
        return spent >= self.lease_s - self._config.timeout - _MARGIN_S

    async def _send(self, sink: Sink, job: Job) -> None:
        if self._is_late(job):
            self._end(job, Scheduled(self._clock.now(), Reason("lease", "it waited too long")))
            return
        if job.is_repeat:
            self._count.repeat()
        started = self._clock.monotonic()
        outcome: Outcome
        try:
            with anyio.fail_after(self._config.timeout + _MARGIN_S - 1):
                outcome = await sink.send(job.parcel())
        except TimeoutError:
            outcome = InDoubt(Reason("timeout", "no answer in time"))
        except Exception as error:
            log.exception("sink %s has a bug", self.name)
            outcome = InDoubt(Reason("sink_bug", type(error).__name__))
        self._conclude(job, outcome, started)

    async def _send_batch(self, sink: BatchSink, jobs: list[Job]) -> None:
        late = [job for job in jobs if self._is_late(job)]
        for job in late:
            self._end(job, Scheduled(self._clock.now(), Reason("lease", "it waited too long")))
        jobs = [job for job in jobs if not self._is_late(job)] if late else jobs
        started = self._clock.monotonic()
        outcomes: Sequence[Outcome]
        try:
            with anyio.fail_after(self._config.timeout + _MARGIN_S - 1):
                outcomes = await sink.send_batch([job.parcel() for job in jobs])
        except TimeoutError:
            outcomes = [InDoubt(Reason("timeout", "no answer in time"))] * len(jobs)
        except Exception as error:
            log.exception("sink %s has a bug", self.name)
            outcomes = [InDoubt(Reason("sink_bug", type(error).__name__))] * len(jobs)
        missing = InDoubt(Reason("no_outcome", "the sink answered for fewer messages"))
        for index, job in enumerate(jobs):
            outcome = outcomes[index] if index < len(outcomes) else missing
            self._conclude(job, outcome, started)

    # Outcomes -----------------------------------------------------------------------------------

    def _conclude(self, job: Job, outcome: Outcome, started: float) -> None:
        reached(Stage.SENT)
        job.attempts += 1
        seconds = self._clock.monotonic() - started
        if job.first_at is None:
            job.first_at = self._clock.now() - seconds
        self._count.attempt(_NAMES[type(outcome)], seconds)
        if isinstance(outcome, Delivered):
            self._count.delivered_after(max(0.0, self._clock.now() - job.event_time))
        else:
            self._tell(job, outcome)
        is_probe = self._probing is job
        if is_probe:
            self._probe_ended()
        self._end(job, self._health.conclude(job, outcome, is_probe=is_probe))
        self._settler.note(*self.gates.take_changes())
        reached(Stage.CONCLUDED)

    def _tell(self, job: Job, outcome: Retry | Halt | Rejected | InDoubt) -> None:
        if isinstance(outcome, InDoubt):
            self._count.in_doubt()
            job.is_repeat = True
        elif isinstance(outcome, Retry):
            self._count.retry(outcome.reason.code)
        log.log(
            logging.DEBUG if isinstance(outcome, Retry) else logging.WARNING,
            "sink %s: %s",
            self.name,
            outcome.reason,
            extra={"router": {"route": job.route, "step": job.step, "attempt": job.attempts}},
        )

    def _probe_ended(self) -> None:
        self._probing = None
        self.gates.probe_lost()

    def _end(self, job: Job, settlement: Settlement) -> None:
        """Hands what became of a delivery to the settler."""
        self._claimed.discard(job)
        self._settler.settle(job, settlement)


_NAMES: dict[type[Outcome], AttemptOutcome] = {
    Delivered: "delivered",
    Retry: "retry",
    Halt: "halt",
    Rejected: "rejected",
    InDoubt: "in_doubt",
}
