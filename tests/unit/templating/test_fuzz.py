"""No text makes the loader or a rendering fail in any other way than with an error of its own."""

import time
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from router.problems import Problems
from router.templating import Limits, RenderError, load_template
from tests.unit.templating.builders import files, view

WORDS = """
{{ }} {% %} {# #} {%- -%} if for in else endif endfor set endset macro endmacro call filter with
raw not and is defined x data data.x event item t.a t.b(2) loop.index link( range( ( ) [ ] { } , .
| : = == + * ** ~ < > 'a' "b" 99999999 none |upper |money <p> </p> <a href=" <script> <!-- --> " '
\\ --- title: buttons: ->
"""
FRAGMENTS = st.sampled_from([*WORDS.split(), "\n", " ", "\x00", "ю", "\u2028", "\ud800"])
ATOMS = [
    "data.x",
    "data.xs",
    "data.a",
    "data.gone",
    "data",
    "event.id",
    "recipient.name",
    "item",
    "now",
    "1",
    "0",
    "-1.5",
    "'a'",
    "'%s'",
    "none",
    "true",
    "[1]",
    "{'a':1}",
    "t.a",
    "t.b(2)",
    "range(3)",
    "range(9999)",
    "link('https://x.io','a')",
    "namespace(x=1)",
    "data.xs[0]",
    "data['x']",
]
FILTERS = [
    "upper",
    "money",
    "date",
    "timeago",
    "list",
    "sort",
    "join(',')",
    "map('upper')",
    "tojson",
    "batch(2)",
    "length",
    "first",
    "sum",
    "plural(one='a',other='b')",
    "default('d')",
    "string",
    "striptags",
    "number(2)",
    "truncate(3)",
    "replace('a','bb')",
    "format(1)",
    "round",
    "items",
    "dictsort",
    "unique",
    "groupby('a')",
    "int",
    "center(9)",
    "urlencode",
]
SIGNS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or", "is"]
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(SIGNS), inner)
        | st.builds("{}|{}".format, inner, st.sampled_from(FILTERS))
    ),
    max_leaves=4,
)
PARTS = st.one_of(
    st.builds("{{{{ {} }}}}".format, EXPRESSIONS),
    st.builds("{{% if {} is defined %}}{{{{ {} }}}}{{% endif %}}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("{{% for i in {} %}}{{{{ i }}}}{{% endfor %}}".format, EXPRESSIONS),
    st.builds("{{% set v = {} %}}{{{{ v }}}}".format, EXPRESSIONS),
)
TEXTS = st.lists(FRAGMENTS, max_size=25).map(" ".join) | st.lists(PARTS, max_size=3).map(" ".join)
LIMITS = Limits(output=4096, iterations=2000, seconds=0.5, monotonic=time.monotonic)
DATA = {"x": "<&>", "xs": [1, None, "b", {"c": []}], "a": {"minor": 1, "currency": "USD"}}


@given(TEXTS, st.sampled_from(["push.txt", "email.html", "chat.html", "webhook.json"]))
@settings(max_examples=800, deadline=2000)
def test_any_layout_loads_and_renders_or_says_why(text: str, name: str) -> None:
    head = {"push.txt": "---\ntitle: T\n---\n", "email.html": "---\nsubject: S\n---\n"}
    texts = {
        "texts__en_txt": "a: {{ data.x }}\nb.one: {{ n }}\nb.other: {{ n }}s\n",
        name.replace(".", "_"): head.get(name, "") + text,
    }
    problems = Problems()
    template = load_template("x", files(**texts), problems, LIMITS)

    if template is None:
        assert problems.has_errors
        return
    with suppress(RenderError):
        template.render(name.split(".")[0], view(DATA, variables={"x": 1}))


@given(st.lists(FRAGMENTS, max_size=15).map("".join))
@settings(max_examples=500, deadline=2000)
def test_any_texts_file_loads_or_says_why(text: str) -> None:
    problems = Problems()
    folder = files(push_txt=f"---\ntitle: {text}\n---\n{{{{ t.a }}}}", texts__en_txt=text)

    template = load_template("x", folder, problems, LIMITS)

    assert (template is None) == problems.has_errors
