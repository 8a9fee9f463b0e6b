"""YAML values that remember where they were written: what every parser of configuration reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from router.problems import Position
from router.values import Secret

Scalar: TypeAlias = str | int | float | bool | Secret | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``key: value`` of a mapping."""

    key_at: Position
    node: Node


@dataclass(frozen=True, slots=True)
class Node:
    """A YAML value with its place.

    Attributes:
        value: A scalar, a tuple of nodes, or a mapping from key to entry (in file order).
        at: Where the value starts; its length is the scalar's length in the file.
        is_new: The value carries the ``!new`` tag of an overlay.
    """

    value: Scalar | tuple[Node, ...] | Mapping[str, Entry]
    at: Position
    is_new: bool = field(default=False, compare=False)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, Mapping)

    @property
    def is_sequence(self) -> bool:
        return isinstance(self.value, tuple)

    @property
    def is_scalar(self) -> bool:
        return not isinstance(self.value, tuple | Mapping)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The mapping's entries; empty for anything else."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def nodes(self) -> Sequence[Node]:
        """The sequence's items; empty for anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    def items(self) -> Iterator[tuple[str, Node]]:
        for key, entry in self.entries.items():
            yield key, entry.node

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.node if entry else None

    def key_at(self, key: str) -> Position:
        """Where the key itself stands; the mapping's place where it has no such key."""
        entry = self.entries.get(key)
        return entry.key_at if entry else self.at

    def kind(self) -> str:
        """What an operator would call this value: ``text``, ``number``, ``list``, ``mapping`` …"""
        match self.value:
            case tuple():
                return "list"
            case Mapping():
                return "mapping"
            case bool():
                return "true or false"
            case int() | float():
                return "number"
            case None:
                return "null"
            case Secret():
                return "secret"
            case _:
                return "text"

    def plain(self) -> Any:
        """The value as dicts, lists and scalars, without places."""
        match self.value:
            case tuple():
                return [node.plain() for node in self.value]
            case Mapping():
                return {key: entry.node.plain() for key, entry in self.value.items()}
            case _:
                return self.value

    def locate(self, path: Sequence[str | int], *, key: bool = False) -> Position:
        """The place of the value at a path, or of the deepest part of the path that exists.

        With ``key`` it is the place of the last key instead of its value (for "unknown key").
        """
        node, at = self, self.at
        for step in path:
            if isinstance(step, str) and step in node.entries:
                entry = node.entries[step]
                at = entry.key_at if key else entry.node.at
                node = entry.node
            elif isinstance(step, int) and 0 <= step < len(node.nodes):
                node = node.nodes[step]
                at = node.at
            else:
                break
        return at


def plain_node(value: Any, at: Position) -> Node:
    """Dicts, lists and scalars as nodes, all of one place."""
    match value:
        case dict():
            items: Any = value.items()
            return Node({str(k): Entry(at, plain_node(item, at)) for k, item in items}, at)
        case list() | tuple():
            items = value
            return Node(tuple(plain_node(item, at) for item in items), at)
        case _:
            return Node(value, at)
