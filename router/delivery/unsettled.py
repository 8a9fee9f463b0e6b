"""What becomes of a waiting fallback when its time has come without an end of its primary.

A person is not told twice: the primary is ended first, and the fallback is sent only once that is
written. The end names the epoch under which the primary was found, so that a claim made meanwhile
wins. A primary under way is awaited to the end of its claim, which may bring its arrival; so is one
that a rule still holds back, and one that has not started itself. What can't be known is whether a
broken attempt arrived: a fallback is sent also after a primary that is in doubt, and may then be
the second message.

The fallbacks that wait equally long for one primary start together. Once one has started, those
that would have waited longer end with the primary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from router.delivery.fallbacks import NOT_NEEDED, after_cause
from router.delivery.holds import HOLDS
from router.delivery.job import Job
from router.ledger import Row, State
from router.messages import Reason
from router.planning import GONE, UNREACHABLE

_SHORTEST_S = 0.05
_SLACK = 0.05
_IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Start:
    """It is sent now."""


@dataclass(frozen=True, slots=True)
class End:
    """It is never sent."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Wait:
    """It is looked at again then, seconds since the epoch."""

    until: float


@dataclass(frozen=True, slots=True)
class Supersede:
    """Its open primaries are ended, and then it is looked at again at once."""


Verdict: TypeAlias = Start | End | Wait | Supersede


def superseded(after: float) -> Reason:
    """Why a primary ends whose fallback starts after so many seconds."""
    return Reason("superseded", f"not settled after {after:g}s, its fallback is sent")


def is_to_be_judged(row: Row, job: Job) -> bool:
    """Whether nothing but its own time has started a fallback that came out of the schedule."""
    return bool(job.primaries) and row.waits_for > 0


def judge(
    job: Job, starts_on: Sequence[str], known: Mapping[bytes, Row | None], now: float
) -> Verdict:
    """What to do with a fallback whose time has come.

    Args:
        starts_on: Of its row.
        known: What the ledger has of its primaries.
    """
    rows = [row for key in job.primaries if (row := known.get(key)) is not None]
    after = job.after or 0.0
    arrived = [row.updated for row in rows if row.state is State.DELIVERED]
    if arrived and not job.is_unless:
        return End(NOT_NEEDED)
    if arrived:
        return _until(max(arrived) + after, job, now) or Start()
    open_rows = [row for row in rows if not row.state.is_final]
    if not open_rows and (len(rows) == len(job.primaries) or not rows):
        return Start() if all(_has_failed(row, after) for row in rows) else End(NOT_NEEDED)
    under_way = [row.lease_until or 0.0 for row in open_rows if _is_under_way(row, now)]
    if under_way:
        return Wait(max(*under_way, now + _SHORTEST_S))
    released = max((_release(row, now) for row in open_rows), default=now - after)
    if wait := _until(released + after, job, now):
        return wait
    if after_cause(after) not in starts_on:
        return _wait(now + max(after, _SHORTEST_S), job)
    return Supersede()


def _until(at: float, job: Job, now: float) -> Wait | None:
    """A wait, unless it is so short beside the whole that clocks may differ by as much."""
    if at - now <= max(_SHORTEST_S, _SLACK * (job.after or 0.0)):
        return None
    return _wait(at, job)


def _wait(at: float, job: Job) -> Wait:
    """It ends in time where that is sooner."""
    return Wait(at if job.expires_at is None else min(at, job.expires_at))


def _release(row: Row, now: float) -> float:
    """From when on an open primary was free to go: seconds since the epoch; long ago, if it was so
    when its fallback began to wait."""
    due = now if row.due is None else row.due
    if row.state is State.WAITING:
        return max(due, now)
    if row.reason is not None and row.reason.code in HOLDS and due > now:
        return due
    if row.wait_on is not None:
        return due if row.first_at is None else row.first_at
    return float("-inf")


def _is_under_way(row: Row, now: float) -> bool:
    return row.state is State.CLAIMED and (row.lease_until or 0.0) > now


def _has_failed(row: Row, after: float) -> bool:
    """Whether a primary's end leaves its fallback something to do: one that may have arrived, or
    that a rule ended, does not."""
    code = row.reason.code if row.reason else ""
    if row.state is State.DEAD:
        return code != _IN_DOUBT
    return code in (GONE.code, UNREACHABLE.code) or row.reason == superseded(after)
