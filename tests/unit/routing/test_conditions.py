"""What lint and the index ask of conditions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.routing.builders import condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: a", {"type": ("a",)}),
        ("{type: [a, b], data.x: 1}", {"type": ("a", "b"), "data.x": (1,)}),
        ("{type: [a, b], all: [{type: [b, c]}]}", {"type": ("b",)}),
        ("{type: a, all: [{type: b}]}", {"type": ()}),
        ("{data.x: 1, all: [{data.x: true}]}", {"data.x": ()}),
        ("data.x: {in: [1, 5, 9], gt: 3, ne: 9}", {"data.x": (5,)}),
        ("data.x: {eq: 1, exists: false}", {"data.x": ()}),
        ("any: [{type: a, data.x: 1}, {type: b}]", {"type": ("a", "b")}),
        ("any: [{type: a}, {data.x: 1}]", {}),
        ("any: [{type: a}, {type: b, data.x: {eq: 1, gt: 2}}]", {"type": ("a",)}),
        ("any: [{type: {eq: a, ne: a}}, {type: {eq: b, ne: b}}]", {"type": ()}),
        ("not: {type: a}", {}),
        ("'data.tags[*]': a", {}),
        ("data.items: {some: {sku: a}}", {}),
        ("data.x: {ne: a}", {}),
    ],
)
def test_equalities_that_a_match_needs(text: str, expected: dict[str, Any]) -> None:
    assert condition(text).equalities() == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{type: a, data.x: 1}", "{data.x: 1.0, type: a}"),
        ("type: [a, b]", "type: {in: [b, a, b]}"),
        ("type: a", "type: [a]"),
        ("type: a", "any: [{type: a}, {type: a}]"),
        ("{type: a, data.x: 1}", "all: [{type: a}, {all: [{data.x: 1}]}]"),
        ("any: [{type: a}, {type: b}]", "any: [{any: [{type: b}]}, {type: a}]"),
        ("data.x: {gt: 1, lt: 5}", "all: [{data.x: {lt: 5}}, {data.x: {gt: 1}}]"),
        ("not: {not: {type: a}}", "type: a"),
        ("data.x: {some: {a: 1, b: 2}}", "data.x: {some: {item.b: 2, item.a: 1}}"),
        ('data."x": {ignore_case: A}', "data.x: {ignore_case: [a]}"),
    ],
)
def test_duplicates_have_one_canonical_text(one: str, other: str) -> None:
    assert condition(one).canonical == condition(other).canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data.x: 1", "data.x: '1'"),
        ("data.x: true", "data.x: 'true'"),
        ("data.x: null", "data.x: 'null'"),
        ("data.x: [a, b]", "data.x: ['a, b']"),
        ("data.x: {regex: a}", "data.x: {glob: a}"),
        ("data.0: a", "'data.\"0\"': a"),
        ("data.x: {some: {a: 1}}", "data.x: {every: {a: 1}}"),
        ("{data.x: 1, not: {data.y: 1}}", "not: {data.x: 1, data.y: 1}"),
    ],
)
def test_different_conditions_have_different_canonical_texts(one: str, other: str) -> None:
    assert condition(one).canonical != condition(other).canonical


def test_every_path_is_listed() -> None:
    one = condition("{type: a, not: {data.x: 1}, data.items: {some: {sku: a, qty: {gt: 1}}}}")
    assert [path.text for path in one.paths()] == [
        "type",
        "data.x",
        "data.items",
        "item.sku",
        "item.qty",
    ]


def test_description_reads_as_it_is_written() -> None:
    text = (
        'type: payment.failed, data.amount: {gte: 10000, lt: 20000}, data.method: [card, "2"], '
        'data.note: "", any: [{"data.tags[*]": vip}, {not: {data.items: {some: {item.sku: A-1}}}}]'
    )
    assert condition(f"{{{text}}}").describe() == text


def test_positions_do_not_make_conditions_differ() -> None:
    assert condition("type: a") == condition("\n\ntype: a")
    assert hash(condition("type: a")) == hash(condition("\n\ntype: a"))
