"""YAML text to nodes, for tests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from router.config.documents import read_document
from router.config.substitution import Variables, resolve
from router.nodes import Node
from router.problems import Problems, Source


def parse(text: str, file: str = "router.yaml") -> tuple[Node, Problems]:
    """The node of a YAML text, and what was found wrong with it."""
    text = dedent(text).removeprefix("\n")
    problems = Problems()
    return read_document(Source.of(file, text), text, problems).node, problems


def value_of(text: str) -> Any:
    """The plain value of a YAML text without mistakes."""
    node, problems = parse(text)
    assert not problems.found, [p.headline() for p in problems.found]
    return node.plain()


def headlines(problems: Problems) -> list[str]:
    return [p.headline() for p in problems.found]


def only_headline(text: str) -> str:
    """The one problem of a YAML text."""
    _, problems = parse(text)
    assert len(problems.found) == 1, headlines(problems)
    return problems.found[0].headline()


def code_at(text: str) -> tuple[str, str]:
    """Code and place of the one problem of a YAML text."""
    found = re.fullmatch(r"[^:]+:(\d+:\d+): error (\w+): .*", only_headline(text))
    assert found
    return found[2], found[1]


def resolved(
    text: str,
    environ: Mapping[str, str],
    *,
    typed: bool = True,
    read_secrets: bool = True,
    offline: bool = False,
    root: Path = Path(),
) -> tuple[Any, Problems]:
    """The plain value of a YAML text with its variables in place, and the problems."""
    node, problems = parse(text)
    variables = Variables(environ, root, read_secrets, offline)
    return resolve(node, variables, problems, typed=typed).plain(), problems
