"""The match language, case by case, in both of its implementations."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.events import Event
from router.routing import AllOf, Matcher, evaluate
from tests.unit.routing.builders import condition, event

RULES = yaml.safe_load((Path(__file__).parent / "semantics.yaml").read_text())
CASES = [
    pytest.param(rule, case, expected, id=f"{rule['name']}: {case}")
    for rule in RULES
    for expected, cases in ((True, rule["holds"]), (False, rule["fails"]))
    for case in cases
]


def given(rule: dict[str, Any], case: Any) -> Event:
    return event(**case) if rule.get("of") == "event" else event(case)


@pytest.mark.parametrize(("rule", "case", "expected"), CASES)
def test_meaning(rule: dict[str, Any], case: Any, expected: bool) -> None:
    parsed = condition(rule["match"])
    assert evaluate(parsed, given(rule, case)) is expected
    assert Matcher.build([("it", parsed)]).match(given(rule, case)) == ["it"] * expected


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["name"])
def test_meaning_survives_its_description(rule: dict[str, Any]) -> None:
    parsed = condition(rule["match"])
    text = parsed.describe()
    again = condition(f"{{{text}}}" if isinstance(parsed, AllOf) else text)
    assert again.canonical == parsed.canonical


@pytest.mark.parametrize(
    "value",
    [math.nan, Decimal("NaN"), Decimal("sNaN"), 10**4000, -(10**4000), math.inf, Decimal("1e900")],
    ids=lambda value: str(value)[:8],
)
@pytest.mark.parametrize("test", [1, {"ne": 1}, [1, "a"], {"gt": 1}, {"lte": 1}, {"gt": "a"}])
def test_odd_numbers_never_crash_and_agree(value: Any, test: Any) -> None:
    parsed = condition({"data.x": test})
    one = event({"x": value})
    assert bool(Matcher.build([("it", parsed)]).match(one)) is evaluate(parsed, one)


@pytest.mark.parametrize("nan", [math.nan, Decimal("NaN"), Decimal("sNaN")])
def test_nan_has_no_order(nan: Any) -> None:
    for test in ({"gt": 0}, {"gte": 0}, {"lt": 0}, {"lte": 0}, {"eq": 0}):
        assert not evaluate(condition({"data.x": test}), event({"x": nan}))


def test_decimals_are_numbers() -> None:
    matcher = Matcher.build(
        [("equal", condition({"data.x": 1})), ("above", condition({"data.x": {"gt": 0.5}}))]
    )
    assert matcher.match(event({"x": Decimal("1.00")})) == ["equal", "above"]


def test_a_long_text_is_searched_in_linear_time() -> None:
    parsed = condition({"data.x": {"regex": "(a|aa)+$"}, "data.y": {"glob": "*a*a*a*a*a*b"}})
    assert not evaluate(parsed, event({"x": "a" * 50_000 + "b", "y": "a" * 50_000}))


def test_recipients_are_filtered_by_item() -> None:
    where = condition({"item.active": True, "type": "payment.failed"}, with_item=True)
    assert evaluate(where, event(), {"active": True})
    assert not evaluate(where, event(), {"active": 1})
    assert not evaluate(where, event(type="other"), {"active": True})
    assert not evaluate(where, event())
