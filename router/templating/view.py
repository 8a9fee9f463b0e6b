"""What a template sees of one delivery, as the names of its context."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from router.events import Collected, Event
from router.recipients import Recipient

EVENT_FIELDS = (
    "id",
    "type",
    "source",
    "subject",
    "time",
    "topic",
    "partition",
    "offset",
    "key",
    "headers",
    "data",
)
RECIPIENT_FIELDS = ("id", "email", "name", "locale", "timezone", "attributes")
DIGEST_FIELDS = ("count", "events", "more", "first", "last")
FIELDS: Mapping[str, Collection[str]] = {
    "event": EVENT_FIELDS,
    "recipient": RECIPIENT_FIELDS,
    "digest": DIGEST_FIELDS,
}
"""Names with fixed fields."""

BRAND = "brand"
"""What templates read of those who send the message."""

BrandValue = str | int | float | bool
NO_BRAND: Mapping[str, BrandValue] = MappingProxyType({})

VIEW_NAMES = frozenset({"event", "data", "recipient", "item", "route", "now", "digest"})


@dataclass(frozen=True, slots=True)
class View:
    """One delivery as a template sees it.

    Attributes:
        item: The element of ``recipients.each`` the delivery was made for.
        route: The route's id.
        now: Seconds since the epoch.
        variables: Values of the route's ``with:``; variables not named there are read from
            the event's data.
        brand: Values of the tenant whose event it is, or of the project.
    """

    event: Event
    recipient: Recipient | None = None
    item: Any = None
    route: str = ""
    now: float = 0.0
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    brand: Mapping[str, BrandValue] = field(default_factory=dict[str, BrandValue])


def event_mapping(event: Event) -> dict[str, Any]:
    """The event as templates and expressions read it."""
    return {name: getattr(event, name) for name in EVENT_FIELDS}


def digest_mapping(view: View, collected: Collected) -> dict[str, Any]:
    """A digest as templates read it: ``events`` are the earliest, ``more`` is how many there are
    beside them, ``first`` the earliest and ``last`` the newest event."""
    events = [_told(event, item) for event, item in collected.events]
    last = _told(view.event, view.item)
    return {
        "count": collected.count,
        "events": events,
        "more": collected.count - len(events),
        "first": events[0] if events else last,
        "last": last,
    }


def _told(event: Event, item: Any) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "time": event.time,
        "data": event.data,
        "item": item,
    }


def context_of(view: View, names: Collection[str]) -> dict[str, Any]:
    """The view's values under those names that are wanted."""
    recipient = view.recipient
    context: dict[str, Any] = {
        "data": view.event.data,
        "item": view.item,
        "route": view.route,
        "now": view.now,
    }
    if "event" in names:
        context["event"] = event_mapping(view.event)
    if "recipient" in names:
        context["recipient"] = (
            {name: getattr(recipient, name) for name in RECIPIENT_FIELDS} if recipient else None
        )
    if BRAND in names:
        context[BRAND] = view.brand
    if "digest" in names:
        collected = view.event.collected
        context["digest"] = digest_mapping(view, collected) if collected else None
    return context
