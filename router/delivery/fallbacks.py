"""Fallbacks as ledger rows: written in the transaction of the settlement that starts them.

One that does not start at once waits as a row on its primary's family: a failure of the primary
starts it there, its arrival ends it. One that may start without either, because its primary is
not settled in time or was not seen, has a ``due`` besides; what happens then is told in
``unsettled``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from router.delivery.cancelling import CANCELLED
from router.delivery.dead_letters import dead_letter_row
from router.delivery.holds import HOLDS
from router.delivery.job import Job, event_hash, job_of, render_job
from router.ledger import UNSEEN, Row, State, Waiters
from router.messages import Reason
from router.planning import (
    GONE,
    UNREACHABLE,
    Arrived,
    Cause,
    Dead,
    Delivery,
    Ruleset,
    Scheduled,
    Settlement,
    Suppressed,
)
from router.planning.policies import is_of_step

NOT_NEEDED = Reason("not_needed", "the delivery it stood in for arrived")


@dataclass(frozen=True, slots=True)
class Effect:
    """What the end of a delivery, or its first wait, means for its fallbacks.

    Attributes:
        rows: To be written with it.
        waiters, dropped_as: See :class:`router.ledger.Settle`.
    """

    rows: tuple[Row, ...] = ()
    waiters: Waiters = "keep"
    dropped_as: Reason | None = None


@dataclass(frozen=True, slots=True)
class _Terms:
    """When a fallback starts: its own terms, or those of an unreachable one whose place it takes.

    Attributes:
        primaries: Keys of what it waits for.
        marks: Where the mark is of the event that makes it pointless.
    """

    causes: frozenset[Cause]
    after: float | None
    is_unless: bool
    primaries: tuple[bytes, ...]
    marks: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, fallback: Delivery) -> _Terms:
        step = fallback.step
        marks = tuple(mark for mark in fallback.cancel_scopes if is_of_step(mark[0]))
        return cls(step.causes, step.after, step.unless is not None, fallback.primaries, marks)

    @property
    def starts_on(self) -> tuple[str, ...]:
        causes: set[str] = {str(cause) for cause in self.causes}
        if self.after is not None and Cause.UNSETTLED in self.causes:
            causes.add(after_cause(self.after))
        if self.is_unless:
            causes.add(UNSEEN)
        return tuple(sorted(causes))

    def due(self, release: float, expires_at: float | None) -> float | None:
        """When it starts by itself, if its primary is free to go from ``release`` on."""
        if not self.is_unless and (self.after is None or Cause.UNSETTLED not in self.causes):
            return None
        due = release + (self.after or 0.0)
        return due if expires_at is None else min(due, expires_at)

    def apply(self, job: Job) -> None:
        """The job of a fallback on these terms."""
        job.after, job.is_unless, job.primaries = self.after, self.is_unless, self.primaries
        job.cancel_scopes = tuple(dict.fromkeys((*job.cancel_scopes, *self.marks)))


def after_cause(after: float) -> str:
    """What starts the fallbacks that wait so long for an unsettled primary, and no others."""
    return f"{Cause.UNSETTLED}:{after:g}"


# What settlements do -------------------------------------------------------------------------


def effect(job: Job, settlement: Settlement, now: float) -> Effect:
    """What a settlement of a delivery means for its fallbacks."""
    match settlement:
        case Arrived():
            return _after_arrival(job, now)
        case Scheduled():
            is_held = settlement.reason.code in HOLDS
            return Effect(_first_wait(job, now, settlement.due if is_held else now))
        case Suppressed() | Dead() if settlement.causes:
            return _after_failure(job, settlement.causes, now)
        case Suppressed():
            is_cancelled = settlement.reason.code == CANCELLED.code
            return _unneeded(job, settlement.reason if is_cancelled else None)
        case Dead():
            return _unneeded(job, None)


def _first_wait(job: Job, now: float, release: float) -> tuple[Row, ...]:
    """Fallbacks of a fresh delivery that could not end at once wait in the ledger."""
    if job.delivery is None or job.rules is None:
        return ()
    return tuple(waiting_rows(job, job.delivery.fallbacks, job.rules, now, release=release))


def _after_arrival(job: Job, now: float) -> Effect:
    """What waits is dropped, but for what waits for the message to be seen."""
    if job.delivery is None or job.rules is None:
        return _unneeded(job, None)
    fallbacks = job.delivery.fallbacks
    others = [f for f in fallbacks if f.step.unless is None]
    dropped = _unneeded(job, None, others)
    watching = [f for f in fallbacks if f.step.unless is not None]
    if not watching:
        return dropped
    return replace(dropped, rows=(*dropped.rows, *waiting_rows(job, watching, job.rules, now)))


def _unneeded(
    job: Job, reason: Reason | None, fallbacks: Sequence[Delivery] | None = None
) -> Effect:
    """Fallbacks that wait are dropped; of several devices, one is enough to drop them all, also
    those that another one would only have put there."""
    if job.siblings == 1:
        return Effect((), "drop" if job.waiting else "keep", reason)
    if fallbacks is None:
        fallbacks = job.delivery.fallbacks if job.delivery else ()
    return Effect(tuple(unneeded_rows(fallbacks, reason or NOT_NEEDED)), "drop", reason)


def _after_failure(job: Job, causes: frozenset[Cause], now: float) -> Effect:
    """What a failed delivery starts: new rows, or those that wait in the ledger."""
    if job.delivery is None or job.rules is None:
        return Effect((), "start" if job.waiting else "keep")
    if job.siblings > 1:
        return Effect(_first_wait(job, now, now), "start")
    started = [f for f in job.delivery.fallbacks if f.step.causes & causes]
    return Effect(tuple(row for f in started for row in started_rows(f, job.rules, now)))


# Rows ----------------------------------------------------------------------------------------


def started_rows(fallback: Delivery, rules: Ruleset, now: float) -> list[Row]:
    """The rows of a fallback that starts now: due at once, or ended where it can't be sent.

    One that is unreachable itself starts its own fallbacks; one that can be sent leaves them
    waiting.
    """
    if fallback.barred is not None:
        rows = [suppressed_row(fallback, fallback.barred)]
        for follower in unreachable_starts(fallback):
            rows += started_rows(follower, rules, now)
        return rows
    job = job_of(fallback, rules, None)
    if reason := render_job(job, now):
        dead = job.row(State.DEAD, reason=reason, with_blob=True)
        return [dead, dead_letter_row(job, reason, now)]
    followers = waiting_rows(job, fallback.fallbacks, rules, now)
    row = job.row(State.SCHEDULED, reason=Reason("fallback"), due=now, with_blob=True)
    return [row, *followers]


def waiting_rows(
    job: Job,
    fallbacks: Iterable[Delivery],
    rules: Ruleset,
    now: float,
    *,
    release: float | None = None,
    terms: _Terms | None = None,
) -> list[Row]:
    """The rows of fallbacks that wait for a delivery's end; the job notes their keys, of those
    that do not wait too: the ledger may have a row of another day that does.

    Where one is unreachable, those that stand in for it wait in its place, on its terms. One
    that can't be rendered is tried again when it starts.

    Args:
        release: When the delivery is free to go, seconds since the epoch; None now. Of one that
            waits itself that is a guess: when their time has come, it is looked at again.
    """
    rows: list[Row] = []
    for fallback in fallbacks:
        on = terms or _Terms.of(fallback)
        if fallback.barred is not None:
            rows.append(suppressed_row(fallback, fallback.barred))
            followers = unreachable_starts(fallback)
            rows += waiting_rows(job, followers, rules, now, release=release, terms=on)
            continue
        waiting = job_of(fallback, rules, None)
        on.apply(waiting)
        render_job(waiting, now)
        due = on.due(now if release is None else release, waiting.expires_at)
        followers = waiting_rows(waiting, fallback.fallbacks, rules, now, release=due)
        row = replace(
            waiting.row(State.WAITING, reason=Reason("fallback"), due=due, with_blob=True),
            wait_on=job.family,
            waits_for=job.siblings,
            starts_on=on.starts_on,
        )
        rows += [row, *followers]
    job.waiting = tuple(row.key for row in rows)
    return rows


def unneeded_rows(fallbacks: Sequence[Delivery], reason: Reason = NOT_NEEDED) -> list[Row]:
    """The rows of fallbacks, and of theirs, that nothing will start any more."""
    rows: list[Row] = []
    for fallback in fallbacks:
        rows += [suppressed_row(fallback, reason), *unneeded_rows(fallback.fallbacks, reason)]
    return rows


def unreachable_starts(delivery: Delivery) -> list[Delivery]:
    """The fallbacks that start because this delivery has no address, or a dead one; none if it
    has one. Of several devices the last to fail starts them, not each."""
    is_dead = delivery.barred is GONE and delivery.siblings == 1
    if delivery.barred is not UNREACHABLE and not is_dead:
        return []
    return [f for f in delivery.fallbacks if Cause.UNREACHABLE in f.step.causes]


def suppressed_row(delivery: Delivery, reason: Reason) -> Row:
    """The row of a delivery that is never attempted."""
    return Row(
        key=delivery.key,
        state=State.SUPPRESSED,
        sink=delivery.step.sink,
        expires_at=delivery.expires_at,
        family=delivery.family,
        event_time=delivery.event.time,
        event_hash=event_hash(delivery.event),
        position=delivery.event.record.position,
        reason=reason,
    )
