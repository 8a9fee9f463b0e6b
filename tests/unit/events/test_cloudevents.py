"""CloudEvents 1.0, structured and binary."""

import base64
from typing import Any

import pytest

from router.events import DecodeConfig, peek_type
from tests.unit.events.builders import NOW, a_record, decoded, headers, refused

ENVELOPE = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.paid"}
STRUCTURED = headers(content_type="application/cloudevents+json; charset=utf-8")


def binary(**more: str) -> tuple[tuple[str, bytes], ...]:
    attributes = {f"ce_{k}": v for k, v in ENVELOPE.items()}
    return headers(**(attributes | more))


def structured(**changes: Any) -> dict[str, Any]:
    envelope = ENVELOPE | changes
    return {name: value for name, value in envelope.items() if value is not ...}


def test_a_structured_event_is_recognised_by_its_content_type():
    envelope = structured(subject="42", time="2026-01-01T00:00:00Z", data={"total": 5})
    event = decoded(a_record(envelope, headers=STRUCTURED))
    assert (event.id, event.source, event.type) == ("e-1", "/shop", "order.paid")
    assert (event.subject, event.time, event.data) == ("42", 1767225600.0, {"total": 5})


def test_a_binary_event_is_recognised_by_its_headers():
    event = decoded(a_record({"total": 5}, headers=binary(ce_subject="42", other="x")))
    assert (event.id, event.source, event.type) == ("e-1", "/shop", "order.paid")
    assert (event.subject, event.time, event.data) == ("42", NOW, {"total": 5})
    assert event.headers["other"] == "x"


def test_both_modes_of_one_event_have_one_identity():
    one = decoded(a_record(structured(data={}), headers=STRUCTURED, topic="a"))
    other = decoded(a_record({}, headers=binary(), topic="b", offset=9))
    assert one.identity == other.identity


def test_the_format_may_be_demanded_without_a_content_type():
    assert decoded(a_record(structured()), format="cloudevents").type == "order.paid"


def test_plain_json_may_be_demanded_in_spite_of_headers():
    assert decoded(a_record({"type": "a"}, headers=binary()), format="json").type == "a"


def test_data_is_decoded_by_its_media_type():
    text = base64.b64encode("привет".encode()).decode()
    encoded = base64.b64encode(b'{"a":1}').decode()
    event = decoded(a_record(structured(data_base64=encoded), headers=STRUCTURED))
    assert event.data == {"a": 1}
    event = decoded(
        a_record(structured(data_base64=text, datacontenttype="text/plain"), headers=STRUCTURED)
    )
    assert event.data == "привет"
    event = decoded(a_record(raw=b"plain", headers=binary(content_type="text/plain")))
    assert event.data == "plain"
    event = decoded(a_record(raw=b"[1]", headers=binary(content_type="application/x+json")))
    assert event.data == [1]


def test_an_event_may_have_no_data():
    assert decoded(a_record(structured(), headers=STRUCTURED)).data is None
    assert decoded(a_record(raw=b"", headers=binary())).data is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"specversion": ...}, "invalid_cloudevent"),
        ({"specversion": "0.3"}, "invalid_cloudevent"),
        ({"id": ...}, "invalid_cloudevent"),
        ({"id": ""}, "invalid_cloudevent"),
        ({"id": 5}, "invalid_cloudevent"),
        ({"source": ...}, "invalid_cloudevent"),
        ({"type": None}, "invalid_cloudevent"),
        ({"time": "soon"}, "invalid_time"),
        ({"subject": []}, "invalid_cloudevent"),
        ({"id": "a\x00b"}, "invalid_id"),
        ({"data": 1, "data_base64": "MQ=="}, "invalid_cloudevent"),
        ({"data_base64": "%"}, "invalid_cloudevent"),
        ({"data_base64": 1}, "invalid_cloudevent"),
        ({"data_base64": "/w=="}, "invalid_utf8"),
        ({"data_base64": "MQ==", "datacontenttype": "image/png"}, "unsupported_data"),
    ],
)
def test_an_incomplete_event_is_poison(changes: dict[str, Any], code: str):
    assert refused(a_record(structured(**changes), headers=STRUCTURED)) == code


def test_required_attributes_of_binary_events_are_checked():
    incomplete = tuple(h for h in binary() if h[0] != "ce_id")
    assert refused(a_record({}, headers=incomplete)) == "invalid_cloudevent"
    assert refused(a_record(raw=b"x", headers=binary(content_type="image/png"))) == (
        "unsupported_data"
    )


def test_a_tombstone_is_poison_whatever_its_headers_say():
    assert refused(a_record(headers=binary())) == "tombstone"


def test_batches_are_refused_by_name():
    batch = headers(content_type="application/cloudevents-batch+json")
    assert refused(a_record([ENVELOPE], headers=batch)) == "cloudevents_batch"
    assert refused(a_record([ENVELOPE], headers=STRUCTURED)) == "cloudevents_batch"


def test_other_structured_formats_are_refused():
    other = headers(content_type="application/cloudevents+avro")
    assert refused(a_record(raw=b"x", headers=other)) == "invalid_cloudevent"


def test_peek_reads_the_type_of_binary_events_only():
    assert peek_type(a_record({}, headers=binary()), DecodeConfig()) == "order.paid"
    assert peek_type(a_record(structured(), headers=STRUCTURED), DecodeConfig()) is None
    both = binary() + STRUCTURED
    assert peek_type(a_record(structured(type="x"), headers=both), DecodeConfig()) is None
