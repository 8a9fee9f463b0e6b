"""From a delivery to the message that a sink takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from router.events import Event
from router.messages import Channel, Message, Request
from router.planning.analytics import profile_update, tracked
from router.planning.model import (
    Delivery,
    PayloadContent,
    ProfileContent,
    RequestContent,
    TableContent,
    TemplateContent,
    TrackContent,
)
from router.planning.tenants import NO_TENANTS, Tenants
from router.problems import Position
from router.templating import RenderError, Template, View
from router.values import Secret

_LAYOUTS = {
    Channel.EMAIL: "email",
    Channel.CHAT: "chat",
    Channel.PUSH: "push",
    Channel.REQUEST: "webhook",
}


def layout_of(channel: Channel) -> str | None:
    """The name of the layout that a template has for a channel."""
    return _LAYOUTS.get(channel)


def render(
    delivery: Delivery,
    templates: Mapping[str, Template],
    now: float,
    tenants: Tenants = NO_TENANTS,
) -> Message:
    """The message of a delivery.

    Args:
        templates, tenants: Those of the configuration that planned the delivery.
        now: Seconds since the epoch, for templates that show the time.

    Raises:
        RenderError: the template or a value failed on this event.
    """
    view = View(
        event=delivery.event,
        recipient=delivery.recipient,
        item=delivery.item,
        route=delivery.route.id,
        now=now,
        brand=tenants.brand_of(delivery.tenant),
    )
    content = delivery.step.content
    match content:
        case TemplateContent():
            variables = {k: v.evaluate(view) for k, v in content.variables.items()}
            layout = _LAYOUTS[delivery.step.channel]
            template = templates[content.template].of_tenant(delivery.tenant)
            return template.render(
                layout, replace(view, variables=variables) if variables else view
            )
        case RequestContent():
            return _request(content, view, delivery.step.at)
        case PayloadContent():
            return Request(body=event_payload(delivery.event))
        case TrackContent():
            return tracked(content, delivery, view)
        case TableContent():
            return tracked(content.entries[delivery.event.type], delivery, view)
        case ProfileContent():
            return profile_update(content, delivery, view)


def event_payload(event: Event) -> bytes:
    """``{"type", "timestamp", "data"}``, the body that Standard Webhooks shows."""
    moment = datetime.fromtimestamp(event.time, UTC)
    timestamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payload = {"type": event.type, "timestamp": timestamp, "data": event.data}
    return orjson.dumps(payload, default=_without_secret)


def _without_secret(value: Any) -> str:
    """Secrets that an event brought go nowhere."""
    if isinstance(value, Secret):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _request(content: RequestContent, view: View, at: Position) -> Request:
    path = content.path
    for name, value in content.params.items():
        text = _text(value.evaluate(view), f"params.{name}", at)
        path = path.replace("{" + name + "}", quote(text, safe=""))
    body: bytes | None = None
    content_type = "application/json"
    if content.json is not None:
        body = _json(content.json.evaluate(view), at)
    elif content.form is not None:
        fields = _texts(content.form, view, "form", at)
        body, content_type = urlencode(fields).encode(), "application/x-www-form-urlencoded"
    elif content.text is not None:
        body = _text(content.text.evaluate(view), "text", at).encode()
        content_type = "text/plain; charset=utf-8"
    return Request(
        method=content.method,
        path=path,
        query=_texts(content.query, view, "query", at),
        headers=_texts(content.headers, view, "headers", at),
        body=body,
        content_type=content_type,
    )


def _json(value: Any, at: Position) -> bytes:
    try:
        return orjson.dumps(value, default=_without_secret)
    except TypeError as error:
        raise RenderError(
            "not_json", f"the request's json can't be written: {error}", at
        ) from error


def _texts(
    values: Mapping[str, Any], view: View, where: str, at: Position
) -> tuple[tuple[str, str], ...]:
    found = ((k, v.evaluate(view)) for k, v in values.items())
    return tuple((k, _text(v, f"{where}.{k}", at)) for k, v in found if v is not None)


def _text(value: Any, where: str, at: Position) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            kind = type(value).__name__
            raise RenderError("not_text", f"{where} came out as {kind}, not as text", at)
