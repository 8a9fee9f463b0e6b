"""Every example of the documentation works as it is printed.

With ``ROUTER_DOCS=update`` outputs of commands that differ are written into the pages instead.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from tests.contract.docs.markdown import (
    PAGES,
    ROOT,
    Block,
    Table,
    blocks_of,
    code_in,
    name_of,
    starts_with_product,
    tables_of,
)
from tests.contract.docs.meanings import matches, rendered
from tests.contract.docs.shell import Command, Shell, commands_of, fits
from tests.contract.docs.snippets import problems_with

IS_UPDATING = os.environ.get("ROUTER_DOCS") == "update"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LANGUAGES = {"", "text", "yaml", "json", "console", "python", "html", "jinja", "ini", "promql"}


def pages_with(*languages: str) -> list[Any]:
    found = [p for p in PAGES if any(b.language in languages for b in blocks_of(p))]
    return [pytest.param(page, id=name_of(page)) for page in found]


def yaml_blocks() -> list[Any]:
    return [
        pytest.param(block, id=block.place)
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "yaml" and block.file is None
    ]


def tables() -> list[Any]:
    return [pytest.param(t, id=t.place) for page in PAGES for t in tables_of(page)]


def test_every_block_is_of_a_language_that_is_checked() -> None:
    odd = [b.place for p in PAGES for b in blocks_of(p) if b.language not in LANGUAGES]
    assert not odd


@pytest.mark.parametrize("block", yaml_blocks())
def test_configuration_is_valid(block: Block, tmp_path: Path) -> None:
    if block.check == "manifest":
        assert all(isinstance(one, dict) for one in yaml.safe_load_all(block.text))
        return
    assert problems_with(block.text, block.check, tmp_path) == []


@pytest.mark.parametrize("page", pages_with("json"))
def test_json_is_json(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "json":
            for line in [block.text] if "\n " in block.text else block.text.splitlines():
                json.loads(line)


@pytest.mark.parametrize("page", pages_with("console"))
def test_commands_print_what_is_shown(page: Path, tmp_path: Path) -> None:
    if starts_with_product(page):
        for name in ("config", "templates"):
            shutil.copytree(ROOT / name, tmp_path / name)
    shell = Shell.at(tmp_path)
    wrong: list[str] = []
    updates: list[tuple[Command, str]] = []
    for command in _commands(page, shell):
        ran = shell.run(command.text)
        shown = f"{command.block.place}: $ {command.text}"
        expected = _expected_code(command.block)
        if ran.code != expected:
            pytest.fail(f"{shown}\nended with {ran.code}, not {expected}:\n{ran.output}")
        if command.block.check == "lines":
            missing = set(command.output.split("\n")) - {"...", *ran.output.split("\n")}
            wrong += [f"{shown}\ndid not print: {line}" for line in sorted(missing)]
        elif command.block.check != "run" and not fits(command.output, ran.output):
            updates.append((command, ran.output))
            wrong.append(f"{shown}\nprinted:\n{ran.output}")
    if IS_UPDATING:
        _write(page, updates)
    assert not wrong, "\n\n".join(wrong)


def _commands(page: Path, shell: Shell) -> Iterator[Command]:
    """The page's commands, in order; files between them are written as they come."""
    for block in blocks_of(page):
        if block.file is not None:
            path = shell.here / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
        elif block.language == "console" and block.check != "none":
            yield from commands_of(block)


def _expected_code(block: Block) -> int:
    code = re.fullmatch(r"exit (\d+)", block.check or "")
    return int(code[1]) if code else 0


def _write(page: Path, updates: list[tuple[Command, str]]) -> None:
    lines = page.read_text("utf-8").split("\n")
    for command, output in reversed(updates):
        block = command.block
        start, end = block.line, block.line + block.text.count("\n")
        pad = " " * block.indent
        shown = [f"{pad}$ {command.text}".rstrip()] if "\n" not in command.text else [
            f"{pad}{'$ ' if number == 0 else ''}{line}"
            for number, line in enumerate(command.text.split("\n"))
        ]  # fmt: skip
        at = next(
            i for i in range(start, end) if lines[i : i + len(shown)] == shown
        ) + len(shown)  # fmt: skip
        until = next((i for i in range(at, end) if lines[i].startswith(f"{pad}$ ")), end)
        lasting = _MOMENT.sub("...", output).rstrip("\n").split("\n")
        lines[at:until] = [f"{pad}{line}".rstrip() for line in lasting]
    page.write_text("\n".join(lines), "utf-8")


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_runs_and_its_tests_pass(page: Path) -> None:
    source = "\n".join(b.text for b in blocks_of(page) if b.language == "python")
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, name_of(page), "exec"), names)  # the page's own code
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests, "the page shows no test of its example"
    for test in tests:
        anyio.run(test)


@pytest.mark.parametrize("table", tables())
def test_tables_tell_the_truth(table: Table) -> None:
    assert list(_wrong_rows(table)) == []


def _wrong_rows(table: Table) -> Iterator[str]:
    for row in table.rows:
        if table.check == "matches":
            ((condition,), holds, fails) = (code_in(cell) for cell in row[:3])
            for data, expected in [(d, True) for d in holds] + [(d, False) for d in fails]:
                if matches(condition, data) is not expected:
                    yield f"{condition} on {data} is not {expected}"
        elif table.check == "expressions":
            for locale, cell in zip(table.header[1:], row[1:], strict=True):
                (expression,) = code_in(row[0])
                actual = rendered(expression, locale)
                if actual != cell.strip("`").replace("&nbsp;", " "):
                    yield f"{expression} in {locale} is {actual!r}"
        else:
            yield f"unknown check {table.check}"
