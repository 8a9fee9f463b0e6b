"""What ``explain`` shows of a condition."""

from __future__ import annotations

from router.routing import MISSING, Trace, actual_text, explain
from tests.unit.routing.builders import condition, event


def lines(trace: Trace, depth: int = 0) -> list[str]:
    mark = "✓" if trace.held else "✗"
    actual = actual_text(trace)
    own = f"{'  ' * depth}{mark} {trace.text}" + (f" -> {actual}" if actual else "")
    return [own, *(line for child in trace.children for line in lines(child, depth + 1))]


def test_each_predicate_shows_what_it_found() -> None:
    one = condition(
        """\
type: payment.failed
data.amount: {gte: 10000}
data.method: [card, sbp]
data.user.vip: true
data.tags[*]: {ne: test}
data.note: {exists: true}
"""
    )
    trace = explain(
        one,
        event({"amount": "12000", "method": "cash", "tags": ["test"], "user": {}, "note": None}),
    )
    assert lines(trace) == [
        "✗ all",
        "  ✓ type: payment.failed -> payment.failed (text)",
        '  ✗ data.amount: {gte: 10000} -> "12000" (text)',
        "  ✗ data.method: [card, sbp] -> cash (text)",
        "  ✗ data.user.vip: true -> missing",
        "  ✗ data.tags[*]: {ne: test} -> ['test'] (list)",
        "  ✓ data.note: {exists: true} -> null",
    ]
    assert trace.away == 4


def test_a_predicate_knows_its_place_and_value() -> None:
    trace = explain(condition("type: a\ndata.x: {gt: 1, lt: 5}\n"), event({"x": 7}))
    first, above, below = trace.children
    assert [(child.at.line, child.at.column) for child in (first, above, below)] == [
        (1, 1),
        (2, 10),
        (2, 17),
    ]
    assert (below.actual, below.actual_type) == (7, "number")


def test_elements_are_shown_one_by_one() -> None:
    trace = explain(
        condition("data.items: {some: {sku: A-1, qty: {gt: 1}}}"),
        event({"items": [{"sku": "A-1", "qty": 1}, {"sku": "B", "qty": 2}]}),
    )
    assert trace.kind == "some"
    assert [(child.kind, child.text, child.away) for child in trace.children] == [
        ("element", "0", 1),
        ("element", "1", 1),
    ]
    assert lines(trace.children[0])[1:] == [
        "  ✗ all",
        "    ✓ item.sku: A-1 -> A-1 (text)",
        "    ✗ item.qty: {gt: 1} -> 1 (number)",
    ]


def test_distance_takes_the_nearest_alternative() -> None:
    one = condition(
        "any: [{data.a: 1, data.b: 1, data.c: 1}, {data.d: 1, data.e: 1}, {not: {data.f: 1}}]"
    )
    assert explain(one, event({"f": 1})).away == 1
    assert explain(one, event({})).away == 0
    negated = condition("not: {any: [{data.a: 1}, {data.b: 1}], data.c: {exists: true}}")
    assert explain(negated, event({"a": 1, "b": 1, "c": 1})).away == 1
    assert explain(condition("not: {any: [{data.a: 1}, {data.b: 1}]}"), event({"a": 1, "b": 1})).away == 2  # fmt: skip # noqa: E501


def test_an_expression_shows_its_result_or_its_failure() -> None:
    one = condition("when: data['a'] > 1")
    assert lines(explain(one, event({"a": 2}))) == [
        "✓ when: \"data['a'] > 1\" -> true (true or false)"
    ]
    failed = explain(one, event({"a": "x"}))
    assert (failed.held, failed.actual_type) == (False, "failed")
    assert actual_text(failed).startswith("failed: '>' not supported between")


def test_a_missing_value_is_marked() -> None:
    trace = explain(condition("data.x: 1"), event({}))
    assert trace.actual is MISSING
    assert trace.actual_type == "missing"


def test_a_huge_value_is_clipped() -> None:
    trace = explain(condition("data.x: 1"), event({"x": "a" * 500}))
    assert len(actual_text(trace)) == 120 + len(" (text)")
    assert actual_text(explain(condition("data.x[*]: 1"), event({"x": [10**5000]}))) == (
        "a very long number (list)"
    )
