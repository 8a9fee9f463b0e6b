"""pydantic's findings, at their places and in the operator's words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from router.config.models import secret_nodes
from router.config.redaction import redact
from router.config.substitution import Variables, resolve
from router.config.validation import validate
from router.problems import Problems
from router.values import Duration, Rate, Secret, Size
from tests.unit.config.builders import headlines, parse


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Login(Model):
    user: str
    password: Secret


class Answer(Model):
    status: int
    outcome: Literal["delivered", "rejected"] = "delivered"


class Sink(Model):
    host: str
    port: int = Field(25, ge=1, le=65535)
    tls: bool = True
    timeout: Duration = 15.0
    rate: Rate | None = None
    limit: Size = 1000
    login: Login | None = None
    answers: list[Answer] = []
    headers: dict[str, str] = {}
    tags: list[str] = []

    @field_validator("host")
    @classmethod
    def _no_spaces(cls, host: str) -> str:
        if " " in host:
            raise ValueError("a host has no spaces")
        return host


def check(text: str, environ: dict[str, str] | None = None, *, offline: bool = False) -> Problems:
    node, problems = parse(text)
    node = resolve(node, Variables(environ or {}, Path(), True, offline), problems, typed=False)
    validate(Sink, node, 'sink "mail"', problems, ".")
    return problems


@pytest.mark.parametrize(
    ("text", "headline"),
    [
        ("port: 5\n", '1:1: error S003: sink "mail" needs "host"'),
        (
            "host: h\ntimeuot: 5s\n",
            '2:1: error S002: unknown key "timeuot" in sink "mail". Did you mean "timeout"?'
            " Keys: answers, headers, host, limit, login, port, rate, tags, timeout, tls",
        ),
        (
            "host: h\nlogin: {user: a, pasword: b, password: c}\n",
            '2:18: error S002: unknown key "pasword" in login of sink "mail".'
            ' Did you mean "password"? Keys: password, user',
        ),
        ("host: h\nlogin: {user: a}\n", '2:1: error S003: login of sink "mail" needs "password"'),
        ("host: 5\n", '1:7: error S004: host must be text; write "5"'),
        ("host: h\nport: x\n", "2:7: error S004: port must be a whole number"),
        ("host: h\nport: 0\n", "2:7: error S004: port must be at least 1"),
        ("host: h\nport: 70000\n", "2:7: error S004: port must be at most 65535"),
        ("host: h\ntls: maybe\n", "2:6: error S004: tls must be true or false"),
        (
            "host: h\ntimeout: 15\n",
            "2:10: error S004: timeout: not a duration: 15 has no unit; write 15s or 15m",
        ),
        (
            "host: h\nrate: fast\n",
            '2:7: error S004: rate: not a rate: "fast"; write 30/s or 1000/min',
        ),
        ("host: a b\n", "1:7: error S004: host: a host has no spaces"),
        ("host: h\nlogin: me\n", "2:8: error S004: login must be a mapping"),
        ("host: h\ntags: x\n", "2:7: error S004: tags must be a list"),
        ("host: h\ntags: [a, 5]\n", '2:11: error S004: tags.1 must be text; write "5"'),
        (
            "host: h\nanswers:\n  - {status: 409, outcome: delivred}\n",
            '3:28: error S004: answers.0.outcome can\'t be "delivred".'
            ' Did you mean "delivered"? Choices: delivered, rejected',
        ),
        (
            "host: !env HOST\n",
            '1:7: error S005: host of sink "mail" is not secret; write ${NAME} instead of a tag',
        ),
    ],
)
def test_each_mistake_is_said_at_its_place(text: str, headline: str) -> None:
    found = headlines(check(text, {"HOST": "h"}))
    assert found == [f"router.yaml:{headline}"]


def test_every_mistake_is_found_at_once() -> None:
    problems = check("port: x\ntls: maybe\nnope: 1\n")
    assert [p.code for p in problems.found] == ["S003", "S004", "S004", "S002"]


def test_the_field_decides_how_the_text_of_a_variable_reads() -> None:
    node, problems = parse("host: ${HOST}\nport: ${PORT}\ntls: ${TLS}\nlimit: ${LIMIT}\n")
    environ = {"HOST": "5", "PORT": "587", "TLS": "false", "LIMIT": "64KiB"}
    node = resolve(node, Variables(environ, Path()), problems, typed=False)
    model = validate(Sink, node, "sink", problems, ".")
    assert model is not None
    assert (model.host, model.port, model.tls, model.limit) == ("5", 587, False, 65536)


def test_offline_an_unknown_variable_suits_any_field() -> None:
    text = "host: ${A}\nport: ${A}\ntls: ${A}\ntimeout: ${A}\nrate: ${A}\nlimit: ${A}\n"
    login = "login: {user: '${A}', password: !env A, x-note: 1}\n"
    assert headlines(check(text + login, offline=True)) == []


def test_a_variable_that_is_not_set_is_one_problem() -> None:
    assert [p.code for p in check("host: h\nport: ${PORT}\n").found] == ["E001"]


def test_extension_keys_are_ignored_where_keys_are_fixed_and_kept_where_names_are_free() -> None:
    login = "login: {user: a, password: b, x-y: 2}"
    node, problems = parse(f"x-note: 1\nhost: h\n{login}\nheaders: {{x-z: c}}")
    model = validate(Sink, node, "sink", problems, ".")
    assert model is not None
    assert model.headers == {"x-z": "c"}


def test_a_secret_in_a_file_is_masked_in_excerpts() -> None:
    text = "host: h\nlogin: {user: a, password: hunter2, nope: 1}\nport: x\n"
    node, problems = parse(text)
    validate(Sink, node, "sink", problems, ".")
    shown = [p.render() for p in redact(problems.found, list(secret_nodes(Sink, node)))]
    assert "hunter2" not in "".join(shown)
    assert "password: *******, nope" in "".join(shown)


def test_a_secret_of_several_lines_is_masked_in_excerpts() -> None:
    text = "host: h\nlogin:\n  password: |\n    hunter2\n    hunter3\n  user: 5\n"
    node, problems = parse(text)
    validate(Sink, node, "sink", problems, ".")
    (problem,) = redact(problems.found, list(secret_nodes(Sink, node)))
    assert problem.at is not None
    assert "hunter" not in "".join(problem.at.source.lines)
    assert problem.at.excerpt() == "    6 |   user: 5\n      |         ^"


@pytest.mark.parametrize(
    "text",
    [
        "host: h\npassword: hunter22: x\n",
        "a: {password: hunter22: x}\n",
        "token: *hunter22\n",
        "bot_token: !hunter22 x\n",
        "tokens:\n  - a\n  - hunter22: {{ x }}: y\n",
        'password: "hunter22\n',
        "secret: {{ hunter22 }}\n",
    ],
)
def test_a_secret_in_a_file_that_can_not_be_read_is_masked(text: str) -> None:
    _, problems = parse(text)
    shown = "".join(p.render() for p in redact(problems.found, []))
    assert shown
    assert "hunter22" not in shown


@pytest.mark.parametrize(
    "text", ["password: !env MAIL: x\n", "token: ${TOKEN}: x\n", "token_url: https://a: b\n"]
)
def test_what_is_no_secret_itself_is_shown(text: str) -> None:
    _, problems = parse(text)
    assert "*" not in "".join(p.render() for p in redact(problems.found, []))
