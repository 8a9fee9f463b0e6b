"""What a template sees of one delivery, as the names of its context."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.events import Event
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
FIELDS: Mapping[str, Collection[str]] = {"event": EVENT_FIELDS, "recipient": RECIPIENT_FIELDS}
"""Names with fixed fields."""

VIEW_NAMES = frozenset({"event", "data", "recipient", "item", "route", "now"})


@dataclass(frozen=True, slots=True)
class View:
    """One delivery as a template sees it.

    Attributes:
        item: The element of ``recipients.each`` the delivery was made for.
        route: The route's id.
        now: Seconds since the epoch.
        variables: Values of the route's ``with:``; variables not named there are read from
            the event's data.
    """

    event: Event
    recipient: Recipient | None = None
    item: Any = None
    route: str = ""
    now: float = 0.0
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])


def event_mapping(event: Event) -> dict[str, Any]:
    """The event as templates and expressions read it."""
    return {name: getattr(event, name) for name in EVENT_FIELDS}


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
    return context
