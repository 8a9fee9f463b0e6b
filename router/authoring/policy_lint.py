"""Findings about policies: what can never happen, and what always does."""

from __future__ import annotations

from collections.abc import Iterator

from router.authoring.route_lint import routes_in_force, warning
from router.config import Project
from router.planning import Route, Step, longest_hold, longest_quiet
from router.planning.longest import longest_digest
from router.problems import Problem
from router.values import format_duration


def lint_policies(project: Project) -> Iterator[Problem]:
    """What is found about each route in force."""
    for route in routes_in_force(project):
        yield from _nothing_to_cancel(route)
        for step in route.steps:
            yield from _expires_first(step) or _held_too_long(route, step, project)


def _nothing_to_cancel(route: Route) -> Iterator[Problem]:
    if route.policy.cancel_on is None or longest_hold(route.steps, route.policy.digest) > 0:
        return
    message = (
        f'route "{route.id}" has cancel_on, but sends at once: only what is retried can be'
        " cancelled; write delay: or a digest"
    )
    yield warning("R310", message, route.at)


def _expires_first(step: Step) -> list[Problem]:
    """Messages that a single policy keeps back until nobody wants them any more."""
    expires, policy = step.expires, step.policy
    if expires is None:
        return []
    if policy.delay >= expires:
        message = (
            f'step "{step.id}" waits {format_duration(policy.delay)}, but its messages expire after'
            f" {format_duration(expires)}: none is ever sent"
        )
        return [warning("R311", message, step.at)]
    quiet = policy.quiet_hours
    longest = longest_quiet(quiet) if quiet is not None and step.is_for_people else 0.0
    if longest >= expires:
        message = (
            f'step "{step.id}" is kept back for up to {format_duration(longest)} by quiet hours,'
            f" but its messages expire after {format_duration(expires)}: those of the evening never"
            " arrive; write a longer expires:, or quiet_hours: none"
        )
        return [warning("R311", message, step.at)]
    return []


def _held_too_long(route: Route, step: Step, project: Project) -> list[Problem]:
    """Messages that policies keep back for too long together."""
    chain = _chain(route, step)
    digest = route.policy.digest if step.is_for_people else None
    quiet = step.policy.quiet_hours if step.is_for_people else None
    collected = longest_digest(digest) if digest else 0.0
    night = longest_quiet(quiet) if quiet else 0.0
    total = collected
    for one in chain:
        # A delay is counted from the event, as a digest is: the longer one holds.
        total = max(total + (one.after or 0.0), one.policy.delay)
    total += night
    holds = {
        "digest": collected,
        "delay": max(one.policy.delay for one in chain),
        "after": sum(one.after or 0.0 for one in chain),
        "quiet hours": night,
    }
    names = ", ".join(f"{name} {format_duration(s)}" for name, s in holds.items() if s)
    kept = f'step "{step.id}" may be kept back for {format_duration(total)} ({names})'
    if step.expires is not None and total >= step.expires:
        message = (
            f"{kept}, but its messages expire after {format_duration(step.expires)}: some never"
            f" arrive; write an expires: above {format_duration(total)}"
        )
        return [warning("R311", message, step.at)]
    retention = project.ledger.retention
    if total > retention:
        message = (
            f"{kept}, but the ledger forgets after {format_duration(retention)}: an event read"
            " again then would be sent again; raise ledger.retention"
        )
        return [warning("R308", message, step.at)]
    return []


def _chain(route: Route, step: Step) -> list[Step]:
    """The step, and before it what it stands in for."""
    steps = {one.id: one for one in route.steps}
    chain: list[Step] = []
    found: Step | None = step
    while found is not None:
        chain.insert(0, found)
        found = steps.pop(found.fallback_for or "", None)
    return chain
