"""How long a route's messages can wait before anything is sent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from router.planning.model import Step
from router.planning.policies import DAY_MINUTES, Digest, QuietHours

SHORTEST_MEMORY: Final = 86400.0
"""Marks count and are kept for so many seconds at least: what is retried waits too."""


def longest_hold(steps: Sequence[Step], digest: Digest | None = None) -> float:
    """Seconds for which a delivery of these steps can be kept back: delays, quiet hours, the
    waiting of fallbacks for their primaries, and the digest before."""
    collected = longest_digest(digest) if digest is not None else 0.0
    return max(
        (step_hold(step, steps) + (collected if step.is_for_people else 0.0) for step in steps),
        default=0.0,
    )


def step_hold(step: Step, steps: Sequence[Step]) -> float:
    """Seconds for which a step's deliveries can be kept back, digests apart.

    Args:
        steps: All of the route: a fallback waits for its primary first.
    """
    by_id = {one.id: one for one in steps}
    total = 0.0
    found: Step | None = step
    while found is not None:
        by_id.pop(found.id, None)
        total += _own_hold(found)
        found = by_id.get(found.fallback_for or "")
    return total


def _own_hold(step: Step) -> float:
    quiet = step.policy.quiet_hours if step.is_for_people else None
    return step.policy.delay + (step.after or 0.0) + (longest_quiet(quiet) if quiet else 0.0)


def longest_quiet(hours: QuietHours) -> float:
    """Seconds from the beginning of quiet hours to their end; 0 where they hold nothing."""
    if hours.then == "suppress":
        return 0.0
    return ((hours.end - hours.start) % DAY_MINUTES or DAY_MINUTES) * 60.0


def longest_digest(digest: Digest) -> float:
    """Seconds from a digest's first event to its end, at the most."""
    return digest.window if digest.at_most is None else max(digest.window, digest.at_most)
