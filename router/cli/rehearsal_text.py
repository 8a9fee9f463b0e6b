"""Rehearsals on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import click

from router.authoring.inputs import Given
from router.authoring.rehearsal import EventRehearsal, Rehearsed, RouteRehearsal, Verdict
from router.authoring.rehearsal_report import Summary, local_time
from router.events import Poison
from router.messages import EmailMessage, Message
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
_WIDTH = max(map(len, [*_JOINING.values(), *Verdict]))


def event_lines(
    given: Given, rehearsal: EventRehearsal, *, with_content: bool, as_html: bool
) -> Iterator[str]:
    """The event, then each route that wants it."""
    event = rehearsal.event
    if isinstance(event, Poison):
        yield click.style(given.label, bold=True)
        yield f"  {click.style('DEAD', fg='red', bold=True)}  no event: {event.reason}"
        return
    yield f"{click.style(event.type or '(no type)', bold=True)}  {event.id}  {dim(given.label)}"
    if not rehearsal.routes and not rehearsal.ends:
        yield f"  {dim('no route wants it')}"
    for route in rehearsal.routes:
        yield from route_lines(route, with_content=with_content, as_html=as_html)
    if rehearsal.ends:
        yield f"  {dim('ends what still waits of')} {', '.join(rehearsal.ends)}"


def route_lines(route: RouteRehearsal, *, with_content: bool, as_html: bool) -> Iterator[str]:
    """The route, its recipients, and what each would be sent."""
    at = route.route.at
    yield f"  {click.style(route.route.id, fg='blue', bold=True)}  {dim(f'{at.file}:{at.line}')}"
    if not route.lines:
        yield f"    {dim('nobody receives it')}"
    person: str | None = None
    for line in route.lines:
        if line.recipient != person:
            person = line.recipient
            yield f"    {person or '(once per event)'}"
        yield f"      {_delivery(line)}"
        if with_content and line.message is not None:
            for text in message_lines(line.message, as_html=as_html):
                yield f"        {dim('│')} {text}".rstrip()


def _delivery(line: Rehearsed) -> str:
    word = _JOINING.get(line.verdict, line.verdict.upper())
    shown = click.style(f"{word:<{_WIDTH}}", fg=_COLOURS[line.verdict], bold=True)
    reason = _because(line)
    if not line.step:
        return f"{shown}  {reason}".rstrip()
    name = line.step if line.step == line.sink else f"{line.step} ({line.sink})"
    target = f" → {line.target}" if line.target else ""
    return f"{shown}  {name}{target}{f'  {reason}' if reason else ''}"


def _because(line: Rehearsed) -> str:
    match line.verdict:
        case Verdict.DIGEST:
            return f"closes at {_time(line)}, {line.collected} so far"
        case Verdict.HOLD:
            return f"until {_time(line)}  {line.reason}"
        case Verdict.IF if line.reason is not None:
            return f"if {line.reason.text}"
        case _:
            rule = f"  {dim(f'{line.at.file}:{line.at.line}')}" if line.at is not None else ""
            return f"{line.reason}{rule}" if line.reason is not None else ""


def _time(line: Rehearsed) -> str:
    return f"{local_time(line):%Y-%m-%d %H:%M} {line.zone}"


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
