"""Reads single values of routes, each with its own words for what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.config.scalars import Raw
from router.nodes import Node
from router.problems import Problems, did_you_mean
from router.routing import Path, parse_path
from router.values import Secret, parse_duration


@dataclass(frozen=True, slots=True)
class Fields:
    """One mapping of a route file: what it may hold, and what it holds.

    Attributes:
        what: How an operator would call it, such as ``route "payment-failed"``.
    """

    node: Node
    what: str
    problems: Problems

    def allow(self, keys: Sequence[str], elsewhere: dict[str, str] | None = None) -> None:
        """Everything else is an unknown key; ``elsewhere`` tells where a key belongs instead."""
        for key, entry in self.node.entries.items():
            if key in keys or key.startswith("x-"):
                continue
            if elsewhere and key in elsewhere:
                hint = f" It belongs {elsewhere[key]}"
            else:
                hint = did_you_mean(key, keys, "Keys")
            message = f'unknown key "{key}" in {self.what}.{hint}'
            self.problems.error("R201", message, entry.key_at)

    def text(self, key: str) -> str | None:
        node = self.node.get(key)
        if node is None:
            return None
        if isinstance(node.value, str) and node.value.strip():
            return str(node.value)
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            message = f'{key} of {self.what} must be text; write "{node.value}"'
            self.problems.error("R203", message, node.at)
        else:
            self.wrong(key, node, "text")
        return None

    def boolean(self, key: str, default: bool) -> bool:
        node = self.node.get(key)
        if node is None:
            return default
        if isinstance(node.value, bool):
            return node.value
        self.wrong(key, node, "true or false")
        return default

    def whole(self, key: str) -> int | None:
        node = self.node.get(key)
        if node is None:
            return None
        if isinstance(node.value, int) and not isinstance(node.value, bool) and node.value > 0:
            return node.value
        if not isinstance(node.value, Raw | Secret):
            message = f"{key} of {self.what} must be a whole number above 0"
            self.problems.error("R203", message, node.at)
        return None

    def duration(self, key: str, *, may_be_zero: bool = False) -> float | None:
        """Seconds, or None after a problem."""
        node = self.node.get(key)
        if node is None or isinstance(node.value, Raw | Secret):
            return None
        try:
            seconds = parse_duration(node.value)
        except ValueError as error:
            self.problems.error("R217", f"{key}: {error}", node.at)
            return None
        if seconds <= 0 and not may_be_zero:
            self.problems.error("R217", f"{key}: must be longer than nothing", node.at)
            return None
        return seconds

    def choice(self, key: str, choices: Sequence[str]) -> str | None:
        node = self.node.get(key)
        if node is None or isinstance(node.value, Raw):
            return None
        return read_choice(node, key, choices, self.problems)

    def mapping(self, key: str, meant: str | None = None) -> Node | None:
        """A mapping; ``meant`` is the key of it that a lone text most likely is the value of."""
        node = self.node.get(key)
        if node is None or node.is_mapping:
            return node
        is_meant = meant is not None and isinstance(node.value, str)
        hint = f"; write {{{meant}: {node.value}}}" if is_meant else ""
        self.wrong(key, node, "a mapping", hint)
        return None

    def sequence(self, key: str) -> Node | None:
        node = self.node.get(key)
        if node is None or node.is_sequence:
            return node
        self.wrong(key, node, "a list", _as_a_list(node))
        return None

    def path(self, key: str, roots: Sequence[str]) -> Path | None:
        node = self.node.get(key)
        return None if node is None else read_path(node, key, roots, self.problems)

    def wrong(self, key: str, node: Node, wanted: str, hint: str = "") -> None:
        """Reports a value of another kind; one that has its own problem already is passed over."""
        if not isinstance(node.value, Raw | Secret):
            message = f"{key} of {self.what} must be {wanted}, not {a_kind(node)}{hint}"
            self.problems.error("R203", message, node.at)


def _as_a_list(node: Node) -> str:
    """How what stands there would be written as a list of one."""
    if node.is_mapping:
        return "; begin each item with -"
    return f"; write [{node.value}]" if isinstance(node.value, str | int | float) else ""


def a_kind(node: Node) -> str:
    """The node's kind with its article."""
    kind = node.kind()
    return kind if kind in ("text", "null", "true or false") else f"a {kind}"


def read_choice(node: Node, key: str, choices: Sequence[str], problems: Problems) -> str | None:
    """One of the choices, or None after a problem."""
    if isinstance(node.value, str) and node.value in choices:
        return node.value
    given = str(node.value) if node.is_scalar else a_kind(node)
    hint = did_you_mean(given, choices, "Choices")
    problems.error("R211", f'{key} can\'t be "{given}".{hint}', node.at)
    return None


def read_path(node: Node, key: str, roots: Sequence[str], problems: Problems) -> Path | None:
    """A path, or None after a problem."""
    if isinstance(node.value, Raw | Secret):
        return None
    if not isinstance(node.value, str):
        message = f"{key} takes a path into the event, such as data.user_id, not {a_kind(node)}"
        problems.error("R203", message, node.at)
        return None
    if "{{" in node.value:
        inner = node.value.replace("{{", "").replace("}}", "").strip()
        problems.error("R120", f"{key} takes a path, not an expression; write {inner}", node.at)
        return None
    try:
        return parse_path(node.value, roots)
    except ValueError as error:
        problems.error("R120", str(error), node.at)
        return None


def read_expires(node: Node, problems: Problems) -> float | None:
    """Seconds, or None for ``never`` (and after a problem)."""
    if node.value == "never" or isinstance(node.value, Raw):
        return None
    try:
        seconds = parse_duration(node.value)
    except ValueError as error:
        problems.error("R217", f"expires: {error}, or never", node.at)
        return None
    if seconds <= 0:
        problems.error("R217", "expires: a message that expires at once is never sent", node.at)
        return None
    return seconds
