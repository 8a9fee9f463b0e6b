"""Keeps secrets that stand in files out of the excerpts that problems show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from router.nodes import Node
from router.problems import Position, Problem, Source

_SECRET_KEY = re.compile(
    r"""(?<![\w-])[\w-]*(?:passw|passphrase|secret|token|credential|hash_key)[\w-]*(?<!_fields)(?<!_url)["']?\s*:(?:\s+|$)""",
    re.IGNORECASE,
)
_LONG_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{40,}=*")
_REFERENCE = re.compile(r"""\s*["']?(?:!(?:env|file)\b|\$\{|(?:data|item|headers)\.)""")
_LOOK_BACK = 200
"""Lines above one in which the key that it belongs to is looked for."""
_WORD = re.compile(r"[^\s\"'*&!,:\[\]{}]{6,}")


def redact(problems: Iterable[Problem], secrets: Sequence[Node]) -> list[Problem]:
    """The problems, with literal secrets masked in the lines that they show.

    Where a file can't be read, or a component's type is not known, nothing tells which values are
    secrets: then those are masked whose keys sound like it.

    Args:
        secrets: Scalars of secret-typed fields, as they stand in the files.
    """
    found = list(problems)
    known: dict[str, list[Node]] = {}
    for node in secrets:
        known.setdefault(node.at.file, []).append(node)
    shown: dict[str, tuple[Source, set[int]]] = {}
    for at in _places(found):
        shown.setdefault(at.file, (at.source, set()))[1].add(at.line)
    cleaned = {
        file: _likely_masked(_masked(source, known.get(file, ())), source.lines, lines)
        for file, (source, lines) in shown.items()
    }

    def clean(at: Position) -> Position:
        return replace(at, source=cleaned[at.file])

    return [
        replace(
            p,
            message=_without_masked(p.message, p.at, cleaned) if p.at else p.message,
            at=None if p.at is None else clean(p.at),
            related=tuple((clean(at), what) for at, what in p.related),
        )
        for p in found
    ]


def _places(problems: Iterable[Problem]) -> Iterator[Position]:
    for problem in problems:
        if problem.at is not None:
            yield problem.at
        for at, _ in problem.related:
            yield at


def _likely_masked(source: Source, written: Sequence[str], shown: Iterable[int]) -> Source:
    lines = list(source.lines)
    for number in shown:
        if 1 <= number <= len(lines):
            lines[number - 1] = _mask_likely(lines[number - 1], written, number)
    return replace(source, lines=tuple(lines))


def _mask_likely(line: str, lines: Sequence[str], number: int) -> str:
    """The line, with what stands behind keys that sound like secrets masked."""
    if _is_below_secret(lines, number):
        return _starred(line, 0) if not _REFERENCE.match(line.lstrip(" -")) else line
    for key in _SECRET_KEY.finditer(line):
        is_masked = line[key.end() :][:1] != lines[number - 1][key.end() :][:1]
        if not is_masked and not _REFERENCE.match(line, key.end()):
            return _starred(line, key.end())
    return _LONG_BASE64.sub(lambda found: "*" * len(found[0]), line)


def _is_below_secret(lines: Sequence[str], number: int) -> bool:
    line = lines[number - 1]
    level = _indent(line) + _is_item(line)
    if level == 0:
        return False
    for above in reversed(lines[max(0, number - 1 - _LOOK_BACK) : number - 1]):
        if above.strip() and _indent(above) + _is_item(above) < level:
            key = _SECRET_KEY.search(above)
            return key is not None and above[key.end() :].strip() in ("", "|", ">", "|-", ">-")
    return False


def _is_item(line: str) -> bool:
    """An item may stand as far left as the key of its list."""
    return line.lstrip(" ").startswith("- ")


def _starred(line: str, start: int) -> str:
    return line[:start] + "".join("*" if c != " " else c for c in line[start:])


def _without_masked(message: str, at: Position, cleaned: Mapping[str, Source]) -> str:
    """The message without words of its line that are masked there."""
    before, after = at.source.lines, cleaned[at.file].lines
    if not 1 <= at.line <= len(before) or before[at.line - 1] == after[at.line - 1]:
        return message
    for word in _WORD.findall(before[at.line - 1]):
        if word not in after[at.line - 1]:
            message = message.replace(word, "***")
    return message


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
