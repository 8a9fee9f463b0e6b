"""Which routes can match at all, found by equality: the plan that the compiler turns into code.

A node splits its routes over tables, each by the value at one path. Routes that no table takes
stay at the node and are always evaluated there. The root splits by type, then by topic; below,
the most selective path comes first, as long as a look-up is cheaper than what it saves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from router.routing.conditions import AllOf, Condition, Predicate
from router.routing.literals import Literal, literal_key
from router.routing.operators import Operator
from router.routing.paths import Path

_LOOKUP_COST: Final = 4
"""How many evaluations of a simple condition a look-up costs."""
_MOST_VALUES: Final = 256
"""A route with more alternatives at a path is not indexed by it."""
_DEEPEST: Final = 6
_TYPE: Final = Path("type")
_TOPIC: Final = Path("topic")


@dataclass(frozen=True, slots=True)
class Entry:
    """A route at a node.

    Attributes:
        number: Its place in build order.
        condition: What is still to be evaluated; None if it matches already.
        equalities: Paths that can still split it.
    """

    number: int
    condition: Condition | None
    equalities: Mapping[Path, tuple[Literal, ...]]

    @classmethod
    def of(cls, number: int, condition: Condition) -> Entry | None:
        """None for a condition that can never hold."""
        by_text = condition.equalities()
        if not all(by_text.values()):
            return None
        paths = {path.text: path for path in condition.paths()} if by_text else {}
        usable = {
            paths[text]: values for text, values in by_text.items() if len(values) <= _MOST_VALUES
        }
        return cls(number, condition, usable)

    def settled(self, path: Path) -> Entry:
        """The entry below a table by this path."""
        rest = {other: values for other, values in self.equalities.items() if other != path}
        return Entry(self.number, _without_equality(self.condition, path), rest)


@dataclass(frozen=True, slots=True)
class Table:
    """Nodes by the value at a path; keys are those of :func:`literal_key`."""

    path: Path
    nodes: Mapping[Any, Node]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """Routes that may match where its tables and its parents lead."""

    tables: tuple[Table, ...]
    entries: tuple[Entry, ...]


def plan(conditions: Iterable[Condition]) -> Node:
    """The index over conditions; entries are numbered in their order."""
    entries = [
        entry
        for number, condition in enumerate(conditions)
        if (entry := Entry.of(number, condition)) is not None
    ]
    tables: list[Table] = []
    for path in (_TYPE, _TOPIC):
        members = [entry for entry in entries if path in entry.equalities]
        if members:
            tables.append(_table(path, members, depth=1))
            entries = [entry for entry in entries if path not in entry.equalities]
    below = _split(entries, depth=0)
    return Node((*tables, *below.tables), below.entries)


def _split(entries: Sequence[Entry], depth: int) -> Node:
    tables: list[Table] = []
    remaining = list(entries)
    if depth < _DEEPEST:
        for path in _by_selectivity(remaining):
            members = [entry for entry in remaining if path in entry.equalities]
            if _gain(path, members) > 0:
                tables.append(_table(path, members, depth + 1))
                remaining = [entry for entry in remaining if path not in entry.equalities]
    return Node(tuple(tables), tuple(remaining))


def _by_selectivity(entries: Sequence[Entry]) -> list[Path]:
    members: defaultdict[Path, list[Entry]] = defaultdict(list)
    for entry in entries:
        for path in entry.equalities:
            members[path].append(entry)
    gains = {path: _gain(path, having) for path, having in members.items()}
    useful = [path for path, gain in gains.items() if gain > 0]
    return sorted(useful, key=lambda path: (-gains[path], path.text))


def _gain(path: Path, members: Sequence[Entry]) -> float:
    """Evaluations that a table saves per event, less what it costs."""
    keys: set[Any] = set()
    total = 0
    for entry in members:
        keys.update(map(literal_key, entry.equalities[path]))
        total += len(entry.equalities[path])
    return len(members) - total / len(keys) - _LOOKUP_COST if keys else 0.0


def _table(path: Path, members: Sequence[Entry], depth: int) -> Table:
    by_key: defaultdict[Any, list[Entry]] = defaultdict(list)
    for entry in members:
        below = entry.settled(path)
        for key in {literal_key(value): None for value in entry.equalities[path]}:
            by_key[key].append(below)
    shared: dict[tuple[int, ...], Node] = {}
    nodes: dict[Any, Node] = {}
    for key, below in by_key.items():
        numbers = tuple(entry.number for entry in below)
        if numbers not in shared:
            shared[numbers] = _split(below, depth)
        nodes[key] = shared[numbers]
    return Table(path, nodes)


def _without_equality(condition: Condition | None, path: Path) -> Condition | None:
    """What is left to evaluate once the value at the path is one that it may be."""
    match condition:
        case Predicate() if condition.path == path and condition.operator in (
            Operator.EQ,
            Operator.IN,
        ):
            return None
        case AllOf():
            left = [
                rest
                for child in condition.conditions
                if (rest := _without_equality(child, path)) is not None
            ]
            if len(left) < 2:
                return left[0] if left else None
            return AllOf(tuple(left), condition.at)
        case _:
            return condition
