"""Laws: the compiled matcher agrees with naive evaluation, and never skips what a route wants.

The cases are drawn from a seed that hypothesis chooses and reports: drawing every leaf through
it would take ten times as long, and a disagreement is about one route and one event anyway.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from router.routing import Matcher, evaluate, explain
from tests.unit.routing.builders import condition
from tests.unit.routing.random_cases import mapping, random_event, route

SEEDS = st.integers(min_value=0, max_value=2**63)


def law(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, database=None)


@law(1200)
@given(SEEDS)
def test_matcher_agrees_with_naive_evaluation(seed: int) -> None:
    rng = Random(seed)
    routes = [condition(route(rng)) for _ in range(rng.randint(1, 12))]
    matcher = Matcher.build(enumerate(routes))
    for _ in range(4):
        event = random_event(rng)
        matched = matcher.match(event)
        for number, one in enumerate(routes):
            assert (number in matched) == evaluate(one, event), (one.describe(), event)
        assert matched == sorted(matched)


@law(60)
@given(SEEDS)
def test_matcher_agrees_where_many_routes_share_few_values(seed: int) -> None:
    rng = Random(seed)
    routes = [condition(route(rng)) for _ in range(80)]
    matcher = Matcher.build(enumerate(routes))
    for _ in range(10):
        event = random_event(rng)
        expected = [number for number, one in enumerate(routes) if evaluate(one, event)]
        assert matcher.match(event) == expected


@law(300)
@given(SEEDS)
def test_matcher_wants_every_event_that_matches(seed: int) -> None:
    rng = Random(seed)
    matcher = Matcher.build(enumerate(condition(route(rng)) for _ in range(rng.randint(1, 4))))
    for _ in range(10):
        event = random_event(rng)
        if matcher.match(event):
            assert matcher.wants(event.topic, event.type)
            assert matcher.wants(event.topic, None)


@law(1000)
@given(SEEDS)
def test_explanation_agrees_with_evaluation(seed: int) -> None:
    rng = Random(seed)
    one, event = condition(mapping(rng)), random_event(rng)
    trace = explain(one, event)
    assert trace.held == evaluate(one, event)
    assert trace.held == (trace.away == 0)
    assert trace.held == (trace.to_break > 0)


@law(1000)
@given(SEEDS)
def test_necessary_equalities_are_necessary(seed: int) -> None:
    rng = Random(seed)
    one, event = condition(mapping(rng)), random_event(rng)
    paths = {path.text: path for path in one.paths()}
    if evaluate(one, event):
        for text, values in one.equalities().items():
            assert evaluate(condition({text: list(values)}), event), (text, paths[text])
