"""Conditions: what a route, a recipient filter or a silence asks of an event.

Trees of frozen values, made by the parser, read by evaluation, the matcher and lint. Equality
ignores positions.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from router.problems import Position
from router.routing.literals import Literal, literal_key, literal_text, unique
from router.routing.operators import EVERY, SOME, Operand, Operator, holds
from router.routing.paths import Path
from router.routing.patterns import Networks, Pattern

_FLOW_UNSAFE: Final = frozenset('[]{},"')


class Expression(Protocol):
    """A compiled ``when:``: over the event, true or false.

    It may raise; a condition counts that as false.
    """

    def __call__(self, event: Any, /) -> Any: ...


class Condition(ABC):
    """One of the classes of this module."""

    __slots__ = ()

    at: Position

    @abstractmethod
    def paths(self) -> Iterator[Path]:
        """Every path that is read, in order, repeats included; within elements from ``item``."""

    def equalities(self) -> Mapping[str, tuple[Literal, ...]]:
        """Paths that must equal one of these values for the condition to hold.

        By path text; paths with ``[*]`` are left out. An empty tuple: it can never hold.
        """
        return {}

    def describe(self) -> str:
        """The condition in one line, as it could be written in YAML without outer braces."""
        return self.write(sort=False, flow=False)

    @property
    def canonical(self) -> str:
        """The same text for conditions that differ only in order, repeats or spelling."""
        return self.write(sort=True, flow=True)

    @abstractmethod
    def write(self, *, sort: bool, flow: bool) -> str:
        """The text; within braces (``flow``) paths with brackets or quotes are quoted."""

    def entry(self, *, sort: bool) -> tuple[Path, str, str] | None:
        """Path, operator and operand, for what stands behind a path."""
        return None


@dataclass(frozen=True, slots=True)
class Predicate(Condition):
    """A path, an operator and what it is compared with."""

    path: Path
    operator: Operator
    operand: Operand
    at: Position = field(compare=False)

    def paths(self) -> Iterator[Path]:
        yield self.path

    def equalities(self) -> Mapping[str, tuple[Literal, ...]]:
        if self.path.has_wildcard:
            return {}
        if self.operator is Operator.EQ:
            return {self.path.text: (self.operand,)}  # pyright: ignore[reportReturnType]
        if self.operator is Operator.IN and isinstance(self.operand, tuple):
            return {self.path.text: self.operand}
        return {}

    def write(self, *, sort: bool, flow: bool) -> str:
        return _joined([self], sort=sort, flow=flow)

    def entry(self, *, sort: bool) -> tuple[Path, str, str]:
        operand = _operand_text(self.operand, sort=sort)
        single = isinstance(self.operand, tuple) and len(self.operand) == 1
        if sort and single and self.operator is Operator.IN:
            return self.path, Operator.EQ, operand[1:-1]
        return self.path, self.operator, operand


@dataclass(frozen=True, slots=True)
class Elements(Condition):
    """A condition on the elements of a list: on ``some`` of them, or on ``every`` one.

    ``every`` holds for an empty list; neither holds for what is missing or not a list.
    """

    path: Path
    every: bool
    condition: Condition
    at: Position = field(compare=False)

    @property
    def operator(self) -> str:
        return EVERY if self.every else SOME

    def paths(self) -> Iterator[Path]:
        yield self.path
        yield from self.condition.paths()

    def write(self, *, sort: bool, flow: bool) -> str:
        return _joined([self], sort=sort, flow=flow)

    def entry(self, *, sort: bool) -> tuple[Path, str, str]:
        return self.path, self.operator, f"{{{self.condition.write(sort=sort, flow=True)}}}"


@dataclass(frozen=True, slots=True)
class AllOf(Condition):
    """Every one holds."""

    conditions: tuple[Condition, ...]
    at: Position = field(compare=False)

    def paths(self) -> Iterator[Path]:
        for condition in self.conditions:
            yield from condition.paths()

    def equalities(self) -> Mapping[str, tuple[Literal, ...]]:
        merged: dict[str, tuple[Literal, ...]] = {}
        for condition in self.conditions:
            for path, values in condition.equalities().items():
                merged[path] = _common(merged[path], values) if path in merged else values
        for condition in self.conditions:
            if not isinstance(condition, Predicate) or condition.path.text not in merged:
                continue
            if condition.operator not in (Operator.EQ, Operator.IN):
                merged[condition.path.text] = tuple(
                    value
                    for value in merged[condition.path.text]
                    if holds(condition.operator, [value], condition.operand)
                )
        return merged

    def write(self, *, sort: bool, flow: bool) -> str:
        return _joined(_flat(self, AllOf), sort=sort, flow=True)


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """At least one holds."""

    conditions: tuple[Condition, ...]
    at: Position = field(compare=False)

    def paths(self) -> Iterator[Path]:
        for condition in self.conditions:
            yield from condition.paths()

    def equalities(self) -> Mapping[str, tuple[Literal, ...]]:
        possible = [
            found
            for found in (condition.equalities() for condition in self.conditions)
            if all(found.values())
        ]
        if not possible:
            return self.conditions[0].equalities() if self.conditions else {}
        shared = set(possible[0]).intersection(*possible[1:])
        return {
            path: unique(value for found in possible for value in found[path])
            for path in possible[0]
            if path in shared
        }

    def write(self, *, sort: bool, flow: bool) -> str:
        texts = [child.write(sort=sort, flow=True) for child in _flat(self, AnyOf)]
        if sort:
            texts = sorted(set(texts))
            if len(texts) == 1:
                return texts[0]
        return f"any: [{', '.join(f'{{{text}}}' for text in texts)}]"


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """It does not hold."""

    condition: Condition
    at: Position = field(compare=False)

    def paths(self) -> Iterator[Path]:
        yield from self.condition.paths()

    def write(self, *, sort: bool, flow: bool) -> str:
        if sort and isinstance(self.condition, Not):
            return self.condition.condition.write(sort=True, flow=flow)
        return f"not: {{{self.condition.write(sort=sort, flow=True)}}}"


@dataclass(frozen=True, slots=True)
class When(Condition):
    """An expression that gives a true value; what it reads is not known here."""

    expression: Expression = field(compare=False)
    text: str
    at: Position = field(compare=False)

    def paths(self) -> Iterator[Path]:
        return iter(())

    def write(self, *, sort: bool, flow: bool) -> str:
        return f"when: {literal_text(self.text)}"


def _flat(condition: AllOf | AnyOf, kind: type[AllOf | AnyOf]) -> Iterator[Condition]:
    for child in condition.conditions:
        if isinstance(child, kind):
            yield from _flat(child, kind)
        else:
            yield child


def _common(some: tuple[Literal, ...], others: tuple[Literal, ...]) -> tuple[Literal, ...]:
    keys = {literal_key(other) for other in others}
    return tuple(value for value in some if literal_key(value) in keys)


def _joined(conditions: Iterable[Condition], *, sort: bool, flow: bool) -> str:
    """The conditions behind commas, operators on one path in one mapping."""
    texts: list[str] = []
    by_path: dict[Path, list[tuple[str, str]]] = {}
    for condition in conditions:
        entry = condition.entry(sort=sort)
        if entry is None:
            texts.append(condition.write(sort=sort, flow=flow))
        else:
            by_path.setdefault(entry[0], []).append(entry[1:])
    texts = [_behind_path(path, by_path[path], sort=sort, flow=flow) for path in by_path] + texts
    return ", ".join(sorted(set(texts)) if sort else texts)


def _behind_path(path: Path, operations: list[tuple[str, str]], *, sort: bool, flow: bool) -> str:
    quoted = flow and not _FLOW_UNSAFE.isdisjoint(path.text)
    key = json.dumps(path.text, ensure_ascii=False) if quoted else path.text
    if sort:
        operations = sorted(set(operations))
    name, operand = operations[0]
    if len(operations) == 1 and name in (Operator.EQ, Operator.IN):
        return f"{key}: {operand}"
    return f"{key}: {{{', '.join(f'{name}: {operand}' for name, operand in operations)}}}"


def _operand_text(operand: Any, *, sort: bool) -> str:
    match operand:
        case Pattern():
            return literal_text(operand.text)
        case Networks():
            return _list_text(
                (literal_text(str(block)) for block in operand.blocks), sort=sort, unwrap=True
            )
        case tuple():
            return _list_text((literal_text(value) for value in operand), sort=sort)
        case _:
            return literal_text(operand)


def _list_text(texts: Iterable[str], *, sort: bool, unwrap: bool = False) -> str:
    shown = sorted(set(texts)) if sort else list(texts)
    if unwrap and len(shown) == 1:
        return shown[0]
    return f"[{', '.join(shown)}]"
