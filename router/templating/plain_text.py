"""The text part of a mail, made from its HTML: headings, lists, ``text (url)`` for links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from typing import Literal, NamedTuple

_TAGS = re.compile(
    r"(<!--.*?(?:-->|\Z)|<(?!!--)[A-Za-z/!?](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>)",
    re.DOTALL,
)
_BEGUN = re.compile(
    r"<[A-Za-z/!?](?:[^<>\"']|\"[^\"]*\"|'[^']*')*(?:\"[^\"]*|'[^']*)?\Z", re.DOTALL
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


def _read(tag: str) -> _Tag:
    match = _TAG.fullmatch(tag)
    if match is None:
        return _NOTHING
    name, attributes = match[2].lower(), match[3]
    depth = -1 if match[1] else 0 if match[4] or name in _VOID else 1
    if depth >= 0 and (name in _SKIPPED or _HIDDEN.search(attributes)):
        return _Tag("nothing", name, depth=depth, hides=depth == 1)
    return _meaning(name, attributes, depth)


_kept = lru_cache(maxsize=4096)(_read)


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
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == wanted:
            return unescape(found[2] or found[3] or found[4] or "")
    return ""


def _words(raw: str) -> str:
    return _SPACES.sub(" ", unescape(raw) if "&" in raw else raw)


@dataclass(slots=True)
class _Writer:
    """The text so far.

    Attributes:
        breaks: Line ends to write before the next words; at most two.
        at_start: The next words start a line or follow a space.
        indent: Space at the start of preformatted words: it counts if any follow.
    """

    parts: list[str] = field(default_factory=list[str])
    lists: list[int] = field(default_factory=list[int])
    links: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    breaks: int = 0
    at_start: bool = True
    preformatted: int = 0
    indent: str = ""

    def text(self, raw: str) -> None:
        if not self.preformatted:
            self.words(raw if raw.isalnum() else _words(raw))
        elif self.at_start and raw.isspace():
            self.indent += raw
        elif raw:
            self.write(self.indent + unescape(raw))
            self.indent = ""

    def words(self, words: str) -> None:
        """Text as it is shown outside of ``pre``."""
        if self.at_start and words.startswith(" "):
            words = words[1:]
        if words:
            self.write(words)

    def write(self, words: str) -> None:
        parts = self.parts
        if self.breaks:
            if parts:
                if parts[-1].endswith(" "):
                    parts[-1] = parts[-1].rstrip(" ")
                parts.append("\n" * self.breaks)
            self.breaks = 0
        parts.append(words)
        self.at_start = words.endswith((" ", "\n"))

    def tag(self, tag: _Tag) -> None:
        act = tag.act
        self.indent = ""
        if act == "nothing":
            pass
        elif act == "break":
            self.breaks, self.at_start = max(self.breaks, tag.lines), True
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


@dataclass(slots=True)
class _Reader:
    """Reads HTML bit by bit.

    Attributes:
        fixed: Bits that are known.
        begun: A tag or comment whose end has not come yet.
        hidden, depth: The element that isn't shown, and how many of its name are open in it.
    """

    fixed: FixedHtml
    writer: _Writer = field(default_factory=_Writer)
    begun: list[str] = field(default_factory=list[str])
    hidden: str = ""
    depth: int = 0

    def read(self, chunk: str) -> None:
        if self.begun:
            chunk = self._go_on(chunk)
        if not chunk:
            return
        bits = self.fixed.known.get(chunk) or _bits(chunk)
        writer = self.writer
        if bits.brief is not None and not self.depth and not writer.preformatted:
            for token in bits.brief:
                if isinstance(token, str):
                    writer.words(token)
                else:
                    writer.tag(token)
        else:
            for token in bits.tokens:
                if isinstance(token, str):
                    self._text(token)
                else:
                    self._tag(token)
        if bits.begun:
            self.begun = [bits.begun]

    def _go_on(self, chunk: str) -> str:
        """What follows the end of what has begun, if it ends in this chunk; all of it, if it
        turns out to be no tag."""
        begun = self.begun
        begun.append(chunk)
        may_end = ">" in chunk
        if begun[0].startswith("<!--"):
            may_end = may_end and "-->" in "".join(begun[-3:])
        elif "<" in chunk and not _may_be_tag(raw := "".join(begun)):
            self.begun = []
            return raw
        match = _TAGS.match("".join(begun)) if may_end else None
        if match is None or _is_open_comment(match[0]):
            return ""
        rest, self.begun = match.string[match.end() :], []
        self.fixed.note_rest(chunk, rest)
        self._tag(_read(match[0]))
        return rest

    def _text(self, text: str) -> None:
        if not self.depth:
            self.writer.text(text)

    def _tag(self, tag: _Tag) -> None:
        if self.depth:
            self.depth += tag.depth if tag.name == self.hidden else 0
        elif tag.hides:
            self.hidden, self.depth = tag.name, 1
        else:
            self.writer.tag(tag)

    def end(self) -> str:
        begun = "".join(self.begun)
        if not begun.startswith("<!--"):
            self._text(begun)
        return "".join(self.writer.parts).replace("\xad", "").strip()


class _Bits(NamedTuple):
    """What a chunk of HTML is made of.

    Attributes:
        tokens: Text and tags.
        brief: The same without what changes nothing, where that can be told from the chunk alone.
        begun: A tag or comment that doesn't end in it.
    """

    tokens: tuple[str | _Tag, ...]
    brief: tuple[str | _Tag, ...] | None
    begun: str


def _bits(chunk: str) -> _Bits:
    *parts, last = _TAGS.split(chunk)
    if parts and _is_open_comment(parts[-1]):
        begun = parts.pop()
    else:
        found = _BEGUN.search(last)
        at = found.start() if found else len(last)
        begun = last[at:]
        parts.append(last[:at])
    read = (_kept(part) if index % 2 else part for index, part in enumerate(parts))
    tokens = tuple(token for token in read if token)
    return _Bits(tokens, _brief(tokens), begun)


def _may_be_tag(raw: str) -> bool:
    return bool(_TAGS.match(raw) or _BEGUN.fullmatch(raw))


def _is_open_comment(tag: str) -> bool:
    return tag.startswith("<!--") and not (tag.endswith("-->") and len(tag) > 6)


def _brief(tokens: Sequence[str | _Tag]) -> tuple[str | _Tag, ...] | None:
    kept: list[str | _Tag] = []
    at_start = False
    hidden, depth = "", 0
    for token in tokens:
        if isinstance(token, str):
            if not depth and not (at_start and token.isspace()):
                kept.append(_words(token))
                at_start = False
        elif token.name == "pre":
            return None
        elif depth:
            depth += token.depth if token.name == hidden else 0
        elif token.hides:
            hidden, depth = token.name, 1
        elif token.act == "break":
            last = kept[-1] if kept else None
            lines = token.lines
            if at_start and isinstance(last, _Tag):
                lines = max(lines, last.lines)
                kept.pop()
            kept.append(_Tag("break", lines=lines))
            at_start = True
        elif token.act != "nothing" and not (token.act == "space" and at_start):
            kept.append(token)
            at_start = False
    return None if depth else tuple(kept)


@dataclass(frozen=True, slots=True)
class FixedHtml:
    """The fixed text of a template's HTML, read once for all of its mails."""

    known: dict[str, _Bits] = field(default_factory=dict[str, "_Bits"])

    @classmethod
    def of(cls, texts: Iterable[str]) -> FixedHtml:
        return cls({text: _bits(text) for text in texts if "<" in text})

    def note_rest(self, chunk: str, rest: str) -> None:
        """Keeps what follows the end of a tag that a value stands in."""
        if chunk in self.known and rest not in self.known:
            self.known[rest] = _bits(rest)


def text_of(chunks: Iterable[str], fixed: FixedHtml | None = None) -> str:
    """The plain text of an HTML mail; hidden elements are left out.

    Args:
        chunks: The HTML in any bits.
        fixed: Bits that are known already.
    """
    reader = _Reader(fixed or FixedHtml())
    for chunk in chunks:
        if "<" in chunk or reader.begun:
            reader.read(chunk)
        elif not reader.depth:
            reader.writer.text(chunk)
    return reader.end()
