"""Keeps secrets that stand in files out of the excerpts that problems show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from router.nodes import Node
from router.problems import Position, Problem, Source


def redact(problems: Iterable[Problem], secrets: Sequence[Node]) -> list[Problem]:
    """The problems, with every literal secret in their sources masked.

    Args:
        secrets: Scalars of secret-typed fields, as they stand in the files.
    """
    masks: dict[str, list[Node]] = {}
    for node in secrets:
        masks.setdefault(node.at.file, []).append(node)
    if not masks:
        return list(problems)
    cleaned: dict[str, Source] = {}

    def clean(at: Position) -> Position:
        if at.file not in masks:
            return at
        if at.file not in cleaned:
            cleaned[at.file] = _masked(at.source, masks[at.file])
        return replace(at, source=cleaned[at.file])

    return [
        replace(
            p,
            at=None if p.at is None else clean(p.at),
            related=tuple((clean(at), what) for at, what in p.related),
        )
        for p in problems
    ]


def _masked(source: Source, secrets: Sequence[Node]) -> Source:
    lines = list(source.lines)
    for node in secrets:
        at = node.at
        if not 1 <= at.line <= len(lines):
            continue
        line = lines[at.line - 1]
        start, end = at.column - 1, at.column - 1 + at.length
        written = line[start:end]
        if written.startswith(("!env", "!file")) or "${" in written:
            continue
        lines[at.line - 1] = line[:start] + "*" * len(written) + line[end:]
        for number in _continuation(lines, at.line, _indent(line)):
            lines[number] = "*" * len(lines[number])
    return replace(source, lines=tuple(lines))


def _continuation(lines: Sequence[str], start: int, indent: int) -> Iterator[int]:
    """The lines that belong to a value of several lines: those indented further."""
    for number in range(start, len(lines)):
        if lines[number].strip() and _indent(lines[number]) <= indent:
            return
        yield number


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
