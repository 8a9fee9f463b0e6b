"""A lane's claims: which deliveries the ledger lets go, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from router.clock import Clock
from router.delivery.cancelling import ended
from router.delivery.job import Job, unpack
from router.delivery.queue import Queue
from router.delivery.rendering import has_message
from router.delivery.sending import Workers
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
from router.messages import Reason
from router.planning import Dead, Scheduled, Suppressed, barred
from router.telemetry import Metrics

LOOK_AGAIN_S = 1.0
"""What somebody else has is looked at again after so long at most."""

_SOON_S = 0.05
_DOWN_S = 0.5


@final
class Claims:
    """Claims what waits in a lane's queue, in batches: no ledger call is made for one delivery."""

    def __init__(
        self,
        sink: str,
        queue: Queue,
        workers: Workers,
        settler: Settler,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._sink = sink
        self._queue = queue
        self._workers = workers
        self._settler = settler
        self._clock = clock
        self._metrics = metrics
        self._count = metrics.sink(sink)

    async def claim(self, jobs: list[Job]) -> list[Job]:
        """Claims deliveries that are in hand.

        Returns:
            Those to be sent now; the others are back in the queue, or have ended.
        """
        ledger, lease_s = self._settler.ledger, self._workers.lease_s
        if not ledger.may_take_over(lease_s):
            for job in [job for job in jobs if job.is_contested]:
                self._queue.hold(job, self._clock.monotonic() + LOOK_AGAIN_S)
            jobs = [job for job in jobs if not job.is_contested]
        if not jobs:
            return []
        await self._write_order(jobs)
        asked = self._clock.monotonic()
        try:
            await self._give_back_unheard(jobs)
            claims = await ledger.claim([job.row(State.CLAIMED) for job in jobs], lease_s)
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
            self._queue.in_hand = ()
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

    async def _take_over(self, jobs: Sequence[Job]) -> None:
        """What others have left in doubt may have been scheduled before, and goes on from there."""
        if not jobs:
            return
        rows = await self._settler.ledger.lookup([job.key for job in jobs])
        for job, row in zip(jobs, rows, strict=True):
            if row is not None and row.blob is not None:
                job.take_over(unpack(row))

    def _is_ours(self, job: Job, claim: Claim, end: Suppressed | None, asked: float) -> bool:
        """Whether a claim lets the delivery go; if not, what becomes of it.

        Args:
            end: What an event makes of it.
            asked: When the claim was asked for, on the monotonic clock.
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
                wait = min(LOOK_AGAIN_S, _SOON_S * 2**job.looks, claim.until - self._clock.now())
                job.is_contested, job.looks = True, min(job.looks + 1, 10)
                self._queue.hold(job, self._clock.monotonic() + max(0.0, wait) + _SOON_S)
            case Done():
                self._metrics.route(job.route).sink(self._sink).duplicate()
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
        return has_message(job, self._workers, self._clock)

    def _is_looked_at_again(self, job: Job, end: Suppressed | None) -> bool:
        """What had to be claimed first has waited for that: much may have changed meanwhile."""
        if end is not None:
            self._workers.end(job, end)
        else:
            self._queue.put_resumed(job)
        return False


def _may_be_marked(job: Job, claim: Claim) -> bool:
    """An event may have ended it: the ledger says so, or did not look, as it was claimed before."""
    was_claimed = job.is_contested and isinstance(claim, Granted | Doubtful)
    return was_claimed or isinstance(claim, Cancelled)
