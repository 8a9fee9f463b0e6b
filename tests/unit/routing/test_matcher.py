"""The compiled matcher: order, what it wants, what it generates, and that its cost stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from router.events import Event
from router.problems import Position, Source
from router.routing import AllOf, Condition, Matcher, When
from tests.unit.routing.builders import condition, event

AT = Position(Source.of("routes.yaml", ""), 1, 1)


def matcher(**routes: str | Mapping[str, Any]) -> Matcher:
    return Matcher.build((name, condition(text)) for name, text in routes.items())


def test_matches_come_in_the_order_of_the_routes() -> None:
    routes = matcher(
        late="data.x: {gt: 0}",
        typed="type: payment.failed",
        topical="topic: events",
        expression="when: data['x'] == 1",
        twice="type: [payment.failed, other]",
    )
    assert routes.match(event({"x": 1})) == ["late", "typed", "topical", "expression", "twice"]


def test_no_routes_match_nothing() -> None:
    assert Matcher.build([]).match(event()) == []
    assert not Matcher.build([]).wants("events", "a")


def test_equal_routes_both_match() -> None:
    one = condition("type: payment.failed")
    assert Matcher.build([("a", one), ("b", one)]).match(event()) == ["a", "b"]


def test_a_route_that_can_never_match_never_does() -> None:
    assert matcher(never="{type: payment.failed, all: [{type: other}]}").match(event()) == []


def test_failed_expressions_are_counted() -> None:
    routes = matcher(
        good="when: data['x'] > 0",
        bad="when: data['nothing'] > 0",
        elsewhere="{type: other, when: 'data[0] > 0'}",
    )
    assert routes.match(event({"x": 1})) == ["good"]
    assert routes.match(event({"x": 1})) == ["good"]
    assert routes.expression_errors == 2
    assert routes.expression_errors_by_route == {"bad": 2}


def spy(seen: list[str], name: str) -> When:
    """An expression that remembers that it was evaluated."""

    def run(one: Event) -> bool:
        seen.append(name)
        return True

    return When(run, name, AT)


def test_expressions_are_evaluated_last() -> None:
    seen: list[str] = []
    for text in ("data.x: 1", "data.y[*]: 1", "data.z: {some: {a: 1}}", "data.x: {regex: a}"):
        both = AllOf((spy(seen, text), condition(text)), AT)
        assert Matcher.build([("it", both)]).match(event({})) == []
    assert seen == []


@pytest.mark.parametrize(
    ("route", "topic", "type", "wanted"),
    [
        ("type: a", "t", "a", True),
        ("type: a", "t", "b", False),
        ("type: a", "t", None, True),
        ("{type: a, data.x: {gt: 1}}", "t", "a", True),
        ("{type: a, data.x: {gt: 1}}", "t", "b", False),
        ("{type: {prefix: pay}, data.x: 1}", "t", "payment", True),
        ("{type: {prefix: pay}, data.x: 1}", "t", "board", False),
        ("topic: t", "t", None, True),
        ("topic: t", "u", None, False),
        ("topic: t", "u", "a", False),
        ("data.x: 1", "t", "a", True),
        ("any: [{type: a, data.x: 1}, {type: b}]", "t", "a", True),
        ("any: [{type: a, data.x: 1}, {type: b}]", "t", "c", False),
        ("any: [{type: a}, {data.x: 1}]", "t", "c", True),
        ("not: {type: a}", "t", "a", False),
        ("not: {type: a}", "t", "b", True),
        ("not: {type: a, data.x: 1}", "t", "a", True),
        ("{when: 'True', type: a}", "t", "b", False),
        ("data.x: {some: {type: a}}", "t", "b", True),
        ("{headers.h: v, topic: u}", "t", "a", False),
        ("{type: a, all: [{type: b}]}", "t", "a", False),
    ],
)
def test_wants(route: str, topic: str, type: str | None, wanted: bool) -> None:
    assert matcher(route=route).wants(topic, type) is wanted


def test_wants_what_any_route_wants() -> None:
    routes = matcher(a="{type: a, topic: t}", b="{type: b, topic: u, data.x: 1}")
    assert [routes.wants(*seen) for seen in (("t", "a"), ("u", "b"), ("t", "b"), ("u", None))] == [
        True,
        True,
        False,
        True,
    ]


HOSTILE = (
    "'''\"\"\"",
    "__import__('os').system('id')",
    "\n    out.append(99)\n",
    "\\",
    "{c0}",
    "c0 or True",
    "#",
    "\u2028",
    "None",
)


def routes_about(text: str) -> dict[str, Condition]:
    """The text wherever an operator can put one."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    path = f'data."z{quoted}"'
    order = {"prefix": text, "suffix": text, "contains": text, "gte": text}
    return {
        "equal": condition({path: text}),
        "in": condition({path: [text, "x"], "type": ["payment.failed", text]}),
        "text": condition({path: order}),
        "folded": condition({path: {"ignore_case": text}}),
        "header": condition({f'headers."z{quoted}"': text}),
        "element": condition({"data.list": {"some": {f'"z{quoted}"': text}}}),
        "any": condition({"data.list[*]": {"ne": 0}, "data.tags": {"any_of": [text]}}),
        "each": condition({f'data.list[*]."z{quoted}"': text}),
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_out_of_the_generated_source(text: str) -> None:
    routes = routes_about(text)
    built = Matcher.build(routes.items())
    named = {f"z{text}": text}
    one = event({**named, "list": [named], "tags": [text]}, headers=named)
    assert built.match(one) == list(routes)
    assert built.match(event({})) == []
    assert built.sources == Matcher.build(routes_about("word").items()).sources


def test_routes_of_one_shape_share_their_code() -> None:
    def routes(count: int) -> Matcher:
        return Matcher.build(
            (n, condition({"type": f"t{n % 50}", "data.x": {"gt": n}, "data.y": f"y{n}"}))
            for n in range(count)
        )

    assert len(routes(2000).sources) == len(routes(1000).sources) < 10


def test_many_shapes_without_an_equality_are_all_evaluated() -> None:
    routes = Matcher.build((n, condition({f"data.f{n}": {"exists": True}})) for n in range(450))
    assert routes.match(event({"f7": 1, "f449": None, "f101": 0})) == [7, 101, 449]


def test_a_long_list_of_alternatives_matches() -> None:
    routes = Matcher.build(
        [("many", condition({"data.x": list(range(2000)), "type": [f"t{n}" for n in range(2000)]}))]
    )
    assert routes.match(event({"x": 1500}, type="t1999")) == ["many"]
    assert routes.match(event({"x": 2000}, type="t1999")) == []


def test_only_routes_of_the_type_and_the_most_selective_field_are_evaluated() -> None:
    evaluated: list[str] = []
    equalities = [
        condition({"type": f"type-{n // 10}", "data.tenant": f"tenant-{n % 10}"})
        for n in range(100)
    ]
    routes = Matcher.build(
        (n, AllOf((equality, spy(evaluated, str(n))), AT)) for n, equality in enumerate(equalities)
    )
    assert routes.match(event({"tenant": "tenant-3"}, type="type-4")) == [43]
    assert evaluated == ["43"]
