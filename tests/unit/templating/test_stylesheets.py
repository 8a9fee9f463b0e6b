"""Style sheets are inlined when a template is loaded, as if it were done in each mail."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.messages import EmailMessage
from router.problems import Problems
from router.templating import Template, load_frame, load_template
from router.templating.layouts import EmailLayout
from tests.unit.templating.builders import file_of, files, view

NEVER = ".never:first-child { color: red }"
"""A rule that can't be settled at load and that nothing has: all of it is inlined in each mail."""

IMPLIED = {"html", "head", "body", "tbody"}


class Tags(HTMLParser):
    """What HTML says: tags with their attributes, words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[object] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        style = given.pop("style", None)
        if style is not None:
            declarations = (one.partition(":") for one in style.split(";") if one.strip())
            last = {k.strip(): v.strip() for k, _, v in declarations}
            given["style"] = str(sorted(last.items()))
        if tag not in IMPLIED or given:
            self.found.append((tag, sorted(given.items(), key=str)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in IMPLIED:
            self.found.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if words := " ".join(data.split()):
            self.found.append(words)


def tags(html: str) -> list[object]:
    """Without the style sheet that is left: where it stands differs."""
    return Tags(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)).found


def load(html: str, frame: str = "") -> Template:
    problems = Problems()
    frames = {"f": load_frame("f", {"email.html": file_of("f/email.html", frame)}, problems)}
    fields = "subject: S\n" + ("frame: f\n" if frame else "")
    template = load_template(
        "x", files(email_html=f"---\n{fields}---\n{html}"), problems, frames=frames
    )
    assert template is not None, "\n".join(p.render() for p in problems.found)
    return template


def is_done_at_load(template: Template) -> bool:
    layout = template.layouts["email"][""]
    assert isinstance(layout, EmailLayout)
    assert layout.html is not None
    return not layout.html.has_styles


def rendered(template: Template, data: Any) -> str:
    message = template.render("email", view(data))
    assert isinstance(message, EmailMessage)
    assert message.html is not None
    return message.html


CSS = """
  body { margin: 0; background: #fff }
  table { border-collapse: collapse; }
  .card p, .card > td { padding: 4px; font-family: "Segoe UI", sans-serif }
  p { margin: 0 0 16px; color: black }
  #one { color: blue }
  p.note { color: gray !important }
  a { color: green }
  td, th { padding: 9px }
  @media (max-width: 480px) { .card { padding: 0 !important } }
"""
FRAME = f"""<!doctype html>
<html><head><title>{{{{ data.title }}}}</title>
<style>
{CSS}</style></head>
<body class="page"><table class="card"><tr><td>
{{{{ content }}}}
</td></tr></table>
{{% if data.foot %}}<p class="note" style='color: red'>{{{{ data.foot }}}}</p>{{% endif %}}
</body></html>
"""
CONTENT = """<p id="one" style="color: {{ data.color }}">{{ data.title }}</p>
{% for row in data.rows %}
<table><tr><th>{{ loop.index }}</th>
<td style="padding: 1px; color: red">{{ row }}<br>{% if row %}<a href="{{ row }}">x</a>
{% else %}<p class="note">-</p>{% endif %}</td></tr></table>
{% endfor %}
"""
TEXTS = st.text(alphabet="ab<>&\"'; :\ue000\ue001}", max_size=8)


@given(
    data=st.fixed_dictionaries(
        {
            "title": TEXTS,
            "color": st.sampled_from(["red", "#0a7"]),
            "rows": st.lists(TEXTS, max_size=3),
            "foot": TEXTS,
        }
    )
)
@settings(deadline=None, max_examples=150)
def test_a_mail_looks_as_if_its_styles_were_inlined_in_it(data: dict[str, Any]) -> None:
    at_load, in_each = FRAMED

    assert tags(rendered(at_load, data)) == tags(rendered(in_each, data))


FRAMED = load(CONTENT, FRAME), load(CONTENT, FRAME.replace("</style>", NEVER + "</style>"))


def test_both_ways_are_looked_at() -> None:
    at_load, in_each = FRAMED

    assert is_done_at_load(at_load)
    assert not is_done_at_load(in_each)


def test_rules_for_some_screens_stay_where_the_style_sheet_was() -> None:
    html = rendered(FRAMED[0], {"title": "T", "color": "red", "rows": [], "foot": ""})

    assert re.search(
        r"</title>\s*<style>@media \(max-width: 480px\) \{[^<]*padding: 0 !important[^<]*</style>",
        html,
    )
    assert html.count("<style>") == 1


def test_a_style_sheet_without_them_is_gone() -> None:
    template = load("<style>p { color: red }</style><p>a</p>\n{% if data %}<p>b</p>{% endif %}")

    assert rendered(template, {"a": 1}) == (
        '<p style="color: red;">a</p>\n<p style="color: red;">b</p>'
    )


def test_what_a_value_colours_goes_before_the_style_sheet() -> None:
    template = load('<style>p { color: red; margin: 0 }</style><p style="color: {{ data }}">a</p>')

    assert rendered(template, "blue") == '<p style="color: red;margin: 0;color: blue">a</p>'


@pytest.mark.parametrize(
    "html",
    [
        "<style>p + p { color: red }</style><p>a</p><p>b</p>",
        "<style>p:first-child { color: red }</style><p>a</p>",
        '<style>p[class="a"] { color: red }</style><p class="a">a</p>',
        '<style>.a { color: red }</style><p class="{{ data.a }}">a</p>',
        "<style>p { color: red }</style><p style='color: {{ data.a }}'>a</p>",
        "<style>p { color: red }</style>{% if data.a %}<div>{% endif %}<p>a</p>"
        "{% if data.a %}</div>{% endif %}",
        "<style>p { color: red }</style>{% if data.a %}<p>{% else %}<p class='b'>{% endif %}x</p>",
        "<style>p { color: red }</style><p>a<p>b",
        "<style>p b { color: red }</style><p>a<div><b>b</b></div></p>",
        "<style>b { color: red }</style><table><div><b>x</b></div></table>",
        "<style>b { color: red }</style>{% macro m() %}<b>x</b>{% endmacro %}<div>{{ m() }}</div>",
        "<style>b { color: red }</style>{% set m %}<b>x</b>{% endset %}<div>{{ m }}</div>",
        "{% if data.a %}<style>b { color: red }</style>{% endif %}<b>x</b>",
        '<style media="print">b { color: red }</style><b>x</b>',
        '<style>b { color: red }</style><b data-css-inline="ignore">x</b>',
        "<style>b { color: red }</style><b>\ue000</b>",
    ],
)
def test_what_only_each_mail_can_tell_is_left_to_each_mail(html: str) -> None:
    template = load(html)

    assert not is_done_at_load(template)
    for data in ({"a": "b"}, {"a": ""}):
        assert rendered(template, data)


def test_places_in_the_layout_are_those_of_the_file() -> None:
    problems = Problems()
    html = "<style>\np { color: red }\n</style>\n<p>a</p>\n<p>{{ data.a.b }}</p>\n"
    template = load_template("x", files(email_html=f"---\nsubject: S\n---\n{html}"), problems)
    assert template is not None
    assert is_done_at_load(template)

    with pytest.raises(Exception, match=r"email.html:8:12"):
        template.render("email", view({}))
