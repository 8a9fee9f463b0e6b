"""Reads policies as they are written, on whatever level they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, TypeVar, cast
from zoneinfo import available_timezones

from router.config.compiling import compile_expression
from router.config.fields import Fields, read_path
from router.config.scalars import Raw
from router.nodes import Entry, Node
from router.planning.policies import CancelOn, Dedupe, Digest, QuietHours, Rank, Rollout, Same
from router.planning.policies import zone_of as known_zone
from router.problems import Position, did_you_mean
from router.routing import EVENT_ROOTS, ROOTS, Condition, Path, parse_condition
from router.values import Secret

T = TypeVar("T")

OFF: Final = "none"
"""Switches off a policy that is inherited."""
RECIPIENT: Final = "recipient"
CATEGORY: Final = "category"
THENS = ("hold", "suppress")
ORDERS = ("key", OFF)
PRIORITIES = tuple(rank.name.lower() for rank in Rank)

_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """A policy that somebody wrote.

    Attributes:
        value: None switches off what is inherited.
        node: As written.
        at: Where its key stands.
    """

    value: T | None
    node: Node
    at: Position


@dataclass(frozen=True, slots=True)
class ThrottleRule:
    """A throttle before it is known what it counts: that depends on where it stands."""

    limit: int
    per: float
    by: Path | Literal["recipient", "category"]


@dataclass(frozen=True, slots=True)
class CancelRule:
    """A ``cancel_on`` or ``unless_event``; ``within`` is None where nobody said for how long."""

    match: Condition
    same: tuple[Same, ...]
    within: float | None

    def linked(self, default: float) -> CancelOn:
        """The rule with its time.

        Args:
            default: Seconds that hold where it names none.
        """
        return CancelOn(self.match, self.same, default if self.within is None else self.within)


def read_dedupe(values: Fields) -> Written[Dedupe] | None:
    at = values.node.key_at("dedupe")

    def read(inner: Fields) -> Dedupe | None:
        inner.allow(("key", "window"))
        if not _has(inner, "key", "window"):
            return None
        key, window = single_path(inner, "key", ROOTS), inner.duration("window")
        return None if key is None or window is None else Dedupe(key, window, at)

    return _mapping_or_none(values, "dedupe", read)


def read_throttle(values: Fields) -> Written[ThrottleRule] | None:
    def read(inner: Fields) -> ThrottleRule | None:
        inner.allow(("limit", "per", "by"))
        if not _has(inner, "limit", "per"):
            return None
        limit, per = inner.whole("limit"), inner.duration("per")
        by = _by(inner, (RECIPIENT, CATEGORY))
        return None if limit is None or per is None or by is None else ThrottleRule(limit, per, by)

    return _mapping_or_none(values, "throttle", read)


def _by(inner: Fields, words: Sequence[str]) -> Path | Literal["recipient", "category"] | None:
    node = inner.node.get("by")
    if node is None:
        return RECIPIENT
    if node.value in words:
        return cast("Literal['recipient', 'category']", str(node.value))
    return single_path(inner, "by", ROOTS, words)


def read_digest(values: Fields) -> Written[Digest] | None:
    at = values.node.key_at("digest")

    def read(inner: Fields) -> Digest | None:
        inner.allow(("key", "window", "max", "extend", "at_most"))
        if not _has(inner, "window"):
            return None
        window = inner.duration("window")
        most, at_most = inner.whole("max"), inner.duration("at_most")
        extend = inner.boolean("extend", False)
        if window is None:
            return None
        _check_end(inner, window, at_most, extend=extend)
        key = single_path(inner, "key", ROOTS)
        default = Digest.__dataclass_fields__["most"].default
        return Digest(window, key, most or default, extend, at_most, at)

    return _mapping_or_none(values, "digest", read)


def _check_end(inner: Fields, window: float, at_most: float | None, *, extend: bool) -> None:
    node, problems = inner.node, inner.problems
    if node.get("at_most") is not None and not extend:
        message = "at_most: ends a digest that grows; write extend: true too"
        problems.error("R229", message, node.key_at("at_most"))
    elif extend and node.get("at_most") is None:
        message = "extend: true needs at_most: a digest that always grows is never sent"
        problems.error("R229", message, node.key_at("extend"))
    elif at_most is not None and at_most < window:
        message = "at_most: is shorter than window:; it is the longest that a digest takes"
        related = ((node.locate(["window"]), "the window"),)
        problems.error("R229", message, node.locate(["at_most"]), related)


def read_quiet_hours(values: Fields) -> Written[QuietHours] | None:
    def read(inner: Fields) -> QuietHours | None:
        inner.allow(("from", "to", "timezone", "otherwise", "then"))
        if not _has(inner, "from", "to"):
            return None
        start, end = _time_of_day(inner, "from"), _time_of_day(inner, "to")
        zone, otherwise = _zone(inner, "timezone"), _zone(inner, "otherwise")
        then = cast('Literal["hold", "suppress"]', inner.choice("then", THENS) or "hold")
        if zone is not None and inner.node.get("otherwise") is not None:
            message = "otherwise: does nothing beside a named zone; it is for timezone: recipient"
            inner.problems.error("R227", message, inner.node.key_at("otherwise"))
        if start is None or end is None:
            return None
        if start == end:
            message = "from: and to: are the same; quiet hours end at another time than they begin"
            inner.problems.error("R224", message, inner.node.locate(["to"]))
        return QuietHours(start, end, zone, otherwise or "UTC", then)

    return _mapping_or_none(values, "quiet_hours", read)


def _time_of_day(inner: Fields, key: str) -> int | None:
    """Minutes after midnight."""
    node = inner.node.get(key)
    if node is None or isinstance(node.value, Raw | Secret):
        return None
    found = _TIME_OF_DAY.fullmatch(node.value) if isinstance(node.value, str) else None
    if found is None:
        given = f'"{node.value}"' if node.is_scalar else f"a {node.kind()}"
        is_hour = type(node.value) is int and 0 <= node.value < 24
        right = f"{node.value:02}:00" if is_hour else "22:00"
        inner.problems.error("R224", f"{key}: not a time of day: {given}; write {right}", node.at)
        return None
    return int(found[1]) * 60 + int(found[2])


def _zone(inner: Fields, key: str) -> str | None:
    """An IANA name; None for ``recipient``, where nothing is said, and after a problem."""
    name = inner.text(key)
    if name is None or (key == "timezone" and name == RECIPIENT):
        return None
    if known_zone(name) is not None:
        return name
    names = sorted(name for name in available_timezones() if "/" in name or name == "UTC")
    hint = did_you_mean(name, names, "Zones").partition(" Zones:")[0]
    message = f'unknown time zone "{name}"; write one such as Europe/Moscow.{hint}'
    inner.problems.error("R225", message, inner.node.locate([key]))
    return None


def read_cancel_on(values: Fields) -> Written[CancelRule] | None:
    def read(inner: Fields) -> CancelRule | None:
        inner.allow(("match", "same", "within"))
        match = inner.mapping("match")
        return _ended_by(inner, match) if _has(inner, "match", "same") and match else None

    return _mapping_or_none(values, "cancel_on", read)


def read_unless_event(values: Fields) -> CancelRule | None:
    """A step's ``unless_event``: a condition with ``same`` and ``within`` beside it."""
    node = values.mapping("unless_event")
    if node is None:
        return None
    inner = Fields(node, _what(values, "unless_event"), values.problems)
    match = {key: e for key, e in _meant(node) if key not in ("same", "within")}
    if not match:
        message = f"{inner.what} needs a condition, such as type: push.opened"
        values.problems.error("R202", message, node.at)
    return _ended_by(inner, Node(match, node.at)) if _has(inner, "same") and match else None


def _ended_by(inner: Fields, match: Node) -> CancelRule | None:
    condition = parse_condition(match, inner.problems, compile_expression=compile_expression)
    same = _same(inner)
    within = inner.duration("within")
    return CancelRule(condition, same, within) if condition and same else None


def _same(inner: Fields) -> tuple[Same, ...]:
    """A path, a list of them, or a mapping of own paths to the other event's."""
    node = inner.node.get("same")
    if node is None:
        return ()
    if node.is_mapping:
        pairs = [(Node(key, e.key_at), e.node) for key, e in _meant(node)]
    else:
        pairs = [(one, one) for one in (node.nodes if node.is_sequence else (node,))]
    if not pairs:
        inner.problems.error("R203", "same: must not be empty", node.at)
    found: list[Same] = []
    for own_node, other_node in pairs:
        own = _single(own_node, "same", EVENT_ROOTS, inner)
        other = own if other_node is own_node else _single(other_node, "same", EVENT_ROOTS, inner)
        if own is not None and other is not None:
            found.append(Same(own, other))
    return tuple(found)


def read_delay(values: Fields) -> Written[float] | None:
    node = values.node.get("delay")
    if node is None:
        return None
    seconds = values.duration("delay", may_be_zero=True)
    return None if seconds is None else Written(seconds, node, values.node.key_at("delay"))


def read_ordering(values: Fields) -> Written[bool] | None:
    node, found = values.node.get("ordering"), values.choice("ordering", ORDERS)
    if node is None or found is None:
        return None
    return Written(found == "key", node, values.node.key_at("ordering"))


def read_priority(values: Fields) -> Written[Rank] | None:
    node, found = values.node.get("priority"), values.choice("priority", PRIORITIES)
    if node is None or found is None:
        return None
    return Written(Rank[found.upper()], node, values.node.key_at("priority"))


def read_rollout(values: Fields) -> Rollout | None:
    """A route's ``rollout``: so many percent of people, or of what stands at a path."""
    node = values.mapping("rollout")
    if node is None:
        return None
    inner = Fields(node, _what(values, "rollout"), values.problems)
    inner.allow(("percent", "by"))
    if not _has(inner, "percent"):
        return None
    percent, by = node.get("percent"), _by(inner, (RECIPIENT,))
    assert percent is not None
    value = percent.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        if not isinstance(value, Raw):
            values.problems.error("R203", "percent must be a number from 0 to 100", percent.at)
        return None
    at = values.node.key_at("rollout")
    return Rollout(float(value), by if isinstance(by, Path) else None, at)


def single_path(
    inner: Fields, key: str, roots: Sequence[str], words: Sequence[str] = ()
) -> Path | None:
    """A path that leads to one value.

    Args:
        words: What may stand there instead, for the message.
    """
    node = inner.node.get(key)
    return None if node is None else _single(node, key, roots, inner, words)


def _single(
    node: Node, key: str, roots: Sequence[str], inner: Fields, words: Sequence[str] = ()
) -> Path | None:
    is_word = isinstance(node.value, str) and node.value.isidentifier()
    if words and is_word and node.value not in roots:
        choices = ", ".join(words)
        message = f'{key} can\'t be "{node.value}"; write {choices} or a path such as data.id'
        inner.problems.error("R211", message, node.at)
        return None
    path = read_path(node, key, roots, inner.problems)
    if path is not None and path.has_wildcard:
        message = f"{key} takes a path to one value; [*] leads to any number"
        inner.problems.error("R203", message, node.at)
        return None
    return path


def _mapping_or_none(
    values: Fields, key: str, read: Callable[[Fields], T | None]
) -> Written[T] | None:
    node = values.node.get(key)
    if node is None:
        return None
    at = values.node.key_at(key)
    if node.value == OFF:
        return Written(None, node, at)
    if not node.is_mapping:
        of_route = replace(values, what=values.what.removeprefix("policy of "))
        of_route.wrong(key, node, f"a mapping or {OFF}")
        return None
    value = read(Fields(node, _what(values, key), values.problems))
    return None if value is None else Written(value, node, at)


def _meant(node: Node) -> Iterator[tuple[str, Entry]]:
    """The entries but for those that hold anchors."""
    return ((key, entry) for key, entry in node.entries.items() if not key.startswith("x-"))


def _what(values: Fields, key: str) -> str:
    return f"{key} of {values.what.removeprefix('policy of ')}"


def _has(inner: Fields, *keys: str) -> bool:
    """Whether none of the compulsory keys is missing."""
    missing = [key for key in keys if inner.node.get(key) is None]
    for key in missing:
        inner.problems.error("R202", f"{inner.what} needs {key}:", inner.node.at)
    return not missing
