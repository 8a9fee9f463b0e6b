"""The text part of a mail, made from its HTML: headings, lists, ``text (url)`` for links."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

_TOKEN = re.compile(
    r"<!--.*?-->|<!\[.*?\]>|<(?P<close>/?)(?P<tag>[A-Za-z][A-Za-z0-9:-]*)"
    r"(?P<attributes>(?:[^>\"']|\"[^\"]*\"|'[^']*')*)>|<[!?][^>]*>|[^<]+|<",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"([A-Za-z:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.DOTALL)
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_SPACES_AT_END = re.compile(r"[ \t]+\n")
_SKIPPED = frozenset({"head", "style", "script", "title", "template", "noscript"})
_VOID = frozenset({"br", "hr", "img", "meta", "link", "input", "col", "wbr", "area", "base"})
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "pre"})
_LINES = frozenset({"div", "tr", "table", "li", "section", "header", "footer", "article", "center"})


@dataclass(slots=True)
class _Writer:
    parts: list[str] = field(default_factory=list[str])
    lists: list[int] = field(default_factory=list[int])
    links: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    skipped: str | None = None
    skip_depth: int = 0
    preformatted: int = 0

    def token(self, match: re.Match[str]) -> None:
        tag = match["tag"]
        if tag is None:
            text = match[0]
            if not self.skip_depth and not text.startswith("<"):
                self.text(text)
            return
        name = tag.lower()
        if self.skip_depth:
            self._skip(name, match)
        elif match["close"]:
            self._close(name)
        elif self._is_hidden(name, match["attributes"]):
            if name not in _VOID and not match["attributes"].endswith("/"):
                self.skipped, self.skip_depth = name, 1
        else:
            self._open(name, match["attributes"])

    def text(self, raw: str) -> None:
        if self.preformatted:
            self.parts.append(unescape(raw))
            return
        words = _SPACES.sub(" ", unescape(raw))
        if words.startswith(" ") and (not self.parts or self.parts[-1].endswith((" ", "\n"))):
            words = words[1:]
        if words:
            self.parts.append(words)

    def _skip(self, name: str, match: re.Match[str]) -> None:
        if name == self.skipped and not match["attributes"].endswith("/"):
            self.skip_depth += -1 if match["close"] else 1

    def _is_hidden(self, name: str, attributes: str) -> bool:
        return name in _SKIPPED or ("style" in attributes and bool(_HIDDEN.search(attributes)))

    def _open(self, name: str, attributes: str) -> None:
        match name:
            case "br":
                self.parts.append("\n")
            case "hr":
                self.parts.append("\n---\n")
            case "img":
                self.text(_attribute(attributes, "alt"))
            case "a":
                self.links.append((unescape(_attribute(attributes, "href")), len(self.parts)))
            case "ul" | "ol":
                self._break(1 if self.lists else 2)
                self.lists.append(0 if name == "ol" else -1)
            case "li":
                self._break(1)
                self._bullet()
            case "td" | "th":
                self._space()
            case _:
                self._break(2 if name in _PARAGRAPHS else int(name in _LINES))
        self.preformatted += name == "pre"

    def _close(self, name: str) -> None:
        match name:
            case "a" if self.links:
                self._end_link(*self.links.pop())
            case "ul" | "ol":
                if self.lists:
                    self.lists.pop()
                self._break(1 if self.lists else 2)
            case _:
                self._break(2 if name in _PARAGRAPHS else int(name in _LINES))
        self.preformatted = max(0, self.preformatted - (name == "pre"))

    def _bullet(self) -> None:
        depth = max(0, len(self.lists) - 1)
        if self.lists and self.lists[-1] >= 0:
            self.lists[-1] += 1
            mark = f"{self.lists[-1]}. "
        else:
            mark = "- "
        self.parts.append("  " * depth + mark)

    def _end_link(self, url: str, start: int) -> None:
        words = "".join(self.parts[start:]).strip()
        bare = url.removeprefix("mailto:")
        if url and not url.startswith("#") and words not in {url, bare}:
            self.parts.append(f" ({bare})" if words else url)

    def _space(self) -> None:
        if self.parts and not self.parts[-1].endswith((" ", "\n")):
            self.parts.append(" ")

    def _break(self, lines: int) -> None:
        if not lines or not self.parts:
            return
        tail = self.parts[-1]
        if tail.startswith("\n") and not tail.strip("\n"):
            self.parts[-1] = "\n" * max(len(tail), lines)
        else:
            self.parts.append("\n" * lines)


def _attribute(attributes: str, wanted: str) -> str:
    for name, double, single, bare in _ATTRIBUTE.findall(attributes):
        if name.lower() == wanted:
            return double or single or bare
    return ""


def text_of(html: str) -> str:
    """The plain text of an HTML mail; hidden elements are left out."""
    writer = _Writer()
    for match in _TOKEN.finditer(html):
        writer.token(match)
    text = _SPACES_AT_END.sub("\n", "".join(writer.parts).replace("\xad", ""))
    return _BLANK_LINES.sub("\n\n", text).strip()
