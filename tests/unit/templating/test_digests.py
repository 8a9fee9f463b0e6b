"""What templates see of a digest, and how a sample shows one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.events import Collected
from router.problems import Position, Problems, Source
from router.templating import RenderError, View, check_template, compile_value
from tests.unit.templating.builders import NOW, event, load, problems_of, view

SETTINGS = """
description: Comments
locales: {required: [en, ru], default: en}
"""
TEXTS = {
    "texts__en_txt": (
        "title: {{ t.told(digest.count) if digest else t.told(1) }}\n"
        "told.one: {{ n }} comment\ntold.other: {{ n }} comments\n"
    ),
    "texts__ru_txt": (
        "title: {{ t.told(digest.count) if digest else t.told(1) }}\n"
        "told.one: {{ n }} комментарий\ntold.few: {{ n }} комментария\n"
        "told.many: {{ n }} комментариев\ntold.other: {{ n }} комментария\n"
    ),
}
LAYOUT = """---
title: {{ t.title }}
---
{% for one in digest.events %}
{{ one.data.text }} ({{ one.item }})
{% endfor %}
first {{ digest.first.data.text }}, last {{ digest.last.data.text }}, {{ digest.more }} more
"""
SAMPLE = """
digest:
  - {type: comment, time: "2026-11-24T10:00:02Z", data: {text: b}, item: u-2}
  - {type: comment, time: "2026-11-24T10:00:01Z", data: {text: a}, item: u-1}
  - {type: comment, time: "2026-11-24T10:00:03Z", data: {text: c}, item: u-3}
recipient: {id: u-1}
"""


def digest_view(texts: str, count: int | None = None) -> View:
    told = tuple((event({"text": t}, time=NOW + n), t.upper()) for n, t in enumerate(texts))
    newest, item = told[-1]
    collected = Collected(count or len(told), told)
    return replace(view(item=item), event=replace(newest, collected=collected))


def test_a_layout_tells_of_every_event_and_texts_count_them() -> None:
    template = load(template_yaml=SETTINGS, push_txt=LAYOUT, **TEXTS)

    english = template.render("push", digest_view("ab"))
    russian = template.render("push", digest_view("abcde", count=105), locale="ru")

    assert english.title == "2 comments"  # type: ignore[union-attr]
    assert english.body == "a (A)\nb (B)\nfirst a, last b, 0 more"  # type: ignore[union-attr]
    assert russian.title == "105 комментариев"  # type: ignore[union-attr]
    assert russian.body.endswith("first a, last e, 100 more")  # type: ignore[union-attr]


def test_without_a_digest_there_is_none_to_read() -> None:
    guarded = "{% if digest %}{{ digest.count }}{% else %}one{% endif %}"
    either = load(template_yaml=SETTINGS, chat_html=guarded)
    always = load(template_yaml=SETTINGS, chat_html="{{ digest.count }}")

    assert either.render("chat", view({})).html == "one"  # type: ignore[union-attr]
    assert either.render("chat", digest_view("abc")).html == "3"  # type: ignore[union-attr]
    with pytest.raises(RenderError):
        always.render("chat", view({}))


def test_a_sample_shows_a_digest_by_its_events_in_the_order_of_their_times() -> None:
    template = load(template_yaml=SETTINGS, push_txt=LAYOUT, samples__three_yaml=SAMPLE, **TEXTS)

    (sample,) = template.samples
    message = template.render("push", sample.view)

    assert sample.view.event.data == {"text": "c"}
    assert sample.view.item == "u-3"
    assert message.title == "3 comments"  # type: ignore[union-attr]
    assert message.body.splitlines()[0] == "a (u-1)"  # type: ignore[union-attr]
    assert check_template(template) == []


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("digest: []", "digest has to be a list of events"),
        ("digest: {count: 3}", "digest has to be a list of events"),
        ("digest: [{data: {}}]\nevent: {data: {}}", "event: stands with each event of a digest"),
        ("digest: [{data: {}}]\nitem: x", "item: stands with each event of a digest"),
        ("digest: [{dta: {}}]", 'unknown key "dta"'),
        ("note: nothing", "a sample needs an event, a digest or variables"),
    ],
)
def test_a_digest_that_is_none_is_a_mistake_of_the_sample(sample: str, message: str) -> None:
    (problem,) = problems_of(template_yaml=SETTINGS, chat_html="x", samples__a_yaml=sample)

    assert problem.code in ("T101", "T102")
    assert message in problem.message


def test_a_field_that_digests_do_not_have_is_found_at_load() -> None:
    (problem,) = problems_of(template_yaml=SETTINGS, chat_html="{{ digest.cuont }}")

    assert 'Did you mean "count"?' in problem.message


def test_routes_read_digests_in_their_own_values() -> None:
    problems = Problems()
    at = Position(Source.of("routes.yaml", ""), 1, 1)
    value = compile_value("{{ digest.count if digest else 1 }}", at, problems)

    assert not problems.found
    assert value.evaluate(digest_view("abc")) == 3
    assert value.evaluate(view({})) == 1
