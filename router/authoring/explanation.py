"""Why an event matches each route, or why not: the naive evaluation, kept as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from router.authoring.rehearsal import Rehearsal
from router.authoring.rehearsal_report import digest_to_dict, event_to_dict, route_to_dict
from router.config import Project
from router.events import Event
from router.planning import Route
from router.routing import Trace, actual_text, explain


@dataclass(frozen=True, slots=True)
class Explained:
    """One route's condition, evaluated for an event."""

    route: Route
    trace: Trace

    @property
    def is_matched(self) -> bool:
        """The route fires: its condition holds and it is switched on."""
        return self.trace.held and self.route.is_on

    def is_near(self, most: int) -> bool:
        """At most so many predicates away, while something of it holds."""
        return self.trace.away <= most and any(_held(self.trace))


def explain_routes(project: Project, event: Event, only: str | None = None) -> list[Explained]:
    """Every route, or one: those that match first, then the nearest, in the order written."""
    routes = [project.routes[only]] if only is not None else project.routes.values()
    explained = [Explained(route, explain(route.match, event)) for route in routes]
    return sorted(explained, key=lambda one: (not one.is_matched, one.trace.away))


def needed_leaves(explained: Explained, most: int = 3) -> str:
    """The predicates that do not hold, shortly."""
    failing = list(_failing(explained.trace))
    more = f", and {len(failing) - most} more" if len(failing) > most else ""
    return ", ".join(failing[:most]) + more


def _held(trace: Trace) -> Iterator[bool]:
    if trace.kind in ("all", "any"):
        for child in trace.children:
            yield from _held(child)
    elif trace.kind != "not":
        yield trace.held


def _failing(trace: Trace) -> Iterator[str]:
    if trace.held:
        return
    if trace.kind in ("all", "any"):
        for child in trace.children:
            yield from _failing(child)
    elif trace.kind == "not":
        yield f"not {trace.children[0].text}"
    else:
        yield trace.text


def explanation_to_dict(
    explained: Sequence[Explained], rehearsal: Rehearsal, *, with_content: bool
) -> dict[str, Any]:
    """The stable JSON form."""
    [event] = rehearsal.told
    plans = {plan.route.id: plan for plan in event.routes}
    routes: list[dict[str, Any]] = []
    for one in explained:
        plan = plans.get(one.route.id)
        found = route_to_dict(plan, with_content=with_content) if plan else None
        routes.append(
            {
                "route": one.route.id,
                "file": one.route.at.file,
                "line": one.route.at.line,
                "matched": one.is_matched,
                "mode": str(one.route.policy.mode),
                "away": one.trace.away,
                "predicates": trace_to_dict(one.trace),
                "deliveries": found["deliveries"] if found else [],
                "digests": [
                    digest_to_dict(digest, with_content=with_content)
                    for digest in rehearsal.digests
                    if digest.route.id == one.route.id
                ],
            }
        )
    told = event_to_dict(event, with_content=False)
    return {name: told[name] for name in ("event", "tenant", "dead")} | {"routes": routes}


def trace_to_dict(trace: Trace) -> dict[str, Any]:
    """A condition's tree, with what each predicate found."""
    found: dict[str, Any] = {
        "kind": trace.kind,
        "text": trace.text,
        "held": trace.held,
        "away": trace.away,
        "file": trace.at.file,
        "line": trace.at.line,
    }
    if trace.actual_type:
        found |= {"actual": actual_text(trace), "actual_type": trace.actual_type}
    if trace.children:
        found["children"] = [trace_to_dict(child) for child in trace.children]
    return found
