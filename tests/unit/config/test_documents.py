"""The profile of YAML: what is typed, what is refused, and where."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config.documents import read_document
from router.problems import Problems, Source
from tests.unit.config.builders import code_at, only_headline, parse, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("0", 0),
        ("-5", -5),
        ("10000", 10000),
        ("1.5", 1.5),
        ("-0.25", -0.25),
        ("1.5e3", 1500.0),
    ],
)
def test_only_json_like_scalars_are_typed(text: str, value: object) -> None:
    found = value_of(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("on", "off", "yes", "no", "y", "True", "TRUE", "Null", "~", "22:00", "12:30:45"),
        *("010", "0x1F", "0o17", "0b1", "1_000", "+79991234567", "1e5", ".5", "5.", ".inf", ".nan"),
        *("2026-11-24", "2026-11-24T10:00:00Z", "10m", "1.2.3", "=", "9" * 200, "１２"),
    ],
)
def test_everything_else_is_text(text: str) -> None:
    assert value_of(f"a: {text}") == {"a": text}


@pytest.mark.parametrize("text", ["'5'", '"5"', "|-\n  5", ">-\n  5"])
def test_quoted_and_block_scalars_are_text(text: str) -> None:
    assert value_of(f"a: {text}") == {"a": "5"}


def test_places_count_from_one_and_cover_the_scalar() -> None:
    node, _ = parse("sinks:\n  mail: {type: smtp}\n")
    kind = node.entries["sinks"].node.entries["mail"].node.entries["type"]
    assert (kind.key_at.line, kind.key_at.column, kind.key_at.length) == (2, 10, 4)
    assert (kind.node.at.line, kind.node.at.column, kind.node.at.length) == (2, 16, 4)


def test_places_are_right_after_wide_characters_and_unusual_line_ends() -> None:
    node, _ = parse('a: "Заказ 🎉\u2028 x"\r\nb:  5\r\n')
    at = node.entries["b"].node.at
    assert (at.line, at.column, at.length) == (2, 5, 1)


def test_aliases_keep_the_place_of_their_anchor() -> None:
    node, _ = parse("x-a: &a {gte: 5}\nb: *a\n")
    assert node.entries["b"].node.at.line == 1


def test_merge_keys_give_what_the_mapping_does_not_say_itself() -> None:
    found = value_of(
        """
        x-common: &common {timeout: 5s, rate: 1/s}
        x-more: &more {rate: 9/s, real: false}
        a: {<<: *common, timeout: 9s}
        b:
          <<: [*common, *more]
        """
    )
    assert found["a"] == {"timeout": "9s", "rate": "1/s"}
    assert found["b"] == {"timeout": "5s", "rate": "1/s", "real": False}


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert value_of("") == {}
    assert value_of("# nothing yet\n") == {}


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("a: 1\nb: 2\na: 3\n", "Y002", "3:1"),
        ("a:\n\tb: 1\n", "Y003", "2:1"),
        ("a: 1\n---\nb: 2\n", "Y004", "2:1"),
        ("a: 1\n...\nb: 2\n", "Y004", "3:1"),
        ("match:\n  data.x:\n  data.y: 1\n", "Y005", "2:3"),
        ("a:\n  -\n  - 1\n", "Y005", "2:4"),
        ("a: {b}\n", "Y005", "1:5"),
        ("404: x\n", "Y006", "1:1"),
        ("true: x\n", "Y006", "1:1"),
        ("? [a, b]\n: x\n", "Y006", "1:3"),
        ("!env A: x\n", "Y006", "1:1"),
        ("a: {{ data.x }}\n", "Y007", "1:4"),
        ("a: {{ data.x }} and more\n", "Y007", "1:4"),
        ("a: Hello {{ data.x }}: welcome\n", "Y007", "1:10"),
        ("a: [{{ data.x }}]\n", "Y007", "1:5"),
        ("a: {url: ${URL}}\n", "Y008", "1:10"),
        ("a: [${URL}, b]\n", "Y008", "1:5"),
        ("a: &a [*a]\n", "Y010", "1:4"),
        ("a: *nobody\n", "Y010", "1:4"),
        ("a: !vault x\n", "Y011", "1:4"),
        ("a: !!int 5\n", "Y011", "1:4"),
        ("a: !env {b: c}\n", "Y011", "1:4"),
        ("a: !include b.yaml\n", "Y011", "1:4"),
        ("a: {<<: 5}\n", "Y012", "1:9"),
        ("a: " + "[" * 150 + "]" * 150 + "\n", "Y014", "1:104"),
        ("a: " + "[" * 9000 + "]" * 9000 + "\n", "Y014", "1:1003"),
        ("a: @b\n", "Y001", "1:4"),
        ("a: b: c\n", "Y001", "1:5"),
        ('a: "b\n', "Y001", "1:4"),
        ("a: [1, 2\n", "Y001", "2:1"),
        ("a:\n  - b\n c: d\n", "Y001", "3:2"),
        ("a: \x01\n", "Y001", "1:4"),
        ('a: "\\0"\n', "Y001", "1:4"),
        ('"\\0": a\n', "Y001", "1:1"),
    ],
)
def test_mistakes_have_a_code_and_a_place(text: str, code: str, place: str) -> None:
    assert code_at(text) == (code, place)


def test_an_unquoted_expression_is_shown_as_it_should_be_written() -> None:
    message = only_headline('a: {{ data.name or "you" }}')
    assert message.endswith("""needs quotes; write '{{ data.name or "you" }}'""")


def test_a_duplicate_key_names_the_other_place() -> None:
    _, problems = parse("a: 1\nb: 2\na: 3\n")
    ((at, what),) = problems.found[0].related
    assert (at.line, what) == (1, "first here")


def test_several_mistakes_are_found_at_once() -> None:
    _, problems = parse("a:\nb: 1\nb: 2\nc: !what x\n")
    assert [p.code for p in problems.found] == ["Y005", "Y002", "Y011"]


def test_an_alias_bomb_is_refused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    assert code_at(bomb)[0] == "Y009"


_TEXT = st.text(
    st.characters(min_codepoint=32, exclude_categories=["Cc", "Cs", "Cn", "Cf", "Zl", "Zp"])
)
"""Without U+2028 and U+2029, which YAML 1.1 takes for line breaks (section 5.4)."""

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner),
    max_leaves=15,
)


@given(st.dictionaries(_TEXT, _PLAIN))
def test_json_is_read_as_json_reads_it(value: dict[str, object]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    problems = Problems()
    node = read_document(Source.of("f", text), text, problems, literal=True).node
    assert not problems.found
    assert node.plain() == json.loads(text)


@given(st.text(max_size=40))
def test_no_text_makes_it_raise(text: str) -> None:
    problems = Problems()
    node = read_document(Source.of("f", text), text, problems).node
    node.plain()
    for problem in problems.found:
        assert problem.render().startswith("f:")
