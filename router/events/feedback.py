"""Feedback: what became of deliveries, as CloudEvents 1.0 for whoever wants to know.

On Kafka in binary mode (CloudEvents Kafka protocol binding 1.0.2 §3.2): attributes in ``ce_``
headers, the facts as JSON in the value. In a file, and in the ledger, in structured mode: one line
of JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import orjson

FeedbackType: TypeAlias = Literal["delivered", "suppressed", "recipient_gone", "rejected", "dead"]
"""How a delivery ended; each ends in exactly one way."""

SOURCE: Final = "router"
_PREFIX: Final = "router."


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of one delivery.

    Attributes:
        id: The same for the same end of the same delivery, however often it is published.
        at: Seconds since the epoch when it ended.
        subject: The recipient's id; None for deliveries that are nobody's.
        data: The facts, JSON.
        traceparent: W3C trace context of the event, if it had one.
    """

    id: str
    type: FeedbackType
    at: float
    subject: str | None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    traceparent: str | None = None


def feedback_to_kafka(
    feedback: Feedback,
) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
    """Key, value and headers to publish. The key is the recipient: one person's come in order."""
    attributes = _attributes(feedback)
    headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
    headers.append(("content-type", b"application/json"))
    key = feedback.subject.encode("utf-8", "replace") if feedback.subject else None
    return key, orjson.dumps(feedback.data), tuple(headers)


def feedback_to_line(feedback: Feedback) -> bytes:
    """One line of JSON, without its line end."""
    attributes = {**_attributes(feedback), "datacontenttype": "application/json"}
    return orjson.dumps({**attributes, "data": feedback.data})


def feedback_from_line(line: bytes) -> Feedback:
    """The feedback that :func:`feedback_to_line` wrote."""
    fields: Any = orjson.loads(line)
    return Feedback(
        id=fields["id"],
        type=fields["type"].removeprefix(_PREFIX),
        at=datetime.fromisoformat(fields["time"]).timestamp(),
        subject=fields.get("subject"),
        data=fields["data"],
        traceparent=fields.get("traceparent"),
    )


def _attributes(feedback: Feedback) -> dict[str, str]:
    moment = datetime.fromtimestamp(feedback.at, UTC).isoformat(timespec="milliseconds")
    attributes = {
        "specversion": "1.0",
        "id": feedback.id,
        "source": SOURCE,
        "type": f"{_PREFIX}{feedback.type}",
        "time": moment.replace("+00:00", "Z"),
    }
    if feedback.subject:
        attributes["subject"] = feedback.subject
    if feedback.traceparent:
        attributes["traceparent"] = feedback.traceparent
    return attributes
