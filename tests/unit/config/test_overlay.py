"""Overlays: maps merge, lists replace, null removes, new names say so."""

from __future__ import annotations

from typing import Any

import pytest

from router.config.overlay import merge, refuse_new
from router.problems import Problems
from tests.unit.config.builders import parse

BASE = """
delivery: {grace: 25s, drain: 10s}
include: [routes/a.yaml, routes/b.yaml]
sinks:
  mail: {type: smtp, host: mail.acme.io, retry: {first: 1s, cap: 30m}}
  bot: {type: telegram}
"""


def merged(overlay: str) -> tuple[Any, Problems]:
    problems = Problems()
    node = merge(parse(BASE)[0], parse(overlay, "env/dev.yaml")[0], problems)
    return node.plain(), problems


def test_maps_merge_to_any_depth() -> None:
    found, problems = merged("sinks:\n  mail: {host: localhost, retry: {cap: 1m}}\n")
    assert not problems.found
    assert found["sinks"]["mail"] == {
        "type": "smtp",
        "host": "localhost",
        "retry": {"first": "1s", "cap": "1m"},
    }
    assert found["sinks"]["bot"] == {"type": "telegram"}


def test_lists_replace() -> None:
    assert merged("include: [routes/c.yaml]")[0]["include"] == ["routes/c.yaml"]


def test_null_removes_keys_and_names() -> None:
    found, problems = merged("delivery: {drain: null}\nsinks: {bot: null}\n")
    assert not problems.found
    assert found["delivery"] == {"grace": "25s"}
    assert list(found["sinks"]) == ["mail"]


def test_a_new_name_is_taken_with_its_mark() -> None:
    found, problems = merged("sinks:\n  console: !new\n    type: console\n")
    assert not problems.found
    assert found["sinks"]["console"] == {"type": "console"}


def test_options_and_sections_need_no_mark() -> None:
    found, problems = merged("logs: {level: debug}\nsinks: {mail: {timeout: 5s}}\n")
    assert not problems.found
    assert found["logs"] == {"level": "debug"}
    assert found["sinks"]["mail"]["timeout"] == "5s"


def test_another_type_replaces_the_whole_component() -> None:
    found, problems = merged("sinks:\n  mail: {type: console}\n")
    assert not problems.found
    assert found["sinks"]["mail"] == {"type": "console"}


def test_values_keep_the_place_of_their_own_file() -> None:
    node = merge(parse(BASE)[0], parse("sinks: {mail: {host: h}}", "env/dev.yaml")[0], Problems())
    assert str(node.locate(["sinks", "mail", "host"])) == "env/dev.yaml:1:22"
    assert str(node.locate(["sinks", "mail", "type"])) == "router.yaml:4:16"


@pytest.mark.parametrize(
    ("overlay", "code", "words"),
    [
        ("sinks: {mial: {host: h}}", "E005", 'Did you mean "mail"?'),
        ("sinks: {mail: !new {host: h}}", "E006", "sinks.mail exists already"),
        ("sinks: {mial: null}", "E007", 'Did you mean "mail"?'),
        ("delivery: {drian: null}", "E007", 'Did you mean "drain"?'),
        ("sinks: {mail: console}", "E008", "sinks.mail is a mapping"),
        ("include: {a: b}", "E008", "include is a list"),
    ],
)
def test_mistakes_of_overlays(overlay: str, code: str, words: str) -> None:
    _, problems = merged(overlay)
    (problem,) = problems.found
    assert problem.code == code
    assert words in problem.message
    assert problem.at is not None
    assert problem.at.file == "env/dev.yaml"


def test_the_mark_of_new_names_means_nothing_elsewhere() -> None:
    problems = Problems()
    refuse_new(parse("sinks: {mail: !new {type: smtp}}")[0], problems)
    assert [p.code for p in problems.found] == ["E006"]
