"""Filters that plugins add: found by name, given values alone, held to data."""

from __future__ import annotations

from typing import Any

import pytest
from markupsafe import Markup

from router.problems import Position, Problems, Source
from router.templating import (
    Environments,
    Limits,
    RenderError,
    Template,
    compile_expression,
    compile_value,
    load_template,
)
from tests.unit.templating.builders import event, files, view

AT = Position(Source("routes.yaml", ("",)), 1, 1)


def offering(**filters: Any) -> Environments:
    return Environments.offering(filters.get)


def load(environments: Environments, **texts: str) -> Template:
    problems = Problems()
    template = load_template("x", files(**texts), problems, Limits(), environments)
    assert template is not None, "\n".join(p.render() for p in problems.found)
    return template


def chat(environments: Environments, body: str, data: Any) -> str:
    message = load(environments, chat_html=body).render("chat", view(data))
    return message.html  # pyright: ignore


def test_every_part_of_a_template_may_use_them() -> None:
    shout = offering(shout=str.upper)
    template = load(
        shout,
        chat_html="---\nsilent: {{ 'true'|shout|lower }}\n---\n{{ t.hello|shout }}",
        texts__en_txt="hello: hi {{ 'you'|shout }} all",
    )
    message = template.render("chat", view())
    assert message.html == "HI YOU ALL"  # pyright: ignore


def test_values_and_expressions_of_routes_may_use_them() -> None:
    environments, problems = offering(half=lambda n: n / 2), Problems()
    value = compile_value("{{ data.n|half }}", AT, problems, environments=environments)
    assert value.evaluate(view({"n": 5})) == 2.5
    holds = compile_expression("data.n|half > 2", AT, problems, environments=environments)
    assert holds is not None
    assert holds(event({"n": 5})) is True
    assert not problems.found


def test_each_is_asked_for_once_and_only_by_its_name() -> None:
    asked: list[str] = []

    def find(name: str) -> Any:
        asked.append(name)
        return {"shout": str.upper}.get(name)

    environments = Environments.offering(find)
    load(environments, push_txt="---\ntitle: a\n---\n{{ 'a'|shout|shout|upper }}")
    load(environments, push_txt="---\ntitle: a\n---\n{{ 'b'|shout }}")
    assert asked == ["shout"]


def test_their_text_is_escaped_where_it_stands() -> None:
    environments = offering(bold=lambda text: Markup(f"<b>{text}</b>"))
    assert chat(environments, "{{ 'x'|bold }}", {}) == "&lt;b&gt;x&lt;/b&gt;"
    listed = offering(parts=lambda text: (Markup("<i>"), {"k": Markup("<u>")}))
    assert chat(listed, "{{ ('x'|parts)[0] }}{{ ('x'|parts)[1].k }}", {}) == "&lt;i&gt;&lt;u&gt;"


def test_arguments_reach_them() -> None:
    environments = offering(cut=lambda text, size, end="": text[:size] + end)
    assert chat(environments, "{{ 'abcdef'|cut(3, end='!') }}", {}) == "abc!"


@pytest.mark.parametrize(
    ("function", "code", "text"),
    [
        (lambda value: {}["planted"], "T164", "|odd failed (KeyError)"),
        (lambda value: value.nothing, "T164", "|odd failed (AttributeError)"),
        (lambda value: object(), "T163", "|odd gave something else, which is not data"),
        (lambda value: iter(()), "T163", "|odd gave something else, which is not data"),
    ],
)
def test_what_goes_wrong_in_them_ends_the_rendering(function: Any, code: str, text: str) -> None:
    with pytest.raises(RenderError) as error:
        chat(offering(odd=function), "{{ 'x'|odd }}", {})
    assert (error.value.code, error.value.text) == (code, text)
    assert error.value.position is not None


def test_an_absent_value_does_not_reach_them() -> None:
    with pytest.raises(RenderError) as error:
        chat(offering(shout=lambda value: "never"), "{{ data.absent|shout }}", {})
    assert error.value.code == "T160"


def test_what_they_give_counts_against_the_limits() -> None:
    nested: list[Any] = []
    for _ in range(30):
        nested = [nested, nested]
    for made in ("x" * 10_000_000, ["x" * 1_000_000] * 10, nested):
        environments = offering(flood=lambda value, made=made: made)
        with pytest.raises(RenderError) as error:
            chat(environments, "{% for a in ['x'|flood] %}{{ a|join }}{% endfor %}", {})
        assert error.value.code == "T165"


def test_built_in_filters_can_not_be_replaced() -> None:
    assert chat(offering(upper=lambda value: "mine"), "{{ 'a'|upper }}", {}) == "A"
