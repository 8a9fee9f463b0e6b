"""What is wrong, where, and what to do about it: the one shape of every message to an operator."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import total_ordering
from typing import Any

_CONTROL = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def one_line(text: str) -> str:
    """With line ends, and what steers terminals, made visible: names in files may hold any."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


@dataclass(frozen=True, slots=True)
class Source:
    """A text that positions point into.

    Attributes:
        file: The path as the operator would type it, or ``<stdin>``.
        lines: The text's lines without line ends.
    """

    file: str
    lines: tuple[str, ...] = field(repr=False, compare=False)

    @classmethod
    def of(cls, file: str, text: str) -> Source:
        return cls(file, tuple(text.split("\n")))


@total_ordering
@dataclass(frozen=True, slots=True)
class Position:
    """A place in a source: line and column count from 1; ``length`` is how much the caret marks."""

    source: Source
    line: int
    column: int
    length: int = field(default=1, compare=False)

    @property
    def file(self) -> str:
        return self.source.file

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def __lt__(self, other: Position) -> bool:
        return (self.file, self.line, self.column) < (other.file, other.line, other.column)

    def excerpt(self) -> str | None:
        """The line with a caret below the place, or None where the source has no such line."""
        if not 1 <= self.line <= len(self.source.lines):
            return None
        text = self.source.lines[self.line - 1].rstrip("\r")
        gutter = f"{self.line:>5} | "
        pad = "".join("\t" if c == "\t" else " " for c in text[: self.column - 1])
        marks = "^" * max(1, min(self.length, len(text) - self.column + 1))
        shown = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
        return f"{gutter}{shown}\n{' ' * (len(gutter) - 2)}| {pad}{marks}"


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend.

    Attributes:
        code: Stable: ``Y`` yaml, ``R`` routes, ``T`` templates, ``S`` sinks, ``E`` environment,
            and three digits. Each has a section in ``docs/reference/problems.md``.
        message: What is wrong and the nearest valid choice, one line, no secret, no personal data.
        at: Where; None only where no file is to blame.
        severity: An error refuses the configuration, a warning (lint) does not.
        related: Other places that matter, each with what stands there.
    """

    code: str
    message: str
    at: Position | None = None
    severity: Severity = Severity.ERROR
    related: tuple[tuple[Position, str], ...] = ()

    def headline(self) -> str:
        """``file:line:col: error R101: message``."""
        place = f"{self.at}: " if self.at else ""
        return one_line(f"{place}{self.severity} {self.code}: {self.message}")

    def render(self) -> str:
        """The headline, the excerpt with its caret, and related places."""
        lines = [self.headline()]
        if self.at and (excerpt := self.at.excerpt()):
            lines.append(excerpt)
        lines += [one_line(f"      {where}: {what}") for where, what in self.related]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "code": self.code,
            "severity": str(self.severity),
            "message": one_line(self.message),
            "file": self.at.file if self.at else None,
            "line": self.at.line if self.at else None,
            "column": self.at.column if self.at else None,
            "related": [
                {"file": p.file, "line": p.line, "column": p.column, "message": what}
                for p, what in self.related
            ],
        }


class ConfigError(Exception):
    """A configuration that can't be used, with every problem found in it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sort_problems(problems))
        super().__init__("\n".join(p.headline() for p in self.problems))


@dataclass(slots=True)
class Problems:
    """Collects problems while work goes on, so that one run shows every mistake."""

    found: list[Problem] = field(default_factory=list[Problem])

    def error(
        self,
        code: str,
        message: str,
        at: Position | None = None,
        related: tuple[tuple[Position, str], ...] = (),
    ) -> None:
        self.found.append(Problem(code, message, at, Severity.ERROR, related))

    def warn(
        self,
        code: str,
        message: str,
        at: Position | None = None,
        related: tuple[tuple[Position, str], ...] = (),
    ) -> None:
        self.found.append(Problem(code, message, at, Severity.WARNING, related))

    @property
    def has_errors(self) -> bool:
        return any(p.severity is Severity.ERROR for p in self.found)

    def raise_if_errors(self) -> None:
        """Raises:
        ConfigError: at least one error was collected.
        """
        if self.has_errors:
            raise ConfigError(self.found)


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """By place, those without one last; equal problems once."""
    unique = dict.fromkeys(problems)
    return sorted(
        unique,
        key=lambda p: (
            (0, p.at.file, p.at.line, p.at.column, p.code)
            if p.at
            else (1, "", 0, 0, p.code + p.message)
        ),
    )


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that was probably meant, or None where none is close."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, choices: Sequence[str], label: str = "choices") -> str:
    """`` Did you mean "x"? Labels: a, b, c`` to end an "unknown …" message with."""
    guess = nearest(word, choices)
    hint = f' Did you mean "{guess}"?' if guess else ""
    shown = ", ".join(sorted(choices)[:20]) or "none are defined"
    more = f" and {len(choices) - 20} more" if len(choices) > 20 else ""
    return f"{hint} {label}: {shown}{more}"
