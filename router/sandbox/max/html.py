"""``format: html``: the tags that MAX documents; all others are stripped.

What MAX makes of bad nesting is not documented. It is refused here, so that nobody relies on it.
Source: "HTML support" of the Bot API's schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser

from router.sandbox.max.markup import Formatted, MarkupError, Output, is_link

_TYPES = {
    "b": "strong",
    "strong": "strong",
    "i": "emphasized",
    "em": "emphasized",
    "s": "strikethrough",
    "del": "strikethrough",
    "u": "underline",
    "ins": "underline",
    "code": "monospaced",
    "pre": "monospaced",
    "mark": "highlighted",
    "h1": "heading",
    "a": "link",
}


@dataclass(frozen=True, slots=True)
class _Open:
    tag: str
    start: int
    url: str


def parse_html(source: str) -> Formatted:
    """The formatted text.

    Raises:
        MarkupError: a known tag is not closed, or not where it has to be.
    """
    parser = _Parser()
    parser.feed(source)
    parser.close()
    if parser.opened:
        raise MarkupError(f"tag {parser.opened[-1].tag} is not closed")
    return parser.output.formatted()


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.output = Output()
        self.opened: list[_Open] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _TYPES:
            url = dict(attrs).get("href") or ""
            self.opened.append(_Open(tag, self.output.units, url))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing is formatted, so nothing is kept."""

    def handle_endtag(self, tag: str) -> None:
        if tag not in _TYPES:
            return
        if not self.opened or self.opened[-1].tag != tag:
            raise MarkupError(f"tag {tag} is closed where it was not opened")
        opened = self.opened.pop()
        if tag != "a":
            self.output.close(_TYPES[tag], opened.start)
        elif is_link(opened.url):
            self.output.close("link", opened.start, opened.url)

    def handle_data(self, data: str) -> None:
        self.output.add(data)
