"""Laws of decoding: it never raises, and peeking never disagrees with it."""

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from router.events import (
    POISON_CODES,
    DecodeConfig,
    Event,
    Poison,
    Record,
    decode,
    peek_type,
    source_and_id,
)

NAMES = st.sampled_from(
    ["content-type", "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "kind", "x"]
)
HEADER_VALUES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"1.0",
            b"application/cloudevents+json",
            b"application/cloudevents-batch+json",
            b"application/json",
            b"text/plain",
            b"2026-01-01T00:00:00Z",
        ]
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=10),
    st.sampled_from(["1.0", "2026-01-01T00:00:00Z", "MQ==", "text/plain"]),
)
FIELDS = st.sampled_from(
    [
        "id",
        "type",
        "time",
        "subject",
        "source",
        "specversion",
        "data",
        "data_base64",
        "meta",
        "datacontenttype",
    ]
)
JSON = st.recursive(
    st.dictionaries(FIELDS, SCALARS, max_size=8),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner | SCALARS, max_size=8)
    ),
    max_leaves=8,
)
VALUES = st.one_of(st.none(), st.binary(max_size=60), JSON.map(orjson.dumps))
CONFIGS = st.builds(
    lambda format, type, source, data, require: DecodeConfig.model_validate(
        {
            "format": format,
            "type": type,
            "source": source,
            "data": data,
            "require_type": require,
            "max_size": 200,
        }
    ),
    st.sampled_from(["auto", "json", "cloudevents"]),
    st.sampled_from(["type", "header:kind", "meta.type"]),
    st.sampled_from([None, "source", "header:x"]),
    st.sampled_from([None, "data", "meta.id"]),
    st.booleans(),
)


def record_of(value: bytes | None, headers: list[tuple[str, bytes]], timestamp: float) -> Record:
    return Record("t", 0, 5, timestamp, None, value, tuple(headers))


RECORDS = st.builds(
    record_of,
    VALUES,
    st.lists(st.tuples(NAMES, HEADER_VALUES), max_size=6),
    st.floats(0, 4e9),
)


@settings(max_examples=3000, deadline=None)
@given(record=RECORDS, config=CONFIGS)
def test_any_record_is_an_event_or_poison_with_a_known_reason(record: Record, config: DecodeConfig):
    result = decode(record, config)
    peeked = peek_type(record, config)
    if isinstance(result, Poison):
        assert result.reason.code in POISON_CODES
        return
    assert isinstance(result, Event)
    assert result.record is record
    assert result.identity
    assert result.time <= record.timestamp + 300
    assert len(result.id) <= 1100
    assert peeked is None or peeked == result.type
    by_id = None if result.identity.startswith("@") else (result.source, result.id)
    assert source_and_id(result.identity) == by_id


@settings(max_examples=500, deadline=None)
@given(payload=st.dictionaries(st.text(max_size=5), JSON | SCALARS, max_size=4))
def test_data_is_what_the_producer_wrote(payload: dict[str, Any]):
    payload = payload | {"type": "a", "id": "1"}
    for name in ("time", "subject"):
        payload.pop(name, None)
    result = decode(record_of(orjson.dumps(payload), [], 0.0), DecodeConfig(format="json"))
    assert isinstance(result, Event)
    assert result.data == orjson.loads(orjson.dumps(payload))
