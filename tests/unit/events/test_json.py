"""Plain JSON events."""

import pytest
from pydantic import ValidationError

from router.events import DecodeConfig, peek_type
from tests.unit.events.builders import NOW, a_record, decoded, headers, refused


def test_an_event_has_its_attributes_and_the_whole_payload_as_data():
    payload = {"id": "e-1", "type": "payment.failed", "subject": "u-7", "amount": 5}
    event = decoded(a_record(payload))
    assert (event.id, event.type, event.subject) == ("e-1", "payment.failed", "u-7")
    assert event.source == "payments"
    assert event.data == payload
    assert event.time == NOW
    assert event.key == "k"


def test_attributes_are_read_where_the_selectors_say():
    record = a_record(
        {"meta": {"id": 7, "when": "2026-01-01T00:00:00Z", "a.b": "u"}, "payload": {"x": [1]}},
        headers=headers(kind="order.paid", service="shop"),
    )
    event = decoded(
        record,
        id="meta.id",
        type="header:kind",
        source="header:service",
        time="meta.when",
        subject='meta."a.b"',
        data="payload",
    )
    assert (event.id, event.type, event.source, event.subject) == ("7", "order.paid", "shop", "u")
    assert event.data == {"x": [1]}
    assert event.time == 1767225600.0


def test_a_selector_reaches_into_lists():
    assert decoded(a_record({"types": ["a", "b"]}), type="types.1").type == "b"


def test_the_last_header_of_a_name_wins_as_in_headers():
    record = a_record({}, headers=(("kind", b"a"), ("kind", b"b")))
    assert decoded(record, type="header:kind").type == "b"
    assert peek_type(record, DecodeConfig.model_validate({"type": "header:kind"})) == "b"


def test_the_last_of_duplicate_keys_wins():
    assert decoded(a_record(raw=b'{"type":"a","type":"b"}')).type == "b"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, "tombstone"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"type":"a"', "invalid_json"),
        (b'{"type":"a","x":NaN}', "invalid_json"),
        (b'{"type":"a","x":1e999}', "invalid_json"),
        (b'{"type":"a","x":' + b"9" * 400 + b"}", "invalid_json"),
        (b'{"type":"a","x":"\\ud800"}', "invalid_json"),
        (b'\xef\xbb\xbf{"type":"a"}', "invalid_json"),
        (b'{"type":"a","x":"\xff"}', "invalid_utf8"),
        (b"[1]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b"{}", "missing_type"),
        (b'{"type":null}', "missing_type"),
        (b'{"type":""}', "missing_type"),
        (b'{"type":1.5}', "invalid_type"),
        (b'{"type":["a"]}', "invalid_type"),
        (b'{"type":"a\\nb"}', "invalid_type"),
        (b'{"type":"a","id":true}', "invalid_id"),
        (b'{"type":"a","id":18446744073709551616}', "invalid_id"),
        (b'{"type":"a","id":"' + b"x" * 1025 + b'"}', "invalid_id"),
        (b'{"type":"a","subject":{}}', "invalid_subject"),
        (b'{"type":"a","time":"soon"}', "invalid_time"),
        (b'{"type":"a","time":"2026-02-30T00:00:00Z"}', "invalid_time"),
        (b'{"type":"a","time":[]}', "invalid_time"),
        (b'{"type":"a","time":1e300}', "invalid_time"),
        (b'{"type":"a","x":' + b"[" * 1000 + b"]" * 1000 + b"}", "too_deep"),
        (b'{"type":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        (b'{"x":' * 101 + b"1" + b"}" * 101, "too_deep"),
    ],
)
def test_what_is_no_event_is_poison_with_its_reason(raw: bytes | None, code: str):
    assert refused(a_record(raw=raw)) == code


def test_a_hundred_levels_and_many_brackets_in_text_are_fine():
    decoded(a_record(raw=b'{"type":"a","x":' + b"[" * 99 + b"]" * 99 + b"}"))
    decoded(a_record({"type": "a", "x": "[" * 500, "rows": [{} for _ in range(500)]}))


def test_a_payload_above_the_limit_is_poison():
    record = a_record({"type": "a", "x": "y" * 2000})
    assert refused(record, max_size="1KiB") == "oversize"
    assert decoded(record, max_size="4KiB").type == "a"


def test_a_record_that_the_source_could_not_read_says_so():
    record = a_record(headers=(("router-unreadable", b"Invalid CRC"),))
    assert refused(record) == "unreadable"


def test_a_type_may_be_declared_dispensable():
    assert decoded(a_record({"x": 1}), require_type=False).type == ""


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01t03:00:00.5+03:00", 1767225600.5),
        ("2026-01-01 00:00:00", 1767225600.0),
        ("2026-01-01T00:00:00.123456789Z", 1767225600.123456),
        ("2016-12-31T23:59:60Z", 1483228799.0),
        (1767225600, 1767225600.0),
        (1767225600.5, 1767225600.5),
        (1767225600500, 1767225600.5),
        ("1767225600", 1767225600.0),
        (0, 0.0),
        (None, NOW),
        ("", NOW),
    ],
)
def test_time_is_text_or_seconds_or_milliseconds(time: object, seconds: float):
    assert decoded(a_record({"type": "a", "time": time})).time == seconds


def test_time_is_at_most_five_minutes_after_the_record():
    assert decoded(a_record({"type": "a", "time": "2999-01-01T00:00:00Z"})).time == NOW + 300
    assert decoded(a_record({"type": "a", "time": NOW + 299})).time == NOW + 299


def test_identity_is_source_and_id():
    first = decoded(a_record({"type": "a", "id": "1"}, offset=1))
    again = decoded(a_record({"type": "b", "id": 1}, offset=2))
    elsewhere = decoded(a_record({"type": "a", "id": "1"}, topic="orders"))
    assert first.identity == again.identity
    assert first.identity != elsewhere.identity


def test_identity_keeps_source_and_id_apart():
    def identity(source: str, id: str) -> str:
        return decoded(a_record({"type": "a", "s": source, "id": id}), source="s").identity

    assert identity("a", "b:c") != identity("a:b", "c")
    assert identity("1", ":1") != identity("1:", "1")


def test_without_an_id_the_position_and_timestamp_are_the_identity():
    base = decoded(a_record({"type": "a"}))
    assert base.id == "payments/3/41"
    assert base.identity == decoded(a_record({"type": "b"})).identity
    for change in ({"offset": 42}, {"partition": 4}, {"topic": "x"}, {"timestamp": NOW + 1}):
        assert decoded(a_record({"type": "a"}, **change)).identity != base.identity


def test_peek_needs_the_type_in_a_header():
    record = a_record({"type": "a"}, headers=headers(kind="b"))
    assert peek_type(record, DecodeConfig()) is None
    assert peek_type(record, DecodeConfig.model_validate({"type": "header:kind"})) == "b"
    assert peek_type(record, DecodeConfig.model_validate({"type": "header:x"})) is None


@pytest.mark.parametrize(
    "text", ["", "  ", "header:", "a..b", ".a", "a.", 'a."b', "a b", "a[0]", 5]
)
def test_a_wrong_selector_is_refused(text: object):
    with pytest.raises(ValidationError, match="write"):
        DecodeConfig.model_validate({"id": text})


def test_data_can_not_come_from_a_header():
    with pytest.raises(ValidationError, match="read from the payload"):
        DecodeConfig.model_validate({"data": "header:x"})
