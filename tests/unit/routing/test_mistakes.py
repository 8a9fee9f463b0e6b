"""Every mistake in a condition: where it is shown and what it says."""

from __future__ import annotations

import pytest

from router.problems import Problems
from router.routing import CODES, OPERATOR_NAMES, parse_condition
from tests.unit.routing.builders import complaints, node, python_expression

ROOTS = "id, type, source, subject, time, topic, partition, offset, key, headers, data"
OPERATORS = ", ".join(sorted(OPERATOR_NAMES))

MISTAKES = [
    (
        'data.x: {">=": 1}',
        '1:10 R121 unknown operator ">=". Did you mean "gte"?',
    ),
    (
        "data.x: {prefx: a}",
        f'1:10 R121 unknown operator "prefx". Did you mean "prefix"? Operators: {OPERATORS}',
    ),
    (
        "data: {amount: 1}",
        '1:8 R121 unknown operator "amount". For that field write data.amount. '
        f"Operators: {OPERATORS}",
    ),
    (
        "data.x: {between: [1, 2]}",
        '1:10 R121 unknown operator "between". Did you mean "gte and lte"?',
    ),
    (
        "user_id: 7",
        f'1:1 R120 not a path: "user_id". Did you mean "data.user_id"? Paths start with: {ROOTS}',
    ),
    (
        "$.data.x: 7",
        f'1:1 R120 not a path: "$.data.x". Did you mean "data.x"? Paths start with: {ROOTS}',
    ),
    (
        "dta.x: 7",
        f'1:1 R120 not a path: "dta.x". Did you mean "data.x"? Paths start with: {ROOTS}',
    ),
    (
        "item.x: 7",
        '1:1 R120 not a path here: "item.x"; only a list of recipients, some and every have items',
    ),
    (
        "nott: {type: a}",
        '1:1 R120 not a path: "nott". Did you mean "data.nott"? '
        f'Paths start with: {ROOTS}. To combine conditions write "not"',
    ),
    ("data.x[0]: 7", '1:1 R120 not a path: "data.x[0]"; write .0 for one element'),
    ("data.x[]: 7", '1:1 R120 not a path: "data.x[]"; write [*] for any element'),
    ("data.x.*: 7", '1:1 R120 not a path: "data.x.*"; write [*] for any element'),
    ("data..x: 7", '1:1 R120 not a path: "data..x"; a name is missing after the dot'),
    ("data.x.: 7", '1:1 R120 not a path: "data.x."; a name is missing after the dot'),
    (
        "data.a b: 7",
        '1:1 R120 not a path: "data.a b"; a name with spaces, braces or * is written in quotes, '
        'as in data."a b"',
    ),
    (
        "type.x: 7",
        '1:1 R120 not a path: "type.x"; type has no parts, write type alone',
    ),
    (
        "headers.a.b: 7",
        '1:1 R120 not a path: "headers.a.b"; a header is text and has no parts. '
        'For the header of that name write headers."a.b"',
    ),
    ("[]", "1:1 R126 a condition is a mapping of paths to values, not a list"),
    (
        "{}",
        "1:1 R122 an empty condition; for one that always holds write type: {exists: true}",
    ),
    ("data.x: {}", "1:9 R122 no operator here; write one such as data.x: {exists: true}"),
    ("data.x: []", '1:9 R122 "in" has an empty list'),
    ("data.x: [[1]]", '1:10 R123 "in" takes single values, not a list'),
    ("data.x: {eq: [1]}", '1:14 R123 "eq" takes one value (for several write in), not a list'),
    (
        "data.x: {ne: [1]}",
        '1:14 R123 "ne" takes one value (for several write not_in), not a list',
    ),
    ("data.x: {eq: {y: 1}}", '1:14 R123 "eq" takes one value, not a mapping'),
    ("data.x: {in: a}", '1:14 R123 "in" takes a list, not text'),
    ("data.x: {any_of: 3}", '1:18 R123 "any_of" takes a list, not the number 3'),
    ("data.x: {gt: true}", '1:14 R123 "gt" takes a number or text, not true or false'),
    ("data.x: {gt: [1]}", '1:14 R123 "gt" takes a number or text, not a list'),
    ("data.x: .nan", "1:9 R123 NaN equals nothing"),
    ("data.x: {lt: .nan}", "1:14 R123 NaN compares with nothing"),
    (
        "data.x: {prefix: 42}",
        '1:18 R123 "prefix" takes text; write it in quotes, "42", not the number 42',
    ),
    ('data.x: {contains: ""}', '1:20 R122 "contains" has an empty text'),
    ('data.x: {exists: "yes"}', '1:18 R123 "exists" takes true or false, not text'),
    (
        "data.x: {regex: '(a'}",
        "1:17 R124 this regular expression can't be used: missing ): (a",
    ),
    (
        "data.x: {regex: 'a(?=b)'}",
        "1:17 R124 this regular expression can't be used: invalid perl operator: (?=. "
        "Look-around is not supported, since it can't run in linear time; "
        "combine several conditions instead",
    ),
    (
        r"data.x: {regex: '(a)\1'}",
        r"1:17 R124 this regular expression can't be used: invalid escape sequence: \1. "
        "Back-references are not supported, since they can't run in linear time",
    ),
    (
        "data.x: {glob: 'a['}",
        '1:16 R124 this glob can\'t be used: "[" has no "]"; for the character itself write [[]',
    ),
    (
        "data.x: {cidr: 10.0.0.1/8}",
        '1:16 R125 not a network: "10.0.0.1/8" has bits beyond its length; write 10.0.0.0/8',
    ),
    (
        "data.x: {cidr: [10.0.0.0/8, home]}",
        '1:29 R125 not an address or network: "home"; '
        "write 10.0.0.0/8, 2001:db8::/32 or one address",
    ),
    ("any: {type: a}", '1:6 R126 "any" takes a list of conditions, not a mapping'),
    ("all: []", '1:6 R122 "all" has an empty list of conditions'),
    ("not: a", "1:6 R126 a condition is a mapping of paths to values, not text"),
    (
        "data.x: {some: {any: 1}}",
        '1:22 R126 "any" takes a list of conditions, not the number 1. '
        'For a field of that name write "any" in quotes',
    ),
    (
        "data.x: {some: a}",
        "1:16 R126 a condition is a mapping of paths to values, not text",
    ),
    (
        "data.x: {every: {}}",
        "1:17 R122 an empty condition; for one that always holds write item: {exists: true}",
    ),
    (
        "data.x: {some: {when: 'data.y'}}",
        '1:17 R127 "when" reads the whole event and can\'t stand inside some or every. '
        'For a field of that name write "when" in quotes',
    ),
    ("when: 5", '1:7 R127 "when" takes an expression such as data.a > data.b, not the number 5'),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_mistake_is_shown_with_what_to_write(text: str, expected: str) -> None:
    assert complaints(text) == [expected]


def test_every_mistake_is_found_at_once() -> None:
    found = complaints(
        """\
type: payment.failed
user: 1
data.a: {gt: 1, "<": 2, prefix: ""}
any:
  - data.b: {regex: "("}
  - not: {data.c: {cidr: x}}
data.d: {some: {sku: {lte: null}, qty: []}}
"""
    )
    places = [complaint.split(" ")[:2] for complaint in found]
    assert places == [
        ["2:1", "R120"],
        ["3:17", "R121"],
        ["3:33", "R122"],
        ["5:21", "R124"],
        ["6:26", "R125"],
        ["7:28", "R123"],
        ["7:40", "R122"],
    ]


def test_value_behind_an_unreadable_path_is_still_checked() -> None:
    assert [c.split(" ")[1] for c in complaints("user: {regex: '('}")] == ["R120", "R124"]


def test_mistakes_in_an_expression_are_reported_by_its_compiler() -> None:
    problems = Problems()

    def refuse(text: str, at: object, problems: Problems) -> None:
        problems.error("T999", f"bad: {text}")

    assert parse_condition(node("when: a +"), problems, compile_expression=refuse) is None
    assert [problem.message for problem in problems.found] == ["bad: a +"]


def test_earlier_problems_do_not_spoil_a_good_condition() -> None:
    problems = Problems()
    problems.error("X001", "elsewhere")
    parsed = parse_condition(node("type: a"), problems, compile_expression=python_expression)
    assert parsed is not None


def test_deep_nesting_is_refused() -> None:
    text = "{not: " * 40 + "{type: a}" + "}" * 40
    assert complaints(text) == ["1:79 R128 conditions are nested more than 12 deep"]


def test_every_code_is_listed() -> None:
    used = {expected.split(" ")[1] for _, expected in MISTAKES} | {"R128"}
    assert used == set(CODES)
