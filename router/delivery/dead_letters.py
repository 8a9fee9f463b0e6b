"""Dead letters: durably recorded as ledger rows first, then published from there.

A dead-letter topic that is down therefore blocks nothing and loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Protocol, final

from router.clock import Clock
from router.delivery.job import Job
from router.delivery.stages import Stage, reached
from router.events import (
    DeadLetter,
    Record,
    dead_letter_from_line,
    dead_letter_to_line,
)
from router.ledger import Kind, Row, State
from router.messages import Reason
from router.planning import Waits, backoff, derived_key, record_hash

log = logging.getLogger("router.delivery")

DEAD_LETTERS = "@dead-letters"
"""The internal sink that dead letters leave through."""

_WAITS = Waits(first=1.0, factor=2.0, cap=60.0, give_up=float("inf"))
_ALONE_AFTER = 3
_GIVES_UP_AFTER = 3


class PublishFailed(Exception):
    """Dead letters could not be published; they stay in the ledger."""


class Publisher(Protocol):
    """Where dead letters go: a topic, or a file."""

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Returns once all are durable there.

        Raises:
            PublishFailed: some may not be.
        """
        ...


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


@final
class Outbox:
    """Publishes dead letters that came out of the schedule."""

    def __init__(self, publisher: Publisher, clock: Clock, random: Random) -> None:
        self._publisher = publisher
        self._clock = clock
        self._random = random

    async def publish(self, rows: Sequence[Row]) -> list[Row]:
        """The rows as they shall stand now: delivered, or due again later.

        One that has failed before goes alone, so that a letter that is never taken does not
        keep back those that happen to be due with it.
        """
        done = await self._together([row for row in rows if row.attempts < _ALONE_AFTER])
        alone = [row for row in rows if row.attempts >= _ALONE_AFTER]
        failures = 0
        while alone and failures < _GIVES_UP_AFTER:
            ended = await self._together([alone.pop(0)])
            failures = failures + 1 if ended[0].state is State.SCHEDULED else 0
            done += ended
        return done + [self._later(row) for row in alone]

    async def _together(self, rows: Sequence[Row]) -> list[Row]:
        if not rows:
            return []
        try:
            await self._publisher.publish(
                [dead_letter_from_line(row.blob) for row in rows if row.blob is not None]
            )
        except PublishFailed as error:
            log.warning("%d dead letters wait, they could not be published: %s", len(rows), error)
            return [self._later(row) for row in rows]
        reached(Stage.PUBLISHED)
        return [replace(row, state=State.DELIVERED, blob=None) for row in rows]

    def _later(self, row: Row) -> Row:
        attempts = row.attempts + 1
        due = self._clock.now() + backoff(attempts, _WAITS, self._random.random())
        return replace(row, state=State.SCHEDULED, attempts=attempts, due=due)
