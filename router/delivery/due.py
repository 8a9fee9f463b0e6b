"""Deliveries that came out of the schedule: which of them go on to a lane, and what of the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from router.clock import Clock
from router.delivery.cancelling import ended
from router.delivery.gone import address_of
from router.delivery.holds import held
from router.delivery.hops import recall_hops
from router.delivery.input_rows import REPLAYED
from router.delivery.job import Job, unpack
from router.delivery.settling import Settler
from router.delivery.unsettled import End, Start, Supersede, Wait, is_to_be_judged, judge
from router.ledger import LedgerDown, Row, State
from router.messages import Reason
from router.planning import (
    EXPIRED,
    GONE,
    Dead,
    Scheduled,
    Suppressed,
    barred,
    has_expired,
)
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

_AGAIN_S = 1.0
_IN_DOUBT = Reason("in_doubt", "an earlier attempt broke off")


_Primaries: TypeAlias = Mapping[bytes, Row | None]


@dataclass(frozen=True, slots=True)
class _Due:
    """A row as it came, and what it says."""

    row: Row
    job: Job


@final
class DueDeliveries:
    """Looks at due rows, whole batches at a time, before they are sent.

    They may have become pointless while they waited: too late, cancelled, their address dead. One
    whose claim was left by a process that died is in doubt, and a fallback has to look at what it
    stands in for.
    """

    def __init__(self, settler: Settler, clock: Clock, metrics: Metrics) -> None:
        self._settler = settler
        self._ledger = settler.ledger
        self._clock = clock
        self._metrics = metrics

    async def sift(self, rows: Sequence[Row], asked: float) -> list[Job]:
        """Those that go on; the others are settled, or back in the schedule.

        Args:
            rows: Claimed by ``due``, which was asked at this monotonic time.
        """
        jobs = [self._resumed(row, asked) for row in rows]
        are_hops_known = await self._recall_hops(jobs)
        left = [due for due in jobs if self._is_in_time(due)]
        left = [due for due in left if self._may_be_sent_again(due)]
        if not are_hops_known:
            for due in left:
                self._give_back(due)
            return []
        try:
            left = await self._without_ended(left)
            left = await self._without_gone(left)
            return await self._without_waiting(left)
        except LedgerDown:
            for due in left:
                self._give_back(due)
            return []

    def expire(self, rows: Sequence[Row]) -> None:
        """Ends what has expired, whatever it waited for.

        Args:
            rows: Claimed by ``expired``.
        """
        for row in rows:
            self._settler.settle(self._resumed(row, 0.0).job, Suppressed(EXPIRED))

    def _resumed(self, row: Row, asked: float) -> _Due:
        job = unpack(row)
        job.claimed_at = asked
        self._metrics.route(job.route).sink(job.sink).resumed()
        return _Due(row, job)

    async def _recall_hops(self, dues: Sequence[_Due]) -> bool:
        try:
            await recall_hops(self._ledger, ((due.row, due.job) for due in dues))
        except LedgerDown:
            return False
        return True

    def _is_in_time(self, due: _Due) -> bool:
        if not has_expired(due.job.expires_at, self._clock.now()):
            return True
        if due.row.state is State.CLAIMED:
            self._count_doubt(due.job)
        self._settler.settle(due.job, Suppressed(EXPIRED))
        return False

    def _may_be_sent_again(self, due: _Due) -> bool:
        """An earlier claim has ended without an outcome: the step's rule decides."""
        job = due.job
        if due.row.state is not State.CLAIMED:
            return True
        self._count_doubt(job)
        job.is_repeat = True
        if job.in_doubt == "resend":
            return True
        self._settler.settle(job, Dead(_IN_DOUBT))
        return False

    def _count_doubt(self, job: Job) -> None:
        self._metrics.sink(job.sink).in_doubt()
        log.warning(
            "a delivery is in doubt, its claim ended without an outcome: %s",
            job.in_doubt,
            extra={"router": job.names},
        )

    async def _without_ended(self, dues: list[_Due]) -> list[_Due]:
        ends = await ended(self._ledger, [due.job for due in dues])
        for job, end in ends.items():
            self._settler.settle(job, end)
        return [due for due in dues if due.job not in ends]

    async def _without_gone(self, dues: list[_Due]) -> list[_Due]:
        """Another delivery may have found the address dead meanwhile."""
        gone = await self._settler.gone.among(
            (address_of(due.job), due.job.target) for due in dues if due.job.target.address
        )
        left: list[_Due] = []
        for due in dues:
            if address_of(due.job) in gone:
                due.job.barred = GONE
                self._settler.settle(due.job, barred(GONE))
            else:
                left.append(due)
        return left

    def _give_back(self, due: _Due) -> None:
        now = self._clock.now()
        if due.row.state is State.WAITING:
            self._settler.wait(due.job, now)
        else:
            self._settler.settle(due.job, Scheduled(now, due.row.reason or REPLAYED))

    # Fallbacks whose time has come --------------------------------------------------------------

    async def _without_waiting(self, dues: Sequence[_Due]) -> list[Job]:
        """Fallbacks are looked at twice where their primaries had to be ended before."""
        going: list[Job] = []
        asked: list[_Due] = []
        for due in dues:
            if is_to_be_judged(due.row, due.job):
                asked.append(due)
            else:
                going.append(due.job)
        for may_supersede in (True, False):
            try:
                primaries = await self._primaries(asked)
            except LedgerDown:
                for due in asked:
                    self._give_back(due)
                break
            asked = self._judge(asked, primaries, going, may_supersede=may_supersede)
            await self._end_first(asked, primaries)
        return going

    async def _primaries(self, dues: Iterable[_Due]) -> _Primaries:
        keys = list(dict.fromkeys(key for due in dues for key in due.job.primaries))
        rows = await self._ledger.lookup(keys) if keys else ()
        return dict(zip(keys, rows, strict=True))

    def _judge(
        self,
        dues: Sequence[_Due],
        primaries: _Primaries,
        going: list[Job],
        *,
        may_supersede: bool,
    ) -> list[_Due]:
        """Adds to what goes on; those whose primaries are to be ended first."""
        first: list[_Due] = []
        now = self._clock.now()
        for due in dues:
            job = due.job
            verdict = judge(job, due.row.starts_on, primaries, now)
            match verdict:
                case Start():
                    job.primaries = ()
                    going.append(job)
                case End():
                    self._settler.settle(job, Suppressed(verdict.reason))
                case Wait():
                    self._settler.wait(job, verdict.until)
                case Supersede() if not may_supersede:
                    self._settler.wait(job, now + _AGAIN_S)
                case Supersede():
                    # While it is held back itself, its primary may still make it.
                    kept = held(job, now)
                    if kept is None:
                        first.append(due)
                    elif isinstance(kept, Scheduled):
                        self._settler.wait(job, kept.due)
                    else:
                        self._settler.settle(job, kept)
        return first

    async def _end_first(self, dues: Sequence[_Due], primaries: _Primaries) -> None:
        """Ends what these fallbacks stand in for, and waits until that is written."""
        ended_here: set[bytes] = set()
        for due in sorted(dues, key=lambda due: due.job.after or 0.0):
            for key in due.job.primaries:
                row = primaries[key] or self._missing(key, due.job, primaries)
                if key not in ended_here and (primaries[key] is None or not row.state.is_final):
                    ended_here.add(key)
                    if row.state is State.CLAIMED:
                        self._metrics.sink(row.sink).in_doubt()
                    self._settler.supersede(row, due.job)
        if ended_here:
            await self._settler.flush()

    @staticmethod
    def _missing(key: bytes, job: Job, primaries: _Primaries) -> Row:
        """A device's row that its lane has not written yet; like those of the other devices."""
        (other, *_) = (row for k in job.primaries if (row := primaries[k]) is not None)
        return replace(
            other, key=key, state=State.SUPPRESSED, epoch=0, attempts=0, first_at=None, blob=None
        )
