"""How values of events compare with the literals of a configuration.

Booleans are not numbers, 1 equals 1.0, text is never read as a number, and NaN equals nothing
and compares with nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeAlias

from router.routing.paths import MISSING

Literal: TypeAlias = str | int | float | bool | None

NUMBERS: Final[frozenset[type]] = frozenset({int, float})
"""The types of plain numbers; ``Decimal`` needs :func:`is_decimal` too."""


class _Key(Enum):
    TRUE = True
    FALSE = False
    NONE = None
    OTHER = "other"


TRUE: Final = _Key.TRUE
FALSE: Final = _Key.FALSE


def is_decimal(value: Any) -> bool:
    """A Decimal that can be compared: not NaN."""
    return type(value) is Decimal and not value.is_nan()


def is_number(value: Any) -> bool:
    """An integer, float or Decimal, but neither a boolean nor NaN."""
    kind = type(value)
    if kind is float:
        return not math.isnan(value)
    return kind is int or is_decimal(value)


def literal_key(value: Any) -> Any:
    """What a value is under in an index: equal values have equal keys, and only they.

    Lists, mappings, NaN and what is missing have a key that no literal has.
    """
    kind = type(value)
    if kind is str:
        return value
    if kind is bool:
        return TRUE if value else FALSE
    if is_number(value):
        return value
    return _Key.NONE if value is None else _Key.OTHER


def same(value: Any, literal: Literal) -> bool:
    """They are equal, as YAML and JSON readers would expect."""
    key = literal_key(value)
    return key is not _Key.OTHER and key == literal_key(literal)


def unique(literals: Iterable[Literal]) -> tuple[Literal, ...]:
    """Each literal once, in order."""
    return tuple({literal_key(literal): literal for literal in literals}.values())


def type_name(value: Any) -> str:
    """What an operator would call the value: ``missing``, ``text``, ``number``, ``list`` …"""
    if value is MISSING:
        return "missing"
    if value is None:
        return "null"
    if type(value) in NUMBERS or type(value) is Decimal:
        return "number"
    names = {bool: "true or false", str: "text", list: "list", dict: "mapping"}
    return names.get(type(value), type(value).__name__)


_RESERVED = frozenset({"", "true", "false", "null"})
_UNSAFE = frozenset("\"'{}[],&*!|>%@`#:?\\")


def literal_text(literal: Literal) -> str:
    """The literal as it is written in YAML's flow style."""
    if isinstance(literal, bool) or literal is None:
        return json.dumps(literal)
    if isinstance(literal, str):
        plain = literal.isprintable() and literal == literal.strip() and _UNSAFE.isdisjoint(literal)
        if not plain or literal in _RESERVED or _reads_as_number(literal) or literal[0] == "-":
            return json.dumps(literal, ensure_ascii=False)
        return literal
    if isinstance(literal, float) and literal.is_integer():
        literal = int(literal)
    return _number_text(literal)


def _number_text(number: int | float) -> str:
    if isinstance(number, int) and number.bit_length() > 1024:
        return hex(number)
    return str(number)


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
