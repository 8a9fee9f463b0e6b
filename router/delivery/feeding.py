"""The feeder's round: what may go now is taken out of a lane's queue, rendered, claimed, handed on.

It looks at gates and takes rate tokens before it claims: nothing waits for a token while it holds
a claim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

from router.clock import Clock
from router.delivery.claiming import Claims
from router.delivery.crowding import Crowding
from router.delivery.gates import Gates
from router.delivery.holds import held
from router.delivery.job import Job
from router.delivery.queue import Queue
from router.delivery.rate import Bucket, Targets
from router.delivery.rendering import render_all
from router.delivery.sending import BATCH, TARGET_WAITS, Workers
from router.delivery.silences import Silences
from router.ledger import LedgerDown
from router.messages import Reason
from router.planning import EXPIRED, Settlement, Suppressed, has_expired
from router.telemetry import SinkMetrics

log = logging.getLogger("router.delivery")

_SHORT_S = 2.0
_DOWN_S = 0.5

_TARGET_RATE = Reason("target_rate", "one target's rate")


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
class Feeder:
    """Feeds a lane's workers from its queue.

    Args:
        bucket, targets: The rates of the sink, and of each target.
        may_spill: Asks the budget for so many rows; False once it is used up.
        on_withdrawn: Called with a delivery whose partition went to another replica.
    """

    def __init__(
        self,
        queue: Queue,
        workers: Workers,
        claims: Claims,
        gates: Gates,
        silences: Silences,
        crowding: Crowding,
        clock: Clock,
        count: SinkMetrics,
        *,
        bucket: Bucket | None,
        targets: Targets | None,
        may_spill: Callable[[int], bool],
        on_withdrawn: Callable[[Job], None],
    ) -> None:
        self._queue = queue
        self._workers = workers
        self._claims = claims
        self._gates = gates
        self._silences = silences
        self._crowding = crowding
        self._clock = clock
        self._count = count
        self._bucket = bucket
        self._targets = targets
        self._may_spill = may_spill
        self._withdrawn = on_withdrawn

    @property
    def room(self) -> int:
        """How many more the workers may be handed; what stands in line here is not with them."""
        return self._workers.room + self._queue.resumed

    async def feed(self, now: float) -> int:
        """One round; how many deliveries it took out of the queue."""
        is_probe = self._gates.wants_probe(now)
        chosen = await self._choose(1 if is_probe else self.room)
        if chosen.later or chosen.held:
            self._queue.in_hand = [job for job in chosen.taken if not job.epoch]
            for job, until, reason in chosen.later:
                await self._put_off(job, until, reason)
            for job, settlement in chosen.held:
                await self._keep(job, settlement)
            self._queue.in_hand = ()
        if chosen.go:
            self._crowding.went(len(chosen.go), self._clock.monotonic())
            if is_probe:
                self._gates.probe()
                self._count.breaker("half_open")
                self._workers.probe = chosen.go[0]
            await self._go(chosen.go)
            if is_probe and self._workers.probe not in self._workers.claimed:
                self._workers.probe_ended()
        return chosen.seen

    # Choose -------------------------------------------------------------------------------------

    async def _choose(self, room: int) -> _Chosen:
        """The next deliveries, new and resumed in turn, that may go now."""
        chosen = _Chosen()
        room = min(room, self._queue.ready, BATCH)
        in_hand = self._queue.in_hand = list[Job]()
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
            log.warning("rates can't be kept for sink %s: %s", self._gates.sink, error)
            self._put_back([*chosen.taken, *([job] if job else [])])
            self._queue.in_hand = ()
            await self._clock.sleep(_DOWN_S)
            return _Chosen()
        self._queue.in_hand = ()
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
        elif (until := self._gates.target_until(job.target.address, now)) is not None:
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

    # Later --------------------------------------------------------------------------------------

    async def _put_off(self, job: Job, until: float, reason: Reason) -> None:
        """A short wait is spent here while unclaimed, a long one in the schedule."""
        wait = until - self._clock.now()
        may_stay = job.epoch == 0 and job.order_scope is None
        if may_stay and (wait <= _SHORT_S or not self._may_spill(1)):
            self._queue.hold(job, self._clock.monotonic() + min(wait, _SHORT_S))
            return
        for ready in await render_all([job], self._workers, self._clock):
            self._workers.put_off(ready, until, reason)

    async def _keep(self, job: Job, settlement: Settlement) -> None:
        """What a rule keeps back goes to the schedule, whatever the budget for spilling says."""
        if isinstance(settlement, Suppressed):
            self._workers.end(job, settlement)
            return
        for ready in await render_all([job], self._workers, self._clock):
            self._workers.end(ready, settlement)

    # Now ----------------------------------------------------------------------------------------

    async def _go(self, jobs: Sequence[Job]) -> None:
        """Renders and claims, and hands to the workers what was granted."""
        self._workers.hand(job for job in jobs if job.epoch)
        self._queue.in_hand = [job for job in jobs if not job.epoch]
        rendered = await render_all(self._queue.in_hand, self._workers, self._clock)
        for job in rendered:
            if job.is_withdrawn:
                self._withdrawn(job)
        granted = await self._claims.claim([job for job in rendered if not job.is_withdrawn])
        self._queue.in_hand = ()
        self._workers.hand(granted)
