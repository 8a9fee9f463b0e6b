"""What ties a message that waits to the event that ends it. Pure."""

from __future__ import annotations

from hashlib import blake2b

import orjson

from router.events import Event
from router.planning.policies.model import CancelOn
from router.routing import MISSING, Path


def held_scope(name: str, cancel: CancelOn, event: Event, tenant: str) -> str | None:
    """Where a message of this event looks for the mark of the event that ends it.

    Args:
        name: What is ended: a route, or ``route/step``.

    Returns:
        None where the event lacks a value: nothing can end it.
    """
    return _scope(name, tuple(same.own for same in cancel.same), event, tenant)


def mark_scope(name: str, cancel: CancelOn, event: Event, tenant: str) -> str | None:
    """Where the event that ends messages leaves its mark; None where it lacks a value."""
    return _scope(name, tuple(same.other for same in cancel.same), event, tenant)


def is_of_step(scope: str) -> bool:
    """Whether such a place is a step's own, and not its route's."""
    return "/" in scope.rsplit(":", 1)[0]


def _scope(name: str, paths: tuple[Path, ...], event: Event, tenant: str) -> str | None:
    values = [path.value(event) for path in paths]
    if any(value is MISSING or value is None for value in values):
        return None
    raw = orjson.dumps([tenant, *values], default=str, option=orjson.OPT_SORT_KEYS)
    return f"cancel:{name}:{blake2b(raw, digest_size=16).hexdigest()}"
