"""Secrets that events bring are hidden right after decoding."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from router.events import DecodeConfig, Event, Record, SecretField, decode
from router.values import Secret


def data_of(payload: dict[str, Any], *fields: str) -> Any:
    config = DecodeConfig.model_validate({"secret_fields": fields})
    value = orjson.dumps({"type": "t", **payload})
    event = decode(Record("topic", 0, 0, 1.0, None, value), config)
    assert isinstance(event, Event)
    return event.data


def test_everything_at_and_below_a_field_is_hidden() -> None:
    payload = {
        "endpoints": [
            {"url": "https://a", "secrets": ["one", "two"]},
            {"url": "https://b", "secrets": {"old": "three", "pin": 4, "none": None}},
            "not a mapping",
        ],
        "token": "five",
    }
    data = data_of(payload, "data.endpoints[*].secrets", "data.token", "data.absent.part")
    assert data["endpoints"][0] == {"url": "https://a", "secrets": [Secret("one"), Secret("two")]}
    assert data["endpoints"][1]["secrets"] == {
        "old": Secret("three"),
        "pin": Secret("4"),
        "none": None,
    }
    assert data["token"] == Secret("five")
    assert "three" not in repr(data)


def test_one_element_or_a_quoted_name() -> None:
    data = data_of({"keys": ["a", "b"], "a.b": "c"}, "data.keys.1", 'data."a.b"')
    assert (data["keys"], data["a.b"]) == (["a", Secret("b")], Secret("c"))


def test_the_record_is_left_as_it_is() -> None:
    record = Record("topic", 0, 0, 1.0, None, b'{"type": "t", "token": "x"}')
    config = DecodeConfig.model_validate({"secret_fields": ["data.token"]})
    event = decode(record, config)
    assert isinstance(event, Event)
    assert event.record is record


@pytest.mark.parametrize("text", ["token", "data", "data.", "data.a b", "data[0]", "", 5])
def test_what_is_no_path_into_data_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"write one such as data\.endpoints"):
        SecretField.parse(text)
