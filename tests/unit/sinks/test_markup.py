"""Neutral chat markup becomes well-formed markup of a dialect, whatever came in."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.sinks._markup import Rendered, render_html

TAGS = {tag: tag for tag in ("b", "i", "u", "s", "code", "pre", "a", "blockquote")}
SCHEMES = frozenset({"http", "https"})


def render(html: str) -> Rendered:
    return render_html(html, TAGS, SCHEMES)


@pytest.mark.parametrize(
    ("html", "markup"),
    [
        ("plain", "plain"),
        ("a &amp; b &lt;c&gt;", "a &amp; b &lt;c&gt;"),
        ("a & b", "a &amp; b"),
        ("<b>x</b>", "<b>x</b>"),
        ("<strong>x</strong> <em>y</em>", "<b>x</b> <i>y</i>"),
        ("<del>z</del> <ins>w</ins>", "<s>z</s> <u>w</u>"),
        ("<b>open", "<b>open</b>"),
        ("x</b>", "x"),
        ("<b><i>x</b></i>", "<b><i>x</i></b>"),
        ("<b><b>x</b></b>", "<b>x</b>"),
        ("<code><b>x</b></code>", "<code>x</code>"),
        ("<pre>a\n <i>b</i></pre>", "<pre>a\n b</pre>"),
        ("<span style='x'>y</span>", "y"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<p>one</p><p>two</p>", "one\ntwo\n"),
        ('<a href="https://e.example/?a=1&amp;b=2">x</a>', '<a href="https://e.example/?a=1&amp;b=2">x</a>'),
        ("<a href='https://e.example/\"'>x</a>", '<a href="https://e.example/&quot;">x</a>'),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ("<a>x</a>", "x"),
        ('<a href="https://a"><a href="https://b">x</a></a>', '<a href="https://a">x</a>'),
        ("<script>alert(1)</script>x", "x"),
        ("<!-- hidden -->x", "x"),
        ("&nbsp;&copy;", "\xa0©"),
    ],
)  # fmt: skip
def test_markup(html: str, markup: str) -> None:
    assert render(html).markup == markup


def test_text_is_what_a_reader_sees() -> None:
    assert render("<b>a &lt; b</b> <a href='https://x'>c</a>").text == "a < b c"


_pieces = st.sampled_from(
    ["<b>", "</b>", "<i>", "</i>", "<a href='https://x'>", "<a href='x:y'>", "</a>", "<code>",
     "</code>", "<pre>", "</pre>", "<x y=z>", "&amp;", "&", "<", ">", '"', "text", "<br>",
     "<script>",
     "</script>", "\n", "😀", "<!--", "-->", "<blockquote>", "</blockquote>"]
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.one_of(_pieces, st.text(max_size=5)), max_size=12).map("".join))
def test_output_is_always_well_formed(html: str) -> None:
    rendered = render(html)
    stack: list[str] = []
    for token in re.findall(r"<[^>]*>|[<>]", rendered.markup):
        opening = re.fullmatch(r'<(b|i|u|s|code|pre|blockquote|a href="[^"<>]*")>', token)
        closing = re.fullmatch(r"</([a-z]+)>", token)
        assert opening or closing, token
        if opening:
            assert not (stack and stack[-1] in ("code", "pre"))
            name = opening[1].partition(" ")[0]
            assert name not in stack
            stack.append(name)
        elif closing:
            assert stack.pop() == closing[1]
    assert not stack
    assert unescape(re.sub(r"<[^>]*>", "", rendered.markup)) == rendered.text
