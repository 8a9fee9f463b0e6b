"""Feedback as CloudEvents: binary on Kafka, structured in a line."""

from __future__ import annotations

import orjson
import pytest

from router.events import (
    DecodeConfig,
    Event,
    Feedback,
    Record,
    decode,
    feedback_from_line,
    feedback_to_kafka,
    feedback_to_line,
)

FEEDBACK = Feedback(
    "0a" * 16,
    "recipient_gone",
    1_767_323_045.25,
    "u-Ж",
    {"route": "payment-failed", "reason": {"code": "recipient_gone", "text": ""}},
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)
NOBODYS = Feedback("0b" * 16, "dead", 1_767_323_045.0, None, {"route": "x"})


@pytest.mark.parametrize("feedback", [FEEDBACK, NOBODYS])
def test_a_line_is_read_back(feedback: Feedback) -> None:
    line = feedback_to_line(feedback)
    assert b"\n" not in line
    assert feedback_from_line(line) == feedback


@pytest.mark.parametrize("feedback", [FEEDBACK, NOBODYS])
def test_a_record_is_a_cloud_event(feedback: Feedback) -> None:
    key, value, headers = feedback_to_kafka(feedback)
    event = decode(Record("router.feedback", 0, 0, 2e9, key, value, headers), DecodeConfig())
    assert isinstance(event, Event)
    assert event.type == f"router.{feedback.type}"
    assert (event.id, event.source, event.subject) == (feedback.id, "router", feedback.subject)
    assert event.time == feedback.at
    assert event.data == feedback.data
    assert event.key == feedback.subject


def test_a_line_is_a_structured_cloud_event() -> None:
    fields = orjson.loads(feedback_to_line(FEEDBACK))
    assert fields["specversion"] == "1.0"
    assert fields["time"] == "2026-01-02T03:04:05.250Z"
    assert fields["datacontenttype"] == "application/json"
    assert fields["traceparent"] == FEEDBACK.traceparent
