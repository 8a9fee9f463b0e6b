"""Hostile templates end with an error, soon, and reach nothing of Python."""

import time

import pytest

from router.problems import Severity
from router.templating import Limits, RenderError
from tests.unit.templating.builders import problems_of, render_text

CLOCKED = Limits(monotonic=time.monotonic)

GROWING = {
    "repeat a text": "{{ 'a' * 10**9 }}",
    "repeat a list": "{{ ([1] * 10**9)|length }}",
    "power": "{{ 9**(9**9) }}",
    "power of a variable": "{% set x = 99999999 %}{{ (x ** 999999) }}",
    "squaring": "{% set n = namespace(x=9) %}"
    "{% for i in range(40) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    "negative list times": "{{ ((10**6) * [0])|length }}",
    "format width": "{{ '%999999999d' % 1 }}",
    "format filter width": "{{ '%999999999d'|format(1) }}",
    "format precision": "{{ '%.999999999f'|format(1.5) }}",
    "format width from a value": "{{ '%*d' % (999999999, 1) }}",
    "center": "{{ 'a'|center(10**8) }}",
    "indent": "{{ 'a'|indent(10**8, true) }}",
    "huge range": "{{ range(10**9)|list|length }}",
    "endless range": "{% for x in range(10**30) %}{% endfor %}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "output of loops": "{% for a in range(90000) %}a long text to fill the message{% endfor %}",
    "captured output": "{% set x %}{% for a in range(90000) %}a long text to fill memory with "
    "{% endfor %}{% endset %}{{ x|length }}",
    "doubling by concatenation": "{% set n = namespace(x='aaaaaaaaaa') %}"
    "{% for i in range(64) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x|length }}",
    "doubling by addition": "{% set n = namespace(x='aaaaaaaaaa') %}"
    "{% for i in range(64) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x|length }}",
    "doubling of a list": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(64) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x|length }}",
    "doubling by capture": "{% set a %}0123456789{% endset %}"
    + "".join("{% set a %}{{ a }}{{ a }}{{ a }}{{ a }}{% endset %}" for _ in range(30))
    + "{{ a|length }}",
    "doubling by macros": "{% macro a0() %}0123456789{% endmacro %}"
    + "".join(
        f"{{% macro a{n + 1}() %}}" + f"{{{{ a{n}() }}}}" * 8 + "{% endmacro %}" for n in range(20)
    )
    + "{{ a20()|length }}",
    "replace": "{{ ('a' * 100000)|replace('a', 'b' * 100000)|length }}",
    "replace of nothing": "{{ ('a' * 100000)|replace('', 'b' * 100000)|length }}",
    "join": "{{ (range(90000)|join('b' * 100000))|length }}",
    "batch": "{{ ([1]|batch(10**9, 0))|list|length }}",
    "slice": "{{ ([1]|slice(10**9))|list|length }}",
    "format of a long value": "{{ (('%(a)s' * 1000) % {'a': 'x' * 100000})|length }}",
    "lists in lists": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(64) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x|tojson|length }}",
    "tuples in tuples, compared": "{% set n = namespace(x=(1,), y=(1,)) %}{% for i in range(64) %}"
    "{% set n.x = (n.x, n.x) %}{% set n.y = (n.y, n.y) %}{% endfor %}{{ n.x == n.y }}",
    "mappings in mappings": "{% set n = namespace(x={}) %}{% for i in range(64) %}"
    "{% set n.x = {'a': n.x, 'b': n.x} %}{% endfor %}{{ n.x|tojson|length }}",
    "repeated lists": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(9) %}{% set n.x = [n.x] * 1000 %}{% endfor %}{{ n.x|tojson|length }}",
    "defaults of map": "{% set n = namespace(x=[1]) %}{% for i in range(9) %}"
    "{% set n.x = range(1000)|map(attribute='q', default=n.x)|list %}{% endfor %}"
    "{{ n.x|tojson|length }}",
    "long texts in lists": "{{ (['a' * 100000] * 90000)|tojson|length }}",
    "round": "{{ 1.5|round(10**9) }}",
    "sum of lists": "{{ [[1], [2]]|sum(start=[])|length }}",
    "date pattern": "{{ now|date('y' * 100000) }}",
    "number digits": "{{ 1|number(10**9) }}",
    "macro recursion": "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    "mutual recursion": "{% macro a() %}{{ b() }}{% endmacro %}"
    "{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
    "recursive loop": "{% set n = namespace() %}{% set n.x = [1] %}"
    "{% for a in n.x recursive %}{{ loop(n.x) }}{% endfor %}",
    "map over a long list": "{% for i in range(1000) %}"
    "{{ range(99999)|map('string')|list|length }}{% endfor %}",
}


@pytest.mark.parametrize("template", GROWING.values(), ids=GROWING.keys())
def test_growth_ends_with_an_error(template: str) -> None:
    started = time.monotonic()

    with pytest.raises(RenderError):
        render_text(template, limits=CLOCKED)

    assert time.monotonic() - started < 3


REACHING = {
    "class": "{{ ''.__class__ }}",
    "class by item": "{{ ''['__class__'] }}",
    "subclasses": "{{ ().__class__.__base__.__subclasses__() }}",
    "map attribute": "{{ ['']|map(attribute='__class__')|list|first }}",
    "sort attribute": "{{ ['a']|sort(attribute='__class__')|list }}",
    "groupby attribute": "{{ ['a']|groupby('__class__')|list }}",
    "selectattr": "{{ ['a']|selectattr('__class__')|list|length + 0 }}",
    "method": "{{ 'a'.upper() }}",
    "format method": "{{ '{0.__class__}'.format(1) }}",
    "format_map method": "{{ '{a}'.format_map({'a': 1}) }}",
    "globals of a function": "{{ link.__globals__ }}",
    "inside of a function": "{{ link.function }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "name of a macro": "{% macro m() %}{% endmacro %}{{ m.name }}",
    "inside of a loop": "{% for a in [1] %}{{ loop._iterable }}{% endfor %}",
    "inside of a namespace": "{% set n = namespace(a=1) %}{{ n._Namespace__attrs }}",
    "class of a namespace": "{% set n = namespace(a=1) %}{{ n.__class__ }}",
    "caller's inside": "{% macro m() %}{{ caller.__class__ }}{% endmacro %}"
    "{% call m() %}{% endcall %}",
    "dict method": "{{ data.keys() }}",
    "call of data": "{{ data() }}",
    "inside of texts": "{{ data['get']('a') }}",
    "undefined's inside": "{{ (data.nothing).__class__ }}",
    "integer's method": "{{ (1).bit_length() }}",
    "event's record": "{{ event['record'] }}",
    "printed function": "{{ link }}",
    "printed macro": "{% macro m() %}{% endmacro %}{{ m }}",
}


@pytest.mark.parametrize("template", REACHING.values(), ids=REACHING.keys())
def test_python_is_out_of_reach(template: str) -> None:
    with pytest.raises(RenderError):
        render_text(template, {"a": 1})


REFUSED = {
    "{{ data|attr('x') }}": "T123",
    "{{ data.x|safe }}": "T123",
    "{{ data.x|pprint }}": "T123",
    "{{ [1, 2]|random }}": "T123",
    "{{ self }}": "T124",
    "{{ cycler('a') }}": "T121",
    "{{ joiner() }}": "T121",
    "{{ lipsum() }}": "T121",
    "{{ dict(a=1) }}": "T121",
    "{{ __import__('os') }}": "T121",
    "{{ environment }}": "T121",
    "{% include 'other' %}": "T124",
    "{% import 'other' as o %}": "T124",
    "{% from 'other' import o %}": "T124",
    "{% extends 'other' %}": "T124",
    "{% block a %}{% endblock %}": "T124",
    "{% autoescape true %}{{ data.x }}{% endautoescape %}": "T124",
    "{% set data = 1 %}{{ data }}": "T124",
    "{% for t in [1] %}{{ t }}{% endfor %}": "T124",
    "{% debug %}": "T120",
    "{% do 1 %}": "T120",
    "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}": "T120",
    "{{ " + "9" * 10000 + " }}": "T120",
    "{{ " + "~".join(["'a'"] * 1000) + " }}": "T124",
}


@pytest.mark.parametrize(("template", "code"), REFUSED.items(), ids=[k[:40] for k in REFUSED])
def test_what_templates_may_not_use_is_an_error_at_load(template: str, code: str) -> None:
    found = problems_of(push_txt=f"---\ntitle: T\n---\n{template}\n")

    assert code in {p.code for p in found if p.severity is Severity.ERROR}


def test_time_is_bounded_where_a_clock_is_given() -> None:
    ticks = iter(range(10**6))
    limits = Limits(seconds=5, monotonic=lambda: float(next(ticks)))

    with pytest.raises(RenderError, match="longer than 5 s"):
        render_text("{% for a in range(1000) %}{% endfor %}", limits=limits)


def test_tags_are_stripped_in_linear_time() -> None:
    started = time.monotonic()

    for tags in ("<!---->" * 100_000, "<" * 700_000, "<!--" * 100_000):
        render_text("{{ (data.x|striptags)|length }}", {"x": tags})

    assert time.monotonic() - started < 2
    assert render_text("{{ data.x|striptags }}", {"x": "<b>a</b> &amp;  <!-- x --> c"}) == "a & c"


def test_loops_keep_their_length_and_neighbours() -> None:
    text = (
        "{% for x in data.xs %}{{ loop.index }}/{{ loop.length }}"
        "{% if not loop.last %},{% endif %}{% endfor %}"
    )

    assert render_text(text, {"xs": "abc"}) == "1/3,2/3,3/3"


def test_a_generator_can_be_looped_over() -> None:
    assert (
        render_text("{% for x in data.xs|map('upper') %}{{ x }}{% endfor %}", {"xs": "ab"}) == "AB"
    )


def test_recursive_loops_draw_trees() -> None:
    tree = [{"name": "a", "children": [{"name": "b", "children": []}]}]
    text = "{% for n in data.tree recursive %}{{ n.name }}({{ loop(n.children) }}){% endfor %}"

    assert render_text(text, {"tree": tree}) == "a(b())"


def test_namespaces_carry_values_out_of_loops() -> None:
    text = (
        "{% set n = namespace(sum=0) %}"
        "{% for x in data.xs %}{% set n.sum = n.sum + x %}{% endfor %}{{ n.sum }}"
    )

    assert render_text(text, {"xs": [1, 2, 3]}) == "6"


def test_a_mappings_item_is_never_a_method() -> None:
    assert render_text("{{ data.items }} {{ data.keys }}", {"items": 3, "keys": "k"}) == "3 k"


def test_macros_and_call_blocks_work() -> None:
    text = "{% macro box(x) %}[{{ x }}{{ caller() }}]{% endmacro %}{% call box(1) %}in{% endcall %}"

    assert render_text(text) == "[1in]"


def test_format_with_reasonable_widths_works() -> None:
    assert render_text("{{ '%05.1f%%' % 2.25 }} {{ '%s-%s'|format(1, 'a') }}") == "002.2% 1-a"
