"""What becomes of a route's deliveries: the lines of a rehearsal, and which of them wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from router.authoring.rehearsed import Rehearsed, Verdict
from router.delivery.cancelling import SEEN, Marks, end_of
from router.delivery.fallbacks import NOT_NEEDED, unreachable_starts
from router.delivery.holds import held
from router.delivery.job import Job, job_of
from router.messages import Reason
from router.planning import (
    EXPIRED,
    UNREACHABLE,
    Cause,
    Dead,
    Delivery,
    Planned,
    Route,
    Ruleset,
    Scheduled,
    Selected,
    Step,
    Suppressed,
    barred,
    has_expired,
    render,
)
from router.planning.admission import SHADOW, Refused
from router.planning.policies import OPTED_OUT, CancelOn
from router.planning.silences import Silence, silence_over
from router.problems import Position
from router.recipients import Recipient
from router.templating import RenderError
from router.values import format_duration

_UTC: Final = "UTC"
_LONGEST_KEY: Final = 40


@dataclass(slots=True)
class Lines:
    """The lines of a route for an event, or for a digest: what comes later may change them."""

    route: Route
    lines: list[Rehearsed] = field(default_factory=list[Rehearsed])
    waiting: list[Waiting] = field(default_factory=list["Waiting"])

    def add(self, line: Rehearsed, waits: Job | None = None) -> None:
        """Takes the next line.

        Args:
            waits: The delivery, where an event that comes later may end it.
        """
        if waits is not None:
            step = waits.delivery.step if waits.delivery else None
            self.wait(len(self.lines), waits.event_time, waits.cancel_scopes, line.until, step)
        self.lines.append(line)

    def wait(
        self,
        place: int,
        event_time: float,
        cancel_scopes: tuple[tuple[str, float], ...],
        until: float | None,
        step: Step | None = None,
    ) -> None:
        """Notes that an event which comes later may end the line at this place."""
        self.waiting.append(Waiting(self, place, event_time, cancel_scopes, until, step))

    def end_followers(self, primary: Step, recipient: str, reason: Reason) -> None:
        """What stands in for a step never starts for this person: an event has ended the step."""
        for follower in (s for s in self.route.steps if s.fallback_for == primary.id):
            why = _not_started(primary, reason.code)
            for place, line in enumerate(self.lines):
                is_its = line.step == follower.id and line.recipient == recipient
                if is_its and line.verdict is Verdict.IF:
                    self.lines[place] = _ended(line, why, None)
            self.end_followers(follower, recipient, why)


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A line that an event which comes later may end.

    Attributes:
        until: It goes then; None: nobody knows when.
        step: None for a member of a digest.
    """

    lines: Lines
    place: int
    event_time: float
    cancel_scopes: tuple[tuple[str, float], ...]
    until: float | None
    step: Step | None

    def is_gone(self, now: float) -> bool:
        return self.until is not None and self.until <= now

    def end(self, reason: Reason) -> None:
        """The line says from now on that something has ended it."""
        rule = rule_of(reason, self.lines.route, self.step)
        line = self.lines.lines[self.place]
        self.lines.lines[self.place] = _ended(line, reason, rule)
        if self.step is not None:
            self.lines.end_followers(self.step, line.recipient, reason)


@dataclass(frozen=True, slots=True)
class _Start:
    """How a fallback starts.

    Attributes:
        condition: What starts it, and what makes it pointless, in words.
        first: It may start from then on, in seconds since the epoch.
        alone: It starts by itself then; None: it does not.
    """

    condition: str
    first: float
    alone: float | None = None

    @property
    def last(self) -> float:
        return self.first if self.alone is None else self.alone


@dataclass(frozen=True, slots=True)
class Telling:
    """Tells what becomes of a route's deliveries.

    Attributes:
        now: Seconds since the epoch.
        refused: Those that admission keeps out.
        marks: See :func:`router.delivery.cancelling.end_of`.
        silences: What operators keep from being sent.
        found: Takes the lines.
    """

    rules: Ruleset
    now: float
    refused: Mapping[bytes, Refused]
    marks: Marks
    silences: Sequence[Silence]
    found: Lines

    def deliveries(self, deliveries: Sequence[Delivery], start: _Start | None = None) -> None:
        """Each delivery; after the last of a person's devices, what stands in for them all."""
        last = {delivery.family: delivery.key for delivery in deliveries}
        told: dict[bytes, list[Rehearsed]] = {}
        for delivery in deliveries:
            devices = told.setdefault(delivery.family, [])
            devices.append(self._delivery(delivery, start))
            if delivery.key == last[delivery.family] and delivery.key not in self.refused:
                self._fallbacks(delivery, devices, start)

    def _fallbacks(
        self, delivery: Delivery, devices: Sequence[Rehearsed], start: _Start | None
    ) -> None:
        """What follows a delivery: at once where it can't be sent, under its own condition then."""
        for _, group in groupby(delivery.fallbacks, key=lambda fallback: fallback.family):
            followers = list(group)
            step = followers[0].step
            if delivery.barred is not None and delivery.barred.code in step.causes:
                self.deliveries(followers, start)
            elif any(line.is_alive for line in devices):
                free = max(self._free(line, start) for line in devices if line.is_alive)
                self.deliveries(followers, _start_of(delivery.step, step, free))
            else:
                self._unneeded(followers, delivery.step, devices[-1])

    def _free(self, line: Rehearsed, start: _Start | None) -> float:
        """When a delivery is free to go, at the latest."""
        if line.until is not None:
            return line.until
        return self.now if start is None else start.last

    def _unneeded(self, deliveries: Sequence[Delivery], primary: Step, ended: Rehearsed) -> None:
        """Fallbacks that what ended their primary does not start, nor theirs."""
        reason = _not_started(primary, ended.reason.code if ended.reason else ended.verdict)
        for delivery in deliveries:
            line = replace(_line(delivery), verdict=Verdict.SUPPRESSED, reason=reason)
            self.found.add(line)

    def _delivery(self, delivery: Delivery, start: _Start | None) -> Rehearsed:
        job = job_of(delivery, self.rules, None)
        line = _line(delivery)
        if start is not None:
            reason = Reason("fallback", start.condition)
            line = replace(line, verdict=Verdict.IF, reason=reason, starts=start.alone)
        line = self._kept(line, delivery, job, start)
        if line.is_alive or line.reason == SHADOW:
            line = self._rendered(line, delivery)
        waits = line.verdict in (Verdict.HOLD, Verdict.IF) and job.cancel_scopes
        self.found.add(line, job if waits else None)
        return line

    def _kept(
        self, line: Rehearsed, delivery: Delivery, job: Job, start: _Start | None
    ) -> Rehearsed:
        """With what keeps the delivery from being sent now, or once it starts."""
        if refused := self.refused.get(delivery.key):
            return _suppressed(line, refused.reason, refused.at)
        if delivery.barred is not None:
            return _barred(line, delivery, delivery.barred)
        if has_expired(delivery.expires_at, self.now if start is None else start.first):
            return _suppressed(line, EXPIRED, delivery.step.at)
        if end := end_of(job, self.marks):
            rule = rule_of(end.reason, delivery.route, delivery.step)
            return _suppressed(line, end.reason, rule)
        if start is not None:
            if silence := silence_over(self.silences, delivery, self.now):
                return _suppressed(line, silence.reason)
            return _held_then(line, delivery, job, start)
        match held(job, self.now):
            case Scheduled() as hold:
                held_line = replace(line, verdict=Verdict.HOLD, reason=hold.reason)
                return replace(held_line, until=hold.due)
            case Suppressed() as hold:
                return _suppressed(line, hold.reason, delivery.step.at)
            case None:
                return line

    def _rendered(self, line: Rehearsed, delivery: Delivery) -> Rehearsed:
        rules = self.rules
        try:
            message = render(delivery, rules.templates, self.now, rules.tenants)
        except RenderError as error:
            if not line.is_alive:
                text = f"{SHADOW.text}, and its message can't be rendered: {error}"
                return replace(line, reason=Reason(SHADOW.code, text))
            reason = Reason("render_failed", str(error))
            return replace(line, verdict=Verdict.DEAD, reason=reason, until=None)
        return replace(line, message=message)


def _ended(line: Rehearsed, reason: Reason, at: Position | None) -> Rehearsed:
    line = replace(line, verdict=Verdict.SUPPRESSED, reason=reason, at=at, message=None)
    return replace(line, starts=None, hold=None, until=None)


def _not_started(primary: Step, code: str) -> Reason:
    return Reason(NOT_NEEDED.code, f"{primary.id} ends as {code}, which does not start it")


def _line(delivery: Delivery) -> Rehearsed:
    step, recipient = delivery.step, delivery.recipient
    key = delivery.event.record.key
    return Rehearsed(
        Verdict.NOW,
        recipient=recipient.id if recipient else "",
        step=step.id,
        sink=step.sink,
        channel=step.channel,
        target=delivery.target.address if delivery.target else "",
        key=delivery.key.hex(),
        zone=_zone(delivery),
        rank=step.policy.rank,
        order=_key_text(key) if delivery.order_scope and key is not None else None,
    )


def _key_text(key: bytes) -> str:
    text = key.decode("utf-8", "backslashreplace")
    return text if len(text) <= _LONGEST_KEY else f"{text[:_LONGEST_KEY]}…"


def _suppressed(line: Rehearsed, reason: Reason, at: Position | None = None) -> Rehearsed:
    return replace(line, verdict=Verdict.SUPPRESSED, reason=reason, at=at, starts=None)


def _barred(line: Rehearsed, delivery: Delivery, why: Reason) -> Rehearsed:
    if isinstance(barred(why), Dead):
        return replace(line, verdict=Verdict.DEAD, reason=why, starts=None)
    if why is OPTED_OUT and (said := _preference(delivery)):
        why = Reason(why.code, f'the recipient\'s preference "{said}" is false')
    return _suppressed(line, why)


def _preference(delivery: Delivery) -> str | None:
    """Which of the person's preferences decides."""
    category, recipient = delivery.route.category, delivery.recipient
    if recipient is None or category is None:
        return None
    nearer = f"{category}/{delivery.step.channel}"
    return nearer if nearer in recipient.preferences else category


def _held_then(line: Rehearsed, delivery: Delivery, job: Job, start: _Start) -> Rehearsed:
    """A fallback with what keeps it back once it has started, as late as that may be."""
    if isinstance(hold := held(job, start.first), Suppressed):
        return _suppressed(line, hold.reason, delivery.step.at)
    hold = held(job, start.last)
    return replace(line, hold=hold.reason, until=hold.due) if isinstance(hold, Scheduled) else line


def _start_of(primary: Step, fallback: Step, free: float) -> _Start:
    """How a fallback starts.

    Args:
        free: When its primary is free to go, in seconds since the epoch.
    """
    causes, after = fallback.causes, fallback.after or 0.0
    words = [str(c) for c in sorted(causes) if c is not Cause.UNSETTLED]
    is_timed = Cause.UNSETTLED in causes or fallback.unless is not None
    first = free if words or not is_timed else free + after
    if Cause.UNSETTLED in causes:
        words.append(f"unsettled {format_duration(after)} after")
    text = f"{primary.id} is {' or '.join(words)}" if words else f"{primary.id} was sent"
    if fallback.unless is not None:
        text = f"{text}, unless {_events_of(fallback.unless)}"
    return _Start(text, first, free + after if is_timed else None)


def _events_of(cancel: CancelOn) -> str:
    types = cancel.match.equalities().get("type")
    return " or ".join(map(str, types)) if types else cancel.match.describe()


def rule_of(reason: Reason, route: Route, step: Step | None) -> Position | None:
    """Where the rule is written by which an event has ended a message."""
    rule = step.unless if step is not None and reason.code == SEEN.code else route.policy.cancel_on
    return rule.match.at if rule is not None else None


def _zone(delivery: Delivery) -> str:
    hours = delivery.quiet_hours
    return hours.zone or hours.otherwise if hours is not None else zone_of(delivery.recipient)


def zone_of(recipient: Recipient | None) -> str:
    """The person's time zone, as far as it is known."""
    return (recipient.timezone if recipient else None) or _UTC


# Beside deliveries -------------------------------------------------------------------------------


def heads(deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
    """What starts at once: deliveries, and those that stand in for the unreachable."""
    for delivery in deliveries:
        yield delivery
        if delivery.barred is UNREACHABLE:
            yield from heads(unreachable_starts(delivery))


def left_out(selected: Selected) -> Iterable[Rehearsed]:
    """Whom the route leaves out."""
    for identifier in selected.excluded:
        yield Rehearsed(Verdict.EXCLUDED, identifier, reason=Reason("except"))


def unplanned(planned: Planned, selected: Selected | None = None) -> Iterable[Rehearsed]:
    """Recipients of whom no deliveries come."""
    for failure in (*(selected.failures if selected else ()), *planned.failures):
        yield Rehearsed(Verdict.DEAD, failure.member, reason=failure.reason)
    for failure in planned.suppressed:
        yield Rehearsed(Verdict.SUPPRESSED, failure.member, reason=failure.reason)
    for draft in planned.waiting:
        yield Rehearsed(Verdict.WAITS, draft.id, reason=planned.why_waiting)
