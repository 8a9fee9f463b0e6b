"""Whatever a value holds, it stays a value: in HTML, chat markup, JSON, headers and addresses."""

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.templating import Template
from tests.unit.templating.builders import load, problems_of, render_html, view

EVIL = st.text(alphabet=st.sampled_from("<>\"'&/=;-!#{}% \n\tabscript:"), max_size=40) | st.text(
    max_size=40
)

MAIL = load(
    email_html="""---
subject: S {{ data.x }}
preheader: P {{ data.x }}
---
<html><head><style>p { margin: 0 }</style></head><body>
<!-- {{ data.x }} --><p title="{{ data.x }}" class='{{ data.x }}'>{{ data.x }}</p>
{% for c in [data.x] %}<b>{{ c|upper }}</b>{% endfor %}{{ t.hello }}{{ data.x ~ "<" }}
{% set captured %}<i>{{ data.x }}</i>{% endset %}{{ captured }}
{% macro m(v) %}<u>{{ v }}</u>{% endmacro %}{{ m(data.x) }}{{ [data.x, captured]|join("<") }}
</body></html>
""",
    texts__en_txt="hello: <s> {{ data.x }}",
)
WEBHOOK = load(
    webhook_json='{"a": {{ data.x }}, "b": "{{ data.x }}", "c": [{{ [data.x] }}, "-{{ data.x }}-"],'
    ' "{{ data.x }}": {{ data.x ~ data.x }} }'
)
CHAT = load(chat_html='<b>{{ data.x }}</b> <a href="https://x.io/?q={{ data.x|urlencode }}">x</a>')


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def _parsed(html: str) -> _Tags:
    parser = _Tags()
    parser.feed(html)
    parser.close()
    return parser


def _html(template: Template, value: str) -> str:
    message = template.render("email", view({"x": value}))
    return message.html  # type: ignore[union-attr, return-value]


PLAIN_TAGS = _parsed(_html(MAIL, "plain")).tags


@given(EVIL)
@settings(max_examples=1500, deadline=None)
def test_no_value_breaks_out_of_html(value: str) -> None:
    parsed = _parsed(_html(MAIL, value))

    assert parsed.tags == PLAIN_TAGS
    assert {name for name, _ in parsed.attributes} <= {"title", "class", "style"}


@given(EVIL)
@settings(max_examples=1500, deadline=None)
def test_no_value_breaks_out_of_json(value: str) -> None:
    body = WEBHOOK.render("webhook", view({"x": value})).body  # type: ignore[union-attr]

    expected = {"a": value, "b": value, "c": [[value], f"-{value}-"]}
    assert json.loads(body or b"") == {**expected, value: value + value}


@given(EVIL)
@settings(max_examples=500, deadline=None)
def test_no_value_breaks_out_of_chat_markup(value: str) -> None:
    parsed = _parsed(CHAT.render("chat", view({"x": value})).html)  # type: ignore[union-attr]

    assert parsed.tags == ["b", "a"]
    assert [name for name, _ in parsed.attributes] == ["href"]


def test_html_is_escaped_once() -> None:
    template = load(
        email_html="---\nsubject: {{ t.s }}\n---\n{{ t.s }} {{ data.x }} {{ data.x|e }}",
        texts__en_txt="s: <{{ data.x }}>",
    )
    mail = template.render("email", view({"x": "A&B"}))

    assert mail.subject == "<A&B>"  # type: ignore[union-attr]
    assert mail.html == "&lt;A&amp;B&gt; A&amp;B A&amp;B"  # type: ignore[union-attr]


UNPROTECTED = [
    "<a href={{ data.x }}>x</a>",
    "<p {{ data.x }}>x</p>",
    "<{{ data.x }}>x",
    "</{{ data.x }}>x",
    "<p class=a{{ data.x }}>x</p>",
    "<script>var x = '{{ data.x }}'</script>",
    "<style>p { color: {{ data.x }} }</style>",
    "<STYLE>p { color: {{ data.x }} }</STYLE>",
]


@pytest.mark.parametrize("html", UNPROTECTED)
def test_a_value_where_escaping_does_not_protect_is_an_error_at_load(html: str) -> None:
    found = problems_of(email_html=f"---\nsubject: s\n---\n{html}\n")

    assert [(p.code, p.at.line if p.at else 0) for p in found] == [("T127", 4)]


@pytest.mark.parametrize(
    "html",
    ['{% if data.x %}<p class="{% endif %}x">', "{% for x in data.x %}<!--{% endfor %}",
     '<p title="', "{% macro m() %}<p{% endmacro %}{{ m() }}"],
)  # fmt: skip
def test_branches_have_to_agree_on_quotes_and_tags(html: str) -> None:
    found = problems_of(email_html=f"---\nsubject: s\n---\n{html}\n")

    assert "T128" in {p.code for p in found}


def test_branches_inside_of_a_tag_are_fine() -> None:
    html = '<p {% if data.x %}class="a"{% else %}class="b"{% endif %} id=\'{{ data.x }}\'>1 < 2</p>'

    assert render_html(html, {"x": 1}) == "<p class=\"a\" id='1'>1 < 2</p>"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a": {% if data.x %}"{% endif %}{{ data.x }}"}', "T128"),
        ('{"a": "\\{{ data.x }}"}', "T127"),
        ('{"a": "{{ data.x }}}', "T128"),
        ("{% macro m() %}1{% endmacro %}{{ m() }}", "T124"),
        ("{% set x %}1{% endset %}{{ x }}", "T124"),
    ],
)
def test_json_templates_keep_values_in_their_place(text: str, code: str) -> None:
    assert code in {p.code for p in problems_of(webhook_json=text)}
