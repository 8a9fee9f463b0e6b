"""What ``/import`` checks of an event, and what identifies one.

Sources: "Import Events", and the troubleshooting pages on 400 and on duplicate events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

_INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}", re.ASCII)
_PLACEHOLDERS = frozenset(
    {
        "anon",
        "anonymous",
        "nil",
        "none",
        "null",
        "n/a",
        "na",
        "undefined",
        "unknown",
        "<nil>",
        "0",
        "-1",
        "true",
        "false",
        "[]",
        "{}",
        "00000000-0000-0000-0000-000000000000",
    }
)
_FROM_S = 31_536_000.0  # 1971-01-01
_AHEAD_S = 3600.0
_MOST_BYTES = 1_000_000
_MOST_MEMBERS = 255
_SECONDS_BELOW = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """Two events with the same identity are one in reports; time in milliseconds."""

    event: str
    time_ms: int
    distinct_id: str
    insert_id: str


class Invalid(Exception):
    """One record breaks a rule; ``field`` says where."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"'{field}' is invalid: {why}")
        self.field = field


def check_event(event: Any, now: float) -> Identity:
    """The identity of a sound event.

    Raises:
        Invalid: it is not sound.
    """
    if not isinstance(event, dict):
        raise Invalid("", "must be an object")
    name, properties = event.get("event"), event.get("properties")
    if not isinstance(name, str) or not name:
        raise Invalid("event", "must be a non-empty string")
    if not isinstance(properties, dict):
        raise Invalid("properties", "must be an object")
    if len(orjson.dumps(event)) >= _MOST_BYTES:
        raise Invalid("event", "must be smaller than 1MB")
    _check_width("properties", properties)
    return Identity(name, _time_ms(properties, now), _person(properties), _insert_id(properties))


def time_ms(value: object) -> int | None:
    """A time in seconds or milliseconds as milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value * 1000) if abs(value) < _SECONDS_BELOW else round(value)


def _time_ms(properties: dict[str, Any], now: float) -> int:
    time = time_ms(properties.get("time"))
    if time is None:
        raise Invalid("properties.time", "must be specified as seconds since epoch")
    if not _FROM_S * 1000 <= time <= (now + _AHEAD_S) * 1000:
        raise Invalid("properties.time", "must be after 1971-01-01 and at most 1 hour ahead")
    return time


def _person(properties: dict[str, Any]) -> str:
    person = properties.get("distinct_id")
    if not isinstance(person, str):
        raise Invalid("properties.distinct_id", "must be a string")
    if person.strip().lower() in _PLACEHOLDERS:
        raise Invalid("properties.distinct_id", "is a placeholder")
    return person


def _insert_id(properties: dict[str, Any]) -> str:
    insert_id = properties.get("$insert_id")
    if not isinstance(insert_id, str) or not _INSERT_ID.fullmatch(insert_id):
        why = "must be 1 to 36 characters of letters, digits and hyphens"
        raise Invalid("properties.$insert_id", why)
    return insert_id


def _check_width(field: str, value: object) -> None:
    match value:
        case dict():
            members = list(value.values())
        case list():
            members = value
        case _:
            return
    if len(members) >= _MOST_MEMBERS:
        raise Invalid(field, f"must have fewer than {_MOST_MEMBERS} members")
    for member in members:
        _check_width(field, member)
