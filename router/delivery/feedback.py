"""What became of deliveries, for others to know: as ledger rows, in the write that ends each.

A fallback that nobody needed is no news, and most of them end in the ledger with their primary's
arrival: of those nothing is reported.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, final

from router.clock import Clock
from router.delivery.fallbacks import NOT_NEEDED
from router.delivery.job import Job
from router.delivery.outbox import Publishes
from router.events import Feedback, FeedbackType, feedback_to_line
from router.ledger import Kind, Row, State
from router.planning import (
    GONE,
    Arrived,
    Cause,
    Dead,
    Scheduled,
    Settlement,
    Suppressed,
    derived_key,
)
from router.telemetry import Metrics

FEEDBACK: Final = "@feedback"
"""The internal sink that feedback leaves through."""


@dataclass(frozen=True, slots=True)
class Reporting:
    """Who hears of what.

    Attributes:
        events: The ends that are reported.
        max_waiting: So many rows may wait to be published; past them ``delivered`` is dropped,
            the rest never is.
    """

    publisher: Publishes[Feedback]
    events: Collection[FeedbackType]
    max_waiting: int


@final
class Reporter:
    """Makes the feedback rows of deliveries that end."""

    def __init__(
        self, events: Collection[FeedbackType], max_waiting: int, clock: Clock, metrics: Metrics
    ) -> None:
        self._metrics = metrics
        self._events = frozenset(events)
        self._max_waiting = max_waiting
        self._waiting = 0
        self._clock = clock

    def look(self, waiting: int) -> None:
        """How many rows wait in the ledger, from time to time."""
        self._waiting = waiting

    def rows(self, job: Job, settlement: Settlement) -> tuple[Row, ...]:
        """The row that reports an end; none where nobody wants to hear of it."""
        type = _type(settlement)
        if type is None or type not in self._events:
            return ()
        if type == "delivered" and self._waiting >= self._max_waiting:
            self._metrics.feedback_dropped()
            return ()
        self._waiting += 1
        return (_row(job, type, settlement, self._clock.now()),)


def _type(settlement: Settlement) -> FeedbackType | None:
    match settlement:
        case Arrived():
            return "delivered"
        case Suppressed() if settlement.reason.code == NOT_NEEDED.code:
            return None
        case Suppressed():
            return "recipient_gone" if settlement.reason.code == GONE.code else "suppressed"
        case Dead():
            return "rejected" if Cause.REJECTED in settlement.causes else "dead"
        case Scheduled():
            return None


def _row(job: Job, type: FeedbackType, settlement: Settlement, now: float) -> Row:
    key = derived_key(job.key, f"feedback:{job.epoch}")
    feedback = Feedback(
        key.hex(), type, now, job.recipient or None, _facts(job, type, settlement), job.traceparent
    )
    return Row(
        key=key,
        kind=Kind.FEEDBACK,
        state=State.SCHEDULED,
        sink=FEEDBACK,
        due=now,
        event_time=job.event_time,
        position=job.position,
        blob=feedback_to_line(feedback),
    )


def _facts(job: Job, type: FeedbackType, settlement: Settlement) -> dict[str, Any]:
    """The address is named only where it is dead: whoever keeps it has to forget it."""
    reason = settlement.reason
    facts: dict[str, Any] = {
        "delivery": job.key.hex(),
        "event": {"identity": job.identity, "type": job.event_type, "position": job.position},
        "tenant": job.tenant or None,
        "route": job.route,
        "step": job.step,
        "sink": job.sink,
        "attempts": job.attempts,
        "reason": {"code": reason.code, "text": reason.text} if reason else None,
        "device": job.target.id,
    }
    if type == "recipient_gone":
        facts["address"] = {"kind": job.target.kind, "value": job.target.address}
    return facts
