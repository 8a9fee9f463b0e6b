"""Records and events with sensible defaults."""

from __future__ import annotations

from typing import Any

import orjson

from router.events import DecodeConfig, Event, Poison, Record, decode

NOW = 1_767_323_045.25


def a_record(value: Any = None, *, raw: bytes | None = None, **fields: Any) -> Record:
    """A record with this value as JSON, or with these raw bytes."""
    settings: dict[str, Any] = {
        "topic": "payments",
        "partition": 3,
        "offset": 41,
        "timestamp": NOW,
        "key": b"k",
        "headers": (),
    }
    payload = raw if raw is not None or value is None else orjson.dumps(value)
    return Record(value=payload, **(settings | fields))


def headers(**names: str) -> tuple[tuple[str, bytes], ...]:
    """Headers; underscores in ``content_type`` become dashes."""
    return tuple((k.replace("content_type", "content-type"), v.encode()) for k, v in names.items())


def decoded(record: Record, **config: Any) -> Event:
    result = decode(record, DecodeConfig.model_validate(config))
    assert isinstance(result, Event), result
    return result


def refused(record: Record, **config: Any) -> str:
    """The code of the poison."""
    result = decode(record, DecodeConfig.model_validate(config))
    assert isinstance(result, Poison), result
    assert result.record is record
    return result.reason.code
