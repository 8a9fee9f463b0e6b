"""Fallbacks as ledger rows: written in the transaction of the settlement that starts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from router.delivery.dead_letters import dead_letter_row
from router.delivery.job import Job, event_hash, job_of, render_job
from router.ledger import Row, State
from router.messages import Reason
from router.planning import GONE, UNREACHABLE, Cause, Delivery, Ruleset
from router.planning.policies import OPTED_OUT

NOT_NEEDED = Reason("not_needed", "the delivery it stood in for arrived")


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
    causes: frozenset[Cause] | None = None,
) -> list[Row]:
    """The rows of fallbacks that wait for a delivery's end; the job notes their keys, of those
    that do not wait too: the ledger may have a row of another day that does.

    Where one is unreachable, those that stand in for it wait in its place, for its causes. One
    that can't be rendered is tried again when it starts.
    """
    rows: list[Row] = []
    for fallback in fallbacks:
        starts_on = causes or fallback.step.causes
        if fallback.barred is not None:
            rows.append(suppressed_row(fallback, fallback.barred))
            rows += waiting_rows(job, unreachable_starts(fallback), rules, now, starts_on)
            continue
        waiting = job_of(fallback, rules, None)
        render_job(waiting, now)
        followers = waiting_rows(waiting, fallback.fallbacks, rules, now)
        row = replace(
            waiting.row(State.WAITING, reason=Reason("fallback"), with_blob=True),
            wait_on=job.family,
            waits_for=job.siblings,
            starts_on=tuple(sorted(starts_on)),
        )
        rows += [row, *followers]
    job.waiting = tuple(row.key for row in rows)
    return rows


def unneeded_rows(fallbacks: Sequence[Delivery]) -> list[Row]:
    """The rows of fallbacks, and of theirs, that nothing will start any more."""
    rows: list[Row] = []
    for fallback in fallbacks:
        rows += [suppressed_row(fallback, NOT_NEEDED), *unneeded_rows(fallback.fallbacks)]
    return rows


def unreachable_starts(delivery: Delivery) -> list[Delivery]:
    """The fallbacks that start because this delivery has no address, or a dead one, or is not
    wanted; none if it can be sent. Of several devices the last to fail starts them, not each."""
    if delivery.barred is OPTED_OUT and delivery.siblings == 1:
        return [f for f in delivery.fallbacks if Cause.OPTED_OUT in f.step.causes]
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
