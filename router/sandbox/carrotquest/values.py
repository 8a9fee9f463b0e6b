"""Parameter types of the web API, and operations on a person's properties.

Sources: "Types" of the developers' pages, and the page of ``/users/{id}/props``.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

_MOST_OPERATIONS = 250
_LONGEST = 255
_MOST_ITEMS = 30
_LARGEST = 2**53
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_WITH_VALUE = frozenset({"update_or_create", "set_once", "add", "union", "exclude", "append"})


class InvalidField(Exception):
    """A parameter is not of its type; ``field`` is its name."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


def truth(text: str | None) -> bool:
    """``false`` in any case, ``0`` and nothing are false; every other text is true."""
    return (text or "").strip().lower() not in ("", "false", "0")


def json_field(field: str, text: str | None, default: Any) -> Any:
    """An array or object, which comes as JSON inside a field.

    Raises:
        InvalidField: the text is not JSON of the default's type.
    """
    if not text:
        return default
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, type(default)):
        raise InvalidField(field, f"must be JSON of type {type(default).__name__}")
    return value


def check_value(field: str, value: object) -> None:
    """Raises:
    InvalidField: the value can't be a property.
    """
    match value:
        case bool() | float():
            return
        case int() if -_LARGEST <= value <= _LARGEST:
            return
        case str() if len(value) <= _LONGEST:
            return
        case list() if len(value) <= _MOST_ITEMS and all(
            isinstance(item, str) and len(item) <= _LONGEST for item in value
        ):
            return
        case _:
            raise InvalidField(field, "value is not allowed")


def check_operations(operations: list[Any]) -> None:
    """Raises:
    InvalidField: there are none or too many, or one is unsound.
    """
    if not 1 <= len(operations) <= _MOST_OPERATIONS:
        raise InvalidField("operations", f"must be 1 to {_MOST_OPERATIONS}")
    for operation in operations:
        match operation:
            case {"op": "delete", "key": str(key)} if key:
                continue
            case {"op": str(name), "key": str(key), "value": value} if key and name in _WITH_VALUE:
                check_value("operations", value)
                if name == "add" and (
                    isinstance(value, bool) or not isinstance(value, int | float)
                ):
                    raise InvalidField("operations", "add takes a number")
            case _:
                raise InvalidField("operations", "unknown operation or missing key")


def apply(person: dict[str, Any], operation: dict[str, Any], *, guesses_type: bool) -> None:
    """Changes a person's properties.

    Args:
        guesses_type: Texts of properties without ``$`` become what they look like.
    """
    key = operation["key"]
    value: Any = operation.get("value")
    if guesses_type and not key.startswith("$") and isinstance(value, str):
        value = _guessed(value)
    match operation["op"]:
        case "update_or_create":
            person[key] = value
        case "set_once":
            person.setdefault(key, value)
        case "add":
            old = person.get(key, 0)
            person[key] = (old if _is_number(old) else 0) + value
        case "delete":
            person.pop(key, None)
        case name:
            old = person.get(key, [])
            items = list(old) if isinstance(old, list) else [old]
            given = value if isinstance(value, list) else [value]
            if name == "append":
                person[key] = items + given
            elif name == "union":
                person[key] = items + [item for item in given if item not in items]
            else:
                person[key] = [item for item in items if item not in given]


def _guessed(text: str) -> Any:
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
