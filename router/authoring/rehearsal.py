"""What would happen to events: the daemon's own match, plan and render, with nothing sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from router.config import Project
from router.events import DecodeConfig, Event, Poison, Record, decode
from router.messages import Message, Reason
from router.planning import (
    EXPIRED,
    Dead,
    Delivery,
    Route,
    Ruleset,
    Selected,
    barred,
    has_expired,
    plan,
    render,
    select,
)
from router.recipients import Directory
from router.templating import RenderError


class Verdict(StrEnum):
    """What would become of a delivery, or of a recipient."""

    NOW = "now"
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


@dataclass(frozen=True, slots=True)
class RouteRehearsal:
    """A route that the event matches, and what it would do."""

    route: Route
    lines: tuple[Rehearsed, ...]


@dataclass(frozen=True, slots=True)
class EventRehearsal:
    """An event, or a record that is none, and every route that matches."""

    event: Event | Poison
    routes: tuple[RouteRehearsal, ...] = ()


async def rehearse(
    project: Project,
    records: Iterable[Record],
    decoding: DecodeConfig,
    directory: Directory,
    now: float,
) -> list[EventRehearsal]:
    """Plans and renders every record's deliveries; asks the directory, sends nothing."""
    rules = ruleset(project)
    return [
        await rehearse_event(rules, decode(record, decoding), directory, now) for record in records
    ]


def ruleset(project: Project) -> Ruleset:
    """A project's rules, as the daemon builds them."""
    return Ruleset.build(project.routes.values(), project.templates, project.divert, project.hash)


async def rehearse_event(
    rules: Ruleset, event: Event | Poison, directory: Directory, now: float
) -> EventRehearsal:
    """The same for one event that is decoded already."""
    if isinstance(event, Poison):
        return EventRehearsal(event)
    routes = [await _route(rules, r, event, directory, now) for r in rules.matching(event)]
    return EventRehearsal(event, tuple(routes))


async def _route(
    rules: Ruleset, route: Route, event: Event, directory: Directory, now: float
) -> RouteRehearsal:
    selected = select(route, event)
    profiles = await directory.lookup([d.id for d in selected.drafts]) if selected.drafts else []
    planned = plan(route, event, selected.drafts, profiles, rules.divert)
    lines = list(_left_out(selected))
    lines += _deliveries(planned.deliveries, rules, now)
    lines += [
        Rehearsed(Verdict.DEAD, f.member, reason=f.reason)
        for f in (*selected.failures, *planned.failures)
    ]
    lines += [Rehearsed(Verdict.SUPPRESSED, f.member, reason=f.reason) for f in planned.suppressed]
    lines += [Rehearsed(Verdict.WAITS, d.id, reason=planned.why_waiting) for d in planned.waiting]
    return RouteRehearsal(route, tuple(lines))


def _left_out(selected: Selected) -> Iterable[Rehearsed]:
    for identifier in selected.excluded:
        yield Rehearsed(Verdict.EXCLUDED, identifier, reason=Reason("except"))


def _deliveries(
    deliveries: Sequence[Delivery], rules: Ruleset, now: float, condition: str = ""
) -> Iterator[Rehearsed]:
    """Each delivery; after the last of a person's devices, what stands in for them all."""
    last = {delivery.family: delivery.key for delivery in deliveries}
    for delivery in deliveries:
        yield _line(delivery, rules, now, condition)
        if delivery.key == last[delivery.family]:
            yield from _fallbacks(delivery, rules, now, condition)


def _fallbacks(
    delivery: Delivery, rules: Ruleset, now: float, condition: str
) -> Iterator[Rehearsed]:
    """What follows a delivery: at once where it can't be sent, under its own condition then."""
    for _, devices in groupby(delivery.fallbacks, key=lambda fallback: fallback.family):
        group = list(devices)
        causes = group[0].step.causes
        if delivery.barred is not None and delivery.barred.code in causes:
            yield from _deliveries(group, rules, now, condition)
        else:
            condition = f"{delivery.step.id} is {' or '.join(sorted(causes))}"
            yield from _deliveries(group, rules, now, condition)


def _line(delivery: Delivery, rules: Ruleset, now: float, condition: str) -> Rehearsed:
    message: Message | None = None
    if delivery.barred is not None:
        is_dead = isinstance(barred(delivery.barred), Dead)
        verdict = Verdict.DEAD if is_dead else Verdict.SUPPRESSED
        reason = delivery.barred
    elif has_expired(delivery.expires_at, now):
        verdict, reason = Verdict.SUPPRESSED, EXPIRED
    else:
        try:
            message = render(delivery, rules.templates, now)
        except RenderError as error:
            verdict, reason = Verdict.DEAD, Reason("render_failed", str(error))
        else:
            verdict = Verdict.IF if condition else Verdict.NOW
            reason = Reason("fallback", condition) if condition else None
    return Rehearsed(
        verdict,
        recipient=delivery.recipient.id if delivery.recipient else "",
        step=delivery.step.id,
        sink=delivery.step.sink,
        channel=delivery.step.channel,
        target=delivery.target.address if delivery.target else "",
        reason=reason,
        message=message,
        key=delivery.key.hex(),
    )
