"""Findings about policies that do nothing beside others, or wait for what never comes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from math import ceil
from typing import Final

from router.authoring.conjunctions import contradiction
from router.authoring.route_lint import routes_in_force, warning
from router.authoring.sample_lint import sample_events
from router.config import Project
from router.planning import Route, Step
from router.planning.policies import Bypass, CancelOn, Throttle
from router.problems import Problem
from router.routing import Condition
from router.values import format_duration

_AS_GOOD_AS: Final = 0.9
"""Names that are so much alike are one name, misspelt."""


def lint_conflicts(project: Project) -> Iterator[Problem]:
    """What is found about the policies of all routes in force together."""
    routes = routes_in_force(project)
    yield from _idle_throttles(routes)
    yield from _never_ended(project, routes)
    yield from _ordered_behind(routes)


# Throttles ---------------------------------------------------------------------------------------


def _idle_throttles(routes: Sequence[Route]) -> Iterator[Problem]:
    """Throttles that narrower ones, or a bypass, keep from ever refusing anything."""
    held: dict[Throttle, list[Route]] = defaultdict(list)
    for route in routes:
        for throttle in route.policy.throttles:
            held[throttle].append(route)
    for throttle, about in held.items():
        counted = [r for r in about if Bypass.THROTTLE not in r.policy.bypass]
        if why := _why_idle(throttle, counted):
            limit = f"limit {throttle.limit} within {format_duration(throttle.per)}"
            yield warning(
                "R312", f"a throttle of {limit} never refuses anything: {why}", throttle.at
            )


def _why_idle(throttle: Throttle, routes: Sequence[Route]) -> str:
    if not routes:
        return "all that it counts passes throttles by"
    narrower: dict[str, int] = {}
    for route in routes:
        found = _narrowest(throttle, route)
        if found is None:
            return ""
        narrower[found.scope] = found.limit * ceil(throttle.per / found.per)
    most = sum(narrower.values())
    if most > throttle.limit:
        return ""
    names = ", ".join(sorted(narrower))
    return f"those below it ({names}) let through {most} in that time; write a limit below {most}"


def _narrowest(throttle: Throttle, route: Route) -> Throttle | None:
    """What lets through so few of a route's notifications that the throttle may not matter."""
    throttles = route.policy.throttles
    inner = throttles[: throttles.index(throttle)]
    return next((one for one in inner if one.by is None and one.scope != throttle.scope), None)


# Events that end others --------------------------------------------------------------------------


def _never_ended(project: Project, routes: Sequence[Route]) -> Iterator[Problem]:
    known = _types(route.match for route in routes)
    known |= {event.type for event in sample_events(project)}
    for route in routes:
        if route.policy.cancel_on is not None:
            name = f'cancel_on of route "{route.id}"'
            yield from _never_comes(name, route.policy.cancel_on, known)
        for step in route.steps:
            if step.unless is not None:
                name = f'unless_event of step "{step.id}"'
                yield from _never_comes(name, step.unless, known)


def _never_comes(name: str, cancel: CancelOn, known: set[str]) -> Iterator[Problem]:
    if found := contradiction(cancel.match):
        at = found.conditions[-1].at if found.conditions else cancel.match.at
        yield warning("R313", f"{name} can never match: {found.text}", at)
        return
    for type in sorted(_types([cancel.match]) - known):
        if near := get_close_matches(type, known, 1, _AS_GOOD_AS):
            message = (
                f'{name} waits for events of type "{type}", which no route and no sample has.'
                f' Did you mean "{near[0]}"?'
            )
            yield warning("R313", message, cancel.match.at)


def _types(conditions: Iterable[Condition]) -> set[str]:
    """The types of events that conditions name."""
    found = (condition.equalities().get("type") or () for condition in conditions)
    return {value for values in found for value in values if isinstance(value, str)}


# Order and priority ------------------------------------------------------------------------------


def _ordered_behind(routes: Sequence[Route]) -> Iterator[Problem]:
    """Steps whose priority does nothing while something less urgent of their key is before them."""
    by_sink: dict[str, list[tuple[Route, Step]]] = defaultdict(list)
    for route in routes:
        for step in route.steps:
            if step.policy.is_ordered:
                by_sink[step.sink].append((route, step))
    for sink, ordered in by_sink.items():
        route, slow = max(ordered, key=lambda one: one[1].policy.rank)
        for other, step in ordered:
            if step.policy.rank < slow.policy.rank:
                fast, behind = (one.policy.rank.name.lower() for one in (step, slow))
                message = (
                    f'step "{step.id}" of route "{other.id}" is {fast}, but waits for the {behind}'
                    f' messages of route "{route.id}":'
                    f' in sink "{sink}" both are in order of their key; write ordering: none, or'
                    " the same priority"
                )
                yield warning("R314", message, step.at, ((slow.at, "the other step"),))
