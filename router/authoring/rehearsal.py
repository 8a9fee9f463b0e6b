"""What would happen to events: the daemon's own match, plan, admission and render, with nothing
sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from typing import final

from router.clock import ManualClock
from router.config import Project
from router.delivery.admission import admit
from router.delivery.cancelling import end_of, marks_of, merged, times
from router.delivery.dispatch import with_fallbacks
from router.delivery.fallbacks import unreachable_starts
from router.delivery.holds import held
from router.delivery.job import Job, job_of
from router.delivery.members import join_of
from router.events import DecodeConfig, Event, Poison, Record, decode
from router.ledger import Joined
from router.ledger.memory import MemoryLedger
from router.messages import Message, Reason
from router.planning import (
    EXPIRED,
    UNREACHABLE,
    Cause,
    Dead,
    Delivery,
    Member,
    Planned,
    Route,
    Ruleset,
    Scheduled,
    Selected,
    Step,
    barred,
    has_expired,
    plan,
    render,
    select,
)
from router.planning.admission import Refused
from router.planning.policies import CancelOn
from router.problems import Position
from router.recipients import Directory, Recipient
from router.templating import RenderError
from router.values import format_duration


class Verdict(StrEnum):
    """What would become of a delivery, or of a recipient."""

    NOW = "now"
    HOLD = "hold"
    DIGEST = "digest"
    IF = "if"
    SUPPRESSED = "suppressed"
    EXCLUDED = "excluded"
    DEAD = "dead"
    WAITS = "waits"


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One line of a rehearsal.

    Attributes:
        recipient: The recipient's id; empty for steps that run once per event.
        step, sink, channel, target: Empty where no step was reached.
        reason: Why, for everything but NOW.
        message: As it would be sent; None where nothing would.
        key: The delivery key, hexadecimal.
        until: Of HOLD and DIGEST: when it ends, seconds since the epoch.
        zone: Of HOLD and DIGEST: the recipient's time zone, IANA name.
        at: Of SUPPRESSED: where the rule is written, if it is.
        collected: Of DIGEST: how many events the digest has by then.
    """

    verdict: Verdict
    recipient: str = ""
    step: str = ""
    sink: str = ""
    channel: str = ""
    target: str = ""
    reason: Reason | None = None
    message: Message | None = None
    key: str = ""
    until: float | None = None
    zone: str = ""
    at: Position | None = None
    collected: int = 0


@dataclass(frozen=True, slots=True)
class RouteRehearsal:
    """A route that the event matches, and what it would do."""

    route: Route
    lines: tuple[Rehearsed, ...]


@dataclass(frozen=True, slots=True)
class EventRehearsal:
    """An event, or a record that is none, and every route that matches.

    ``ends`` are the routes (and ``route/step``) whose waiting messages it may end.
    """

    event: Event | Poison
    routes: tuple[RouteRehearsal, ...] = ()
    ends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A line that an event which comes later may end.

    Attributes:
        until: It goes then; None: nobody knows when.
    """

    event: int
    route: int
    line: int
    event_time: float
    cancel_scopes: tuple[tuple[str, float], ...]
    until: float | None


@dataclass(slots=True)
class _Lines:
    """The lines of a route, and which of them wait."""

    lines: list[Rehearsed] = field(default_factory=list[Rehearsed])
    waiting: list[tuple[int, Job | Member]] = field(default_factory=list[tuple[int, Job | Member]])

    def add(self, line: Rehearsed, waits: Job | Member | None = None) -> None:
        if waits is not None:
            self.waiting.append((len(self.lines), waits))
        self.lines.append(line)


@final
class Rehearsal:
    """Events one after the other, each at its own time: what policies remember of one counts for
    the next. It has a ledger in memory, and a clock that the events move on.

    Attributes:
        told: What would happen to each, so far: a later event may end what waits.
    """

    def __init__(self, rules: Ruleset, directory: Directory) -> None:
        self.told: list[EventRehearsal] = []
        self._rules = rules
        self._directory = directory
        self._clock = ManualClock(0.0)
        self._ledger = MemoryLedger(owner="rehearsal", clock=self._clock)
        self._waiting: list[_Waiting] = []

    async def play(self, event: Event | Poison, now: float) -> None:
        """Tries the next event.

        Args:
            now: When it arrives, seconds since the epoch. The ledger's time never goes back.
        """
        self._clock.advance(max(0.0, now - self._clock.now()))
        if isinstance(event, Poison):
            self.told.append(EventRehearsal(event))
            return
        interest = self._rules.interest(event)
        marks = merged(marks_of(event, interest.marks, now))
        await self._ledger.put_facts(marks)
        self._end_what_waits(event, [mark.scope for mark in marks], now)
        routes: list[RouteRehearsal] = []
        for route in interest.routes:
            found = await self._route(route, event, now)
            for line, waits in found.waiting:
                self._note(len(routes), line, waits, found.lines[line].until)
            routes.append(RouteRehearsal(route, tuple(found.lines)))
        ends = tuple(sorted(str(ending) for ending in interest.marks))
        self.told.append(EventRehearsal(event, tuple(routes), ends))

    def _note(self, route: int, line: int, waits: Job | Member, until: float | None) -> None:
        at = waits.event.time if isinstance(waits, Member) else waits.event_time
        place = (len(self.told), route, line)
        self._waiting.append(_Waiting(*place, at, waits.cancel_scopes, until))

    def _end_what_waits(self, event: Event, scopes: Sequence[str], now: float) -> None:
        marks = dict.fromkeys(scopes, event.time)
        if not marks:
            return
        for waiting in list(self._waiting):
            is_gone = waiting.until is not None and waiting.until <= now
            if is_gone or not (end := end_of(waiting, marks)):
                continue
            self._waiting.remove(waiting)
            told = self.told[waiting.event]
            route = told.routes[waiting.route]
            lines, routes = list(route.lines), list(told.routes)
            reason = Reason(end.reason.code, f"{event.type} {event.id}".strip())
            line = lines[waiting.line]
            lines[waiting.line] = replace(
                line, verdict=Verdict.SUPPRESSED, reason=reason, message=None
            )
            routes[waiting.route] = replace(route, lines=tuple(lines))
            self.told[waiting.event] = replace(told, routes=tuple(routes))

    # A route ------------------------------------------------------------------------------------

    async def _route(self, route: Route, event: Event, now: float) -> _Lines:
        selected = select(route, event)
        ids = [draft.id for draft in selected.drafts]
        profiles = await self._directory.lookup(ids) if ids else []
        planned = plan(route, event, selected.drafts, profiles, self._rules.divert)
        found = _Lines()
        found.lines += _left_out(selected)
        refused = await self._refused(planned, now)
        telling = _Telling(self._rules, now, refused, await self._marks(planned), found)
        telling.deliveries(planned.deliveries)
        for member in planned.members:
            found.add(*await self._member(member, refused.get(member.key), now))
        found.lines += _failed(selected, planned)
        return found

    async def _refused(self, planned: Planned, now: float) -> dict[bytes, Refused]:
        subjects = [*_heads(planned.deliveries), *planned.members]
        verdicts = await admit(self._ledger, subjects, (), now)
        return {s.key: v for s, v in zip(subjects, verdicts, strict=True) if v is not None}

    async def _marks(self, planned: Planned) -> dict[str, float]:
        """What events that came before have ended."""
        everything = [d for primary in planned.deliveries for d in with_fallbacks(primary)]
        scopes = {scope for d in everything for scope, _ in d.cancel_scopes}
        return dict(times(await self._ledger.facts(sorted(scopes)))) if scopes else {}

    async def _member(
        self, member: Member, refused: Refused | None, now: float
    ) -> tuple[Rehearsed, Member | None]:
        line = Rehearsed(Verdict.DIGEST, member.recipient.id, key=member.key.hex())
        if refused is not None:
            suppressed = Verdict.SUPPRESSED
            return replace(line, verdict=suppressed, reason=refused.reason, at=refused.at), None
        [joined] = await self._ledger.join([join_of(member, "", now)])
        if not isinstance(joined, Joined):
            known = Reason("duplicate_event", "it was told of already")
            return replace(line, verdict=Verdict.SUPPRESSED, reason=known), None
        told = replace(
            line,
            until=joined.closes_at,
            zone=member.recipient.timezone or "UTC",
            collected=joined.members,
        )
        return told, member


@dataclass(frozen=True, slots=True)
class _Telling:
    """Tells what becomes of a route's deliveries.

    Attributes:
        refused: Those that admission keeps out.
        marks: See :func:`router.delivery.cancelling.end_of`.
    """

    rules: Ruleset
    now: float
    refused: dict[bytes, Refused]
    marks: dict[str, float]
    found: _Lines

    def deliveries(self, deliveries: Sequence[Delivery], condition: str = "") -> None:
        """Each delivery; after the last of a person's devices, what stands in for them all."""
        last = {delivery.family: delivery.key for delivery in deliveries}
        for delivery in deliveries:
            self._delivery(delivery, condition)
            if delivery.key == last[delivery.family] and delivery.key not in self.refused:
                self._fallbacks(delivery, condition)

    def _fallbacks(self, delivery: Delivery, condition: str) -> None:
        """What follows a delivery: at once where it can't be sent, under its own condition then."""
        for _, devices in groupby(delivery.fallbacks, key=lambda fallback: fallback.family):
            group = list(devices)
            step = group[0].step
            if delivery.barred is not None and delivery.barred.code in step.causes:
                self.deliveries(group, condition)
            else:
                self.deliveries(group, _condition(delivery.step, step))

    def _delivery(self, delivery: Delivery, condition: str) -> None:
        job = job_of(delivery, self.rules, None)
        line = Rehearsed(
            Verdict.IF if condition else Verdict.NOW,
            recipient=delivery.recipient.id if delivery.recipient else "",
            step=delivery.step.id,
            sink=delivery.step.sink,
            channel=delivery.step.channel,
            target=delivery.target.address if delivery.target else "",
            reason=Reason("fallback", condition) if condition else None,
            key=delivery.key.hex(),
        )
        line = self._kept(line, delivery, job, condition)
        is_alive = line.verdict in (Verdict.NOW, Verdict.HOLD, Verdict.IF)
        if is_alive:
            line = self._rendered(line, delivery)
        waits = line.verdict in (Verdict.HOLD, Verdict.IF) and job.cancel_scopes
        self.found.add(line, job if waits else None)

    def _kept(self, line: Rehearsed, delivery: Delivery, job: Job, condition: str) -> Rehearsed:
        """With what keeps the delivery from being sent now."""
        if refused := self.refused.get(delivery.key):
            return _suppressed(line, refused.reason, refused.at)
        if delivery.barred is not None:
            is_dead = isinstance(barred(delivery.barred), Dead)
            verdict = Verdict.DEAD if is_dead else Verdict.SUPPRESSED
            return replace(line, verdict=verdict, reason=delivery.barred)
        if has_expired(delivery.expires_at, self.now):
            return _suppressed(line, EXPIRED)
        if end := end_of(job, self.marks):
            return _suppressed(line, end.reason)
        hold = None if condition else held(job, self.now)
        if isinstance(hold, Scheduled):
            zone = _zone(delivery)
            return replace(
                line, verdict=Verdict.HOLD, reason=hold.reason, until=hold.due, zone=zone
            )
        return line if hold is None else _suppressed(line, hold.reason, delivery.step.at)

    def _rendered(self, line: Rehearsed, delivery: Delivery) -> Rehearsed:
        try:
            return replace(line, message=render(delivery, self.rules.templates, self.now))
        except RenderError as error:
            reason = Reason("render_failed", str(error))
            return replace(line, verdict=Verdict.DEAD, reason=reason, until=None)


def _suppressed(line: Rehearsed, reason: Reason, at: Position | None = None) -> Rehearsed:
    return replace(line, verdict=Verdict.SUPPRESSED, reason=reason, at=at)


def _heads(deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
    """What starts at once: deliveries, and those that stand in for the unreachable."""
    for delivery in deliveries:
        yield delivery
        if delivery.barred is UNREACHABLE:
            yield from _heads(unreachable_starts(delivery))


def _condition(primary: Step, fallback: Step) -> str:
    """What starts a fallback, and what makes it pointless, in words."""
    words = [str(c) for c in sorted(fallback.causes) if c is not Cause.UNSETTLED]
    if Cause.UNSETTLED in fallback.causes:
        words.append(f"unsettled {format_duration(fallback.after or 0.0)} after")
    text = f"{primary.id} is {' or '.join(words)}" if words else f"{primary.id} was sent"
    return f"{text}, unless {_events_of(fallback.unless)}" if fallback.unless else text


def _events_of(cancel: CancelOn) -> str:
    types = cancel.match.equalities().get("type")
    return " or ".join(map(str, types)) if types else cancel.match.describe()


def _zone(delivery: Delivery) -> str:
    hours, recipient = delivery.quiet_hours, delivery.recipient
    if hours is not None:
        return hours.zone or hours.otherwise
    return _zone_of(recipient)


def _zone_of(recipient: Recipient | None) -> str:
    return (recipient.timezone if recipient else None) or "UTC"


def _left_out(selected: Selected) -> Iterable[Rehearsed]:
    for identifier in selected.excluded:
        yield Rehearsed(Verdict.EXCLUDED, identifier, reason=Reason("except"))


def _failed(selected: Selected, planned: Planned) -> Iterable[Rehearsed]:
    for failure in (*selected.failures, *planned.failures):
        yield Rehearsed(Verdict.DEAD, failure.member, reason=failure.reason)
    for failure in planned.suppressed:
        yield Rehearsed(Verdict.SUPPRESSED, failure.member, reason=failure.reason)
    for draft in planned.waiting:
        yield Rehearsed(Verdict.WAITS, draft.id, reason=planned.why_waiting)


# All at once ------------------------------------------------------------------------------------


async def rehearse(
    project: Project,
    records: Iterable[Record],
    decoding: DecodeConfig,
    directory: Directory,
    now: float,
) -> list[EventRehearsal]:
    """Tries every record at one time; asks the directory, sends nothing."""
    events = [(decode(record, decoding), now) for record in records]
    return await rehearse_events(ruleset(project), events, directory)


def ruleset(project: Project) -> Ruleset:
    """A project's rules, as the daemon builds them."""
    return Ruleset.build(project.routes.values(), project.templates, project.divert, project.hash)


async def rehearse_events(
    rules: Ruleset, events: Iterable[tuple[Event | Poison, float]], directory: Directory
) -> list[EventRehearsal]:
    """Tries events one after the other, each at the time given."""
    rehearsal = Rehearsal(rules, directory)
    for event, now in events:
        await rehearsal.play(event, now)
    return rehearsal.told


async def rehearse_event(
    rules: Ruleset, event: Event | Poison, directory: Directory, now: float
) -> EventRehearsal:
    """The same for one event."""
    return (await rehearse_events(rules, [(event, now)], directory))[0]
