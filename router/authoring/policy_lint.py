"""Findings about policies: what can never happen, and what always does."""

from __future__ import annotations

from collections.abc import Iterator

from router.authoring.route_lint import routes_in_force, warning
from router.config import Project
from router.planning import Route, Step, longest_hold, longest_quiet
from router.problems import Problem
from router.values import format_duration


def lint_policies(project: Project) -> Iterator[Problem]:
    """What is found about each route in force."""
    for route in routes_in_force(project):
        yield from _nothing_to_cancel(route)
        for step in route.steps:
            yield from _expires_first(step)


def _nothing_to_cancel(route: Route) -> Iterator[Problem]:
    if route.policy.cancel_on is None or longest_hold(route.steps, route.policy.digest) > 0:
        return
    message = (
        f'route "{route.id}" has cancel_on, but sends at once: only what is retried can be'
        " cancelled; write delay: or a digest"
    )
    yield warning("R310", message, route.at)


def _expires_first(step: Step) -> Iterator[Problem]:
    """Messages that are kept back until nobody wants them any more."""
    expires, policy = step.expires, step.policy
    if expires is None:
        return
    if policy.delay >= expires:
        message = (
            f'step "{step.id}" waits {format_duration(policy.delay)}, but its messages expire after'
            f" {format_duration(expires)}: none is ever sent"
        )
        yield warning("R311", message, step.at)
        return
    quiet = policy.quiet_hours
    longest = longest_quiet(quiet) if quiet is not None and step.is_for_people else 0.0
    if longest >= expires:
        message = (
            f'step "{step.id}" is kept back for up to {format_duration(longest)} by quiet hours,'
            f" but its messages expire after {format_duration(expires)}: those of the evening never"
            " arrive; write a longer expires:, or quiet_hours: none"
        )
        yield warning("R311", message, step.at)
