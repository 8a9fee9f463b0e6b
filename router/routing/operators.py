"""The operators of predicates and what each says about one value.

A value of the wrong type is a plain no, never an error.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeAlias

from router.routing.literals import Literal, is_number, same
from router.routing.patterns import Networks, Pattern

Operand: TypeAlias = Literal | tuple[Literal, ...] | Pattern | Networks
"""What stands behind an operator: a tuple for lists (and for ``ignore_case``)."""


class Operator(StrEnum):
    EQ = "eq"
    NE = "ne"
    IN = "in"
    NOT_IN = "not_in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    GLOB = "glob"
    REGEX = "regex"
    EXISTS = "exists"
    CIDR = "cidr"
    IGNORE_CASE = "ignore_case"
    ANY_OF = "any_of"
    ALL_OF = "all_of"
    NONE_OF = "none_of"


NEGATED: Final[dict[Operator, Operator]] = {
    Operator.NE: Operator.EQ,
    Operator.NOT_IN: Operator.IN,
    Operator.NONE_OF: Operator.ANY_OF,
}
"""Operators that hold exactly where another does not, so also where nothing is."""

SOME: Final = "some"
EVERY: Final = "every"
OPERATOR_NAMES: Final[tuple[str, ...]] = (*(str(op) for op in Operator), SOME, EVERY)
"""Every operator that can be written."""


def comparable(value: Any, operand: Any) -> bool:
    """Both are numbers or both are text."""
    return type(value) is str if type(operand) is str else is_number(value)


def _greater(value: Any, operand: Any) -> bool:
    return comparable(value, operand) and value > operand


def _greater_or_equal(value: Any, operand: Any) -> bool:
    return comparable(value, operand) and value >= operand


def _less(value: Any, operand: Any) -> bool:
    return comparable(value, operand) and value < operand


def _less_or_equal(value: Any, operand: Any) -> bool:
    return comparable(value, operand) and value <= operand


def among(value: Any, operand: tuple[Literal, ...]) -> bool:
    """The value equals one of the literals."""
    return any(same(value, literal) for literal in operand)


def has_any(value: Any, operand: tuple[Literal, ...]) -> bool:
    """The value is a list with at least one of the literals."""
    return type(value) is list and any(among(element, operand) for element in value)


def has_all(value: Any, operand: tuple[Literal, ...]) -> bool:
    """The value is a list with each of the literals."""
    return type(value) is list and all(
        any(same(element, literal) for element in value) for literal in operand
    )


def equals_ignoring_case(value: Any, operand: tuple[str, ...]) -> bool:
    """The value is text and, case folded, one of the (case folded) texts."""
    return type(value) is str and value.casefold() in operand


def matches_pattern(value: Any, operand: Pattern) -> bool:
    return type(value) is str and operand.found_in(value)


def in_networks(value: Any, operand: Networks) -> bool:
    return type(value) is str and operand.contain(value)


def _starts(value: Any, operand: str) -> bool:
    return type(value) is str and value.startswith(operand)


def _ends(value: Any, operand: str) -> bool:
    return type(value) is str and value.endswith(operand)


def _contains(value: Any, operand: str) -> bool:
    return type(value) is str and operand in value


_TESTS: Final[dict[Operator, Callable[[Any, Any], bool]]] = {
    Operator.EQ: same,
    Operator.IN: among,
    Operator.GT: _greater,
    Operator.GTE: _greater_or_equal,
    Operator.LT: _less,
    Operator.LTE: _less_or_equal,
    Operator.PREFIX: _starts,
    Operator.SUFFIX: _ends,
    Operator.CONTAINS: _contains,
    Operator.GLOB: matches_pattern,
    Operator.REGEX: matches_pattern,
    Operator.CIDR: in_networks,
    Operator.IGNORE_CASE: equals_ignoring_case,
    Operator.ANY_OF: has_any,
    Operator.ALL_OF: has_all,
}


def holds(operator: Operator, values: list[Any], operand: Any) -> bool:
    """The predicate over all values of its path (none, one, or many with ``[*]``)."""
    if operator is Operator.EXISTS:
        return bool(values) is operand
    if operator in NEGATED:
        return not holds(NEGATED[operator], values, operand)
    test = _TESTS[operator]
    return any(test(value, operand) for value in values)
