"""Attributes of events: bounded names, times, identities, and JSON that can do no harm."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson

from router.events.model import Record
from router.messages.outcome import Reason

MAX_NAME = 1024
"""Characters of an id, type, source or subject."""

MAX_DEPTH = 100
"""Levels of nesting in a payload: templates and serialisers recurse."""

POISON_CODES = frozenset(
    {
        "cloudevents_batch",
        "empty",
        "invalid_cloudevent",
        "invalid_id",
        "invalid_json",
        "invalid_replay",
        "invalid_source",
        "invalid_subject",
        "invalid_time",
        "invalid_type",
        "invalid_utf8",
        "missing_type",
        "not_an_object",
        "oversize",
        "replay_loop",
        "tombstone",
        "too_deep",
        "unreadable",
        "unsupported_data",
    }
)
"""Every reason for which a record is poison."""

CLOCK_SKEW_S = 300.0
"""How far an event's time may lie after its record's timestamp."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
_MILLISECONDS_FROM = 1e11


class PoisonError(Exception):
    """A record that is no event; carries the reason out of the decoder."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code)
        self.reason = Reason(code, text)


def load_json(value: bytes) -> Any:
    """The JSON in these bytes.

    Raises:
        PoisonError: ``invalid_utf8``, ``invalid_json`` or ``too_deep``.
    """
    try:
        payload = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _why_not_json(value, error) from None
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _is_deeper(payload, MAX_DEPTH):
        raise PoisonError("too_deep", f"more than {MAX_DEPTH} levels of nesting")
    return payload


def _why_not_json(value: bytes, error: orjson.JSONDecodeError) -> PoisonError:
    if not value.strip():
        return PoisonError("empty", "the payload is empty")
    try:
        value.decode()
    except UnicodeDecodeError as wrong:
        return PoisonError("invalid_utf8", f"byte {wrong.start} is not UTF-8")
    if error.msg.startswith("depth limit"):
        return PoisonError("too_deep", f"more than {MAX_DEPTH} levels of nesting")
    return PoisonError("invalid_json", f"not JSON at character {error.pos}")


def _is_deeper(payload: Any, depth: int) -> bool:
    level: list[Any] = [payload]
    for _ in range(depth):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [v for v in value.values() if isinstance(v, dict | list)]
    return [v for v in value if isinstance(v, dict | list)]


def name_text(attribute: str, value: Any) -> str | None:
    """An id, type, source or subject as text; None where there is none (absent, null, empty).

    Whole numbers become text.

    Raises:
        PoisonError: ``invalid_<attribute>``: neither text nor a whole number, or too long, or
            with control characters.
    """
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise PoisonError(f"invalid_{attribute}", "neither text nor a whole number")
    if len(value) > MAX_NAME:
        raise PoisonError(f"invalid_{attribute}", f"longer than {MAX_NAME} characters")
    if _CONTROL.search(value):
        raise PoisonError(f"invalid_{attribute}", "control characters")
    return value


def parse_time(value: Any) -> float | None:
    """Seconds since the epoch from RFC 3339 text, or from seconds or milliseconds.

    Text without an offset is UTC. Numbers (also as text) from 10^11 on are milliseconds: as
    seconds they would lie after the year 5000. None where there is no time.

    Raises:
        PoisonError: ``invalid_time``.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        match = _TIME.fullmatch(value)
        if match:
            return _parse_rfc3339(match)
        try:
            value = float(value) if len(value) < 32 else None
        except ValueError:
            value = None
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e16:
        raise PoisonError("invalid_time", "neither RFC 3339 text nor seconds or milliseconds")
    return value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value)


def _parse_rfc3339(match: re.Match[str]) -> float:
    date, minute, second, fraction, zone = match.groups()
    leap = second == "60"
    text = f"{date}T{minute}{'59' if leap else second}{(fraction or '')[:7]}{(zone or 'Z').upper()}"
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise PoisonError("invalid_time", "no such date or time of day") from None
    return parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()


def identity_of_id(source: str, event_id: str) -> str:
    """Identity by the producer's id; the source's length keeps pairs apart."""
    return f"{len(source)}:{source}:{event_id}"


def source_and_id(identity: str) -> tuple[str, str] | None:
    """What :func:`identity_of_id` was given; None for an identity that was made otherwise."""
    length, colon, rest = identity.partition(":")
    if not colon or not (length.isascii() and length.isdigit()):
        return None
    end = int(length)
    return (rest[:end], rest[end + 1 :]) if rest[end : end + 1] == ":" else None


def identity_of_position(record: Record) -> str:
    """Identity by place; the timestamp tells a recreated topic's offset 0 from the old one's."""
    return f"@{record.position}/{round(record.timestamp * 1000)}"
