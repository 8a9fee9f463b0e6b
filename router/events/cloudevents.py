"""CloudEvents 1.0 over Kafka, structured (JSON) and binary (``ce_*`` headers).

Sources: CloudEvents core 1.0.2, JSON format 1.0.2, Kafka protocol binding 1.0.2.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from router.events.attributes import (
    CLOCK_SKEW_S,
    PoisonError,
    identity_of_id,
    load_json,
    name_text,
    parse_time,
)
from router.events.model import Event, Record

MEDIA_TYPE = "application/cloudevents"
BATCH_MEDIA_TYPE = "application/cloudevents-batch"


def decode(
    record: Record, value: bytes, headers: Mapping[str, str], *, is_structured: bool
) -> Event:
    """The event in a record.

    Raises:
        PoisonError: ``invalid_cloudevent`` or what is wrong with the data.
    """
    if is_structured:
        return _decode_structured(record, value, headers)
    attributes = {
        name.removeprefix("ce_"): text for name, text in headers.items() if name.startswith("ce_")
    }
    data = _load_data(value, headers.get("content-type")) if value else None
    return _event(record, attributes, data, headers)


def _decode_structured(record: Record, value: bytes, headers: Mapping[str, str]) -> Event:
    content_type = headers.get("content-type", "application/cloudevents+json").lower()
    if not content_type.startswith(f"{MEDIA_TYPE}+json"):
        raise PoisonError("invalid_cloudevent", f"format {content_type[:80]} is not read")
    envelope: Any = load_json(value)
    if isinstance(envelope, list):
        raise PoisonError("cloudevents_batch", "a list of events; send one event a record")
    if not isinstance(envelope, dict):
        raise PoisonError("not_an_object", "the payload is JSON, but no object")
    return _event(record, envelope, _structured_data(envelope), headers)


def _structured_data(envelope: dict[str, Any]) -> Any:
    encoded = envelope.get("data_base64")
    if encoded is None:
        return envelope.get("data")
    if "data" in envelope:
        raise PoisonError("invalid_cloudevent", "both data and data_base64")
    if not isinstance(encoded, str):
        raise PoisonError("invalid_cloudevent", "data_base64 is not text")
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise PoisonError("invalid_cloudevent", "data_base64 is not base64") from None
    content_type = envelope.get("datacontenttype")
    return _load_data(value, content_type if isinstance(content_type, str) else None)


def _load_data(value: bytes, content_type: str | None) -> Any:
    """Data by its media type: JSON decoded, ``text/*`` as text, nothing else."""
    media_type = (content_type or "application/json").split(";")[0].strip().lower()
    if media_type in ("application/json", "text/json") or media_type.endswith("+json"):
        return load_json(value)
    if not media_type.startswith("text/"):
        raise PoisonError("unsupported_data", f"data of type {media_type[:80]} is not read")
    try:
        return value.decode()
    except UnicodeDecodeError as wrong:
        raise PoisonError("invalid_utf8", f"byte {wrong.start} is not UTF-8") from None


def _event(
    record: Record, attributes: Mapping[str, Any], data: Any, headers: Mapping[str, str]
) -> Event:
    version = attributes.get("specversion")
    if version != "1.0":
        raise PoisonError("invalid_cloudevent", "specversion is not 1.0")
    event_id = _required(attributes, "id")
    source = _required(attributes, "source")
    time = parse_time(_text(attributes, "time"))
    return Event(
        id=event_id,
        type=_required(attributes, "type"),
        source=source,
        subject=name_text("subject", _text(attributes, "subject")),
        time=record.timestamp if time is None else min(time, record.timestamp + CLOCK_SKEW_S),
        data=data,
        headers=headers,
        identity=identity_of_id(source, event_id),
        record=record,
    )


def _text(attributes: Mapping[str, Any], name: str) -> str | None:
    value = attributes.get(name)
    if value is None or isinstance(value, str):
        return value
    raise PoisonError("invalid_cloudevent", f"{name} is not text")


def _required(attributes: Mapping[str, Any], name: str) -> str:
    text = name_text(name, _text(attributes, name))
    if text is None:
        raise PoisonError("invalid_cloudevent", f"{name} is missing")
    return text
