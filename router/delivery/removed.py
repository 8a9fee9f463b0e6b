"""Deliveries that wait for a sink which is not configured any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from router.delivery.job import Job
from router.messages import Reason
from router.planning import SINK_REMOVED, Dead, Removal, Scheduled

NO_SINK: Final = Reason("no_sink", "the sink is gone")
_MOVED: Final = Reason("moved", "its sink was taken out, another one sends it")


def without_sink(
    job: Job, removed: Mapping[str, Removal], now: float, due: float | None = None
) -> Scheduled | Dead:
    """What becomes of a delivery whose sink is gone; one that is moved belongs to the other sink.

    It keeps its key, and with it what was done for it: nothing is sent twice. Where nothing is
    said of its sink it is due at once, and parked: nobody looks at it before a sink of that name
    is there again.

    Args:
        due: When it was to be sent: of what is moved, the first goes first.
    """
    removal = removed.get(job.sink)
    if removal is None:
        return Scheduled(now, NO_SINK)
    if removal.to is None:
        return Dead(SINK_REMOVED)
    if not removal.takes(job.channel, job.target):
        reason = f"{SINK_REMOVED.text}, and {removal.to.name} can't send it"
        return Dead(Reason(SINK_REMOVED.code, reason))
    job.sink = removal.to.name
    return Scheduled(now if due is None else min(due, now), _MOVED)
