"""What holds where a route or step says nothing: the nearest layer wins."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import cast

from router.config.fields import Fields, a_kind, read_expires
from router.messages import Channel
from router.nodes import Node
from router.planning import Category, InDoubtRule, OnUnknown
from router.problems import Position, Problems, did_you_mean

DEFAULT_KEYS = ("category", "owner", "on_unknown", "expires", "in_doubt")
POLICY_KEYS = ("expires", "in_doubt")
CATEGORY_KEYS = ("description", "owner", "optional", "expires", "in_doubt")
ON_UNKNOWN = ("dead_letter", "suppress", "wait")
IN_DOUBT = ("resend", "dead_letter")

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

    def over(self, outer: Layer) -> Layer:
        """This layer, and the outer one where this one says nothing."""
        inherited = {
            f.name: getattr(outer, f.name) for f in fields(self) if getattr(self, f.name) is None
        }
        return replace(self, **inherited) if inherited else self


def read_layer(node: Node, what: str, problems: Problems) -> Layer:
    """The defaults that a ``defaults:`` mapping holds."""
    if not node.is_mapping:
        problems.error("R203", f"{what} must be a mapping, not {a_kind(node)}", node.at)
        return Layer()
    values = Fields(node, what, problems)
    values.allow(DEFAULT_KEYS)
    return replace(
        read_policy(values),
        category=values.text("category"),
        owner=values.text("owner"),
        on_unknown=read_on_unknown(values),
    )


def read_policy(values: Fields) -> Layer:
    """``expires`` and ``in_doubt``, which every level may hold."""
    expires = values.node.get("expires")
    in_doubt = values.choice("in_doubt", IN_DOUBT)
    return Layer(
        expires=None if expires is None else Expiry(read_expires(expires, values.problems)),
        in_doubt=cast("InDoubtRule | None", in_doubt),
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
    values.allow(CATEGORY_KEYS)
    owner = values.text("owner")
    category = Category(
        name,
        description=values.text("description") or "",
        owner=owner,
        optional=values.boolean("optional", True),
    )
    return category, replace(read_policy(values), owner=owner)
