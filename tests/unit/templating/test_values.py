"""Strings of routes and bare expressions."""

from typing import Any

import pytest

from router.problems import Position, Problems, Source
from router.recipients import Recipient
from router.templating import RenderError, Value, compile_expression, compile_value
from tests.unit.templating.builders import event, node_of, view


def _at(text: str) -> Position:
    return Position(Source.of("routes.yaml", f"value: {text}"), 1, 8)


def value(plain: Any, **names: Any) -> Value:
    problems = Problems()
    made = compile_value(plain, _at(str(plain)), problems, **names)
    assert not problems.found, problems.found
    return made


@pytest.mark.parametrize("plain", ["data.x", "{% if %}", "# {x}", "", 5, None, True, ["a"], {}])
def test_a_string_without_braces_is_literal(plain: Any) -> None:
    made = value(plain)

    assert made.is_literal
    assert made.literal == plain
    assert made.evaluate(view()) == plain


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ data.n }}", 5),
        ("{{ data.n / 2 }}", 2.5),
        ("{{ data.xs }}", [1, 2]),
        ("{{ data.none }}", None),
        ("{{ data.n > 3 }}", True),
        ("{{ data.xs|map('string') }}", ["1", "2"]),
        ("{{ range(2) }}", [0, 1]),
        ("{{ event.type }}", "payment.failed"),
        ("{{ recipient.name }}", "Ann"),
        ("n is {{ data.n }}", "n is 5"),
        ("{{ data.n }}{{ data.n }}", "55"),
        (" {{ data.n }}", " 5"),
        ("{% if data.n %}{{ data.n }}!{% endif %}", "5!"),
        ("{{ link('https://x.io', data.n) }}", "https://x.io/5"),
    ],
)
def test_one_expression_keeps_its_type_and_text_around_it_makes_text(
    text: str, result: Any
) -> None:
    data = {"n": 5, "xs": [1, 2], "none": None}
    made = value(text)

    assert not made.is_literal
    assert made.evaluate(view(data, recipient=Recipient(id="u", name="Ann"))) == result


def test_lists_and_mappings_of_values() -> None:
    made = value({"a": ["x", "{{ data.n }}"], "b": {"c": "{{ data.n }}!"}, "d": 1})

    assert made.evaluate(view({"n": 5})) == {"a": ["x", 5], "b": {"c": "5!"}, "d": 1}
    assert value({"a": ["x"], "b": 1}).is_literal


def test_places_of_a_node_are_exact() -> None:
    text = "a: one\nb:\n  - '{{ dat.x }}'\n"
    source = Source.of("routes.yaml", text)
    node = node_of(source, text)
    problems = Problems()

    compile_value(node, node.at, problems)

    assert [(p.code, str(p.at)) for p in problems.found] == [("T121", "routes.yaml:3:9")]
    assert 'Did you mean "data"?' in problems.found[0].message


@pytest.mark.parametrize(
    ("text", "code"),
    [("{{ recipent.id }}", "T121"), ("{{ recipient.devices }}", "T122"),
     ("{{ event.nam }}", "T122"), ("{{ data. }}", "T120"), ("{{ t.x }}", "T121"),
     ("{{ data.x|safe }}", "T123")],
)  # fmt: skip
def test_mistakes_are_found_at_load(text: str, code: str) -> None:
    problems = Problems()
    compile_value(text, _at(text), problems)

    assert [p.code for p in problems.found] == [code]


def test_names_can_be_narrowed() -> None:
    problems = Problems()
    compile_value("{{ recipient.id }}", _at(""), problems, names=frozenset({"data", "event"}))

    assert [p.code for p in problems.found] == ["T121"]


def test_a_value_that_is_not_there_is_an_error_with_its_place_and_no_data() -> None:
    text = "{{ data.secrets.nam }}"

    with pytest.raises(RenderError) as failure:
        value(text).evaluate(view({"secrets": {"name": "hidden", "a@b.c": 1}}))

    assert failure.value.code == "T160"
    assert str(failure.value.position) == "routes.yaml:1:24"
    assert 'Did you mean "name"?' in failure.value.text
    assert "hidden" not in str(failure.value)
    assert "a@b.c" not in str(failure.value)


def when(text: str, data: Any = None, **fields: Any) -> Any:
    problems = Problems()
    function = compile_expression(text, _at(text), problems)
    assert function, problems.found
    return function(event(data, **fields))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("data.amount > 2 * data.limit", True),
        ("data.amount in [1, 5]", True),
        ("type == 'payment.failed' and topic == 'events'", True),
        ("event.id ~ '-' ~ key", "e-1-key"),
        ("data.xs|length > 3", False),
        ("data.missing is defined", False),
        ("subject is none", True),
        ("headers.x == 'y'", True),
    ],
)
def test_an_expression_reads_the_event(text: str, result: Any) -> None:
    data = {"amount": 5, "limit": 2, "xs": [1]}

    assert when(text, data, headers={"x": "y"}) == result


@pytest.mark.parametrize("text", ["data.missing > 1", "data.amount > 'x'", "data.amount / 0"])
def test_an_expression_that_fails_raises(text: str) -> None:
    with pytest.raises(RenderError):
        when(text, {"amount": 5})


@pytest.mark.parametrize(
    ("text", "code"),
    [("{{ data.x }}", "T120"), ("data.x >", "T120"), ("data.x data.y", "T120"),
     ("recipient.id == '1'", "T121"), ("tipe == 'x'", "T121"), ("", "T120")],
)  # fmt: skip
def test_a_wrong_expression_is_found_at_load(text: str, code: str) -> None:
    problems = Problems()

    assert compile_expression(text, _at(text), problems) is None
    assert [p.code for p in problems.found] == [code]
