"""Cutting and splitting messages that are too long for their channel."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from router.templating.markup import check_chat, utf16_units
from router.templating.overflow import cut_markup, cut_text, split_markup

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f1f0\U0001f1ff"
TAGS = ("b", "i", "u", "s", "code", "pre", "blockquote")

characters = st.one_of(
    st.sampled_from([" ", "\n", "\n\n", ". ", "&", "<", ">", '"', "é", "\u0301", FAMILY, FLAG]),
    st.characters(blacklist_categories=("Cs", "Cc")),
)
texts = st.lists(characters, max_size=12).map(lambda parts: str(escape("".join(parts))))


def element(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    tagged = st.tuples(st.sampled_from(TAGS), children).map(lambda t: f"<{t[0]}>{t[1]}</{t[0]}>")
    linked = children.map(lambda inner: f'<a href="https://x.io/?a=1&amp;b=2">{inner}</a>')
    return st.one_of(tagged, linked)


markup = st.recursive(
    texts,
    lambda inner: st.lists(st.one_of(texts, element(inner)), max_size=4).map("".join),
    max_leaves=12,
)


def shown(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html))


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@settings(max_examples=1500, deadline=None)
@given(markup, st.integers(1, 40))
def test_what_is_cut_is_valid_and_within_its_limit(html: str, limit: int) -> None:
    cut = cut_markup(html, limit)

    check_chat(cut)
    assert utf16_units(shown(cut)) <= limit
    if utf16_units(shown(html)) <= limit:
        assert cut == html
    else:
        assert shown(cut).endswith("…")
        assert squeezed(shown(html)).startswith(squeezed(shown(cut)[:-1]))
        assert not re.search(r"<(\w+)[^>]*></\1>", cut) or re.search(r"<(\w+)[^>]*></\1>", html)


@settings(max_examples=1500, deadline=None)
@given(markup, st.integers(16, 60))
def test_parts_are_valid_within_the_limit_and_together_the_whole(html: str, limit: int) -> None:
    parts = split_markup(html, limit)

    for part in parts:
        check_chat(part)
        assert 0 < utf16_units(shown(part)) <= limit
        assert shown(part).strip()
    assert squeezed("".join(map(shown, parts))) == squeezed(shown(html))


@settings(max_examples=1000, deadline=None)
@given(st.lists(characters, max_size=40).map("".join), st.integers(1, 40))
def test_a_text_that_is_cut_is_within_its_limit(text: str, limit: int) -> None:
    cut = cut_text(text, limit)

    assert len(cut) <= limit
    assert cut == text if len(text) <= limit else cut.endswith("…")


@pytest.mark.parametrize(
    ("html", "limit", "expected"),
    [
        ("one two three", 9, "one two…"),
        ("onetwothree four", 8, "onetwot…"),
        ("<b>one <i>two three</i></b> four", 9, "<b>one <i>two…</i></b>"),
        ("<b>one two</b> <i>three</i>", 9, "<b>one two…</b>"),
        ("a &amp; &lt;b&gt; c", 6, "a &amp;…"),
        ("&amp;&amp;&amp;&amp;", 3, "&amp;&amp;…"),
        (f"ab{FAMILY}c", 8, "ab…"),
        (f"{FLAG}{FLAG}{FLAG}", 10, f"{FLAG}{FLAG}…"),
        ("\U0001f600\U0001f600\U0001f600", 4, "\U0001f600…"),
        ("e\u0301e\u0301e\u0301", 4, "e\u0301…"),
    ],
)
def test_cuts(html: str, limit: int, expected: str) -> None:
    assert cut_markup(html, limit) == expected


@pytest.mark.parametrize(
    ("html", "limit", "expected"),
    [
        ("First one.\n\nSecond one, long.", 22, ["First one.", "Second one, long."]),
        ("First line\nsecond line", 16, ["First line", "second line"]),
        ("One sentence. And two", 18, ["One sentence.", "And two"]),
        ("<b>bold text that is long</b>", 16, ["<b>bold text that</b>", "<b>is long</b>"]),
        (
            "<pre>if x == 1:\n    return yes</pre>",
            18,
            ["<pre>if x == 1:</pre>", "<pre>    return yes</pre>"],
        ),
        (
            '<a href="https://x.io">a link that is long</a> ok',
            16,
            ['<a href="https://x.io">a link that is</a>', '<a href="https://x.io">long</a> ok'],
        ),
        ("aaaaaaaaaaaaaaaaaaaa", 16, ["aaaaaaaaaaaaaaaa", "aaaa"]),
        ("short", 16, ["short"]),
    ],
)
def test_splits(html: str, limit: int, expected: list[str]) -> None:
    assert split_markup(html, limit) == expected
