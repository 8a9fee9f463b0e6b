"""Fallbacks as ledger rows: written in the transaction of the settlement that starts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from router.delivery.dead_letters import dead_letter_row
from router.delivery.job import Job, event_hash, job_of
from router.ledger import Row, State
from router.messages import Reason
from router.planning import UNREACHABLE, Cause, Delivery, Ruleset, render
from router.templating import RenderError


def started_rows(fallback: Delivery, rules: Ruleset, now: float) -> list[Row]:
    """The rows of a fallback that starts now: due at once, or ended where it can't be sent.

    One that is unreachable itself starts its own fallbacks; one that can be sent leaves them
    waiting.
    """
    if fallback.barred is not None or fallback.target is None:
        reason = fallback.barred or UNREACHABLE
        rows = [suppressed_row(fallback, reason)]
        if reason is UNREACHABLE:
            for follower in fallback.fallbacks:
                if Cause.UNREACHABLE in follower.step.causes:
                    rows += started_rows(follower, rules, now)
        return rows
    job = job_of(fallback, rules, None)
    try:
        job.message = render(fallback, rules.templates, now)
    except RenderError as error:
        reason = Reason("render_failed", str(error))
        dead = job.row(State.DEAD, reason=reason, with_blob=True)
        return [dead, dead_letter_row(job, reason, now, stage="render")]
    followers = waiting_rows(job, fallback.fallbacks, rules, now)
    job.waiting = tuple(row.sink for row in followers if row.wait_on == job.family)
    row = job.row(State.SCHEDULED, reason=Reason("fallback"), due=now, with_blob=True)
    return [row, *followers]


def waiting_rows(job: Job, fallbacks: Sequence[Delivery], rules: Ruleset, now: float) -> list[Row]:
    """The rows of fallbacks that wait for a delivery's end."""
    rows: list[Row] = []
    for fallback in fallbacks:
        first, *others = started_rows(fallback, rules, now)
        if first.state is State.SCHEDULED:
            first = replace(
                first,
                state=State.WAITING,
                due=None,
                wait_on=job.family,
                waits_for=job.siblings,
                starts_on=tuple(fallback.step.causes),
            )
        rows += [first, *others]
    return rows


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
