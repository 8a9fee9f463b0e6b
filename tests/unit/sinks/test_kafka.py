"""Kafka: the record that is published, and what a missing acknowledgement means."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from router.messages import Halt, InDoubt, Parcel, Rejected, Retry, Scope
from router.sinks.kafka import KafkaSinkConfig, Outgoing, outcome, record
from tests.unit.sinks.builders import KEY, call, config, kind, parcel


def built(sent: Parcel, **changes: Any) -> Outgoing:
    found = record(config(KafkaSinkConfig, **changes), sent)
    assert isinstance(found, Outgoing)
    return found


def with_key(key: bytes | None = b"order-7", **changes: Any) -> Parcel:
    return parcel(call(**changes).message, event_key=key)


UNSENT, SENT = True, False

TABLE: list[tuple[str, bool, tuple[Any, ...]]] = [
    ("no acknowledgement within 15 s", SENT, (InDoubt, "not_acknowledged")),
    (
        "no acknowledgement within 15 s",
        UNSENT,
        (Retry, "not_sent", None, Scope.MESSAGE),
    ),
    ("KafkaTimeoutError", SENT, (InDoubt, "not_acknowledged")),
    ("[Error 7] RequestTimedOutError", SENT, (InDoubt, "not_acknowledged")),
    ("KafkaConnectionError: no node", UNSENT, (Retry, "not_sent", None, Scope.MESSAGE)),
    ("ConnectionRefusedError: [Errno 111]", UNSENT, (Retry, "not_sent", None, Scope.MESSAGE)),
    ("KafkaConnectionError: reset", SENT, (InDoubt, "not_acknowledged")),
    ("[Error 10] MessageSizeTooLargeError", SENT, (Rejected, "too_large", False)),
    ("MessageSizeTooLargeError: 200 MB", UNSENT, (Rejected, "too_large", False)),
    ("[Error 18] RecordListTooLargeError", SENT, (Rejected, "too_large", False)),
    ("[Error 29] TopicAuthorizationFailedError", SENT, (Halt, "not_allowed")),
    ("[Error 31] ClusterAuthorizationFailedError", UNSENT, (Halt, "not_allowed")),
    ("AuthenticationFailedError: bad password", UNSENT, (Halt, "not_allowed")),
    ("[Error 44] PolicyViolationError", SENT, (Halt, "not_allowed")),
    ("[Error 3] UnknownTopicOrPartitionError", UNSENT, (Halt, "topic_unknown")),
    ("[Error 17] InvalidTopicError", UNSENT, (Halt, "topic_unknown")),
    (
        "[Error 19] NotEnoughReplicasError",
        SENT,
        (Retry, "not_available", None, Scope.MESSAGE),
    ),
    ("[Error 20] NotEnoughReplicasAfterAppendError", SENT, (InDoubt, "not_acknowledged")),
    (
        "[Error 6] NotLeaderForPartitionError",
        SENT,
        (Retry, "not_available", None, Scope.MESSAGE),
    ),
    (
        "[Error 45] OutOfOrderSequenceNumber",
        SENT,
        (Retry, "not_available", None, Scope.MESSAGE),
    ),
    ("[Error 46] DuplicateSequenceNumber", SENT, (InDoubt, "not_acknowledged")),
    ("[Error -1] UnknownError", SENT, (InDoubt, "not_acknowledged")),
]


@pytest.mark.parametrize(("text", "is_unsent", "expected"), TABLE)
def test_what_a_missing_acknowledgement_means(
    text: str, is_unsent: bool, expected: tuple[Any, ...]
) -> None:
    assert kind(outcome(text, is_unsent=is_unsent)) == expected


def test_reasons_quote_no_more_than_the_error_s_name() -> None:
    result = outcome("[Error 7] RequestTimedOutError: to anna@example.com", is_unsent=False)
    assert str(result.reason) == "not_acknowledged: RequestTimedOutError"  # type: ignore[union-attr]


def test_the_value_is_the_body_and_every_record_names_its_delivery() -> None:
    sent = built(with_key(body=b'{"a":1}', headers=(("x-tenant", "acme"),)))
    assert sent == Outgoing(
        b"order-7",
        b'{"a":1}',
        (
            ("x-tenant", b"acme"),
            ("router-delivery-key", KEY.hex().encode()),
            ("content-type", b"application/json"),
        ),
    )


def test_a_step_can_not_overwrite_the_router_s_headers() -> None:
    sent = built(with_key(headers=(("Router-Delivery-Key", "x"), ("Content-Type", "y"))))
    assert [name for name, _ in sent.headers] == ["router-delivery-key", "content-type"]


@pytest.mark.parametrize(
    ("choice", "path", "key"),
    [
        ("event", "/u-1", b"order-7"),
        ("path", "/u%2F1%20%D0%96", "u/1 Ж".encode()),
        ("path", "", None),
        ("delivery", "", KEY.hex().encode()),
        ("none", "", None),
    ],
)
def test_keys(choice: str, path: str, key: bytes | None) -> None:
    assert built(with_key(path=path), key=choice).key == key


def test_a_trace_and_a_test_are_marked() -> None:
    sent = built(parcel(call().message, traceparent="00-a-b-01", is_test=True))
    headers = dict(sent.headers)
    assert headers["traceparent"] == b"00-a-b-01"
    assert headers["router-test"] == b"true"


def test_cloudevents_binary_mode() -> None:
    headers = dict(built(with_key(), format="cloudevents", ce_source="/acme/router").headers)
    assert headers == {
        "router-delivery-key": KEY.hex().encode(),
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": KEY.hex().encode(),
        "ce_source": b"/acme/router",
        "ce_type": b"payment.failed",
        "ce_time": b"2026-01-02T03:04:05.000Z",
    }


def test_no_body_is_a_tombstone_and_needs_a_key() -> None:
    assert built(with_key(body=None)).value is None
    nothing = record(config(KafkaSinkConfig), with_key(None, body=None))
    assert isinstance(nothing, Rejected)


@pytest.mark.parametrize("changes", [{"topic": "a b"}, {"topic": ""}, {"key": "random"}])
def test_configurations_that_can_not_work_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        config(KafkaSinkConfig, **changes)
