"""The loader: documents, projects, conditions, files of people, and the scalars with a grammar."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from router.authoring.lint import lint
from router.config import load_project
from router.config.compiling import compile_expression
from router.config.documents import read_document
from router.config.redaction import redact
from router.directories.file import PeopleError, read_people
from router.events import SecretField, Selector
from router.nodes import Node
from router.problems import Problems, Source
from router.routing import EVENT_ROOTS, ITEM, Matcher, evaluate, explain, parse_condition
from router.sinks._webhook_keys import signing_key
from router.sources.kafka import parse_start
from router.templating import RenderError, View, compile_value
from router.values import Rate, Secret, format_duration, parse_duration, parse_size
from tests.fuzz.parts import split
from tests.fuzz.targets.checks import check_position, check_problems
from tests.fuzz.targets.hostile import EVENTS, PEOPLE

_SUFFIXES = (".yaml", ".json", ".csv")
_SCALARS: tuple[Callable[[str], Any], ...] = (
    parse_duration,
    parse_size,
    Rate.parse,
    Selector.parse,
    SecretField.parse,
    parse_start,
    lambda text: signing_key(Secret(text)),
)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def document(content: bytes) -> None:
    """A YAML document, as configuration and as it is."""
    text = _text(content)
    for literal in (False, True):
        problems = Problems()
        read = read_document(Source.of("a.yaml", text), text, problems, literal=literal)
        check_problems(problems.found)
        check_problems(redact(problems.found, []))
        _check_nodes(read.node)
        if not problems.has_errors:
            read.node.plain()


def _check_nodes(node: Node) -> None:
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        check_position(one.at)
        waiting += [entry.node for entry in one.entries.values()] + list(one.nodes)


def project(content: bytes) -> None:
    """A whole project, each of its files a part of the input."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        root = Path(name)
        for path, text in split(content).items():
            _write(root, path, text)
        for environment in (None, "dev"):
            loaded = load_project(root / "config", environment, environ={}, offline=True)
            check_problems(loaded.problems)
            for at in loaded.places.values():
                check_position(at)
        if loaded.project is not None:
            check_problems(lint(loaded))


def _write(root: Path, path: str, text: bytes) -> None:
    """Files keep within the folder; names that no file can have are left out."""
    with suppress(OSError, ValueError):
        target = (root / path.lstrip("/")).resolve()
        if target.is_relative_to(root.resolve()):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)


def condition(content: bytes) -> None:
    """A route's ``match``: what the matcher says is what the rules say one by one."""
    text = _text(content)
    problems = Problems()
    node = read_document(Source.of("a.yaml", text), text, problems).node
    if problems.has_errors or not node.is_mapping:
        return
    roots = (*EVENT_ROOTS, ITEM)
    parse_condition(node, Problems(), compile_expression=compile_expression, roots=roots)
    found = parse_condition(node, problems, compile_expression=compile_expression)
    check_problems(problems.found)
    if found is None:
        assert problems.has_errors
        return
    matcher = Matcher.build([("r", found), ("again", found)])
    for event in EVENTS:
        expected = ["r", "again"] if evaluate(found, event) else []
        assert matcher.match(event) == expected
        explain(found, event)
        if expected:
            assert matcher.wants(event.topic, event.type)


def expression(content: bytes) -> None:
    """A value of a route with ``{{ }}``, evaluated with hostile values."""
    text = _text(content)
    problems = Problems()
    node = read_document(Source.of("a.yaml", text), text, problems).node
    if problems.has_errors:
        return
    value = compile_value(node, node.at, problems)
    check_problems(problems.found)
    for event in EVENTS:
        for person in PEOPLE:
            with suppress(RenderError):
                value.evaluate(View(event, person, now=event.time))


def scalar(content: bytes) -> None:
    """Durations, sizes, rates, paths, start positions, keys: each line is tried as each."""
    for line in _text(content).splitlines():
        for parse in _SCALARS:
            try:
                value = parse(line)
            except ValueError:
                continue
            if parse is parse_duration:
                format_duration(value)


def people(content: bytes) -> None:
    """A file of people in each of its formats."""
    for suffix in _SUFFIXES:
        with suppress(PeopleError):
            read_people(_text(content), suffix)
