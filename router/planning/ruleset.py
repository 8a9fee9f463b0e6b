"""One configuration's rules, as the worker uses them; swapped as a whole on reload."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from router.events import Event
from router.planning.longest import SHORTEST_MEMORY, longest_hold, step_hold
from router.planning.model import Divert, Route
from router.planning.policies import CancelOn
from router.planning.removal import Removal
from router.planning.tenants import NO_TENANTS, Tenants
from router.routing import Condition, Matcher
from router.templating import Template


@dataclass(frozen=True, slots=True, eq=False)
class Ending:
    """What an event may end: the waiting messages of a route, or of one of its steps.

    Attributes:
        name: A route, or ``route/step``, by the names that their keys have: what
            :func:`router.planning.policies.mark_scope` takes.
        hold_s: For so many seconds after the event the mark of it is needed.
    """

    name: str
    cancel: CancelOn
    hold_s: float

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Interest:
    """What the rules want of an event.

    Attributes:
        routes: That send for it.
        marks: What it ends.
    """

    routes: tuple[Route, ...] = ()
    marks: tuple[Ending, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Routes with their matcher and templates.

    Attributes:
        routes: Those that are in force, by name.
        matcher: Over the routes and what they are ended by.
        hash: Of the configuration's content.
        tenants: Everybody it sends for.
        removed: What becomes of what waits for sinks that are not configured any more, by name.
    """

    routes: Mapping[str, Route]
    matcher: Matcher
    templates: Mapping[str, Template]
    divert: Divert | None
    hash: str
    tenants: Tenants = NO_TENANTS
    removed: Mapping[str, Removal] = field(default_factory=dict[str, Removal])

    @classmethod
    def build(
        cls,
        routes: Iterable[Route],
        templates: Mapping[str, Template],
        divert: Divert | None = None,
        hash: str = "",
        tenants: Tenants = NO_TENANTS,
        removed: Mapping[str, Removal] | None = None,
    ) -> Ruleset:
        in_force = {route.id: route for route in routes if route.is_on}
        matcher = Matcher.build(_entries(in_force.values()))
        return cls(in_force, matcher, templates, divert, hash, tenants, removed or {})

    def interest(self, event: Event) -> Interest:
        """Routes and marks, each in a fixed order."""
        found = self.matcher.match(event)
        if not found:
            return _NONE
        return Interest(
            tuple(self.routes[id] for id in found if isinstance(id, str)),
            tuple(id for id in found if isinstance(id, Ending)),
        )

    def matching(self, event: Event) -> list[Route]:
        """Every route that wants the event, in a fixed order."""
        return list(self.interest(event).routes)


_NONE = Interest()


def _entries(routes: Iterable[Route]) -> Iterator[tuple[Hashable, Condition]]:
    for route in routes:
        yield route.id, route.match
        for ending in _endings(route):
            yield ending, ending.cancel.match


def _endings(route: Route) -> Iterator[Ending]:
    cancel = route.policy.cancel_on
    if cancel is not None:
        longest = longest_hold(route.steps, route.policy.digest)
        yield Ending(route.key_id, cancel, max(longest, SHORTEST_MEMORY))
    for step in route.steps:
        if step.unless is not None:
            hold = max(step_hold(step, route.steps), SHORTEST_MEMORY)
            yield Ending(f"{route.key_id}/{step.key_id}", step.unless, hold)
