"""Variables and secrets in scalars."""

from __future__ import annotations

import pytest

from router.values import Secret
from tests.unit.config.builders import headlines, resolved


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOST}", "mail.acme.io"),
        ("smtp://${HOST}:${PORT}", "smtp://mail.acme.io:587"),
        ("${NOPE:-fallback}", "fallback"),
        ("${NOPE:-}", ""),
        ("${HOST:-other}", "mail.acme.io"),
        ("${EMPTY:-other}", ""),
        ("costs $$5 or $${HOST}", "costs $5 or ${HOST}"),
        ("^a$", "^a$"),
        ("${NOPE:-a:-b}", "a:-b"),
        ("${DEEP}", "${HOST}"),
    ],
)
def test_variables_stand_in_text(text: str, value: str) -> None:
    environ = {"HOST": "mail.acme.io", "PORT": "587", "EMPTY": "", "DEEP": "${HOST}"}
    found, problems = resolved(f"a: '{text}'", environ)
    assert not problems.found
    assert found == {"a": value}


def test_an_unquoted_scalar_is_typed_by_what_stands_in() -> None:
    found, _ = resolved(
        "a: ${N}\nb: '${N}'\nc: ${T}\nd: ${O}\n", {"N": "5", "T": "true", "O": "on"}
    )
    assert found == {"a": 5, "b": "5", "c": True, "d": "on"}


def test_a_field_with_its_own_type_gets_text() -> None:
    found, _ = resolved("a: ${N}\n", {"N": "5"}, typed=False)
    assert found == {"a": "5"}


def test_a_variable_that_is_not_set_is_a_problem_with_the_way_out() -> None:
    _, problems = resolved("a:\n  b: ${NOPE}\n", {})
    (line,) = headlines(problems)
    assert line.startswith("router.yaml:2:6: error E001: environment variable NOPE is not set")
    assert "--offline" in line


def test_offline_variables_stay_as_written() -> None:
    found, problems = resolved("a: x-${NOPE}\nb: ${N}\n", {"N": "5"}, offline=True)
    assert not problems.found
    assert found == {"a": "x-${NOPE}", "b": 5}


@pytest.mark.parametrize("text", ["${}", "${1A}", "${A B}", "${A-x}", "${A"])
def test_what_is_no_variable_is_said_so(text: str) -> None:
    _, problems = resolved(f"a: '{text}'", {})
    assert [p.code for p in problems.found] == ["E002"]


def test_secret_tags_make_secrets() -> None:
    environ = {"TOKEN": "t0ken"}
    found, problems = resolved('a: !env TOKEN\nb: !secret "Bearer ${TOKEN}"\n', environ)
    assert not problems.found
    assert found["a"] == Secret("t0ken")
    assert found["b"] == Secret("Bearer t0ken")
    assert "t0ken" not in repr(found)


def test_secrets_are_unknown_and_need_no_variables_where_they_are_not_read() -> None:
    text = "a: !env TOKEN\nb: !file /nowhere\nc: !secret 'x ${TOKEN}'\n"
    found, problems = resolved(text, {}, read_secrets=False)
    assert not problems.found
    assert not any(secret.known for secret in found.values())


def test_a_missing_secret_is_named_by_its_variable() -> None:
    _, problems = resolved("a: !env TOKEN\nb: !file /nowhere/at/all\n", {})
    assert [p.code for p in problems.found] == ["E001", "E003"]
