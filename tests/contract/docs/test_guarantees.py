"""The page of guarantees is held to its word: each promise names tests, and they exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from router.sinks import KINDS
from tests.contract.docs.markdown import ROOT, links_of

PAGE = ROOT / "docs" / "guarantees.md"
_LINK = re.compile(r"\]\(([^()]*)\)")
_PROVIDERLESS = {"by_platform"}


def _rows(heading: str) -> list[list[str]]:
    """The first table below a heading, without its head."""
    below = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].split("\n")
    start = next(number for number, line in enumerate(below) if line.startswith("|"))
    rows: list[list[str]] = []
    for line in below[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def _tests_in(text: str) -> Iterator[tuple[Path, str]]:
    for link in _LINK.findall(text):
        parts = urlsplit(link)
        if parts.path.endswith(".py"):
            yield (PAGE.parent / parts.path).resolve(), parts.fragment


@pytest.mark.parametrize("row", _rows("Promises"), ids=lambda row: row[0])
def test_a_promise_names_the_tests_that_prove_it(row: list[str]) -> None:
    _, wording, proof = row
    assert len(wording) > 40
    assert list(_tests_in(proof))


def test_every_sink_says_when_it_repeats_and_names_a_test() -> None:
    rows = _rows("In doubt")
    assert {row[0].strip("`") for row in rows} == set(KINDS.names()) - _PROVIDERLESS
    assert [row[0] for row in rows if not list(_tests_in(row[-1]))] == []


def test_every_test_that_is_named_exists() -> None:
    """A function of that name, or what has that name in a table of cases."""
    named = [found for _, link in links_of(PAGE) for found in _tests_in(f"]({link})")]
    missing = [
        f"{path.relative_to(ROOT)}#{name}"
        for path, name in named
        if not re.search(rf'def {re.escape(name)}\(|"{re.escape(name)}"', path.read_text("utf-8"))
    ]
    assert len(named) > 60
    assert missing == []
