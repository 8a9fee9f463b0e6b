"""Reads the documentation: code blocks with what is asked of them, tables, links and headings.

What stands just before a block tells how it is checked::

    <!-- check: NAME -->     where the content of the block (or table) doesn't say it
    `PATH`:                  the block is that file of the page's own folder

``<!-- folder: kolibri -->`` anywhere on a page: its commands run in a copy of the shipped product.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
)

_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)\s*")
_DIRECTIVE = re.compile(r"\s*<!-- check: (?P<value>.*?) -->\s*")
_FILE = re.compile(r"\s*`(?P<path>[\w./@-]+)`:\s*")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<to>[^)\s]+)\)")
_CODE = re.compile(r"`[^`]*`")
_HEADING = re.compile(r"#{1,6} (?P<text>.+)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block.

    Attributes:
        line: Of its opening fence, from 1.
        check: What ``check:`` asks, or None.
        file: The file that it is, or None.
    """

    page: Path
    line: int
    indent: int
    language: str
    text: str
    check: str | None
    file: str | None

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a ``check:``; cells keep their markup."""

    page: Path
    line: int
    check: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def starts_with_product(page: Path) -> bool:
    """The page's commands run in a copy of the shipped product instead of an empty folder."""
    return "<!-- folder: kolibri -->" in page.read_text("utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[Block]:
    """The page's fenced blocks, in order; none of pages that ``make docs`` writes."""
    if "Written by `make docs`" in page.read_text("utf-8"):
        return []
    found: list[Block] = []
    asked: dict[str, str] = {}
    lines = page.read_text("utf-8").split("\n")
    number = 0
    while number < len(lines):
        line = lines[number]
        if directive := _DIRECTIVE.fullmatch(line):
            asked["check"] = directive["value"]
        elif file := _FILE.fullmatch(line):
            asked["file"] = file["path"]
        elif fence := _FENCE.fullmatch(line):
            start, indent = number, len(fence["indent"])
            number += 1
            body: list[str] = []
            while lines[number].strip() != "```":
                body.append(lines[number][indent:])
                number += 1
            text = "".join(f"{line}\n" for line in body)
            found.append(
                Block(
                    page,
                    start + 1,
                    indent,
                    fence["language"],
                    text,
                    asked.get("check"),
                    asked.get("file"),
                )
            )
            asked = {}
        elif line.strip():
            asked = {}
        number += 1
    return found


def tables_of(page: Path) -> list[Table]:
    """The page's tables that say how they are checked."""
    found: list[Table] = []
    lines = page.read_text("utf-8").split("\n")
    for number, line in enumerate(lines):
        directive = _DIRECTIVE.fullmatch(line)
        at = number + 1
        if directive is None or not lines[at].startswith("|"):
            continue
        rows: list[tuple[str, ...]] = []
        while at < len(lines) and lines[at].startswith("|"):
            rows.append(_cells(lines[at]))
            at += 1
        found.append(Table(page, number + 2, directive["value"], rows[0], tuple(rows[2:])))
    return found


def _cells(line: str) -> tuple[str, ...]:
    parts = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    return tuple(part.strip().replace("\\|", "|") for part in parts)


def code_in(cell: str) -> list[str]:
    """What stands between backticks in a cell."""
    return [code[1:-1] for code in _CODE.findall(cell)]


def links_of(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link outside of code."""
    for number, line in _prose(page):
        for link in _LINK.finditer(_CODE.sub("", line)):
            yield number, link["to"]


def anchors_of(page: Path) -> set[str]:
    """The anchors that a page's headings make, as GitHub spells them."""
    found: set[str] = set()
    for _, line in _prose(page):
        if heading := _HEADING.fullmatch(line):
            text = re.sub(r"[^\w\- ]", "", heading["text"].strip().lower())
            anchor = text.replace(" ", "-")
            count = sum(1 for one in found if re.fullmatch(re.escape(anchor) + r"(-\d+)?", one))
            found.add(f"{anchor}-{count}" if count else anchor)
    return found


def _prose(page: Path) -> Iterator[tuple[int, str]]:
    is_code = False
    for number, line in enumerate(page.read_text("utf-8").split("\n"), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line
