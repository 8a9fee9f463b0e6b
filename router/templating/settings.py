"""``template.yaml``: what a template says about itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.nodes import Node
from router.problems import Position, Problems, did_you_mean
from router.templating.guard import RESERVED
from router.templating.layout_fields import Bounds
from router.templating.layouts import BOUNDS, MIN_SPLIT, OVERFLOWS
from router.templating.locales import Locales, cldr_locale, normalized
from router.templating.names import GLOBALS
from router.templating.overflow import Overflow
from router.templating.variables import TYPES, Variable, mistake

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYS = ("description", "owner", "locales", "variables", "channels")
_LOCALE_KEYS = ("required", "default", "fallback")
_VARIABLE_KEYS = ("type", "example", "examples", "optional", "pii")


@dataclass(frozen=True, slots=True)
class Settings:
    """The file's content.

    Attributes:
        locale_at: Where each required locale is named.
    """

    description: str = ""
    owner: str | None = None
    locales: Locales = field(default_factory=Locales)
    locale_at: Mapping[str, Position] = field(default_factory=dict[str, Position])
    variables: Mapping[str, Variable] = field(default_factory=dict[str, Variable])
    bounds: Mapping[str, Bounds] = field(default_factory=dict[str, Bounds])


def parse_settings(node: Node, problems: Problems) -> Settings:
    """Reads the file; every mistake goes to ``problems``."""
    if not is_mapping(node, "template.yaml", problems):
        return Settings()
    check_keys(node, _KEYS, problems)
    locales, locale_at = _parse_locales(node.get("locales"), node.at, problems)
    return Settings(
        description=text_of(node.get("description"), problems) or "",
        owner=text_of(node.get("owner"), problems),
        locales=locales,
        locale_at=locale_at,
        variables=_parse_variables(node.get("variables"), problems),
        bounds=_parse_bounds(node.get("channels"), problems),
    )


def check_keys(node: Node, known: Collection[str], problems: Problems) -> None:
    """Complains about keys that mean nothing; ``x-`` keys hold anchors."""
    for key in node.entries:
        if key not in known and not key.startswith("x-"):
            guess = did_you_mean(key, sorted(known), "Keys")
            problems.error("T102", f'unknown key "{key}".{guess}', node.key_at(key))


def is_mapping(node: Node, what: str, problems: Problems) -> bool:
    """Whether the node is a mapping; complains if not."""
    if not node.is_mapping:
        problems.error("T101", f"{what} has to be a mapping, not {node.kind()}", node.at)
    return node.is_mapping


def text_of(node: Node | None, problems: Problems) -> str | None:
    """The node's text; complains about anything else."""
    if node is None or isinstance(node.value, str):
        return node.value if node and isinstance(node.value, str) else None
    problems.error("T101", f"this has to be text, not {node.kind()}", node.at)
    return None


def _flag(node: Node | None, problems: Problems) -> bool:
    if node is None or isinstance(node.value, bool):
        return bool(node and node.value)
    problems.error("T101", f"this has to be true or false, not {node.kind()}", node.at)
    return False


def _locale(node: Node, problems: Problems) -> str | None:
    text = text_of(node, problems)
    return None if text is None else checked_locale(text, node.at, problems)


def checked_locale(text: str, at: Position, problems: Problems) -> str | None:
    """The tag in its usual spelling, or None after a complaint."""
    tag = normalized(text)
    try:
        cldr_locale(tag)
    except ValueError as error:
        problems.error("T104", str(error), at)
        return None
    return tag


def _parse_locales(
    node: Node | None, at: Position, problems: Problems
) -> tuple[Locales, Mapping[str, Position]]:
    if node is None or not is_mapping(node, "locales", problems):
        return Locales(), {"en": at}
    check_keys(node, _LOCALE_KEYS, problems)
    required_node, default_node = node.get("required"), node.get("default")
    places: dict[str, Position] = {}
    for child in required_node.nodes if required_node else ():
        if tag := _locale(child, problems):
            places[tag] = child.at
    if required_node and not required_node.is_sequence:
        problems.error("T101", "required has to be a list of locales", required_node.at)
    default = _locale(default_node, problems) if default_node else next(iter(places), "en")
    fallback: dict[str, str] = {}
    fallback_node = node.get("fallback")
    if fallback_node and is_mapping(fallback_node, "fallback", problems):
        for key, child in fallback_node.items():
            tag = checked_locale(key, fallback_node.key_at(key), problems)
            target = _locale(child, problems)
            if tag and target:
                fallback[tag] = target
    default = default or "en"
    places.setdefault(default, default_node.at if default_node else node.at)
    return Locales(tuple(places), default, fallback), places


def _parse_variables(node: Node | None, problems: Problems) -> Mapping[str, Variable]:
    if node is None or not is_mapping(node, "variables", problems):
        return {}
    variables: dict[str, Variable] = {}
    for name, child in node.items():
        at = node.key_at(name)
        if not _NAME.fullmatch(name):
            problems.error("T101", f'"{name}" can\'t be a name; use letters, digits and "_"', at)
        elif name in RESERVED or name in GLOBALS:
            problems.error("T101", f'"{name}" is taken: every template has it', at)
        elif variable := _parse_variable(name, child, at, problems):
            variables[name] = variable
    return variables


def _parse_variable(name: str, node: Node, at: Position, problems: Problems) -> Variable | None:
    if not is_mapping(node, f'variable "{name}"', problems):
        return None
    check_keys(node, _VARIABLE_KEYS, problems)
    type_node = node.get("type")
    kind = text_of(type_node, problems) if type_node else None
    if type_node is None:
        problems.error("T101", f'variable "{name}" needs a type: {", ".join(TYPES)}', at)
    elif kind is not None and kind not in TYPES:
        guess = did_you_mean(kind, list(TYPES), "Types")
        problems.error("T105", f'unknown type "{kind}".{guess}', type_node.at)
    if kind is None or kind not in TYPES:
        return None
    is_optional = _flag(node.get("optional"), problems)
    is_personal = _flag(node.get("pii"), problems)
    bare = Variable(name, kind, at, (), is_optional, is_personal)
    examples = tuple(_examples(bare, node, problems))
    return Variable(name, kind, at, examples, is_optional, is_personal)


def _examples(variable: Variable, node: Node, problems: Problems) -> list[Any]:
    one, several = node.get("example"), node.get("examples")
    if one and several:
        problems.error("T105", "write example or examples, not both", node.key_at("examples"))
    if several and not several.is_sequence:
        problems.error("T105", "examples has to be a list", several.at)
    values: list[Any] = []
    for child in (*((one,) if one else ()), *(several.nodes if several else ())):
        value = child.plain()
        problem = None if value is None and variable.is_optional else mistake(variable, value)
        if problem:
            problems.error("T105", f"the example does not fit: {problem}", child.at)
        values.append(value)
    return values


def _parse_bounds(node: Node | None, problems: Problems) -> Mapping[str, Bounds]:
    if node is None or not is_mapping(node, "channels", problems):
        return {}
    check_keys(node, BOUNDS, problems)
    bounds: dict[str, Bounds] = {}
    for channel, child in node.items():
        if channel in BOUNDS and is_mapping(child, channel, problems):
            bounds[channel] = _parse_channel(channel, child, problems)
    return bounds


def _parse_channel(channel: str, node: Node, problems: Problems) -> Bounds:
    overflows = OVERFLOWS[channel]
    check_keys(node, (*BOUNDS[channel], *(("overflow",) if overflows else ())), problems)
    limits: dict[str, int] = {}
    for key in BOUNDS[channel]:
        value = node.get(key)
        number = value.value if value else None
        if value is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            problems.error("T101", f"{key} has to be a number of characters", value.at)
        else:
            limits[key] = number
    chosen = node.get("overflow")
    if chosen is None or not overflows:
        return _bounds(limits, "error")
    overflow: Overflow | None = next((one for one in overflows if one == chosen.value), None)
    if overflow is None:
        guess = did_you_mean(str(chosen.value), overflows, "Choices")
        problems.error("T101", f'overflow can\'t be "{chosen.value}".{guess}', chosen.at)
    elif not any(key in node.entries for key in BOUNDS[channel]):
        wanted = " or ".join(BOUNDS[channel])
        message = f"overflow says what becomes of longer messages; longer than what? Write {wanted}"
        problems.error("T101", message, chosen.at)
    elif overflow == "split" and limits.get("max_length", MIN_SPLIT) < MIN_SPLIT:
        message = f"messages are split into parts of {MIN_SPLIT} characters or more"
        problems.error("T101", message, node.locate(["max_length"]))
    return _bounds(limits, "error" if overflow is None else overflow)


def _bounds(limits: Mapping[str, int], overflow: Overflow) -> Bounds:
    length, title, subject = map(limits.get, ("max_length", "max_title", "max_subject"))
    return Bounds(length, title, subject, overflow)
