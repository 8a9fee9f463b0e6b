"""Messages that tell of digests: no event plans them, so that a replay revives them as they are."""

from __future__ import annotations

from collections.abc import Mapping

from router.delivery.hops import note_hops
from router.delivery.job import Job, unpack
from router.delivery.watched import WatchedLedger
from router.ledger import Kind, State
from router.planning import is_of_digest


async def revive_told(ledger: WatchedLedger, hops: Mapping[bytes, int], now: float) -> list[Job]:
    """Revives the dead messages of digests among these deliveries; those that were.

    Args:
        hops: How often each that replays ask for, and none of their events plans, has been
            replayed.

    Raises:
        LedgerDown: nobody knows which; revive them again.
    """
    if not hops:
        return []
    jobs = [
        job
        for row in await ledger.lookup(sorted(hops))
        if row is not None
        and row.kind is Kind.DELIVERY
        and row.state is State.DEAD
        and row.blob is not None
        and is_of_digest((job := unpack(row)).identity)
    ]
    await note_hops(ledger, {job.key: hops[job.key] for job in jobs}, now)
    answers = await ledger.reschedule([job.key for job in jobs], now)
    return [job for job, is_revived in zip(jobs, answers, strict=True) if is_revived]
