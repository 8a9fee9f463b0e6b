"""Dead letters: what could not be settled otherwise, with all that is needed to replay it.

On Kafka the value is the original's bytes, its key and headers are kept, and the facts stand in
``router-*`` headers before them. In a file a dead letter is one line of JSON.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from router.events.model import Record
from router.messages.outcome import Reason

MAX_FACTS = 16 * 1024
"""Bytes of ``router-*`` headers at most."""

MAX_CUT = 64 * 1024
"""Bytes of the original that are kept where it does not fit."""

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """What was left out of an original that did not fit: its full size and SHA-256 (hex)."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event or delivery that ended dead.

    Attributes:
        record: The original; ``cut`` tells when its value is only the beginning.
        reason: Why.
        stage: Where it ended: ``decode``, ``match``, ``recipients``, ``render``, ``send`` …
        tenant: Whose event it is; None where there are no tenants, or it is not known.
        route, step, sink: Of the delivery; None where the event itself is dead.
        delivery_key: 16 bytes; None where the event itself is dead.
        attempts: Attempts made to send it.
        identity: The event's identity; None where it could not be decoded.
        at: Seconds since the epoch when it died.
        cut: None where the record is whole.
        hop: How often the event had been replayed when it died.
    """

    record: Record
    reason: Reason
    stage: str
    route: str | None
    step: str | None
    sink: str | None
    delivery_key: bytes | None
    attempts: int
    identity: str | None
    at: float
    cut: Cut | None = None
    hop: int = 0
    tenant: str | None = None


class NotADeadLetter(ValueError):
    """The record or line is none that the router wrote."""


# Kafka ---------------------------------------------------------------------------------------


def dead_letter_to_kafka(
    letter: DeadLetter, max_bytes: int = 1_000_000
) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers to publish.

    Args:
        max_bytes: The most that the topic takes (key, value and headers together); an original
            that does not fit is cut to its first 64 KiB, and its own headers are left out if
            they alone are too much.
    """
    record, cut = letter.record, letter.cut
    headers = record.headers
    room = max_bytes - MAX_FACTS - 1024 - len(record.key or b"")
    if _size(headers) + len(record.value or b"") > room:
        cut = cut or _cut(record)
        keep = min(MAX_CUT, max(0, room // 2))
        value = record.value and record.value[:keep]
        headers = headers if _size(headers) <= room // 2 else ()
    else:
        value = record.value
    return record.key, value, _fact_headers(letter, cut) + headers


def dead_letter_from_kafka(record: Record) -> DeadLetter:
    """The dead letter in a record of the dead-letter topic.

    Raises:
        NotADeadLetter: the router did not write it.
    """
    facts = record.headers[: len(_FACTS)]
    if [name for name, _ in facts] != [f"router-{name}" for name in _FACTS]:
        facts = facts[: len(_FACTS) - len(_LATER)]
    names = [name for name in _FACTS if len(facts) == len(_FACTS) or name not in _LATER]
    if [name for name, _ in facts] != [f"router-{name}" for name in names]:
        raise NotADeadLetter(f"{record.position} has no dead-letter headers")
    try:
        texts = {name: value.decode() for name, (_, value) in zip(names, facts, strict=True)}
        return _from_facts(texts, record.key, record.value, record.headers[len(names) :])
    except ValueError as error:
        raise NotADeadLetter(f"{record.position}: a dead-letter header can't be read") from error


def _fact_headers(letter: DeadLetter, cut: Cut | None) -> Headers:
    """Every fact, always all of them and in this order, so that originals' headers of the same
    names can't be mistaken for them; the longest texts give way to the limit."""
    facts = {name: read(letter, cut).encode("utf-8", "replace") for name, read in _FACTS.items()}
    for name in ("reason-text", "identity"):
        if sum(len(f"router-{n}") + len(v) for n, v in facts.items()) <= MAX_FACTS:
            break
        facts[name] = facts[name][:200].decode("utf-8", "ignore").encode()
    return tuple((f"router-{name}", value) for name, value in facts.items())


def _size(headers: Headers) -> int:
    return sum(len(name.encode()) + len(value) + 8 for name, value in headers)


def _cut(record: Record) -> Cut:
    value = record.value or b""
    return Cut(len(value), hashlib.sha256(value).hexdigest())


# Lines ---------------------------------------------------------------------------------------


def dead_letter_to_line(letter: DeadLetter) -> bytes:
    """One line of JSON, without its line end. Bytes that are not UTF-8 stand there in base64."""
    record = letter.record
    facts = {name: read(letter, letter.cut) for name, read in _FACTS.items()}
    line: dict[str, Any] = {name.replace("-", "_"): text for name, text in facts.items() if text}
    line["key"] = _bytes_to_json(record.key)
    line["value"] = _bytes_to_json(record.value)
    line["headers"] = [[name, _bytes_to_json(value)] for name, value in record.headers]
    return orjson.dumps(line)


def dead_letter_from_line(line: bytes) -> DeadLetter:
    """The dead letter that :func:`dead_letter_to_line` wrote.

    Raises:
        NotADeadLetter: it did not.
    """
    try:
        fields: Any = orjson.loads(line)
        texts = {name: str(fields.get(name.replace("-", "_"), "")) for name in _FACTS}
        headers = tuple((str(name), _bytes_from_json(v) or b"") for name, v in fields["headers"])
        return _from_facts(
            texts, _bytes_from_json(fields["key"]), _bytes_from_json(fields["value"]), headers
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotADeadLetter("the line is no dead letter") from error


def _bytes_to_json(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _bytes_from_json(value: Any) -> bytes | None:
    if value is None or isinstance(value, str):
        return None if value is None else value.encode()
    return base64.b64decode(value["base64"], validate=True)


# Facts ---------------------------------------------------------------------------------------

_FACTS: Mapping[str, Callable[[DeadLetter, Cut | None], str]] = {
    "topic": lambda letter, cut: letter.record.topic,
    "partition": lambda letter, cut: str(letter.record.partition),
    "offset": lambda letter, cut: str(letter.record.offset),
    "timestamp": lambda letter, cut: repr(letter.record.timestamp),
    "reason": lambda letter, cut: letter.reason.code,
    "reason-text": lambda letter, cut: letter.reason.text,
    "stage": lambda letter, cut: letter.stage,
    "route": lambda letter, cut: letter.route or "",
    "step": lambda letter, cut: letter.step or "",
    "sink": lambda letter, cut: letter.sink or "",
    "delivery-key": lambda letter, cut: letter.delivery_key.hex() if letter.delivery_key else "",
    "attempts": lambda letter, cut: str(letter.attempts),
    "identity": lambda letter, cut: letter.identity or "",
    "at": lambda letter, cut: repr(letter.at),
    "size": lambda letter, cut: str(cut.size) if cut else "",
    "sha256": lambda letter, cut: cut.sha256 if cut else "",
    "hop": lambda letter, cut: str(letter.hop),
    "tenant": lambda letter, cut: letter.tenant or "",
}
_LATER: Final = frozenset({"tenant"})
"""Facts that letters of earlier versions lack; they stand last."""


def _moment(text: str) -> float:
    moment = float(text)
    if not 0 <= moment < 1e12:
        raise ValueError("no time")
    return moment


def _from_facts(
    facts: Mapping[str, str], key: bytes | None, value: bytes | None, headers: Headers
) -> DeadLetter:
    return DeadLetter(
        record=Record(
            topic=facts["topic"],
            partition=int(facts["partition"]),
            offset=int(facts["offset"]),
            timestamp=_moment(facts["timestamp"]),
            key=key,
            value=value,
            headers=headers,
        ),
        reason=Reason(facts["reason"], facts["reason-text"]),
        stage=facts["stage"],
        route=facts["route"] or None,
        step=facts["step"] or None,
        sink=facts["sink"] or None,
        delivery_key=bytes.fromhex(facts["delivery-key"]) or None,
        attempts=int(facts["attempts"]),
        identity=facts["identity"] or None,
        at=_moment(facts["at"]),
        cut=Cut(int(facts["size"]), facts["sha256"]) if facts["size"] else None,
        hop=int(facts["hop"] or 0),
        tenant=facts.get("tenant") or None,
    )
