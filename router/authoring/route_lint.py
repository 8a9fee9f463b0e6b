"""Findings about routes: what they match, what they repeat, whom they can't reach."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from router.authoring.conjunctions import contradiction
from router.config import Project
from router.planning import Cause, Route, Step
from router.problems import Position, Problem, Severity
from router.routing import Path
from router.templating import Value
from router.values import format_duration

_FIELDS = {
    "email": "email",
    "telegram": "telegram",
    "max": "max",
    "device": "devices",
    "endpoint": "endpoints",
}
"""Where a recipient has addresses of each kind."""

_ONLY_UNREACHABLE = frozenset({Cause.UNREACHABLE})
_PATH = re.compile(r"(?:data|event|item|recipient|headers)(?:\.[A-Za-z_]\w*|\.\d+|\[\*\])+")


def lint_routes(project: Project) -> Iterator[Problem]:
    """Everything about each route in force, and about routes that repeat one another."""
    routes = routes_in_force(project)
    for route in routes:
        yield from _never_matches(route)
        for step in route.steps:
            yield from _literal_paths(step)
            yield from _nobody(route, step, project)
            yield from _outlives_ledger(step, project)
        yield from _fallbacks(route)
    yield from _duplicates(routes)


def routes_in_force(project: Project) -> list[Route]:
    """Those that match anything at all."""
    return [r for r in project.routes.values() if r.is_on]


def warning(
    code: str, message: str, at: Position | None, related: tuple[tuple[Position, str], ...] = ()
) -> Problem:
    return Problem(code, message, at, Severity.WARNING, related)


def _never_matches(route: Route) -> Iterator[Problem]:
    found = contradiction(route.match)
    if found is None:
        return
    at = found.conditions[-1].at if found.conditions else route.at
    related = tuple((c.at, "with this") for c in found.conditions[:-1] if c.at != at)
    yield warning("R301", f'route "{route.id}" can never match: {found.text}', at, related)


def _duplicates(routes: list[Route]) -> Iterator[Problem]:
    seen: dict[Any, Route] = {}
    for route in routes:
        what = repr((route.match.canonical, _selection(route), sorted(map(_delivery, route.steps))))
        first = seen.setdefault(what, route)
        if first is not route:
            message = f'route "{route.id}" sends the same to the same people as "{first.id}"'
            yield warning("R302", message, route.at, ((first.at, "the other route"),))


def _selection(route: Route) -> Any:
    chosen = route.selection
    if chosen is None:
        return None
    where = chosen.where.canonical if chosen.where else None
    return sorted((k, p.text) for k, p in chosen.fields.items()), str(chosen.each), where


def _delivery(step: Step) -> str:
    return repr((step.sink, step.to, step.per_recipient, step.fallback_for, _plain(step.content)))


def _plain(thing: Any) -> Any:
    """What a content says, without places: equal for contents that send the same."""
    match thing:
        case Value():
            return thing.literal
        case Path():
            return thing.text
        case Mapping():
            return sorted((str(key), repr(_plain(value))) for key, value in thing.items())  # pyright: ignore[reportUnknownVariableType]
        case _ if is_dataclass(thing):
            inner = [_plain(getattr(thing, field.name)) for field in fields(thing)]
            return type(thing).__name__, inner
        case _:
            return thing


def _fallbacks(route: Route) -> Iterator[Problem]:
    steps = {step.id: step for step in route.steps}
    for step in route.steps:
        primary = steps.get(step.fallback_for or "")
        if primary is None:
            continue
        if why := _cannot_start(step, primary):
            message = f'fallback "{step.id}" can never start: {why}'
            yield warning("R303", message, step.at, ((primary.at, "the step it stands in for"),))
        elif _reaches_the_same(step, primary):
            message = (
                f'fallback "{step.id}" helps nobody: who has no {primary.address_kind} address'
                f' for "{primary.id}" has none for it either'
            )
            yield warning("R303", message, step.at, ((primary.at, "the step it stands in for"),))


def _cannot_start(step: Step, primary: Step) -> str:
    if step.causes != _ONLY_UNREACHABLE:
        return ""
    if primary.to is not None:
        return f'"{primary.id}" sends to a fixed address and is never unreachable'
    if not primary.channel.is_personal:
        return f'"{primary.id}" sends requests and is never unreachable'
    return ""


def _reaches_the_same(step: Step, primary: Step) -> bool:
    same_kind = step.address_kind == primary.address_kind
    return (
        step.causes == _ONLY_UNREACHABLE
        and same_kind
        and step.to is None
        and step.channel.is_personal
    )


def _nobody(route: Route, step: Step, project: Project) -> Iterator[Problem]:
    """Without a directory, an address that the route does not name does not exist."""
    if project.directory.type != "event" or step.to is not None or route.selection is None:
        return
    kind = step.address_kind
    field = _FIELDS.get(kind)
    if field is not None and field not in route.selection.fields:
        message = (
            f'step "{step.id}" reaches nobody: there is no directory, and the route takes no'
            f" {kind} address from the event; write {field}: under recipient:"
        )
        yield warning("R307", message, step.at)


def _outlives_ledger(step: Step, project: Project) -> Iterator[Problem]:
    retention = project.ledger.retention
    if step.expires is not None and step.expires > retention:
        message = (
            f'step "{step.id}" may send for {format_duration(step.expires)} after the event, but'
            f" the ledger forgets after {format_duration(retention)}: an event read again later"
            " would be sent again; raise ledger.retention"
        )
        yield warning("R308", message, step.at)


# Paths that were meant as values ---------------------------------------------------------------


def _literal_paths(step: Step) -> Iterator[Problem]:
    for value in _values(step.content):
        for text in _paths_in(value.literal):
            message = (
                f'"{text}" is sent as these {len(text)} characters; for the value write'
                f' "{{{{ {text} }}}}"'
            )
            yield warning("R306", message, _find(text, value.at))


def _values(thing: Any) -> Iterator[Value]:
    """Every value that a content sends; variables of templates, parts of requests."""
    match thing:
        case Value():
            yield thing
        case Mapping():
            for inner in thing.values():  # pyright: ignore[reportUnknownVariableType]
                yield from _values(inner)
        case _ if is_dataclass(thing):
            for field in fields(thing):
                yield from _values(getattr(thing, field.name))
        case _:
            return


def _paths_in(literal: Any) -> Iterator[str]:
    """Texts that are nothing but a path into the event; expressions are none."""
    match literal:
        case str() if _PATH.fullmatch(literal):
            yield literal
        case dict():
            for inner in literal.values():  # pyright: ignore[reportUnknownVariableType]
                yield from _paths_in(inner)
        case list() | tuple():
            for inner in literal:  # pyright: ignore[reportUnknownVariableType]
                yield from _paths_in(inner)
        case _:
            return


def _find(text: str, at: Position) -> Position:
    """The text's own place: the first one from where its value starts."""
    for number, line in enumerate(at.source.lines[at.line - 1 :], at.line):
        column = line.find(text, at.column - 1 if number == at.line else 0)
        if column >= 0:
            return Position(at.source, number, column + 1, len(text))
    return at
