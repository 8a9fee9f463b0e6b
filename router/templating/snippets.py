"""Pieces of template text with their places, and the ``key: text`` format they are written in.

The format of ``texts/<locale>.txt`` and of front matter: everything after the first ``: `` is
the text as it stands, further lines of it are indented, a line that starts with ``# `` (or is
``#``) is a comment. Nothing else is special, so texts can hold ``#``, ``:``, ``@`` and ``[``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from router.problems import Position, Problems, Source

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?")
_FENCE = "---"


@dataclass(frozen=True, slots=True)
class Snippet:
    """Template text from a file.

    Attributes:
        starts: For each of its lines, the line and column in the source, from 1.
    """

    text: str
    source: Source
    starts: tuple[tuple[int, int], ...]

    @classmethod
    def at(cls, text: str, position: Position) -> Snippet:
        """A text that stands at a place, such as a YAML scalar."""
        count = text.count("\n") + 1
        starts = ((position.line, position.column),) * count
        return cls(text, position.source, starts)

    @property
    def start(self) -> Position:
        return self.position(1)

    def position(self, line: int, needle: str | None = None) -> Position:
        """The place of a line of the snippet, or of a pattern within that line."""
        row, column = self.starts[min(max(line, 1), len(self.starts)) - 1]
        text = self.source.lines[row - 1] if row <= len(self.source.lines) else ""
        found = re.compile(needle or r"\S.*").search(text, column - 1)
        if found is None:
            return Position(self.source, row, column)
        length = len(found[0].rstrip()) if needle else 1
        return Position(self.source, row, found.start() + 1, max(length, 1))

    def line(self, index: int) -> Snippet:
        """One line of it, from 0."""
        text = self.text.split("\n")[index]
        return replace(self, text=text, starts=(self.starts[index],))

    def part(self, start: int, end: int) -> Snippet:
        """A part of a snippet of one line."""
        text = self.text[start:end]
        lead = len(text) - len(text.lstrip())
        row, column = self.starts[0]
        return replace(self, text=text.strip(), starts=((row, column + start + lead),))


@dataclass(frozen=True, slots=True)
class Field:
    """One ``key: text``."""

    key: str
    key_at: Position
    snippet: Snippet


def read_lines(source: Source) -> list[str]:
    """The source's lines without carriage returns."""
    return [line.rstrip("\r") for line in source.lines]


def parse_fields(source: Source, first: int, last: int, problems: Problems) -> Mapping[str, Field]:
    """The fields in lines ``first`` to ``last`` (from 0, ``last`` left out)."""
    fields: dict[str, Field] = {}
    lines = read_lines(source)
    row = first
    while row < last:
        line = lines[row]
        if not line.strip() or line == "#" or line.startswith("# "):
            row += 1
            continue
        end = _end_of_field(lines, row, last)
        field = _parse_field(source, lines, row, end, problems)
        if field and field.key in fields:
            problems.error(
                "T111",
                f'"{field.key}" stands twice in this file',
                field.key_at,
                related=((fields[field.key].key_at, "it stands here first"),),
            )
        elif field:
            fields[field.key] = field
        row = end
    return fields


def _end_of_field(lines: Sequence[str], row: int, last: int) -> int:
    end = row + 1
    for index in range(row + 1, last):
        if lines[index].strip() == "":
            continue
        if not lines[index].startswith((" ", "\t")):
            break
        end = index + 1
    return end


def _parse_field(
    source: Source, lines: Sequence[str], row: int, end: int, problems: Problems
) -> Field | None:
    line = lines[row]
    key, colon, text = line.partition(":")
    at = Position(source, row + 1, 1, max(len(key), 1))
    if not colon or (text and not text.startswith(" ")):
        problems.error("T110", 'not a "key: text" line; further lines of a text are indented', at)
        return None
    if not _KEY.fullmatch(key):
        problems.error("T110", f'"{key}" can\'t be a key; use letters, digits and "_"', at)
        return None
    parts, starts = [text[1:]], [(row + 1, len(key) + 3)]
    rest = lines[row + 1 : end]
    indent = min((len(x) - len(x.lstrip()) for x in rest if x.strip()), default=0)
    for number, line_ in enumerate(rest, row + 2):
        parts.append(line_[indent:])
        starts.append((number, indent + 1))
    if not parts[0].strip() and len(parts) > 1:
        parts, starts = parts[1:], starts[1:]
    return Field(key, at, Snippet("\n".join(parts), source, tuple(starts)))


def split_front_matter(source: Source, problems: Problems) -> tuple[Mapping[str, Field], Snippet]:
    """A layout file's front matter (empty if it has none) and its body."""
    lines = read_lines(source)
    fields: Mapping[str, Field] = {}
    body = 0
    if lines and lines[0].rstrip() == _FENCE:
        ends = [i for i, line in enumerate(lines) if i and line.rstrip() == _FENCE]
        if ends:
            fields, body = parse_fields(source, 1, ends[0], problems), ends[0] + 1
        else:
            at = Position(source, 1, 1, len(_FENCE))
            problems.error("T112", 'front matter is not closed by a second "---" line', at)
            body = len(lines)
    rows = range(body, len(lines))
    text = "\n".join(lines[body:])
    starts = tuple((row + 1, 1) for row in rows) or ((max(len(lines), 1), 1),)
    return fields, Snippet(text, source, starts)
