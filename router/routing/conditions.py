"""Conditions: what a route, a recipient filter or a silence asks of an event.

Trees of frozen values, made by the parser, read by evaluation, the matcher and lint. Equality
ignores positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from router.problems import Position
from router.routing.literals import Literal, literal_key, literal_text, unique
from router.routing.operators import EVERY, SOME, Operand, Operator, holds
from router.routing.paths import Path
from router.routing.patterns import Networks, Pattern


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

    @abstractmethod
    def describe(self) -> str:
        """The condition in one line of YAML's flow style, without outer braces."""

    @property
    @abstractmethod
    def canonical(self) -> str:
        """The same text for conditions that differ only in order, repeats or spelling."""


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

    def describe(self) -> str:
        return self._text(sort=False)

    @property
    def canonical(self) -> str:
        return self._text(sort=True)

    def _text(self, *, sort: bool) -> str:
        operand = _operand_text(self.operand, sort=sort)
        if self.operator is Operator.EQ:
            return f"{self.path.text}: {operand}"
        if self.operator is Operator.IN:
            single = isinstance(self.operand, tuple) and len(self.operand) == 1
            operand = operand[1:-1] if sort and single else operand
            return f"{self.path.text}: {operand}"
        return f"{self.path.text}: {{{self.operator}: {operand}}}"


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

    def describe(self) -> str:
        return f"{self.path.text}: {{{self.operator}: {{{self.condition.describe()}}}}}"

    @property
    def canonical(self) -> str:
        return f"{self.path.text}: {{{self.operator}: {{{self.condition.canonical}}}}}"


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
            if isinstance(condition, Predicate) and condition.path.text in merged:
                path = condition.path.text
                merged[path] = tuple(
                    value
                    for value in merged[path]
                    if holds(condition.operator, [value], condition.operand)
                )
        return merged

    def describe(self) -> str:
        return ", ".join(_nested(c, c.describe()) for c in self.conditions)

    @property
    def canonical(self) -> str:
        return ", ".join(sorted({_nested(c, c.canonical) for c in _flat(self, AllOf)}))


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

    def describe(self) -> str:
        return f"any: [{', '.join(f'{{{c.describe()}}}' for c in self.conditions)}]"

    @property
    def canonical(self) -> str:
        parts = sorted({c.canonical for c in _flat(self, AnyOf)})
        if len(parts) == 1:
            return parts[0]
        return f"any: [{', '.join(f'{{{part}}}' for part in parts)}]"


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """It does not hold."""

    condition: Condition
    at: Position = field(compare=False)

    def paths(self) -> Iterator[Path]:
        yield from self.condition.paths()

    def describe(self) -> str:
        return f"not: {{{self.condition.describe()}}}"

    @property
    def canonical(self) -> str:
        if isinstance(self.condition, Not):
            return self.condition.condition.canonical
        return f"not: {{{self.condition.canonical}}}"


@dataclass(frozen=True, slots=True)
class When(Condition):
    """An expression that gives a true value; what it reads is not known here."""

    expression: Expression = field(compare=False)
    text: str
    at: Position = field(compare=False)

    def paths(self) -> Iterator[Path]:
        return iter(())

    def describe(self) -> str:
        return f"when: {literal_text(self.text)}"

    @property
    def canonical(self) -> str:
        return self.describe()


def _flat(condition: AllOf | AnyOf, kind: type[AllOf | AnyOf]) -> Iterator[Condition]:
    for child in condition.conditions:
        if isinstance(child, kind):
            yield from _flat(child, kind)
        else:
            yield child


def _common(some: tuple[Literal, ...], others: tuple[Literal, ...]) -> tuple[Literal, ...]:
    keys = {literal_key(other) for other in others}
    return tuple(value for value in some if literal_key(value) in keys)


def _nested(condition: Condition, text: str) -> str:
    """Braces where a list of conditions stands inside another."""
    return f"all: [{{{text}}}]" if isinstance(condition, AllOf) else text


def _operand_text(operand: Any, *, sort: bool) -> str:
    match operand:
        case Pattern():
            return literal_text(operand.text)
        case Networks():
            return _list_text((str(block) for block in operand.blocks), sort=sort, unwrap=True)
        case tuple():
            return _list_text((literal_text(value) for value in operand), sort=sort)
        case _:
            return literal_text(operand)


def _list_text(texts: Iterable[str], *, sort: bool, unwrap: bool = False) -> str:
    shown = sorted(set(texts)) if sort else list(texts)
    if unwrap and len(shown) == 1:
        return shown[0]
    return f"[{', '.join(shown)}]"
