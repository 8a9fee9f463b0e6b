"""Operators and text functions whose results can't grow without bound."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Undefined

from router.templating.codes import RenderError

MAX_BITS = 4096
MAX_ITEMS = 100_000
MAX_TEXT = 1024 * 1024
MAX_WIDTH = 1000

_DIRECTIVE = re.compile(
    r"%(?:%|(?:\(\w+\))?[-+ #0]*(?P<width>\d+|\*)?(?:\.(?P<precision>\d*|\*))?[hlL]?[a-zA-Z])"
)


def kind(value: object) -> str:
    """What a template author would call a value; never the value itself."""
    match value:
        case None:
            return "nothing (null)"
        case Undefined():
            return "an undefined value"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return "something else"


def _too_big(what: str) -> RenderError:
    return RenderError("T165", f"{what} grows over its limit")


def check_text(size: int, what: str) -> None:
    """Raises:
    RenderError: a text of that many characters is too long.
    """
    if size > MAX_TEXT:
        raise _too_big(what)


def check_width(width: object, what: str, maximum: int = MAX_WIDTH) -> None:
    """Raises:
    RenderError: not a number from 0 to the maximum.
    """
    if not isinstance(width, int) or not 0 <= width <= maximum:
        raise RenderError("T165", f"{what} takes a number from 0 to {maximum}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise _too_big("a product")
    elif not (_is_number(left) and _is_number(right)):
        sequence, times = (right, left) if isinstance(left, int) else (left, right)
        if isinstance(times, int) and isinstance(sequence, str | list | tuple):
            limit = MAX_TEXT if isinstance(sequence, str) else MAX_ITEMS
            if len(sequence) * max(times, 0) > limit:
                raise _too_big("a repetition")
    return left * right


def _power(left: Any, right: Any) -> Any:
    if not (_is_number(left) and _is_number(right)):
        raise TypeError
    if isinstance(left, int) and isinstance(right, int):
        if right > 0 and left.bit_length() * right > MAX_BITS:
            raise _too_big("a power")
        if right < 0:
            return float(left) ** right
    result = left**right
    if isinstance(result, complex):
        raise TypeError
    return result


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, int | float):
        return left + right
    size = len(left) + len(right)
    if size > (MAX_TEXT if isinstance(left, str) else MAX_ITEMS):
        raise _too_big("a text or list")
    return left + right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        return format_text(left, right)
    return left % right


def format_text(pattern: str, values: Any) -> str:
    """``pattern % values`` with bounded widths.

    Raises:
        RenderError: a width or precision over the limit, or one taken from a value; a list
            or mapping among the values.
    """
    directives = list(_DIRECTIVE.finditer(pattern))
    parts = values.values() if isinstance(values, Mapping) else values
    longest = 0
    for part in parts if isinstance(parts, Iterable) and not isinstance(parts, str) else (parts,):
        if not isinstance(part, str | int | float | None | Undefined):
            raise RenderError("T164", f"a format can't take {kind(part)}")
        longest = max(longest, len(part) if isinstance(part, str) else 1)
    check_text(len(pattern) + len(directives) * longest, "a formatted text")
    for directive in directives:
        for part in (directive["width"], directive["precision"]):
            if part and (part == "*" or len(part) > 4 or int(part) > MAX_WIDTH):
                raise RenderError("T165", f"a format's width is at most {MAX_WIDTH}")
    return pattern % values


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": _add,
    "-": operator.sub,
    "*": _multiply,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": _modulo,
    "**": _power,
}
OPERATORS = frozenset(_OPERATORS)


def apply(sign: str, left: Any, right: Any) -> Any:
    """``left sign right``.

    Raises:
        RenderError: the result would be too big, or the operands don't fit.
        UndefinedError: an operand is undefined.
    """
    if isinstance(left, str) and sign in {"-", "/", "//"}:
        raise RenderError("T164", f'"{sign}" can\'t take a text')
    try:
        return _OPERATORS[sign](left, right)
    except TypeError:
        pass
    except ZeroDivisionError:
        raise RenderError("T164", "division by zero") from None
    except OverflowError:
        raise _too_big("a number") from None
    raise RenderError("T164", f'"{sign}" can\'t take {kind(left)} and {kind(right)}')


def shown(value: Any) -> str:
    """What ``{{ value }}`` writes.

    Raises:
        RenderError: null, a list, a mapping, or anything else that only looks like text.
        UndefinedError: the value does not exist.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float() | Undefined():
            return str(value)
        case None:
            text = 'the value is null; write {{ … or "…" }} to say what stands then'
        case Mapping():
            text = "a mapping can't be shown; name one of its fields"
        case Iterable():
            text = 'a list can\'t be shown; write |join(", ") or a loop'
        case _:
            text = f"{kind(value)} can't be shown"
    raise RenderError("T163", text)


def concatenate(values: Sequence[Any], join: Callable[[Sequence[Any]], str]) -> str:
    """The values' texts one after another, by a join function that may escape.

    Raises:
        RenderError: too long.
    """
    texts = [shown(value) for value in values]
    check_text(sum(map(len, texts)), "a text")
    return join(texts)
