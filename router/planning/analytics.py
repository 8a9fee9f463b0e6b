"""Analytics messages of a delivery: tracked events and changes to profiles. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.events import Event
from router.messages import AnalyticsEvent, ProfileUpdate
from router.planning.model import Delivery, ProfileContent, TrackContent
from router.problems import Position
from router.routing import MISSING, Path
from router.templating import RenderError, Value, View
from router.values import Secret

_LEAST, _MOST = -(2**63), 2**64 - 1


def tracked(content: TrackContent, delivery: Delivery, view: View) -> AnalyticsEvent:
    """The event to track, at the event's own time, so that a repeat is the same to the provider.

    Raises:
        RenderError: there is no name or no id of a person, or a value is no JSON.
    """
    at = delivery.step.at
    name = content.name.evaluate(view)
    if not isinstance(name, str) or not name.strip():
        raise RenderError("no_event_name", "track: came out as no text", content.name.at)
    return AnalyticsEvent(
        name.strip(),
        _distinct_id(content.distinct_id, delivery),
        delivery.event.time,
        _properties(content.properties, view, delivery, at),
    )


def profile_update(content: ProfileContent, delivery: Delivery, view: View) -> ProfileUpdate:
    """The changes to a person's profile; a property whose value is null is left out.

    Raises:
        RenderError: there is no id of a person, or a value does not fit what is done with it.
    """
    at = delivery.step.at
    changes: dict[str, Any] = {
        operation: _properties(values, view, delivery, at)
        for operation, values in content.operations.items()
    }
    for name, value in changes.get("add", {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RenderError("not_a_number", f"add.{name} came out as no number", at)
    return ProfileUpdate(
        _distinct_id(content.distinct_id, delivery),
        delivery.event.time,
        **changes,
        unset=content.unset,
    )


def _distinct_id(path: Path | None, delivery: Delivery) -> str:
    if path is None:
        return delivery.recipient.id if delivery.recipient else ""
    value = path.value(delivery.event, delivery.item)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise RenderError("no_distinct_id", f"{path.text} holds no id", delivery.step.at)


def _properties(
    properties: Mapping[str, Value | Path], view: View, delivery: Delivery, at: Position
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, source in properties.items():
        if isinstance(source, Path):
            value = _at_path(source, delivery.event, delivery.item)
        else:
            value = source.evaluate(view)
        if value is not None:
            found[name] = _json_ready(value, name, at)
    return found


def _at_path(path: Path, event: Event, item: Any) -> Any:
    if path.has_wildcard:
        return path.values(event, item) or None
    value = path.value(event, item)
    return None if value is MISSING else value


def _json_ready(value: Any, name: str, at: Position) -> Any:
    """The value as JSON has it; whole numbers beyond 64 bits become floats."""
    match value:
        case None | bool() | str() | float():
            return value
        case int():
            return value if _LEAST <= value <= _MOST else float(value)
        case list() | tuple():
            return [_json_ready(item, name, at) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case Mapping():
            return {str(k): _json_ready(v, name, at) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case Secret():
            return str(value)
        case _:
            kind = type(value).__name__
            raise RenderError("not_json", f"{name} came out as {kind}, not as JSON", at)
