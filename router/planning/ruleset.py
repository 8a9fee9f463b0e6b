"""One configuration's rules, as the worker uses them; swapped as a whole on reload."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from router.events import Event
from router.planning.model import Divert, Route
from router.routing import Matcher
from router.templating import Template


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Routes with their matcher and templates.

    Attributes:
        hash: Of the configuration's content.
    """

    routes: Mapping[str, Route]
    matcher: Matcher
    templates: Mapping[str, Template]
    divert: Divert | None
    hash: str

    @classmethod
    def build(
        cls,
        routes: Iterable[Route],
        templates: Mapping[str, Template],
        divert: Divert | None = None,
        hash: str = "",
    ) -> Ruleset:
        enabled = {route.id: route for route in routes if route.enabled}
        matcher = Matcher.build((route.id, route.match) for route in enabled.values())
        return cls(enabled, matcher, templates, divert, hash)

    def matching(self, event: Event) -> list[Route]:
        """Every route that wants the event, in a fixed order."""
        return [self.routes[id] for id in self.matcher.match(event)]  # type: ignore[index]
