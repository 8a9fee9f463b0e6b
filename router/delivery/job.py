"""A delivery under way, and the bytes that let another process finish it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from router.delivery.blobs import pack_record, unpack_record
from router.delivery.kept_events import KeptEvents, from_facts, kept_events, to_facts
from router.delivery.offsets import Ticket
from router.events import Event, Record
from router.ledger import Kind, Row, State
from router.messages import (
    ChatMessage,
    Message,
    Parcel,
    Reason,
    Target,
    message_from_dict,
    message_to_dict,
)
from router.planning import Delivery, InDoubtRule, Ruleset, derived_key, record_hash, render
from router.planning.policies import Bypass, QuietHours, Rank
from router.telemetry import log_bug
from router.templating import RenderError
from router.values import Secret

log = logging.getLogger("router.delivery")


@dataclass(slots=True, eq=False)
class Job:
    """One delivery on its way through a lane.

    Attributes:
        route, step, sink: Names, for accounts, logs and dead letters.
        delivery, rules: What to render it from; None once it comes out of the schedule.
        message: Rendered; None until just before the claim.
        kept: Of a digest's message that could not be rendered: what it tells of.
        record: The event's record, for a dead letter.
        identity: The event's identity.
        tenant: Whose it is; empty where no tenants are configured.
        attempts: Attempts made so far; ``first_at`` when the first was.
        epoch: Of the claim; 0 while unclaimed. ``claimed_at`` is monotonic, when it was asked for.
        ticket: Holds the record's offset; None for work out of the schedule.
        waiting: Keys of the fallbacks that may wait in the ledger for this one's end.
        is_repeat: An earlier attempt may have been accepted.
        looks: How often it was looked at in vain, because somebody else has it.
        is_contested: The ledger has a claim of it that is not this process's: only a claim of our
            own may settle it.
        is_unheard: It was asked to be claimed, and the ledger's answer was lost.
        barred: Why it is suppressed without an attempt.
        secrets: Of the customer's endpoint; left behind wherever the job is kept.
        category, channel: For silences, which ``is_unsilenceable`` ones pass by.
        not_before, quiet_hours, cancel_scopes, order_scope, seq, rank: See ``Delivery`` and
            ``StepPolicy``.
        primaries: Of a fallback: keys of the deliveries that it stands in for, all devices.
        after: Of a fallback: seconds that an unsettled primary is given from when it may go.
        is_unless: Of a fallback: the primary's delivery does not end it, only an event does.
        is_past_marks: The marks at its cancel scopes do not count for it.
        hop: How often it has been replayed.
    """

    key: bytes
    family: bytes
    siblings: int
    route: str
    step: str
    sink: str
    target: Target
    record: Record
    identity: str
    event_type: str
    event_time: float
    event_hash: bytes
    in_doubt: InDoubtRule
    expires_at: float | None = None
    recipient: str = ""
    tenant: str = ""
    traceparent: str | None = None
    delivery: Delivery | None = None
    rules: Ruleset | None = None
    message: Message | None = None
    kept: KeptEvents | None = None
    attempts: int = 0
    first_at: float | None = None
    epoch: int = 0
    claimed_at: float = 0.0
    ticket: Ticket | None = None
    waiting: tuple[bytes, ...] = ()
    is_repeat: bool = False
    looks: int = 0
    is_contested: bool = False
    is_unheard: bool = False
    barred: Reason | None = None
    secrets: tuple[Secret, ...] = ()
    category: str = ""
    channel: str = ""
    is_unsilenceable: bool = False
    not_before: float | None = None
    quiet_hours: QuietHours | None = None
    cancel_scopes: tuple[tuple[str, float], ...] = ()
    order_scope: str | None = None
    seq: int | None = None
    rank: Rank = Rank.NORMAL
    primaries: tuple[bytes, ...] = ()
    after: float | None = None
    is_unless: bool = False
    is_past_marks: bool = False
    hop: int = 0

    @property
    def position(self) -> str:
        return self.record.position

    @property
    def is_withdrawn(self) -> bool:
        """Its partition went to another replica, and Kafka still has the record."""
        return self.ticket is not None and not self.ticket.is_current

    @property
    def names(self) -> dict[str, str]:
        """Which route, step and sink it is of, and whose: for logs."""
        names = {"route": self.route, "step": self.step, "sink": self.sink}
        return names | {"tenant": self.tenant} if self.tenant else names

    def take_over(self, kept: Job) -> None:
        """Goes on where another process left off, as its row says: what it has scheduled, and put
        to wait for it, is not planned again."""
        self.target, self.siblings, self.waiting = kept.target, kept.siblings, kept.waiting
        self.first_at, self.in_doubt, self.barred = kept.first_at, kept.in_doubt, None
        if kept.message is not None:
            self.message, self.delivery, self.rules = kept.message, None, None

    def parcel(self) -> Parcel:
        """What the sink sees."""
        assert self.message is not None
        return Parcel(
            key=self._parcel_key(self.message),
            message=self.message,
            target=self.target,
            attempt=self.attempts + 1,
            event_time=self.event_time,
            expires_at=self.expires_at,
            event_type=self.event_type,
            traceparent=self.traceparent,
            event_key=self.record.key,
            secrets=self.secrets,
        )

    def _parcel_key(self, message: Message) -> bytes:
        """To a provider, each part of a split message is a message of its own."""
        if isinstance(message, ChatMessage) and message.part:
            return derived_key(self.key, f"part:{message.part}")
        return self.key

    @property
    def _cancel_scope(self) -> str | None:
        """Where the ledger looks before the first claim."""
        if not self.cancel_scopes or self.is_past_marks:
            return None
        return self.cancel_scopes[0][0]

    def row(
        self,
        state: State,
        *,
        reason: Reason | None = None,
        due: float | None = None,
        with_blob: bool = False,
    ) -> Row:
        """Its ledger row in a state. A blob is needed wherever it may have to run again."""
        return Row(
            key=self.key,
            kind=Kind.DELIVERY,
            state=state,
            sink=self.sink,
            epoch=self.epoch,
            due=due,
            attempts=self.attempts,
            first_at=self.first_at,
            expires_at=self.expires_at,
            family=self.family,
            order_scope=self.order_scope,
            seq=self.seq,
            cancel_scope=self._cancel_scope,
            event_time=self.event_time,
            event_hash=self.event_hash,
            position=self.position,
            reason=reason,
            blob=pack(self) if with_blob else None,
            rank=self.rank,
        )


def job_of(delivery: Delivery, rules: Ruleset, ticket: Ticket | None) -> Job:
    """A job for a planned delivery."""
    event, step = delivery.event, delivery.step
    return Job(
        key=delivery.key,
        family=delivery.family,
        siblings=delivery.siblings,
        route=delivery.route.id,
        step=step.id,
        sink=step.sink,
        target=delivery.target or _NOBODY,
        record=event.record,
        identity=event.identity,
        event_type=event.type,
        event_time=event.time,
        event_hash=event_hash(event),
        in_doubt=step.in_doubt,
        expires_at=delivery.expires_at,
        recipient=delivery.recipient.id if delivery.recipient else "",
        tenant=delivery.tenant,
        traceparent=event.headers.get("traceparent"),
        delivery=delivery,
        rules=rules,
        ticket=ticket,
        barred=delivery.barred,
        secrets=delivery.secrets,
        category=delivery.route.category or "",
        channel=str(step.channel),
        is_unsilenceable=Bypass.SILENCES in delivery.route.policy.bypass,
        not_before=delivery.not_before,
        quiet_hours=delivery.quiet_hours,
        cancel_scopes=delivery.cancel_scopes,
        order_scope=delivery.order_scope,
        seq=delivery.seq,
        rank=step.policy.rank,
        after=step.after,
        is_unless=step.unless is not None,
        primaries=delivery.primaries,
    )


_NOBODY = Target("", "nobody")


def render_job(job: Job, now: float) -> Reason | None:
    """Renders a fresh delivery's message; why that failed, where it did."""
    assert job.delivery is not None
    assert job.rules is not None
    try:
        rules = job.rules
        job.message = render(job.delivery, rules.templates, now, rules.tenants)
    except RenderError as error:
        return Reason("render_failed", str(error))
    except Exception as error:
        log_bug(log, "a template has a bug", error)
        return Reason("render_failed", type(error).__name__)
    return None


def event_hash(event: Event) -> bytes:
    """Tells this event's record from another of the same identity."""
    return record_hash(event.record.position, event.record.timestamp)


# Blobs ---------------------------------------------------------------------------------------


def pack(job: Job) -> bytes:
    """The job as bytes: a JSON head of a four-byte length, then the record's value as it came."""
    head: dict[str, Any] = {
        "m": message_to_dict(job.message) if job.message is not None else None,
        "t": [getattr(job.target, name) for name in Target.__slots__],
        "r": job.route,
        "s": job.step,
        "n": job.siblings,
        "i": job.identity,
        "y": job.event_type,
        "d": job.in_doubt,
        "p": job.recipient,
        "tp": job.traceparent,
        "w": [key.hex() for key in job.waiting],
        "u": job.is_repeat,
        **_policy_facts(job),
    }
    if job.message is None and (kept := _kept_events(job)):
        head["k"] = to_facts(kept)
    return pack_record(head, job.record)


def _kept_events(job: Job) -> KeptEvents | None:
    return job.kept if job.delivery is None else kept_events(job.delivery.event)


def _policy_facts(job: Job) -> dict[str, Any]:
    """What policies need to know of a kept delivery; most have nothing of it."""
    hours = job.quiet_hours
    facts = {
        "tn": job.tenant,
        "ct": job.category,
        "ch": job.channel,
        "us": job.is_unsilenceable,
        "nb": job.not_before,
        "q": [getattr(hours, name) for name in QuietHours.__slots__] if hours else None,
        "c": job.cancel_scopes,
        "pr": [key.hex() for key in job.primaries],
        "af": job.after,
        "ul": job.is_unless,
        "h": job.hop,
    }
    return {name: fact for name, fact in facts.items() if fact}


def unpack(row: Row) -> Job:
    """The job of a row that :func:`pack` filled."""
    assert row.blob is not None
    head, record = unpack_record(row.blob)
    return Job(
        key=row.key,
        family=row.family or row.key,
        siblings=head["n"],
        route=head["r"],
        step=head["s"],
        sink=row.sink,
        target=Target(*head["t"]),
        record=record,
        identity=head["i"],
        event_type=head["y"],
        event_time=row.event_time,
        event_hash=row.event_hash,
        in_doubt=head["d"],
        expires_at=row.expires_at,
        recipient=head["p"],
        tenant=head.get("tn", ""),
        traceparent=head["tp"],
        message=message_from_dict(head["m"]) if head["m"] is not None else None,
        kept=from_facts(head["k"]) if "k" in head else None,
        attempts=row.attempts,
        first_at=row.first_at,
        epoch=row.epoch,
        waiting=tuple(bytes.fromhex(key) for key in head["w"]),
        is_repeat=head["u"],
        category=head.get("ct", ""),
        channel=head.get("ch", ""),
        is_unsilenceable=head.get("us", False),
        not_before=head.get("nb"),
        quiet_hours=QuietHours(*head["q"]) if "q" in head else None,
        cancel_scopes=tuple((scope, within) for scope, within in head.get("c", ())),
        order_scope=row.order_scope,
        seq=row.seq,
        rank=Rank(row.rank),
        primaries=tuple(bytes.fromhex(key) for key in head.get("pr", ())),
        after=head.get("af"),
        is_unless=head.get("ul", False),
        hop=head.get("h", 0),
    )
