"""The text part of a mail, made from its HTML: headings, lists, ``text (url)`` for links."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from typing import Literal, NamedTuple

_TAGS = re.compile(
    r"(<!--.*?(?:-->|\Z)|<[A-Za-z/!?](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>)",
    re.DOTALL,
)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]*)(.*?)(/?)>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([A-Za-z:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.DOTALL)
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_SKIPPED = frozenset({"head", "style", "script", "title", "template", "noscript"})
_VOID = frozenset({"br", "hr", "img", "meta", "link", "input", "col", "wbr", "area", "base"})
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre"})
_LINES = frozenset({"div", "tr", "table", "section", "header", "footer", "article", "center"})


_Act = Literal[
    "nothing",
    "break",
    "next_line",
    "space",
    "rule",
    "image",
    "link",
    "end_link",
    "list",
    "end_list",
    "item",
]
"""What a tag does to the text."""


class _Tag(NamedTuple):
    """A tag, read once however often it is met.

    Attributes:
        act: What it does.
        text: The words of ``image``, the address of ``link``.
        lines: Line ends of ``break``: 1 ends a line, 2 leaves a blank one.
        depth: 1 opens, -1 closes, 0 stands alone.
        hides: What it encloses isn't shown.
    """

    act: _Act
    name: str = ""
    text: str = ""
    lines: int = 0
    depth: int = 0
    hides: bool = False


_NOTHING = _Tag("nothing")


@lru_cache(maxsize=4096)
def _read(tag: str) -> _Tag:
    match = _TAG.fullmatch(tag)
    if match is None:
        return _NOTHING
    name, attributes = match[2].lower(), match[3]
    depth = -1 if match[1] else 0 if match[4] or name in _VOID else 1
    if depth >= 0 and (name in _SKIPPED or _HIDDEN.search(attributes)):
        return _Tag("nothing", name, depth=depth, hides=depth == 1)
    return _meaning(name, attributes, depth)


def _meaning(name: str, attributes: str, depth: int) -> _Tag:
    closes = depth < 0
    match name:
        case "br":
            return _Tag("next_line", name)
        case "hr":
            return _Tag("rule", name)
        case "img":
            return _Tag("image", name, _attribute(attributes, "alt"))
        case "a":
            href = "" if closes else _attribute(attributes, "href")
            return _Tag("end_link" if closes else "link", name, href, depth=depth)
        case "ul" | "ol":
            return _Tag("end_list" if closes else "list", name, depth=depth)
        case "li":
            return _Tag("break" if closes else "item", name, lines=1, depth=depth)
        case "td" | "th":
            return _Tag("nothing" if closes else "space", name, depth=depth)
        case _:
            lines = 2 if name in _PARAGRAPHS else int(name in _LINES)
            return _Tag("break" if lines else "nothing", name, lines=lines, depth=depth)


def _attribute(attributes: str, wanted: str) -> str:
    for name, double, single, bare in _ATTRIBUTE.findall(attributes):
        if name.lower() == wanted:
            return unescape(double or single or bare)
    return ""


@dataclass(slots=True)
class _Writer:
    """The text so far.

    Attributes:
        breaks: Line ends to write before the next words; at most two.
        at_start: The next words start a line or follow a space.
    """

    parts: list[str] = field(default_factory=list[str])
    lists: list[int] = field(default_factory=list[int])
    links: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    breaks: int = 0
    at_start: bool = True
    preformatted: int = 0

    def text(self, raw: str) -> None:
        words = unescape(raw) if "&" in raw else raw
        if not self.preformatted:
            words = _SPACES.sub(" ", words)
            if self.at_start and words[:1] == " ":
                words = words[1:]
        if words:
            self.write(words)

    def write(self, words: str) -> None:
        parts = self.parts
        if self.breaks:
            if parts:
                parts[-1] = parts[-1].rstrip(" ")
                parts.append("\n" * self.breaks)
            self.breaks = 0
        parts.append(words)
        self.at_start = words[-1] in " \n"

    def tag(self, tag: _Tag) -> None:
        act = tag.act
        if act == "nothing":
            pass
        elif act == "break":
            self.end_line(tag.lines)
        elif act == "space":
            if not self.at_start:
                self.write(" ")
        else:
            self._rarer(tag)
        if tag.name == "pre":
            self.preformatted = max(0, self.preformatted + tag.depth)

    def _rarer(self, tag: _Tag) -> None:
        match tag.act:
            case "next_line":
                self.breaks, self.at_start = min(2, self.breaks + 1), True
            case "rule":
                self.end_line(1)
                self.write("---")
                self.end_line(1)
            case "image":
                self.text(tag.text)
            case "link":
                self.links.append((tag.text, len(self.parts)))
            case "end_link" if self.links:
                self._end_link(*self.links.pop())
            case "list":
                self.end_line(1 if self.lists else 2)
                self.lists.append(0 if tag.name == "ol" else -1)
            case "end_list":
                del self.lists[-1:]
                self.end_line(1 if self.lists else 2)
            case "item":
                self._item()
            case _:
                pass

    def end_line(self, lines: int) -> None:
        self.breaks, self.at_start = max(self.breaks, lines), True

    def _item(self) -> None:
        self.end_line(1)
        mark = "- "
        if self.lists and self.lists[-1] >= 0:
            self.lists[-1] += 1
            mark = f"{self.lists[-1]}. "
        self.write("  " * max(0, len(self.lists) - 1) + mark)

    def _end_link(self, address: str, start: int) -> None:
        words = "".join(self.parts[start:]).strip()
        shown = address.removeprefix("mailto:")
        if address and not address.startswith("#") and words not in {address, shown}:
            self.write(f" ({shown})" if words else shown)


def text_of(html: str) -> str:
    """The plain text of an HTML mail; hidden elements are left out."""
    writer = _Writer()
    hidden, depth = "", 0
    is_tag = True
    for token in _TAGS.split(html):
        is_tag = not is_tag
        if not is_tag:
            if not depth and token and not (writer.at_start and token.isspace()):
                writer.text(token)
            continue
        tag = _read(token)
        if depth:
            depth += tag.depth if tag.name == hidden else 0
        elif tag.hides:
            hidden, depth = tag.name, 1
        else:
            writer.tag(tag)
    return "".join(writer.parts).replace("\xad", "").strip()
