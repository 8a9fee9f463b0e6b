"""Rehearsals on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from router.authoring.inputs import Given
from router.authoring.rehearsal_report import Summary, local_time
from router.authoring.rehearsed import (
    DigestRehearsal,
    EventRehearsal,
    Rehearsed,
    RouteRehearsal,
    Verdict,
)
from router.delivery.cancelling import CANCELLED
from router.events import Event, Poison
from router.messages import EmailMessage, Message, Reason
from router.planning.policies import Rank
from router.problems import Position
from router.sinks.console import parts

_COLOURS = {
    Verdict.NOW: "green",
    Verdict.HOLD: "blue",
    Verdict.DIGEST: "blue",
    Verdict.IF: "cyan",
    Verdict.SUPPRESSED: "yellow",
    Verdict.EXCLUDED: "yellow",
    Verdict.DEAD: "red",
    Verdict.WAITS: "magenta",
}
_JOINING = {
    Verdict.SUPPRESSED: "SUPPRESSED by",
    Verdict.EXCLUDED: "EXCLUDED by",
}
_CANCELLED_BY = "CANCELLED by"
_MOST_NAMED = 5
_WIDTH = max(map(len, [*_JOINING.values(), *Verdict]))


def event_lines(
    given: Given, rehearsal: EventRehearsal, *, with_content: bool, as_html: bool
) -> Iterator[str]:
    """The event, then each route that wants it."""
    event = rehearsal.event
    if isinstance(event, Poison):
        yield click.style(given.label, bold=True)
        yield dead_line(event.reason, "no event: ")
        return
    yield f"{event_line(event, rehearsal)}  {dim(given.label)}"
    if rehearsal.dead is not None:
        yield dead_line(rehearsal.dead)
        return
    if not rehearsal.routes and not rehearsal.ends:
        yield f"  {dim('no route wants it')}"
    for route in rehearsal.routes:
        yield from route_lines(route, with_content=with_content, as_html=as_html)
    if rehearsal.ends:
        yield f"  {dim('ends what still waits of')} {', '.join(rehearsal.ends)}"


def event_line(event: Event, rehearsal: EventRehearsal) -> str:
    """What the event is, and whose."""
    line = f"{click.style(event.type or '(no type)', bold=True)}  {event.id}"
    return f"{line}  tenant {rehearsal.tenant}" if rehearsal.tenant else line


def dead_line(reason: Reason, what: str = "") -> str:
    """Why the event as a whole would be a dead letter."""
    return f"  {click.style('DEAD', fg='red', bold=True)}  {what}{reason}"


def route_lines(route: RouteRehearsal, *, with_content: bool, as_html: bool) -> Iterator[str]:
    """The route, its recipients, and what each would be sent."""
    at = route.route.at
    yield f"  {click.style(route.route.id, fg='blue', bold=True)}  {dim(f'{at.file}:{at.line}')}"
    if not route.lines:
        yield f"    {dim('nobody receives it')}"
    yield from _lines(route.lines, with_content=with_content, as_html=as_html)


def digest_lines(digest: DigestRehearsal, *, with_content: bool, as_html: bool) -> Iterator[str]:
    """A digest that has closed: what it tells of, and what each recipient would be sent."""
    at = digest.route.at
    count = len(digest.events)
    whose = f"  tenant {digest.tenant}" if digest.tenant else ""
    name = click.style(f"digest of {digest.route.id}", bold=True)
    yield f"{name}  closes at {_time(digest.closed_at, digest.zone)}{whose}"
    yield f"  {click.style(digest.route.id, fg='blue', bold=True)}  {dim(f'{at.file}:{at.line}')}"
    names = ", ".join(_event_name(event) for event in digest.events[:_MOST_NAMED])
    more = f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
    if count:
        yield f"    tells of {count} event{'s' * (count != 1)}: {names}{more}"
    else:
        yield f"    {dim('nothing is left to tell of')}"
    for event, reason in digest.left_out:
        yield f"    leaves out {_event_name(event)}  {reason}"
    yield from _lines(digest.lines, with_content=with_content, as_html=as_html)


def _event_name(event: Event) -> str:
    return f"{event.type} {event.id}".strip()


def _lines(lines: Sequence[Rehearsed], *, with_content: bool, as_html: bool) -> Iterator[str]:
    person: str | None = None
    for line in lines:
        if line.recipient != person:
            person = line.recipient
            yield f"    {person or '(once per event)'}"
        yield f"      {_delivery(line)}"
        if with_content and line.message is not None:
            for text in message_lines(line.message, as_html=as_html):
                yield f"        {dim('│')} {text}".rstrip()


def _delivery(line: Rehearsed) -> str:
    word = _JOINING.get(line.verdict, line.verdict.upper())
    if line.verdict is Verdict.SUPPRESSED and _is_cancelled(line):
        word = _CANCELLED_BY
    shown = click.style(f"{word:<{_WIDTH}}", fg=_COLOURS[line.verdict], bold=True)
    reason = _because(line)
    if not line.step:
        return f"{shown}  {reason}".rstrip()
    name = line.step if line.step == line.sink else f"{line.step} ({line.sink})"
    target = f" → {line.target}" if line.target else ""
    about = f"  {dim(', '.join(found))}" if (found := list(_turn(line))) else ""
    return f"{shown}  {name}{target}{f'  {reason}' if reason else ''}{about}"


def _is_cancelled(line: Rehearsed) -> bool:
    return line.reason is not None and line.reason.code == CANCELLED.code


def _turn(line: Rehearsed) -> Iterator[str]:
    """Whose turn it is, where that is said and something is sent."""
    if not line.is_alive:
        return
    if line.rank is not Rank.NORMAL:
        yield line.rank.name.lower()
    if line.order is not None:
        yield f"in order of key {line.order}"


def _because(line: Rehearsed) -> str:
    match line.verdict:
        case Verdict.DIGEST if line.until is not None:
            return f"closes at {_time(line.until, line.zone)}, {line.collected} so far"
        case Verdict.HOLD if line.until is not None:
            return f"until {_time(line.until, line.zone)}  {line.reason}"
        case Verdict.IF if line.reason is not None:
            return f"if {line.reason.text}{_then(line)}"
        case Verdict.SUPPRESSED if line.reason is not None and _is_cancelled(line):
            return f"{line.reason.text}{_rule(line.at)}"
        case _:
            return f"{line.reason}{_rule(line.at)}" if line.reason is not None else ""


def _then(line: Rehearsed) -> str:
    """When a fallback starts by itself, and how long it is kept back then."""
    starts = f"  at {_time(line.starts, line.zone)}" if line.starts is not None else ""
    if line.hold is None or line.until is None:
        return starts
    return f"{starts}  held until {_time(line.until, line.zone)}  {line.hold}"


def _rule(at: Position | None) -> str:
    return f"  {dim(f'{at.file}:{at.line}')}" if at is not None else ""


def _time(seconds: float, zone: str) -> str:
    return f"{local_time(seconds, zone):%Y-%m-%d %H:%M} {zone or 'UTC'}"


def message_lines(message: Message, *, as_html: bool) -> Iterator[str]:
    """A message's parts, each with its name but for the body."""
    if as_html and isinstance(message, EmailMessage) and message.html is not None:
        yield f"{dim('subject:')} {message.subject}"
        yield from message.html.splitlines()
        return
    for label, text in parts(message):
        head = f"{dim(f'{label}:')} " if label else ""
        first, *rest = text.splitlines() or [""]
        yield f"{head}{first}"
        yield from rest


def summary_lines(summary: Summary) -> Iterator[str]:
    """What it all comes to."""
    events = f"{summary.events} event{'s' * (summary.events != 1)}"
    about = [f"{summary.unmatched} that no route wants"] if summary.unmatched else []
    about += [f"{summary.poison} that can't be read"] if summary.poison else []
    about += [f"{summary.unknown_tenants} of no known tenant"] if summary.unknown_tenants else []
    about += [f"{summary.digests} digest{'s' * (summary.digests != 1)}"] if summary.digests else []
    yield ", ".join([events, *about])
    counted = [
        click.style(f"{summary.verdicts[verdict]} {verdict.upper()}", fg=_COLOURS[verdict])
        for verdict in Verdict
        if summary.verdicts[verdict]
    ]
    if counted:
        yield ", ".join(counted)
    if summary.sinks:
        yield ", ".join(f"{sink}: {count}" for sink, count in sorted(summary.sinks.items()))


def dim(text: str) -> str:
    return click.style(text, dim=True)
