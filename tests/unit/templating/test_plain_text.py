"""The text part of a mail, however its HTML comes."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.templating.plain_text import text_of

BITS = st.sampled_from(
    [
        *("<p>", "</p>", "<b>", "</b>", "a ", " b", "\n  ", "&lt;", "&nbsp;", "<br>", "<hr>"),
        *("<ul>", "<ol>", "<li>", "</li>", "</ol>", "</ul>", "<tr>", "</tr>", "<td>", "</td>"),
        *('<a href="https://x.io/?a=1&amp;b">', "</a>", '<img alt="i > j">', "<h1>", "</h1>"),
        *("<pre>", "</pre>", "<head>", "</head>", "<title>", "</title>", "<style>p > b</style>"),
        *('<div style="display:none">', "<div>", "</div>", "<!-- x > <p> -->", "<", ">", '"'),
    ]
)


@example(bits=["<p>"] * 5 + ["<", "a ", "<p>"], cuts=[17])
@example(bits=["</p>", "</p>", "a ", "<pre>", " b"], cuts=[16])
@given(bits=st.lists(BITS, max_size=14), cuts=st.lists(st.integers(0, 60), max_size=4))
@settings(deadline=None, max_examples=1500)
def test_it_does_not_matter_in_what_bits_the_html_comes(bits: list[str], cuts: list[int]) -> None:
    html = "".join(bits)
    inside = [at for at in sorted({*cuts}) if not re.search(r"(?:<!?-?|&[a-z]*)\Z", html[:at])]
    chunks = [html[a:b] for a, b in zip([0, *inside], [*inside, len(html)], strict=True)]

    assert text_of(chunks) == text_of([html])


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        (["<p>a", "</p><p>", "b</p>"], "a\n\nb"),
        (['<a href="', "https://x.io", '">here</a> now'], "here (https://x.io) now"),
        (["<!-- ", "<p>no</p>", " -", "-> ", "yes"], "yes"),
        (["<p>a", "<!-- never closed <b>", "b"], "a"),
        (["<pre>a\n  ", "b</pre>c"], "a\n  b\n\nc"),
        (["a ", " b"], "a b"),
        (["1 < 2 ", "> 0"], "1 < 2 > 0"),
        (['<div style="display:', "none", '">x</div>y'], "y"),
    ],
)
def test_what_begins_in_one_bit_ends_in_another(chunks: list[str], text: str) -> None:
    assert text_of(chunks) == text
