"""Formatted text as MAX keeps it: plain text and ``markup``, counted in UTF-16 units."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape

_TAGS = {
    "strong": "b",
    "emphasized": "i",
    "underline": "u",
    "strikethrough": "s",
    "monospaced": "code",
    "highlighted": "mark",
    "heading": "h4",
}
_LINK = re.compile(r"(?:https?://[^\s/?#]+\S*|max://user/\d+)", re.IGNORECASE)


class MarkupError(ValueError):
    """The text can't be parsed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A formatted stretch."""

    type: str
    start: int
    length: int
    url: str | None = None

    def as_dict(self) -> dict[str, str | int]:
        """Its form in an answer."""
        fields: dict[str, str | int] = {
            "type": self.type,
            "from": self.start,
            "length": self.length,
        }
        return fields if self.url is None else fields | {"url": self.url}


@dataclass(frozen=True, slots=True)
class Formatted:
    """Text as the person sees it."""

    text: str
    marks: tuple[Mark, ...] = ()

    def as_html(self) -> str:
        """Safe HTML: the text escaped, the marks as a handful of tags."""
        units = self.text.encode("utf-16-le")
        edges: list[tuple[int, int, int, str]] = []
        for number, mark in enumerate(self.marks):
            opening, closing = _tags(mark)
            edges.append((mark.start, 1, number, opening))
            edges.append((mark.start + mark.length, 0, -number, closing))
        pieces: list[str] = []
        done = 0
        for at, _, _, tag in sorted(edges):
            pieces += [escape(units[2 * done : 2 * at].decode("utf-16-le")), tag]
            done = at
        pieces.append(escape(units[2 * done :].decode("utf-16-le")))
        return "".join(pieces)


def units(text: str) -> int:
    """How many UTF-16 units the text takes."""
    return len(text.encode("utf-16-le")) // 2


def is_link(url: str) -> bool:
    """Whether MAX makes a link of it; else the text stays."""
    return _LINK.fullmatch(url) is not None


def _tags(mark: Mark) -> tuple[str, str]:
    if mark.url is not None:
        return f'<a href="{escape(mark.url)}" rel="noreferrer noopener">', "</a>"
    tag = _TAGS[mark.type]
    return f"<{tag}>", f"</{tag}>"


@dataclass(slots=True)
class Output:
    """Text and marks in the making."""

    parts: list[str] = field(default_factory=list[str])
    units: int = 0
    marks: list[Mark] = field(default_factory=list[Mark])

    def add(self, text: str) -> None:
        self.parts.append(text)
        self.units += units(text)

    def close(self, kind: str, start: int, url: str | None = None) -> None:
        """Ends a mark that began at ``start``; an empty one vanishes."""
        if self.units > start:
            self.marks.append(Mark(kind, start, self.units - start, url))

    def formatted(self) -> Formatted:
        order = sorted(self.marks, key=lambda mark: (mark.start, -mark.length))
        return Formatted("".join(self.parts), tuple(order))
