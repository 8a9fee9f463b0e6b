"""A sink's lane: a queue, one feeder, and long-lived workers.

The feeder does what may be done in batches: it looks at gates, takes rate tokens, renders, and
claims. Workers send. No ledger call and no task is made for a single delivery, and nothing waits
for a token while it holds a claim. A lane that can't keep up spills into the schedule.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, final

import anyio

from router.clock import Clock
from router.delivery.cancelling import ended
from router.delivery.crowding import SPILL_AFTER_S, STUCK_S, Crowding
from router.delivery.gates import Gates
from router.delivery.health import Health
from router.delivery.holds import held
from router.delivery.job import Job, render_job, unpack
from router.delivery.queue import Queue
from router.delivery.rate import Bucket, Targets
from router.delivery.sending import BATCH, TARGET_WAITS, Workers
from router.delivery.settling import Settler
from router.delivery.silences import Silences
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
from router.messages import Reason
from router.planning import (
    EXPIRED,
    Dead,
    Scheduled,
    Settlement,
    Suppressed,
    barred,
    has_expired,
)
from router.sinks import SinkConfig, SinkTools, SinkType
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

_YIELD_EVERY_S = 0.004
_HELD_LOOK_S = 1.0
_SOON_S = 0.05
_SHORT_S = 2.0
_REST_S = 1.0
_IDLE_REST_S = 60.0
_DOWN_S = 0.5
_OPEN_AGAIN_MOST_S = 30.0

_TARGET_RATE = Reason("target_rate", "one target's rate")
_SPILLED = Reason("spilled", "the lane is full")


@dataclass(slots=True)
class _Chosen:
    """What the feeder makes of the head of the queue.

    Attributes:
        seen: How many deliveries were taken out of the queue.
        go: To claim and send.
        later: To put off until then.
        held: To keep back by rule, however short the wait.
    """

    seen: int = 0
    go: list[Job] = field(default_factory=list[Job])
    later: list[tuple[Job, float, Reason]] = field(default_factory=list[tuple[Job, float, Reason]])
    held: list[tuple[Job, Settlement]] = field(default_factory=list[tuple[Job, Settlement]])

    @property
    def taken(self) -> list[Job]:
        return [*self.go, *(job for job, _, _ in self.later), *(job for job, _ in self.held)]


@final
class Lane:
    """One sink's way out.

    Args:
        bucket, targets: The rates of the sink, and of each target.
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
        silences: Silences,
        clock: Clock,
        metrics: Metrics,
        *,
        bucket: Bucket | None,
        targets: Targets | None,
        capacity: int,
        random: Random,
        others_have_room: Callable[[], bool],
        may_spill: Callable[[int], bool],
    ) -> None:
        self.name = name
        self.gates = gates
        self.capacity = capacity
        self._kind = kind
        self._config = config
        self._settler = settler
        self._silences = silences
        self._clock = clock
        self._metrics = metrics
        self._count = metrics.sink(name)
        health = Health(gates, config, clock, self._count, random)
        self._workers = Workers(config, gates, health, settler, clock, self._count, self.nudge)
        self.lease_s = self._workers.lease_s
        self._others_have_room = others_have_room
        self._may_spill = may_spill
        self._bucket = bucket
        self._targets = targets
        self._queue = Queue()
        self._wake = anyio.Event()
        self._in_hand: Sequence[Job] = ()
        self._crowding = Crowding(capacity)
        self._is_open = False
        self._opens_at: float | None = None
        self._closing = False

    # Queue --------------------------------------------------------------------------------------

    def put(self, jobs: Iterable[Job]) -> None:
        """Takes new deliveries; the caller looks at :attr:`is_full` between batches."""
        if self._closing:
            for job in jobs:
                self._withdrawn(job)
            return
        self._queue.put(jobs)
        self.nudge()

    def put_resumed(self, job: Job) -> None:
        """Takes a delivery out of the schedule, claimed already."""
        self._workers.claimed.add(job)
        self._queue.put_resumed(job)
        self.nudge()

    @property
    def depth(self) -> int:
        """Deliveries that wait here and are not claimed."""
        return self._queue.unclaimed + len(self._in_hand)

    @property
    def in_flight(self) -> int:
        """Deliveries that are claimed and not settled."""
        return len(self._workers.claimed)

    @property
    def claimed(self) -> Iterable[Job]:
        """Deliveries that are claimed and not settled."""
        return self._workers.claimed

    @property
    def is_full(self) -> bool:
        return self.depth >= self.capacity

    def room_for_due(self) -> int:
        """How many scheduled deliveries the lane could send about now."""
        now = self._clock.now()
        if not self._is_open or self._closing or self.gates.closed(now):
            return 0
        if self.gates.wants_probe(now):
            return 1 if self.depth == 0 and not self._workers.claimed else 0
        # As many stand in line as go at once: they take turns with new ones, whose claims must not
        # leave them without room.
        room = self._workers.at_once - self._queue.resumed
        if self._bucket is not None and not self._bucket.wants_slice and room > 0:
            tokens = self._bucket.take(room, self._clock.monotonic())
            self._bucket.give_back(tokens)
            room = tokens
        return max(0, room)

    def withdraw(self) -> None:
        """Lets go of unclaimed deliveries whose partition went to another replica."""
        for job in self._queue.take_withdrawn():
            self._withdrawn(job)

    def close(self) -> list[Job]:
        """Takes no more; gives back what is not claimed. What is claimed is still sent."""
        self._closing = True
        self.nudge()
        return self._queue.take_unclaimed()

    def shelve(self) -> None:
        """Gives what is claimed but not being sent to the schedule: the process stops."""
        self._workers.hand(self._queue.take_resumed())
        self._workers.shelve()

    async def drained(self, *, withdrawn: bool = False) -> None:
        """Waits until nothing is claimed, or nothing of partitions that went to others."""
        while any(
            job.is_withdrawn or not withdrawn for job in (*self._workers.claimed, *self._in_hand)
        ):
            await self._clock.sleep(0.01)

    def gates_changed(self) -> None:
        """Another replica or a command has changed the gates."""
        self._workers.show_gates()
        self.nudge()

    def nudge(self) -> None:
        """Has the feeder look again."""
        self._wake.set()

    def _withdrawn(self, job: Job) -> None:
        self._metrics.route(job.route).sink(self.name).withdrawn()

    # Life ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Opens the sink, sends until cancelled, closes it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._feed)
            await self._serve()

    async def _serve(self) -> None:
        failures = 0
        while True:
            async with AsyncExitStack() as stack:
                try:
                    sink = await stack.enter_async_context(
                        self._kind.open(self._config, SinkTools(self.name, self._clock))
                    )
                except Exception as error:
                    failures += 1
                    wait = min(_OPEN_AGAIN_MOST_S, 2.0**failures)
                    log.error(
                        "sink %s can't be opened, again in %gs: %s: %s",
                        self.name,
                        wait,
                        type(error).__name__,
                        error,
                    )
                else:
                    failures, self._opens_at, self._is_open = 0, None, True
                    self._settler.changed.give()
                    await self._workers.run(sink)
                    return
            self._opens_at = self._clock.now() + wait
            self.nudge()
            await self._clock.sleep(wait)

    # Feeder -------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        while True:
            self._wake = anyio.Event()
            now = self._clock.now()
            mono = self._clock.monotonic()
            self._queue.promote(mono)
            self._crowding.look(self.depth, mono, self._others_have_room)
            closed = self._closed(now)
            if closed is not None:
                done = await self._hold_back(*closed)
            elif self._is_open:
                done = await self._go_on(now)
            else:
                done = 0
            if self._crowding.is_spilling:
                done += await self._spill()
            self._count.lane_depth(self.depth)
            if not done:
                await self._rest(closed)

    def _closed(self, now: float) -> tuple[float, Reason] | None:
        """Until when nothing may go, and why."""
        if self._opens_at is not None:
            return self._opens_at, Reason("not_open", "the sink can't be opened")
        gate = self.gates.closed(now)
        return (gate.until, gate.reason) if gate else None

    async def _rest(self, closed: tuple[float, Reason] | None) -> None:
        """Until something comes, or it is time for something that waits."""
        mono = self._clock.monotonic()
        waits = [_REST_S if self.depth or self.in_flight else _IDLE_REST_S]
        if self._crowding.is_watched:
            waits.append(STUCK_S)
        if (next_at := self._queue.next_at) is not None:
            waits.append(next_at - mono)
        if closed is not None:
            if (until := closed[0] - self._clock.now()) > 0:
                waits.append(until)
        elif self._bucket is not None and self._queue.ready and self._room > 0:
            waits.append(self._bucket.wait(mono))
        with anyio.move_on_after(max(0.001, min(waits))):
            await self._wake.wait()

    @property
    def _room(self) -> int:
        """How many more the workers may be handed; what stands in line here is not with them."""
        return self._workers.room + self._queue.resumed

    async def _go_on(self, now: float) -> int:
        """Takes what may go now out of the queue; how many deliveries it took."""
        is_probe = self.gates.wants_probe(now)
        chosen = await self._choose(1 if is_probe else self._room)
        if chosen.later or chosen.held:
            self._in_hand = [job for job in chosen.taken if not job.epoch]
            for job, until, reason in chosen.later:
                await self._put_off(job, until, reason)
            for job, settlement in chosen.held:
                await self._keep(job, settlement)
            self._in_hand = ()
        if chosen.go:
            self._crowding.went(len(chosen.go), self._clock.monotonic())
            if is_probe:
                self.gates.probe()
                self._count.breaker("half_open")
                self._workers.probe = chosen.go[0]
            await self._go(chosen.go)
            if is_probe and self._workers.probe not in self._workers.claimed:
                self._workers.probe_ended()
        return chosen.seen

    async def _choose(self, room: int) -> _Chosen:
        """The next deliveries, new and resumed in turn, that may go now."""
        chosen = _Chosen()
        room = min(room, self._queue.ready, BATCH)
        in_hand = self._in_hand = list[Job]()
        job: Job | None = None
        try:
            if self._bucket is not None and room > 0:
                mono = self._clock.monotonic()
                if self._bucket.wants_slice:
                    await self._bucket.fetch(mono)
                room = self._bucket.take(room, mono)
            while len(chosen.go) < room and chosen.seen < BATCH and (job := self._queue.take()):
                chosen.seen += 1
                if not job.epoch:
                    in_hand.append(job)
                await self._sort(job, chosen)
        except LedgerDown as error:
            log.warning("rates can't be kept for sink %s: %s", self.name, error)
            self._put_back([*chosen.taken, *([job] if job else [])])
            self._in_hand = ()
            await self._clock.sleep(_DOWN_S)
            return _Chosen()
        self._in_hand = ()
        if self._bucket is not None:
            self._bucket.give_back(max(0, room - len(chosen.go)))
        return chosen

    async def _sort(self, job: Job, chosen: _Chosen) -> None:
        """Whether a delivery may go now, later, or not at all."""
        mono, now = self._clock.monotonic(), self._clock.now()
        if job.is_withdrawn and job.epoch == 0:
            self._withdrawn(job)
        elif job.is_contested:
            chosen.go.append(job)
        elif has_expired(job.expires_at, now):
            self._workers.end(job, Suppressed(EXPIRED))
        elif (silence := self._silences.over(job, now)) is not None:
            self._workers.end(job, Suppressed(silence.reason))
        elif (settlement := held(job, now)) is not None:
            chosen.held.append((job, settlement))
        elif (until := self.gates.target_until(job.target.address, now)) is not None:
            chosen.later.append((job, until, TARGET_WAITS))
        elif self._targets and (wait := await self._targets.try_take(job.target.address, mono)):
            chosen.later.append((job, now + wait, _TARGET_RATE))
        else:
            chosen.go.append(job)

    def _put_back(self, jobs: Sequence[Job]) -> None:
        """Deliveries that were taken out of the queue and have not been decided on."""
        self._queue.put_first(job for job in jobs if not job.epoch)
        for job in jobs:
            if job.epoch:
                self._queue.put_resumed(job)

    async def _put_off(self, job: Job, until: float, reason: Reason) -> None:
        """A short wait is spent here while unclaimed, a long one in the schedule."""
        wait = until - self._clock.now()
        may_stay = job.epoch == 0 and job.order_scope is None
        if may_stay and (wait <= _SHORT_S or not self._may_spill(1)):
            self._queue.hold(job, self._clock.monotonic() + min(wait, _SHORT_S))
            return
        for ready in await self._render([job]):
            due = until if job.expires_at is None else min(until, job.expires_at)
            self._workers.end(ready, Scheduled(due, reason))

    async def _keep(self, job: Job, settlement: Settlement) -> None:
        """What a rule keeps back goes to the schedule, whatever the budget for spilling says."""
        if isinstance(settlement, Suppressed):
            self._workers.end(job, settlement)
            return
        for ready in await self._render([job]):
            self._workers.end(ready, settlement)

    async def _go(self, jobs: Sequence[Job]) -> None:
        """Renders and claims, and hands to the workers what was granted."""
        self._workers.hand(job for job in jobs if job.epoch)
        self._in_hand = [job for job in jobs if not job.epoch]
        rendered = await self._render(self._in_hand)
        for job in rendered:
            if job.is_withdrawn:
                self._withdrawn(job)
        granted = await self._claim([job for job in rendered if not job.is_withdrawn])
        self._in_hand = ()
        self._workers.hand(granted)

    async def _render(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that have a message, or must be claimed first."""
        rendered: list[Job] = []
        started = self._clock.monotonic()
        for job in jobs:
            if not job.is_contested and not self._has_message(job):
                continue
            reached(Stage.RENDERED)
            rendered.append(job)
            if self._clock.monotonic() - started > _YIELD_EVERY_S:
                await anyio.lowlevel.checkpoint()
                started = self._clock.monotonic()
        return rendered

    def _has_message(self, job: Job) -> bool:
        """Renders a delivery where that has not been done; one that can't be is dead."""
        if job.message is None and (reason := render_job(job, self._clock.now())):
            self._workers.end(job, Dead(reason))
            return False
        return True

    # Claims -------------------------------------------------------------------------------------

    async def _claim(self, jobs: list[Job]) -> list[Job]:
        ledger = self._settler.ledger
        if not ledger.may_take_over(self.lease_s):
            for job in [job for job in jobs if job.is_contested]:
                self._queue.hold(job, self._clock.monotonic() + _HELD_LOOK_S)
            jobs = [job for job in jobs if not job.is_contested]
        if not jobs:
            return []
        await self._write_order(jobs)
        asked = self._clock.monotonic()
        try:
            await self._give_back_unheard(jobs)
            claims = await ledger.claim([job.row(State.CLAIMED) for job in jobs], self.lease_s)
            reached(Stage.CLAIMED)
            marked = [j for j, c in zip(jobs, claims, strict=True) if _may_be_marked(j, c)]
            ends = await ended(ledger, marked)
            await self._take_over(
                [j for j, c in zip(jobs, claims, strict=True) if isinstance(c, Doubtful)]
            )
        except LedgerDown:
            for job in jobs:
                job.is_unheard = not job.is_contested
            self._queue.put_first(jobs)
            self._in_hand = ()
            await self._clock.sleep(_DOWN_S)
            return []
        return [
            job
            for job, claim in zip(jobs, claims, strict=True)
            if self._is_ours(job, claim, ends.get(job), asked)
        ]

    async def _write_order(self, jobs: Sequence[Job]) -> None:
        """Nothing overtakes what went to the schedule just now: first the ledger knows of it."""
        if self._workers.has_unwritten_order and any(job.order_scope for job in jobs):
            self._workers.has_unwritten_order = False
            await self._settler.flush()

    async def _take_over(self, jobs: Sequence[Job]) -> None:
        """What others have left in doubt may have been scheduled before, and goes on from there."""
        if not jobs:
            return
        rows = await self._settler.ledger.lookup([job.key for job in jobs])
        for job, row in zip(jobs, rows, strict=True):
            if row is not None and row.blob is not None:
                job.take_over(unpack(row))

    async def _give_back_unheard(self, jobs: Sequence[Job]) -> None:
        """A first claim may have been made although the ledger's answer was lost: it would be
        taken for another's, and then for one that may have sent the message."""
        unheard = [job for job in jobs if job.is_unheard]
        if not unheard:
            return
        # Another job of the same key may hold a claim, or its outcome may be on its way.
        keys = {job.key for job in unheard} - {job.key for job in self._workers.claimed}
        await self._settler.flush()
        await self._settler.ledger.release([(key, 1) for key in sorted(keys)])
        for job in unheard:
            job.is_unheard = False

    def _is_ours(self, job: Job, claim: Claim, end: Suppressed | None, asked: float) -> bool:
        """Whether a claim lets the delivery go; if not, what becomes of it.

        Args:
            end: What an event makes of it.
        """
        match claim:
            case Granted() | Doubtful():
                was_contested, job.is_contested = job.is_contested, False
                job.epoch, job.claimed_at = claim.epoch, asked
                self._workers.claimed.add(job)
                if not self._is_to_be_sent(job, claim):
                    return False
                return not was_contested or self._is_looked_at_again(job, end)
            case Held():
                # Looked at before the lease ends too: its holder may well be done by then.
                wait = min(_HELD_LOOK_S, _SOON_S * 2**job.looks, claim.until - self._clock.now())
                job.is_contested, job.looks = True, min(job.looks + 1, 10)
                self._queue.hold(job, self._clock.monotonic() + max(0.0, wait) + _SOON_S)
            case Done():
                self._metrics.route(job.route).sink(self.name).duplicate()
                if claim.other_event:
                    self._metrics.duplicate_event()
                self._settler.duplicate(job.key, claim.state, job.ticket)
            case Behind():
                self._workers.end(job, Scheduled(self._clock.now(), Reason("behind", "order")))
            case Cancelled() if end is not None:
                self._workers.end(job, end)
            case Cancelled():
                # The mark is of too long after its event: it does not count.
                job.is_past_marks = True
                self._queue.put_first([job])
        return False

    def _is_looked_at_again(self, job: Job, end: Suppressed | None) -> bool:
        """What had to be claimed first has waited for that: much may have changed meanwhile."""
        if end is not None:
            self._workers.end(job, end)
        else:
            self._queue.put_resumed(job)
        return False

    def _is_to_be_sent(self, job: Job, claim: Granted | Doubtful) -> bool:
        if isinstance(claim, Doubtful):
            job.attempts, job.is_repeat = max(1, claim.attempts), True
            self._count.in_doubt()
            if job.in_doubt == "dead_letter":
                self._workers.end(job, Dead(Reason("in_doubt", "an earlier attempt broke off")))
                return False
        if job.barred is not None:
            self._workers.end(job, barred(job.barred))
            return False
        return self._has_message(job)

    # Holding back -------------------------------------------------------------------------------

    async def _hold_back(self, until: float, reason: Reason) -> int:
        """Nothing may go: what waits here goes to the schedule, within the budget.

        It is due at once there, and taken out in its order as soon as the lane is open: by
        whatever opens it, which may be sooner than ``until``.
        """
        resumed, now = self._queue.take_resumed(), self._clock.now()
        for job in resumed:
            self._workers.end(job, Scheduled(now, reason))
        if until - now <= SPILL_AFTER_S:
            return len(resumed)
        return len(resumed) + await self._schedule(BATCH, now, reason)

    async def _spill(self) -> int:
        surplus = self.depth - self.capacity // 2
        spilled = await self._schedule(surplus, self._clock.now(), _SPILLED)
        if spilled:
            self._crowding.spilled(self._clock.monotonic())
        return spilled

    async def _schedule(self, count: int, due: float, reason: Reason) -> int:
        """Moves so many new deliveries to the schedule; how many it took out of the queue."""
        count = min(count, self._queue.fresh, BATCH)
        if count <= 0:
            return 0
        if not self._may_spill(count):
            return self._end_expired()
        jobs = self._in_hand = self._queue.take_fresh(count)
        now = self._clock.now()
        for job in await self._render(jobs):
            if job.is_contested:
                self._queue.hold(job, self._clock.monotonic() + _HELD_LOOK_S)
            elif has_expired(job.expires_at, now):
                self._workers.end(job, Suppressed(EXPIRED))
            else:
                self._workers.end(job, Scheduled(due, reason))
        self._in_hand = ()
        self._count.spilled(count)
        return count

    def _end_expired(self) -> int:
        """Ends what has had its time where it stands, for it can't go anywhere; how many."""
        expired = self._queue.take_expired(self._clock.now())
        for job in expired:
            if job.is_contested:
                self._queue.hold(job, self._clock.monotonic() + _HELD_LOOK_S)
            else:
                self._workers.end(job, Suppressed(EXPIRED))
        return len(expired)


def _may_be_marked(job: Job, claim: Claim) -> bool:
    """An event may have ended it: the ledger says so, or did not look, as it was claimed before."""
    was_claimed = job.is_contested and isinstance(claim, Granted | Doubtful)
    return was_claimed or isinstance(claim, Cancelled)
