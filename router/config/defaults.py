"""What holds where a route or step says nothing: the nearest layer wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from router.config.fields import Fields, a_kind, read_choice, read_expires
from router.config.policies import (
    CancelRule,
    ThrottleRule,
    Written,
    read_cancel_on,
    read_dedupe,
    read_delay,
    read_digest,
    read_ordering,
    read_priority,
    read_quiet_hours,
    read_throttle,
)
from router.messages import Channel
from router.nodes import Node
from router.planning import Category, InDoubtRule, OnUnknown
from router.planning.policies import Bypass, Dedupe, Digest, QuietHours, Rank
from router.problems import Position, Problems, did_you_mean

STEP_POLICY_KEYS = ("expires", "in_doubt", "delay", "quiet_hours", "ordering", "priority")
"""Policies that every level may hold, steps too."""
ROUTE_POLICY_KEYS = ("dedupe", "throttle", "digest", "cancel_on")
"""Policies of whole routes."""
POLICY_KEYS = (*STEP_POLICY_KEYS, *ROUTE_POLICY_KEYS)
DEFAULT_KEYS = ("category", "owner", "on_unknown", *POLICY_KEYS)
CATEGORY_KEYS = ("description", "owner", "optional", "bypass", *POLICY_KEYS)
ON_UNKNOWN = ("dead_letter", "suppress", "wait")
IN_DOUBT = ("resend", "dead_letter")
BYPASSES = tuple(str(one) for one in Bypass)

_OF_ROUTES = {"mode": "to the route itself", "rollout": "to the route itself"}
_OF_CATEGORIES = {"bypass": "to a category"}
ELSEWHERE = _OF_ROUTES | _OF_CATEGORIES
"""Where keys belong that are sought among policies."""

_DAY = 86400.0
_EXPIRES = {Channel.PUSH: _DAY, Channel.CHAT: _DAY, Channel.EMAIL: 3 * _DAY}


@dataclass(frozen=True, slots=True)
class Expiry:
    """An ``expires`` that somebody wrote; None is ``never``."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Layer:
    """Defaults of one level; None says nothing."""

    category: str | None = None
    owner: str | None = None
    on_unknown: OnUnknown | None = None
    expires: Expiry | None = None
    in_doubt: InDoubtRule | None = None
    delay: Written[float] | None = None
    quiet_hours: Written[QuietHours] | None = None
    ordering: Written[bool] | None = None
    priority: Written[Rank] | None = None
    dedupe: Written[Dedupe] | None = None
    throttle: Written[ThrottleRule] | None = None
    digest: Written[Digest] | None = None
    cancel_on: Written[CancelRule] | None = None

    def over(self, outer: Layer) -> Layer:
        """This layer, and the outer one where this one says nothing."""
        inherited = {
            f.name: getattr(outer, f.name) for f in fields(self) if getattr(self, f.name) is None
        }
        return replace(self, **inherited) if inherited else self

    def plain(self) -> Mapping[str, Any]:
        """What it says, without places."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: value.node.plain() if isinstance(value, Written) else repr(value)  # pyright: ignore[reportUnknownMemberType]
            for name, value in said.items()
            if value is not None
        }


def read_layer(node: Node, what: str, problems: Problems, *, of_file: bool = False) -> Layer:
    """The defaults that a ``defaults:`` mapping holds.

    Args:
        of_file: They are a routes file's, which counts nothing.
    """
    if not node.is_mapping:
        problems.error("R203", f"{what} must be a mapping, not {a_kind(node)}", node.at)
        return Layer()
    values = Fields(node, what, problems)
    values.allow(DEFAULT_KEYS, ELSEWHERE)
    if of_file and (throttle := node.get("throttle")) is not None and throttle.value != "none":
        message = (
            "a throttle does not count by files; write it in a category, in the defaults of"
            " router.yaml, or under policy: of each route"
        )
        problems.error("R228", message, node.key_at("throttle"))
    return replace(
        read_policy(values),
        category=values.text("category"),
        owner=values.text("owner"),
        on_unknown=read_on_unknown(values),
    )


def read_policy(values: Fields) -> Layer:
    """The policies of a mapping, for a route or any level above."""
    return replace(
        read_step_policy(values),
        dedupe=read_dedupe(values),
        throttle=read_throttle(values),
        digest=read_digest(values),
        cancel_on=read_cancel_on(values),
    )


def read_step_policy(values: Fields) -> Layer:
    """The policies that steps may hold too."""
    expires = values.node.get("expires")
    in_doubt = values.choice("in_doubt", IN_DOUBT)
    return Layer(
        expires=None if expires is None else Expiry(read_expires(expires, values.problems)),
        in_doubt=cast("InDoubtRule | None", in_doubt),
        delay=read_delay(values),
        quiet_hours=read_quiet_hours(values),
        ordering=read_ordering(values),
        priority=read_priority(values),
    )


def read_on_unknown(values: Fields) -> OnUnknown | None:
    return cast("OnUnknown | None", values.choice("on_unknown", ON_UNKNOWN))


def expires_after(layer: Layer, channel: Channel) -> float | None:
    """Seconds after the event; requests expire only where somebody wrote so."""
    if layer.expires is not None:
        return layer.expires.seconds
    return _EXPIRES.get(channel)


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories, with the defaults that each brings."""

    known: dict[str, Category]
    layers: dict[str, Layer]

    def layer(self, name: str | None, at: Position | None, problems: Problems) -> Layer:
        """A category's defaults; an unknown one is a problem."""
        if name is None:
            return Layer()
        if name not in self.layers:
            hint = did_you_mean(name, list(self.layers), "Categories")
            problems.error("R206", f'unknown category "{name}".{hint}', at)
        return self.layers.get(name, Layer())


def read_category(name: str, node: Node, problems: Problems) -> tuple[Category, Layer]:
    """One entry of ``categories:``."""
    values = Fields(node, f'category "{name}"', problems)
    values.allow(CATEGORY_KEYS, _OF_ROUTES)
    owner = values.text("owner")
    category = Category(
        name,
        description=values.text("description") or "",
        owner=owner,
        optional=values.boolean("optional", True),
        bypass=_bypass(values),
    )
    return category, replace(read_policy(values), owner=owner)


def _bypass(values: Fields) -> frozenset[Bypass]:
    node = values.sequence("bypass")
    items = node.nodes if node else ()
    found = [read_choice(item, "bypass", BYPASSES, values.problems) for item in items]
    return frozenset(Bypass(one) for one in found if one)
