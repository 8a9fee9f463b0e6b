"""Links a route's policies: the nearest level wins, throttles add up, and all must go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from router.config.defaults import Layer
from router.config.fields import Fields
from router.config.policies import CATEGORY, RECIPIENT, Written, read_rollout
from router.planning import SHORTEST_MEMORY, Category, Step, longest_hold
from router.planning.policies import (
    Bypass,
    Mode,
    Rank,
    RoutePolicy,
    StepPolicy,
    Throttle,
)
from router.problems import Problems
from router.routing import ITEM, Path

MODES = tuple(str(mode) for mode in Mode)


@dataclass(frozen=True, slots=True)
class Levels:
    """What is said of a route, level by level.

    Attributes:
        own: Under its ``policy:``.
        category: By its category.
        whole: By ``defaults`` of ``router.yaml``.
        all: All of them and the file's in one: the nearest wins.
    """

    own: Layer
    category: Layer
    whole: Layer
    all: Layer


@dataclass(frozen=True, slots=True)
class RoutePolicyLinker:
    """Links the policies of one route, after its steps.

    Attributes:
        key_id: What its counts are kept under.
        has_items: It sends to each of a list.
    """

    fields: Fields
    levels: Levels
    category: Category | None
    key_id: str
    has_items: bool
    problems: Problems

    def link(self, steps: Sequence[Step]) -> RoutePolicy:
        has_people = any(step.is_for_people for step in steps)
        if steps and not has_people:
            self._refuse_for_nobody(self.levels.own)
        self._refuse_bypassed()
        said = self.levels.all
        digest = said.digest.value if said.digest and has_people else None
        longest = max(longest_hold(steps, digest), SHORTEST_MEMORY)
        cancel = said.cancel_on.value if said.cancel_on else None
        policy = RoutePolicy(
            mode=Mode(self.fields.choice("mode", MODES) or "live"),
            rollout=read_rollout(self.fields),
            dedupe=said.dedupe.value if said.dedupe else None,
            throttles=self._throttles() if has_people else (),
            digest=digest,
            cancel_on=cancel.linked(longest) if cancel else None,
            bypass=bypass_of(self.category),
        )
        self._check_items(policy)
        return policy

    def _throttles(self) -> tuple[Throttle, ...]:
        """From the narrowest level to the widest; one that says ``none`` ends the list."""
        category = f"category:{self.category.name}" if self.category else None
        levels = (
            (f"route:{self.key_id}", self.levels.own.throttle),
            (category, self.levels.category.throttle),
            ("all", self.levels.whole.throttle),
        )
        found: list[Throttle] = []
        for level, written in levels:
            if written is None:
                continue
            if written.value is None:
                break
            rule = written.value
            scope = category if rule.by == CATEGORY else level
            if scope is not None:
                by = None if rule.by in (RECIPIENT, CATEGORY) else rule.by
                found.append(Throttle(rule.limit, rule.per, scope, by, written.at))
            elif written is self.levels.own.throttle:
                message = f"by: category, but {self.fields.what} has no category"
                self.problems.error("R228", message, written.node.locate(["by"]))
        return tuple(found)

    def _refuse_for_nobody(self, own: Layer) -> None:
        for key in ("throttle", "digest", "quiet_hours"):
            written: Written[Any] | None = getattr(own, key)
            if written is not None and written.value is not None:
                message = f"{key}: is for people, but no step of {self.fields.what} sends to any"
                self.problems.error("R230", message, written.at)

    def _refuse_bypassed(self) -> None:
        """What the route asks for itself is not what its category passes by."""
        category, own = self.category, self.levels.own
        if category is None:
            return
        for key, bypass in (("throttle", Bypass.THROTTLE), ("quiet_hours", Bypass.QUIET_HOURS)):
            written: Written[Any] | None = getattr(own, key)
            if written is not None and written.value is not None and bypass in category.bypass:
                message = f'{key}: does nothing here, for category "{category.name}" bypasses it'
                self.problems.error("R227", message, written.at)

    def _check_items(self, policy: RoutePolicy) -> None:
        """A path into the element that a person was found in needs such elements."""
        said = self.levels.all
        paths: list[tuple[str, Path | None, Written[Any] | None]] = [
            ("dedupe.key", policy.dedupe.key if policy.dedupe else None, said.dedupe),
            ("digest.key", policy.digest.key if policy.digest else None, said.digest),
            *(("throttle.by", throttle.by, said.throttle) for throttle in policy.throttles),
        ]
        for name, path, written in paths:
            if path is not None and path.root == ITEM and written and not self.has_items:
                message = f"{name} starts with item, but the route has no recipients: each:"
                at = written.node.locate([name.partition(".")[2]])
                self.problems.error("R227", message, at)


def bypass_of(category: Category | None) -> frozenset[Bypass]:
    """What a category's notifications pass by: what nobody may opt out of asks no preferences."""
    if category is None:
        return frozenset()
    return category.bypass | (frozenset() if category.optional else {Bypass.PREFERENCES})


def step_policy(layer: Layer, *, has_quiet_hours: bool) -> StepPolicy:
    """When the deliveries of a step go, by all that is said of it.

    Args:
        has_quiet_hours: It is for people, and their category leaves them alone at night.
    """
    hours = layer.quiet_hours.value if layer.quiet_hours and has_quiet_hours else None
    rank = layer.priority.value if layer.priority else None
    return StepPolicy(
        delay=(layer.delay.value if layer.delay else None) or 0.0,
        quiet_hours=hours,
        is_ordered=layer.ordering is not None and layer.ordering.value is True,
        rank=Rank.NORMAL if rank is None else rank,
    )
