"""Decodes records: plain JSON and CloudEvents 1.0, each to an event or to poison.

Nothing here raises on any bytes. Duplicate JSON keys: the last wins. Numbers beyond 64 bits are
read as floats, as JavaScript does; ``NaN`` and infinities are no JSON.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from router.events import cloudevents
from router.events.attributes import (
    CLOCK_SKEW_S,
    PoisonError,
    identity_of_id,
    identity_of_position,
    load_json,
    name_text,
    parse_time,
)
from router.events.config import DecodeConfig, Selector
from router.events.model import Event, Poison, Record
from router.events.secret_fields import hide

UNREADABLE_HEADER = "router-unreadable"
"""Marks a record whose bytes the source could not read (a broken batch); its value says why."""


_LONGEST_WHY = 200


def decode(record: Record, config: DecodeConfig) -> Event | Poison:
    """The event in a record, or why there is none."""
    try:
        event = _decode(record, config)
    except PoisonError as error:
        return Poison(record, error.reason)
    if config.secret_fields:
        return replace(event, data=hide(event.data, config.secret_fields))
    return event


def _decode(record: Record, config: DecodeConfig) -> Event:
    value = _payload(record, config)
    headers = _text_headers(record)
    mode = _mode(headers, config)
    if mode == "json":
        return _decode_json(record, value, headers, config)
    return cloudevents.decode(record, value, headers, is_structured=mode == "structured")


def peek_type(record: Record, config: DecodeConfig) -> str | None:
    """The event's type where a header tells it, without decoding the payload.

    None means that only decoding can tell. When it is text, :func:`decode` gives an event of
    that type, or poison.
    """
    if not record.headers:
        return None
    if config.format != "json":
        content_type = _as_text(_last_header(record, "content-type"))
        if content_type and content_type.lower().startswith(cloudevents.MEDIA_TYPE):
            return None
        if _last_header(record, "ce_specversion") is not None:
            return _as_text(_last_header(record, "ce_type"))
        if config.format == "cloudevents":
            return None
    if config.type.header is None:
        return None
    return _as_text(_last_header(record, config.type.header))


def _payload(record: Record, config: DecodeConfig) -> bytes:
    value = record.value
    if value is None:
        unreadable = record.header(UNREADABLE_HEADER)
        if unreadable is not None:
            raise PoisonError("unreadable", unreadable[:_LONGEST_WHY].decode("utf-8", "replace"))
        raise PoisonError("tombstone", "the record has no value")
    if len(value) > config.max_size:
        raise PoisonError("oversize", f"{len(value)} bytes; at most {config.max_size} are read")
    return value


def _text_headers(record: Record) -> dict[str, str]:
    return {name: value.decode("utf-8", "replace") for name, value in record.headers}


def _last_header(record: Record, name: str) -> bytes | None:
    found = None
    for key, value in record.headers:
        if key == name:
            found = value
    return found


def _as_text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _mode(headers: dict[str, str], config: DecodeConfig) -> str:
    """``json``, ``binary`` or ``structured``.

    CloudEvents Kafka protocol binding 1.0.2 §3: the content type decides first.
    """
    if config.format == "json":
        return "json"
    content_type = headers.get("content-type", "").lower()
    if content_type.startswith(cloudevents.BATCH_MEDIA_TYPE):
        raise PoisonError(
            "cloudevents_batch", "batches of CloudEvents are not read; send one event a record"
        )
    if content_type.startswith(cloudevents.MEDIA_TYPE):
        return "structured"
    if "ce_specversion" in headers:
        return "binary"
    return "structured" if config.format == "cloudevents" else "json"


def _decode_json(
    record: Record, value: bytes, headers: dict[str, str], config: DecodeConfig
) -> Event:
    payload: Any = load_json(value)
    if not isinstance(payload, dict):
        raise PoisonError("not_an_object", "the payload is JSON, but no object")

    event_id = name_text("id", _find(config.id, payload, headers))
    event_type = name_text("type", _find(config.type, payload, headers))
    if not event_type and config.require_type:
        raise PoisonError("missing_type", f"nothing at {config.type}")
    configured = name_text("source", _find(config.source, payload, headers))
    source = configured or record.topic
    time = parse_time(_find(config.time, payload, headers))
    return Event(
        id=event_id or record.position,
        type=event_type or "",
        source=source,
        subject=name_text("subject", _find(config.subject, payload, headers)),
        time=record.timestamp if time is None else min(time, record.timestamp + CLOCK_SKEW_S),
        data=payload if config.data is None else config.data.find(payload),
        headers=headers,
        identity=identity_of_id(source, event_id) if event_id else identity_of_position(record),
        record=record,
    )


def _find(selector: Selector | None, payload: Any, headers: dict[str, str]) -> Any:
    if selector is None:
        return None
    return selector.find(payload) if selector.header is None else headers.get(selector.header)
