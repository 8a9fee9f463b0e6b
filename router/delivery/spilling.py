"""A lane's way to the schedule, for what can't be sent while it waits here."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from router.clock import Clock
from router.delivery.claiming import LOOK_AGAIN_S
from router.delivery.crowding import SPILL_AFTER_S
from router.delivery.job import Job
from router.delivery.queue import Queue
from router.delivery.rendering import render_all
from router.delivery.sending import BATCH, Workers
from router.messages import Reason
from router.planning import EXPIRED, Scheduled, Suppressed, has_expired
from router.telemetry import SinkMetrics

_SPILLED = Reason("spilled", "the lane is full")


@final
class Spilling:
    """Moves deliveries out of a lane's queue, within the budget for that.

    Args:
        may_spill: Asks the budget for so many rows; False once it is used up.
    """

    def __init__(
        self,
        queue: Queue,
        workers: Workers,
        clock: Clock,
        count: SinkMetrics,
        may_spill: Callable[[int], bool],
    ) -> None:
        self._queue = queue
        self._workers = workers
        self._clock = clock
        self._count = count
        self._may_spill = may_spill

    async def hold_back(self, until: float, reason: Reason) -> int:
        """Nothing may go: what waits here goes to the schedule, a batch at a time.

        It is due at once there, and taken out in its order as soon as the lane is open: by
        whatever opens it, which may be sooner than ``until``.

        Returns:
            How many it took out of the queue.
        """
        resumed, now = self._queue.take_resumed(), self._clock.now()
        for job in resumed:
            self._workers.end(job, Scheduled(now, reason))
        if until - now <= SPILL_AFTER_S:
            return len(resumed)
        return len(resumed) + await self._schedule(BATCH, reason)

    async def spill(self, surplus: int) -> int:
        """Moves so many new deliveries, a batch at most; how many it took out of the queue."""
        return await self._schedule(surplus, _SPILLED)

    async def _schedule(self, count: int, reason: Reason) -> int:
        count = min(count, self._queue.fresh, BATCH)
        if count <= 0:
            return 0
        if not self._may_spill(count):
            return self._end_expired()
        jobs = self._queue.in_hand = self._queue.take_fresh(count)
        now = self._clock.now()
        for job in await render_all(jobs, self._workers, self._clock):
            if job.is_contested:
                self._look_again(job)
            elif has_expired(job.expires_at, now):
                self._workers.end(job, Suppressed(EXPIRED))
            else:
                self._workers.end(job, Scheduled(now, reason))
        self._queue.in_hand = ()
        self._count.spilled(count)
        return count

    def _end_expired(self) -> int:
        """Ends what has had its time where it stands, for it can't go anywhere; how many."""
        expired = self._queue.take_expired(self._clock.now())
        for job in expired:
            if job.is_contested:
                self._look_again(job)
            else:
                self._workers.end(job, Suppressed(EXPIRED))
        return len(expired)

    def _look_again(self, job: Job) -> None:
        """Somebody else has it: only a claim can tell what becomes of it."""
        self._queue.hold(job, self._clock.monotonic() + LOOK_AGAIN_S)
