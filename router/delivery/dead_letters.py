"""Dead letters: durably recorded as ledger rows first, then published from there.

A dead-letter topic that is down therefore blocks nothing and loses nothing.
"""

from __future__ import annotations

from typing import TypeAlias

from router.delivery.job import Job
from router.delivery.outbox import Publishes
from router.events import DeadLetter, Record, dead_letter_to_line
from router.ledger import Kind, Row, State
from router.messages import Reason
from router.planning import derived_key, record_hash

DEAD_LETTERS = "@dead-letters"
"""The internal sink that dead letters leave through."""

Publisher: TypeAlias = Publishes[DeadLetter]
"""Where dead letters go: a topic, or a file."""


def dead_letter_row(job: Job, reason: Reason, now: float) -> Row:
    """The dead letter of a delivery. Each time it dies it is a new one."""
    letter = DeadLetter(
        record=job.record,
        reason=reason,
        stage="render" if job.message is None else "send",
        route=job.route,
        step=job.step,
        sink=job.sink,
        delivery_key=job.key,
        attempts=job.attempts,
        identity=job.identity,
        at=now,
        hop=job.hop,
        tenant=job.tenant or None,
    )
    return _row(derived_key(job.key, f"dead-letter:{job.epoch}"), letter, job.event_time)


def event_dead_letter_row(
    record: Record,
    reason: Reason,
    now: float,
    *,
    stage: str,
    identity: str | None = None,
    route: str | None = None,
    member: str = "",
    hop: int = 0,
    tenant: str = "",
) -> Row:
    """The dead letter of an event, or of one of its routes or recipients."""
    letter = DeadLetter(
        record=record,
        reason=reason,
        stage=stage,
        route=route,
        step=None,
        sink=None,
        delivery_key=None,
        attempts=0,
        identity=identity,
        at=now,
        hop=hop,
        tenant=tenant or None,
    )
    base = record_hash(record.position, record.timestamp)
    return _row(derived_key(base, f"dead:{hop}:{route or ''}:{member}"), letter, record.timestamp)


def _row(key: bytes, letter: DeadLetter, event_time: float) -> Row:
    return Row(
        key=key,
        kind=Kind.DEAD_LETTER,
        state=State.SCHEDULED,
        sink=DEAD_LETTERS,
        due=letter.at,
        event_time=event_time,
        position=letter.record.position,
        reason=letter.reason,
        blob=dead_letter_to_line(letter),
    )
