"""Profiles and the operations on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPERATIONS = ("$set", "$set_once", "$add", "$append", "$union", "$remove", "$unset", "$delete")


class InvalidUpdate(Exception):
    """``/engage`` names it in its answer, which has status 200."""


def operation_of(update: Mapping[str, Any]) -> str:
    """The one operation of an update.

    Raises:
        InvalidUpdate: it has none, several, or one of the wrong form.
    """
    named = [name for name in OPERATIONS if name in update]
    if len(named) != 1:
        raise InvalidUpdate("update must have exactly one operation")
    _check(named[0], update[named[0]])
    return named[0]


def _check(operation: str, value: object) -> None:
    match operation, value:
        case ("$delete", _) | ("$unset", list()):
            return
        case "$add", dict() if not all(map(_is_number, value.values())):
            raise InvalidUpdate("$add takes numbers")
        case "$union", dict() if not all(isinstance(item, list) for item in value.values()):
            raise InvalidUpdate("$union takes lists")
        case name, dict() if name != "$unset":
            return
        case _:
            raise InvalidUpdate(f"{operation} is of the wrong type")


def apply(profile: dict[str, Any], operation: str, value: Any) -> None:
    """Changes a profile as Mixpanel does."""
    match operation:
        case "$set":
            profile.update(value)
        case "$set_once":
            profile.update({k: v for k, v in value.items() if k not in profile})
        case "$unset":
            for name in value:
                profile.pop(name, None)
        case "$delete":
            profile.clear()
        case _:
            for name, change in value.items():
                _change(profile, operation, name, change)


def _change(profile: dict[str, Any], operation: str, name: str, change: Any) -> None:
    if operation == "$add":
        old = profile.get(name, 0)
        profile[name] = (old if _is_number(old) else 0) + change
        return
    old = profile.get(name, [])
    values = list(old) if isinstance(old, list) else [old]
    match operation:
        case "$append":
            profile[name] = [*values, change]
        case "$union":
            profile[name] = [*values, *(item for item in change if item not in values)]
        case _:
            profile[name] = [item for item in values if item != change]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
