"""What became of deliveries, for others to know: as ledger rows, in the write that ends each.

A fallback that nobody needed is no news, and most of them end in the ledger with their primary's
arrival: of those nothing is reported. Nor is it of an event that a digest told of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, final

from router.clock import Clock
from router.delivery.digest_rows import DigestHead
from router.delivery.fallbacks import NOT_NEEDED
from router.delivery.job import Job, unpack
from router.delivery.outbox import Publishes
from router.events import Event, Feedback, FeedbackType, feedback_to_line, source_and_id
from router.ledger import UNSEEN, Kind, Row, Settle, State
from router.messages import Target
from router.planning import (
    GONE,
    Arrived,
    Cause,
    Dead,
    Delivery,
    Member,
    Scheduled,
    Settlement,
    Suppressed,
    derived_key,
)
from router.telemetry import Metrics

FEEDBACK: Final = "@feedback"
"""The internal sink that feedback leaves through."""

Rows: TypeAlias = Mapping[bytes, Row | None]


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


@dataclass(frozen=True, slots=True)
class Subject:
    """What has ended: a delivery, or what a person was to be told of.

    Attributes:
        identity, event_type: Of its event; None where that can't be read any more.
        step, sink, target: None where no delivery was planned.
        epoch: Tells one end from another, where a dead delivery was replayed.
    """

    key: bytes
    identity: str | None
    event_type: str | None
    event_time: float
    position: str
    route: str
    recipient: str = ""
    tenant: str = ""
    step: str | None = None
    sink: str | None = None
    target: Target | None = None
    epoch: int = 0
    attempts: int = 0
    traceparent: str | None = None


def of_job(job: Job) -> Subject:
    """A delivery under way."""
    return Subject(
        key=job.key,
        identity=job.identity,
        event_type=job.event_type,
        event_time=job.event_time,
        position=job.position,
        route=job.route,
        recipient=job.recipient,
        tenant=job.tenant,
        step=job.step,
        sink=job.sink,
        target=job.target,
        epoch=job.epoch,
        attempts=job.attempts,
        traceparent=job.traceparent,
    )


def of_primary(row: Row, fallback: Job) -> Subject:
    """The delivery of this row, of which only its fallback is known."""
    sink, epoch, attempts = row.sink, row.epoch, row.attempts
    subject = replace(of_job(fallback), key=row.key, step=None, target=None)
    return replace(subject, sink=sink, epoch=epoch, attempts=attempts)


def of_delivery(delivery: Delivery) -> Subject:
    """A delivery that ends as it is planned."""
    recipient = delivery.recipient.id if delivery.recipient else ""
    subject = of_event(delivery.key, delivery.event, delivery.route.id, recipient, delivery.tenant)
    step = delivery.step
    return replace(subject, step=step.id, sink=step.sink, target=delivery.target)


def of_member(member: Member) -> Subject:
    """What a digest was to tell of, before it is in one."""
    return of_event(member.key, member.event, member.route.id, member.recipient.id, member.tenant)


def of_collected(row: Row, head: DigestHead, event: Event | None) -> Subject:
    """What a digest was to tell of.

    Args:
        row: The member's.
        event: None where it can't be read any more.
    """
    if event is not None:
        return of_event(row.key, event, head.route, head.recipient, head.tenant)
    return Subject(
        key=row.key,
        identity=None,
        event_type=None,
        event_time=row.event_time,
        position=row.position,
        route=head.route,
        recipient=head.recipient,
        tenant=head.tenant,
    )


def of_event(key: bytes, event: Event, route: str, recipient: str, tenant: str) -> Subject:
    """What a person was to be told of an event."""
    return Subject(
        key=key,
        identity=event.identity,
        event_type=event.type,
        event_time=event.time,
        position=event.record.position,
        route=route,
        recipient=recipient,
        tenant=tenant,
        traceparent=event.headers.get("traceparent"),
    )


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

    def rows(self, subject: Subject, settlement: Settlement) -> tuple[Row, ...]:
        """The row that reports an end; none where nobody wants to hear of it."""
        type = _type(settlement)
        if type is None or type not in self._events:
            return ()
        if type == "delivered" and self._waiting >= self._max_waiting:
            self._metrics.feedback_dropped()
            return ()
        self._waiting += 1
        return (_row(subject, type, settlement, self._clock.now()),)

    def beside(self, job: Job, settle: Settle, known: Rows) -> Iterator[Row]:
        """The rows that report the fallbacks which end with a delivery.

        Args:
            known: The rows of its fallbacks as they stand before that is written.
        """
        planned = {one.key: one for one in _fallbacks(job.delivery)} if job.delivery else {}
        for row in settle.follow_ups:
            if row.key in planned and known.get(row.key) is None and (end := _end(row)):
                yield from self.rows(of_delivery(planned[row.key]), end)
        if settle.waiters == "drop" and settle.dropped_as is not None:
            waiting = (known.get(key) for key in dict.fromkeys((*job.waiting, *planned)))
            for row in _dropped(job.family, waiting):
                yield from self.rows(of_job(unpack(row)), Suppressed(settle.dropped_as))


def _fallbacks(delivery: Delivery) -> Iterator[Delivery]:
    for fallback in delivery.fallbacks:
        yield fallback
        yield from _fallbacks(fallback)


def _end(row: Row) -> Settlement | None:
    """What a row that is written beside another says of its delivery, if that has ended."""
    if row.reason is None:
        return None
    if row.state is State.SUPPRESSED:
        return Suppressed(row.reason)
    return Dead(row.reason) if row.state is State.DEAD else None


def _dropped(family: bytes, waiting: Iterable[Row | None]) -> Iterator[Row]:
    """Those that end with what they wait for; each stands before those that wait for it."""
    dropped: set[bytes | None] = set()
    for row in waiting:
        if row is None or row.state is not State.WAITING or row.blob is None:
            continue
        is_dropped = row.wait_on == family and UNSEEN not in row.starts_on
        if is_dropped or row.wait_on in dropped:
            dropped.add(row.family)
            yield row


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


def _row(subject: Subject, type: FeedbackType, settlement: Settlement, now: float) -> Row:
    # Only what is dead comes back to end again.
    end = "kept_back" if isinstance(settlement, Suppressed) else subject.epoch
    key = derived_key(subject.key, f"feedback:{end}")
    facts = _facts(subject, type, settlement)
    feedback = Feedback(key.hex(), type, now, subject.recipient or None, facts, subject.traceparent)
    return Row(
        key=key,
        kind=Kind.FEEDBACK,
        state=State.SCHEDULED,
        sink=FEEDBACK,
        due=now,
        event_time=subject.event_time,
        position=subject.position,
        blob=feedback_to_line(feedback),
    )


def _facts(subject: Subject, type: FeedbackType, settlement: Settlement) -> dict[str, Any]:
    """The address is named only where it is dead: whoever keeps it has to forget it."""
    reason, target = settlement.reason, subject.target
    facts: dict[str, Any] = {
        "delivery": subject.key.hex(),
        "event": _event_facts(subject),
        "tenant": subject.tenant or None,
        "route": subject.route,
        "step": subject.step,
        "sink": subject.sink,
        "attempts": subject.attempts,
        "reason": {"code": reason.code, "text": reason.text} if reason else None,
        "device": target.id if target else None,
    }
    if type == "recipient_gone" and target is not None:
        facts["address"] = {"kind": target.kind, "value": target.address}
    return facts


def _event_facts(subject: Subject) -> dict[str, str | None]:
    identity = subject.identity
    source, id = (identity and source_and_id(identity)) or (None, None)
    return {
        "identity": identity,
        "source": source,
        "id": id,
        "type": subject.event_type,
        "position": subject.position,
    }
