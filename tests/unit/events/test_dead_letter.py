"""Dead letters keep everything, on Kafka and in a file."""

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.events import (
    Cut,
    DeadLetter,
    NotADeadLetter,
    Record,
    dead_letter_from_kafka,
    dead_letter_from_line,
    dead_letter_to_kafka,
    dead_letter_to_line,
)
from router.messages.outcome import Reason
from tests.unit.events.builders import a_record

KEY = bytes(range(16))


def a_letter(record: Record | None = None, **fields: Any) -> DeadLetter:
    settings: dict[str, Any] = {
        "reason": Reason("rejected", "550 no such user"),
        "stage": "send",
        "route": "payment-failed",
        "step": "mail",
        "sink": "mail",
        "delivery_key": KEY,
        "attempts": 3,
        "identity": "8:payments:e-1",
        "at": 1_767_323_050.5,
    }
    return DeadLetter(record=record or a_record({"type": "a"}), **(settings | fields))


def through_kafka(letter: DeadLetter, max_bytes: int = 1_000_000) -> DeadLetter:
    key, value, headers = dead_letter_to_kafka(letter, max_bytes)
    return dead_letter_from_kafka(Record("router.dead-letters", 0, 0, 0.0, key, value, headers))


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
LETTERS = st.builds(
    DeadLetter,
    record=st.builds(
        Record,
        topic=TEXT,
        partition=st.integers(0, 9),
        offset=st.integers(0, 2**60),
        timestamp=st.floats(0, 4e9),
        key=st.none() | st.binary(max_size=5),
        value=st.none() | st.binary(max_size=9),
        headers=st.lists(
            st.tuples(TEXT | st.sampled_from(["router-topic", "router-tenant"]), st.binary()),
            max_size=4,
        ).map(tuple),
    ),
    reason=st.builds(Reason, TEXT, TEXT),
    stage=TEXT,
    route=st.none() | st.just("r"),
    step=st.none() | st.just("s"),
    sink=st.none() | st.just("k"),
    delivery_key=st.none() | st.just(KEY),
    attempts=st.integers(0, 9),
    identity=st.none() | st.just("8:payments:1"),
    at=st.floats(0, 4e9),
    cut=st.none() | st.just(Cut(5, "ab")),
    hop=st.integers(0, 8),
    tenant=st.none() | st.just("acme"),
)


@settings(max_examples=400, deadline=None)
@given(letter=LETTERS)
def test_both_forms_read_back_as_written(letter: DeadLetter):
    assert through_kafka(letter) == letter
    assert dead_letter_from_line(dead_letter_to_line(letter)) == letter


def test_the_original_is_published_as_it_was():
    record = a_record(raw=b"\xff{", headers=(("traceparent", b"00-1"), ("a", b"")))
    key, value, headers = dead_letter_to_kafka(a_letter(record))
    assert (key, value) == (record.key, b"\xff{")
    assert headers[-2:] == record.headers
    assert ("router-reason", b"rejected") in headers


def test_a_letter_from_before_there_were_tenants_is_read():
    key, value, headers = dead_letter_to_kafka(a_letter())
    earlier = tuple(header for header in headers if header[0] != "router-tenant")
    record = Record("router.dead-letters", 0, 0, 0.0, key, value, earlier)
    assert dead_letter_from_kafka(record) == a_letter()


def test_a_producer_can_not_forge_facts():
    forged = a_record({}, headers=(("router-route", b"other"), ("router-attempts", b"99")))
    letter = a_letter(forged, route=None)
    assert through_kafka(letter) == letter


def test_an_original_that_does_not_fit_is_cut_and_described():
    value = b"x" * 300_000
    letter = through_kafka(a_letter(a_record(raw=value)), max_bytes=200_000)
    assert letter.cut == Cut(300_000, hashlib.sha256(value).hexdigest())
    assert letter.record.value == value[: 64 * 1024]
    assert letter.record.position == "payments/3/41"
    assert through_kafka(letter, max_bytes=50_000).cut == letter.cut


def test_headers_that_are_too_much_are_left_out():
    record = a_record({}, headers=(("big", b"x" * 500_000),))
    letter = through_kafka(a_letter(record), max_bytes=100_000)
    assert letter.record.headers == ()
    assert letter.cut is not None


@pytest.mark.parametrize("max_bytes", [20_000, 50_000, 1_000_000])
def test_what_is_published_fits(max_bytes: int):
    for size in (0, 3_000, 30_000, 2_000_000):
        record = a_record(raw=b"x" * size, headers=(("h", b"y" * (size // 2)),))
        key, value, headers = dead_letter_to_kafka(a_letter(record), max_bytes)
        total = len(key or b"") + len(value or b"")
        assert total + sum(len(n) + len(v) for n, v in headers) <= max_bytes


def test_facts_stay_below_their_limit_whatever_a_text_holds():
    letter = a_letter(reason=Reason("rejected", "ж" * 20_000), identity="i" * 2_000)
    _, _, headers = dead_letter_to_kafka(letter)
    assert sum(len(n) + len(v) for n, v in headers) <= 16 * 1024
    assert through_kafka(letter).identity == "i" * 2_000


def test_foreign_records_and_lines_are_told_apart():
    with pytest.raises(NotADeadLetter):
        dead_letter_from_kafka(a_record({}))
    key, value, headers = dead_letter_to_kafka(a_letter())
    broken = tuple((n, b"x" if n == "router-offset" else v) for n, v in headers)
    with pytest.raises(NotADeadLetter):
        dead_letter_from_kafka(Record("t", 0, 0, 0.0, key, value, broken))
    for line in (b"", b"{}", b"[]", b"nonsense", b'{"headers":[1],"key":null,"value":null}'):
        with pytest.raises(NotADeadLetter):
            dead_letter_from_line(line)
