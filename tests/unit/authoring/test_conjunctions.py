"""Conditions that no event can meet are recognised, and only they."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.authoring.conjunctions import contradiction
from router.routing import evaluate
from tests.unit.routing.builders import condition
from tests.unit.routing.random_cases import mapping, random_event, route

IMPOSSIBLE = {
    "a range without numbers": "data.a: {gt: 5, lt: 3}",
    "a range of one number, left out": "data.a: {gt: 5, lte: 5}",
    "a range of texts": 'data.a: {gte: "b", lt: "a"}',
    "a value beyond a range": "data.a: {eq: 2, gt: 5}",
    "one of a list, and none of it": "data.a: {in: [1, 2], not_in: [1, 2]}",
    "number and text": "data.a: {gt: 5, prefix: x}",
    "list and text": "data.a: {any_of: [x], contains: x}",
    "two beginnings": "data.a: {prefix: ab, regex: x}\nall: [{data.a: {prefix: ba}}]",
    "two ends": "data.a: {suffix: ab}\nall: [{data.a: {suffix: ba}}]",
    "missing and compared": "data.a: {exists: false, gt: 1}",
    "missing, with something below": "data.a: {exists: false}\ndata.a.b: 1",
    "demanded and denied": "data.a: {regex: x}\nnot: {data.a: {regex: x}}",
    "every way is closed": "type: a\nany: [{type: b}, {type: c}]",
    "no element can": "data.items: {some: {qty: {gt: 5, lt: 3}}}",
    "in a nested conjunction": "type: a\nall: [{all: [{type: b}]}]",
}
POSSIBLE = {
    "a range of one number": "data.a: {gte: 5, lte: 5}",
    "different elements": "'data.a[*]': {gt: 5, lt: 3}",
    "one beginning in the other": "data.a: {prefix: ab}\nall: [{data.a: {prefix: abc}}]",
    "missing and not equal": "data.a: {exists: false, ne: 1}",
    "one way is open": "type: a\nany: [{type: b}, {data.x: 1}]",
    "no elements at all": "data.items: {every: {qty: {gt: 5, lt: 3}}}",
    "denied of something else": "data.a: {regex: x}\nnot: {data.a: {regex: y}}",
    "missing, and its neighbour": "data.a: {exists: false}\ndata.ab.c: 1",
}


@pytest.mark.parametrize("text", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_no_event_can_meet_is_a_contradiction(text: str) -> None:
    assert contradiction(condition(text)) is not None


@pytest.mark.parametrize("text", POSSIBLE.values(), ids=POSSIBLE)
def test_what_some_event_can_meet_is_none(text: str) -> None:
    assert contradiction(condition(text)) is None


def test_it_says_which_demands_exclude_each_other() -> None:
    found = contradiction(condition("type: order\ndata.total: {gte: 100, lt: 50}"))
    assert found is not None
    assert found.text == "nothing is data.total: {gte: 100} and data.total: {lt: 50}"
    assert [one.at.line for one in found.conditions] == [2, 2]


@settings(max_examples=300, deadline=None, database=None)
@given(st.integers(min_value=0, max_value=2**63))
def test_what_an_event_meets_is_never_called_impossible(seed: int) -> None:
    rng = Random(seed)
    event = random_event(rng)
    written = [rng.choice((mapping, route))(rng) for _ in range(12)]
    met = [one if evaluate(condition(one), event) else {"not": one} for one in written]
    for size in (2, 4, 12):
        whole = condition({"all": rng.sample(met, size)})
        assert evaluate(whole, event)
        assert contradiction(whole) is None, whole.describe()
