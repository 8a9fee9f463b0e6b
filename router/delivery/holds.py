"""What a delivery has to wait for before it may be sent, however often it is looked at."""

from __future__ import annotations

from router.delivery.job import Job
from router.messages import Reason
from router.planning import EXPIRED, Scheduled, Suppressed
from router.planning.policies import quiet_until

DELAYED = Reason("delay", "the route waits before it sends")
QUIET = Reason("quiet_hours", "the recipient has quiet hours")
HOLDS = frozenset({DELAYED.code, QUIET.code})
"""Codes of the reasons for which a delivery is kept although it could be sent."""


def held(job: Job, now: float) -> Scheduled | Suppressed | None:
    """Until when a delivery is kept, or that it is not sent at all; None: it is free to go.

    Args:
        now: Seconds since the epoch.
    """
    until, reason = job.not_before, DELAYED
    if until is None or until <= now:
        until = None
    if job.quiet_hours is not None:
        ends = quiet_until(job.quiet_hours, now if until is None else until)
        if ends is not None:
            if job.quiet_hours.then == "suppress":
                return Suppressed(QUIET)
            until, reason = ends, QUIET
    if until is None:
        return None
    if job.expires_at is not None and until >= job.expires_at:
        return Suppressed(EXPIRED)
    return Scheduled(until, reason)
