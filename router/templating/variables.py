"""Declared variables: their types, where their values come from, and examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from router.problems import Position
from router.templating.bounded import kind
from router.templating.codes import RenderError
from router.templating.filters import moment, money_mistake

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_URL = re.compile(r"(?:https?://|mailto:)[^\s<>\"]+")


@dataclass(frozen=True, slots=True)
class Variable:
    """A value a template needs.

    Attributes:
        type: One of :data:`TYPES`.
        examples: For previews and checks; empty if none are declared.
        is_optional: May be absent; it is null then.
        is_personal: Marked ``pii: true``: never shown in logs and traces.
    """

    name: str
    type: str
    at: Position
    examples: tuple[Any, ...] = ()
    is_optional: bool = False
    is_personal: bool = False


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"text, not {kind(value)}"


def _integer(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return f"a whole number, not {kind(value)}"
    return None


def _number(value: Any) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if is_number else f"a number, not {kind(value)}"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"true or false, not {kind(value)}"


def _list(value: Any) -> str | None:
    return None if isinstance(value, list | tuple) else f"a list, not {kind(value)}"


def _mapping(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else f"a mapping, not {kind(value)}"


def _date(value: Any) -> str | None:
    if isinstance(value, str) and _ISO_DATE.fullmatch(value):
        return _datetime(value)
    return "a date as in 2026-11-24" + ("" if isinstance(value, str) else f", not {kind(value)}")


def _datetime(value: Any) -> str | None:
    try:
        moment(value)
    except RenderError:
        wanted = "a time as in 2026-11-24T10:00:00Z, or seconds since 1970"
        is_near = isinstance(value, str | int | float) and not isinstance(value, bool)
        return wanted if is_near else f"{wanted}, not {kind(value)}"
    return None


def _url(value: Any) -> str | None:
    if isinstance(value, str):
        return None if _URL.fullmatch(value) else "an address of https, http or mailto"
    return f"an address, not {kind(value)}"


TYPES: Mapping[str, Callable[[Any], str | None]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "money": money_mistake,
    "date": _date,
    "datetime": _datetime,
    "boolean": _boolean,
    "list": _list,
    "mapping": _mapping,
    "url": _url,
}
"""Type to what is wrong with a value of it (without telling the value), or None."""


def mistake(variable: Variable, value: Any) -> str | None:
    """What is wrong with a value for a variable; never tells the value."""
    try:
        problem = TYPES[variable.type](value)
    except (OverflowError, ValueError):
        problem = f"{variable.type}, not {kind(value)}"
    if problem is None:
        return None
    needs = problem if variable.type == "money" else f"it has to be {problem}"
    return f'variable "{variable.name}": {needs}'


def read(variables: Mapping[str, Variable], given: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """The variables' values: given ones, else from the event's data; absent optional is None.

    Raises:
        RenderError: a variable is missing or has the wrong type.
    """
    fields: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    values: dict[str, Any] = {}
    for name, variable in variables.items():
        value = given[name] if name in given else fields.get(name)
        if value is None:
            if not variable.is_optional:
                where = "is null" if name in given or name in fields else "is missing"
                raise RenderError(
                    "T161", f'variable "{name}" {where} and not optional', variable.at
                )
        elif problem := mistake(variable, value):
            raise RenderError("T162", problem, variable.at)
        elif variable.type == "integer":
            value = int(value)
        values[name] = value
    return values
