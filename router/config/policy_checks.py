"""What policies must not say together, and what the ledger can't remember."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from router.config.defaults import Layer
from router.config.policies import Written
from router.config.route_policies import Levels
from router.planning import Step
from router.planning.policies import Digest, RoutePolicy
from router.problems import Position, Problems
from router.values import format_duration

_WINDOWS = {
    "delay": (),
    "throttle": ("per",),
    "dedupe": ("window",),
    "digest": ("window", "at_most"),
    "cancel_on": ("within",),
}
"""Times that something is counted or kept for, by policy; ``delay`` is one itself."""


def check_policies(
    levels: Levels,
    steps: Sequence[Step],
    layers: Mapping[str, Layer],
    policy: RoutePolicy,
    retention: float | None,
    problems: Problems,
) -> None:
    """Everything about a route's policies that only the whole route shows.

    Args:
        layers: What holds for each step, by its id.
        retention: For how many seconds the ledger remembers; None where it is not known.
    """
    for step in steps:
        _check_order(step, layers[step.id], policy, problems)
    if policy.digest is not None:
        _check_digest(policy.digest, steps, problems)
    if retention is not None:
        said = (levels.all, levels.own, levels.category, levels.whole, *layers.values())
        for layer in said:
            _check_windows(layer, retention, problems)


def _check_order(step: Step, layer: Layer, policy: RoutePolicy, problems: Problems) -> None:
    """One that waits would keep back all that follow it."""
    if not step.policy.is_ordered or layer.ordering is None:
        return
    waits = list(_waits(step, layer, policy))
    if not waits:
        return
    key, at = waits[0]
    message = (
        f'step "{step.id}" has ordering: key and {key}:, which don\'t go together: a message that'
        " waits would keep back all that follow"
    )
    related = ((layer.ordering.at, "ordering"), (at, key))
    problems.error("R227", message, step.at, tuple(r for r in related if r[0] != step.at))


def _waits(step: Step, layer: Layer, policy: RoutePolicy) -> Iterator[tuple[str, Position]]:
    quiet = step.policy.quiet_hours
    if step.is_for_people and policy.digest is not None and policy.digest.at is not None:
        yield "digest", policy.digest.at
    if step.policy.delay and layer.delay is not None:
        yield "delay", layer.delay.at
    if quiet is not None and quiet.then == "hold" and layer.quiet_hours is not None:
        yield "quiet_hours", layer.quiet_hours.at
    if step.after is not None:
        yield "after", step.at


def _check_digest(digest: Digest, steps: Sequence[Step], problems: Problems) -> None:
    """A digest is told of to people alone, with all that may stand in for its steps."""
    by_id = {step.id: step for step in steps}
    for step in steps:
        primary = by_id.get(step.fallback_for or "")
        if primary is None or primary.is_for_people == step.is_for_people:
            continue
        one, other = (step, primary) if step.is_for_people else (primary, step)
        message = (
            f'the route has a digest: "{one.id}" tells people of many events at once, but'
            f' "{other.id}" is sent for each; neither can stand in for the other'
        )
        related = ((primary.at, "the other step"), *(((digest.at, "digest"),) if digest.at else ()))
        problems.error("R227", message, step.at, related)


def _check_windows(layer: Layer, retention: float, problems: Problems) -> None:
    for policy, keys in _WINDOWS.items():
        written: Written[Any] | None = getattr(layer, policy)
        if written is None or written.value is None:
            continue
        for key in keys or ("",):
            seconds = getattr(written.value, key) if key else written.value
            name = f"{policy}.{key}" if key else policy
            check_window(
                name, seconds, written.node.locate([key] if key else ()), retention, problems
            )


def check_window(
    name: str, seconds: float | None, at: Position, retention: float | None, problems: Problems
) -> None:
    """Something that is remembered for longer than the ledger keeps anything."""
    if seconds is None or retention is None or seconds <= retention:
        return
    message = (
        f"{name} is {format_duration(seconds)}, but the ledger forgets after"
        f" {format_duration(retention)}; raise ledger.retention"
    )
    problems.error("R231", message, at)
