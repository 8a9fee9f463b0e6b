"""Paths: reading, spelling, values."""

from __future__ import annotations

from typing import Any

import pytest

from router.routing import MISSING, parse_path
from tests.unit.routing.builders import event

DATA = {
    "items": [{"sku": "A", "tags": ["x", "y"]}, {"sku": "B"}, 3],
    "a.b": {"c d": 1},
    "0": "zero",
    "none": None,
    'q"': 2,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type", ["payment.failed"]),
        ("topic", ["events"]),
        ("offset", [42]),
        ("key", ["k"]),
        ("subject", []),
        ("headers.trace-id", ["t"]),
        ("headers.0", ["h"]),
        ("headers.other", []),
        ("data.items.0.sku", ["A"]),
        ("data.items.9.sku", []),
        ("data.items[*].sku", ["A", "B"]),
        ("data.items[*].tags[*]", ["x", "y"]),
        ("data.items[*].tags", [["x", "y"]]),
        ('data."a.b"."c d"', [1]),
        ("data.0", ["zero"]),
        ('data."0"', ["zero"]),
        ('data."q\\""', [2]),
        ("data.none", [None]),
        ("data.none.x", []),
        ("data.a[*]", []),
        ("item.id", ["i"]),
        ("item", [{"id": "i"}]),
    ],
)
def test_values(text: str, expected: list[Any]) -> None:
    one = event(DATA, key=b"k", headers={"trace-id": "t", "0": "h"})
    path = parse_path(text)
    assert path.values(one, {"id": "i"}) == expected
    assert path.value(one, {"id": "i"}) == (expected[0] if expected else MISSING)


def test_item_is_missing_outside_of_a_list() -> None:
    assert parse_path("item").value(event()) is MISSING
    assert parse_path("item.x").values(event()) == []


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("data.items.0.sku", "data.items.0.sku"),
        ('data."items"', "data.items"),
        ('data."a.b"', 'data."a.b"'),
        ('data."0".x', 'data."0".x'),
        ("data.007", "data.007"),
        ('data."a\\"b"', 'data."a\\"b"'),
        ("data.имя[*]", "data.имя[*]"),
        ('data.""', 'data.""'),
    ],
)
def test_a_path_has_one_spelling_that_reads_back(text: str, spelling: str) -> None:
    path = parse_path(text)
    assert path.text == str(path) == spelling
    assert parse_path(spelling) == path


def test_parts_of_a_path() -> None:
    path = parse_path("data.items[*].sku")
    assert (path.root, path.has_wildcard) == ("data", True)
    assert not parse_path("data.items").has_wildcard


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'not a path: ""; write one such as data.user_id'),
        ('"data".x', 'not a path: ""data".x"; write one such as data.user_id'),
        ('data."a', 'not a path: "data."a"; a quoted name starts after a dot and ends with a '
         'quote, as in data."a.b"'),
        ("data.x{y", 'not a path: "data.x{y"; a name with spaces, braces or * is written in '
         'quotes, as in data."a b"'),
        ("data[x]", 'not a path: "data[x]"; write [*] for any element, .0 for the first, '
         '."name" for a name with brackets'),
    ],
)  # fmt: skip
def test_an_unreadable_path_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_path(text)
    assert str(caught.value) == message
