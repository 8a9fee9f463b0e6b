"""``parse_mode: MarkdownV2`` as the Bot API server reads it: what it rejects is rejected.

Sources: "MarkdownV2 style" of the Bot API documentation, and the parser's published error texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from router.sandbox.telegram.markup import (
    Formatted,
    MarkupError,
    Output,
    byte_offset,
    usable_url,
)

_RESERVED = "_*[]()~`>#+-=|{}.!"
_NAMES = {
    "bold": "Bold",
    "italic": "Italic",
    "underline": "Underline",
    "strikethrough": "Strikethrough",
    "spoiler": "Spoiler",
    "code": "Code",
    "pre": "Pre",
    "text_link": "TextUrl",
    "custom_emoji": "CustomEmoji",
}
_MARKERS = (
    ("```", "pre"),
    ("`", "code"),
    ("__", "underline"),
    ("_", "italic"),
    ("||", "spoiler"),
    ("*", "bold"),
    ("~", "strikethrough"),
    ("![", "custom_emoji"),
    ("[", "text_link"),
)
_CLOSERS = {kind: marker for marker, kind in _MARKERS} | {"text_link": "]", "custom_emoji": "]"}


@dataclass(frozen=True, slots=True)
class _Open:
    """An entity whose end has not come yet; ``start`` counts UTF-16 units of output."""

    kind: str
    start: int
    byte: int


@dataclass(slots=True)
class _Parser:
    source: str
    output: Output = field(default_factory=Output)
    opened: list[_Open] = field(default_factory=list[_Open])
    quote_start: int | None = None
    at_line_start: bool = True

    def parse(self) -> Formatted:
        at = 0
        while at < len(self.source):
            at = self._step(at)
        if self.opened:
            last = self.opened[-1]
            raise MarkupError(
                f"Can't find end of {_NAMES[last.kind]} entity at byte offset {last.byte}"
            )
        self._end_quote()
        return self.output.formatted()

    def _step(self, at: int) -> int:
        source, char = self.source, self.source[at]
        if char == "\\" and at + 1 < len(source) and 0 < ord(source[at + 1]) <= 126:
            return self._text(source[at + 1], at + 2)
        inside = self.opened[-1].kind if self.opened else ""
        if inside in ("code", "pre"):
            if source.startswith(_CLOSERS[inside], at):
                return self._close(at)
            return self._text(char, at + 1)
        if char == "\n":
            return self._newline(at)
        if char not in _RESERVED:
            return self._text(char, at + 1)
        if inside and self._closes(inside, at):
            return self._close(at)
        return self._open(at)

    def _text(self, text: str, after: int) -> int:
        self.output.add(text)
        self.at_line_start = False
        return after

    def _newline(self, at: int) -> int:
        if self.quote_start is not None and not self.source.startswith(">", at + 1):
            self._end_quote()
        self.output.add("\n")
        self.at_line_start = True
        if self.quote_start is not None:
            self.at_line_start = False
            return at + 2
        return at + 1

    def _end_quote(self) -> None:
        if self.quote_start is not None:
            self.output.close("blockquote", self.quote_start)
            self.quote_start = None

    def _closes(self, inside: str, at: int) -> bool:
        closer = _CLOSERS[inside]
        if inside == "italic":  # two underscores are always an underline's
            return self.source[at] == "_" and not self.source.startswith("__", at)
        return self.source.startswith(closer, at)

    def _open(self, at: int) -> int:
        source = self.source
        if source[at] == ">" and self.at_line_start and self.quote_start is None:
            self.quote_start = self.output.units
            self.at_line_start = False
            return at + 1
        for marker, kind in _MARKERS:
            if source.startswith(marker, at):
                self.opened.append(_Open(kind, self.output.units, byte_offset(source, at)))
                self.at_line_start = False
                after = at + len(marker)
                return self._after_fence(after) if kind == "pre" else after
        raise MarkupError(
            f"Character '{source[at]}' is reserved and must be escaped with the preceding '\\'"
        )

    def _after_fence(self, at: int) -> int:
        """Behind a language name and one line end."""
        source, end = self.source, at
        while end < len(source) and not source[end].isspace() and source[end] != "`":
            end += 1
        if end < len(source) and source[end] != "`":
            at = end
        if source.startswith("\r\n", at):
            return at + 2
        return at + 1 if source[at : at + 1] in ("\n", "\r") else at

    def _close(self, at: int) -> int:
        entity = self.opened.pop()
        after = at + len(_CLOSERS[entity.kind])
        self.at_line_start = False
        if entity.kind not in ("text_link", "custom_emoji"):
            self.output.close(entity.kind, entity.start)
            return after
        if not self.source.startswith("(", after):
            if entity.kind == "custom_emoji":
                raise MarkupError("Custom emoji entity must contain a tg://emoji URL")
            return after
        address, after = self._address(after + 1)
        if url := usable_url(address):
            self.output.close(entity.kind, entity.start, url)
        return after

    def _address(self, begin: int) -> tuple[str, int]:
        source, at, address = self.source, begin, ""
        while at < len(source) and source[at] != ")":
            if source[at] == "\\" and at + 1 < len(source) and 0 < ord(source[at + 1]) <= 126:
                at += 1
            address += source[at]
            at += 1
        if at == len(source):
            where = byte_offset(source, begin)
            raise MarkupError(f"Can't find end of a URL at byte offset {where}")
        return address, at + 1


def parse_markdown_v2(source: str) -> Formatted:
    """The formatted text.

    Raises:
        MarkupError: a reserved character without its backslash, an entity without an end.
    """
    return _Parser(source).parse()
