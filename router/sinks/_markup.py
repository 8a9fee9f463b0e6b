"""The neutral markup of chat messages, in a dialect that is well formed whatever came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser

_SYNONYMS = {"strong": "b", "em": "i", "ins": "u", "strike": "s", "del": "s"}
_HIDDEN = frozenset({"script", "style", "head", "title"})
_BREAKS = frozenset({"br"})
_BLOCKS = frozenset({"p", "div", "li", "ul", "ol", "tr", "h1", "h2", "h3", "h4", "blockquote"})
_VERBATIM = frozenset({"code", "pre"})


@dataclass(frozen=True, slots=True)
class Rendered:
    """Markup in a provider's dialect, and its text as a reader sees it."""

    markup: str
    text: str


def render_html(html: str, tags: Mapping[str, str], schemes: frozenset[str]) -> Rendered:
    """Neutral markup in an HTML dialect.

    Unknown tags lose their marks and keep their text (blocks on lines of their own), what is left
    open is closed, a tag inside itself and marks inside ``code`` and ``pre`` are dropped, links
    keep ``href`` alone.

    Args:
        tags: The dialect: neutral tag to the provider's tag.
        schemes: Which URL schemes a link may have.
    """
    writer = _Writer(tags, schemes)
    writer.feed(html)
    writer.close()
    return writer.finish()


class _Writer(HTMLParser):
    def __init__(self, tags: Mapping[str, str], schemes: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self._tags = tags
        self._schemes = schemes
        self._out: list[str] = []
        self._text: list[str] = []
        self._open: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = _SYNONYMS.get(tag, tag)
        if name in _HIDDEN:
            self._hidden += 1
        elif name in _BREAKS:
            self._write("\n")
        elif self._is_block(name):
            self._new_line()
        elif self._may_open(name):
            mark = self._tags[name]
            if name == "a":
                href = dict(attrs).get("href") or ""
                if href.partition(":")[0].lower() not in self._schemes:
                    return
                self._out.append(f'<{mark} href="{escape(href)}">')
            else:
                self._out.append(f"<{mark}>")
            self._open.append(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BREAKS:
            self._write("\n")

    def handle_endtag(self, tag: str) -> None:
        name = _SYNONYMS.get(tag, tag)
        if name in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif self._is_block(name):
            self._new_line()
        elif name in self._open:
            while self._close() != name:
                pass

    def parse_html_declaration(self, i: int) -> int:
        """Passed over, whatever it is: the library's own reading of some of them fails."""
        return self.parse_bogus_comment(i)

    def handle_data(self, data: str) -> None:
        self._write(data)

    def finish(self) -> Rendered:
        while self._open:
            self._close()
        return Rendered("".join(self._out), "".join(self._text))

    def _is_block(self, name: str) -> bool:
        return name in _BLOCKS and name not in self._tags

    def _may_open(self, name: str) -> bool:
        return (
            name in self._tags
            and not self._hidden
            and name not in self._open
            and not (self._open and self._open[-1] in _VERBATIM)
        )

    def _close(self) -> str:
        name = self._open.pop()
        self._out.append(f"</{self._tags[name]}>")
        return name

    def _new_line(self) -> None:
        if self._text and not self._text[-1].endswith("\n"):
            self._write("\n")

    def _write(self, text: str) -> None:
        if self._hidden or not text:
            return
        self._out.append(escape(text, quote=False))
        self._text.append(text)
