"""Messages that are longer than their channel allows: cut, or split into several.

What comes out is as well formed as what came in: no entity, character or joined emoji is cut in
two, elements that a cut goes through are closed before it and opened again after it, and none is
left without content.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Final, Literal

from router.templating.markup import TAG, utf16_units

Overflow = Literal["error", "truncate", "split"]

ELLIPSIS: Final = "…"
# What ``html.unescape`` looks at, be it an entity or not.
_ENTITY = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")
_JOINER = "\u200d"
_EXTENDS = frozenset({"\u200c", _JOINER, "\u20e3", *map(chr, range(0xFE00, 0xFE10))})
_UNBROKEN = frozenset({"\u00a0", "\u202f"})
_SENTENCE_ENDS = frozenset(".!?…。")


@dataclass(frozen=True, slots=True)
class _Token:
    """A tag, or as much text as must stay together.

    Attributes:
        raw: As written.
        opens, closes: The tag's name.
        size: What the text counts for.
    """

    raw: str
    opens: str = ""
    closes: str = ""
    shown: str = ""
    size: int = 0

    @property
    def is_text(self) -> bool:
        return not self.opens and not self.closes

    @property
    def is_space(self) -> bool:
        return self.is_text and self.shown.isspace()


# Text ------------------------------------------------------------------------------------------


def cut_text(text: str, limit: int) -> str:
    """A plain text of at most ``limit`` characters, with an ellipsis where it was cut."""
    if len(text) <= limit:
        return text
    groups = _grouped([(char, char) for char in text], limit)
    texts = ("".join(piece[0] for piece in group) for group in groups)
    return _cut([_Token(one, shown=one, size=len(one)) for one in texts], limit)


def cut_markup(html: str, limit: int) -> str:
    """Neutral markup that shows at most ``limit`` UTF-16 units."""
    tokens = list(_tokens(html, limit))
    if sum(token.size for token in tokens) <= limit:
        return html
    return _cut(tokens, limit)


def split_markup(html: str, limit: int) -> list[str]:
    """Neutral markup as parts that show at most ``limit`` UTF-16 units each.

    Parts end with a paragraph, a line, a sentence or a word where there is one past their first
    third; the white space between two parts is left out.
    """
    tokens = list(_tokens(html, limit))
    parts: list[str] = []
    opened: list[_Token] = []
    start = 0
    while True:
        start = _skip_ended(tokens, start, opened)
        end = _fitting(tokens, start, limit)
        if end < len(tokens):
            end = _natural_end(tokens, start, end, _ENDS)
        part = _written(tokens[start:end], opened)
        if part:
            parts.append(part)
        if end == len(tokens):
            return parts
        _follow(tokens[start:end], opened)
        start = _skip_space(tokens, end, opened)


# Tokens ----------------------------------------------------------------------------------------


def _tokens(html: str, limit: int) -> Iterator[_Token]:
    end = 0
    for tag in TAG.finditer(html):
        if tag[2] is None:
            continue
        yield from _text_tokens(html[end : tag.start()], limit)
        end = tag.end()
        yield _Token(tag[0], closes=tag[2]) if tag[1] else _Token(tag[0], opens=tag[2])
    yield from _text_tokens(html[end:], limit)


def _text_tokens(raw: str, limit: int) -> Iterator[_Token]:
    pieces: list[tuple[str, str]] = []
    end = 0
    for entity in _ENTITY.finditer(raw):
        shown = unescape(entity[0])
        if shown == entity[0]:
            continue
        pieces += [(char, char) for char in raw[end : entity.start()]]
        pieces.append((entity[0], shown))
        end = entity.end()
    pieces += [(char, char) for char in raw[end:]]
    for group in _grouped(pieces, limit):
        shown = "".join(piece[1] for piece in group)
        written = "".join(piece[0] for piece in group)
        yield _Token(written, shown=shown, size=utf16_units(shown))


def _grouped(pieces: Sequence[tuple[str, str]], most: int) -> Iterator[list[tuple[str, str]]]:
    """Pieces (as written, as shown) that a reader sees as one character, together.

    None counts for more than ``most`` units, unless a piece does by itself.
    """
    group: list[tuple[str, str]] = []
    size = 0
    for piece in pieces:
        size += utf16_units(piece[1])
        if group and (size > most or not _belongs(group, piece[1])):
            yield group
            group, size = [], utf16_units(piece[1])
        group.append(piece)
    if group:
        yield group


def _belongs(group: Sequence[tuple[str, str]], shown: str) -> bool:
    """Whether a piece continues the character before it.

    A plain approximation of UAX #29: marks, variation selectors, skin tones, what zero-width
    joiners join, pairs of regional indicators, and CR LF.
    """
    first, before = shown[:1], "".join(piece[1] for piece in group)
    if not first or not before:
        return False
    if first in _EXTENDS or "\U0001f3fb" <= first <= "\U0001f3ff" or unicodedata.combining(first):
        return not before.isspace()
    if "\U0001f1e6" <= first <= "\U0001f1ff":
        return len(before) == 1 and "\U0001f1e6" <= before <= "\U0001f1ff"
    return before[-1] == _JOINER or (before, first) == ("\r", "\n")


# Ends ------------------------------------------------------------------------------------------

_End = Literal["paragraph", "line", "sentence", "word"]
_ENDS: tuple[_End, ...] = ("paragraph", "line", "sentence", "word")


def _fitting(tokens: Sequence[_Token], start: int, limit: int) -> int:
    """The end of as many tokens as fit; at least one text, whatever its size."""
    used, seen = 0, False
    for index in range(start, len(tokens)):
        used += tokens[index].size
        if used > limit and seen:
            return index
        seen = seen or tokens[index].is_text
    return len(tokens)


def _natural_end(tokens: Sequence[_Token], start: int, end: int, ends: Sequence[_End]) -> int:
    """The last end of the best kind past the first third; the given end where there is none."""
    texts = [index for index in range(start, end + 1) if tokens[index].is_text]
    later = texts[len(texts) // 3 :]
    for kind in ends:
        for place in range(len(later) - 1, 0, -1):
            if _ends(kind, tokens, later[place - 1], later[place]):
                return later[place]
    return end


def _ends(kind: _End, tokens: Sequence[_Token], before: int, at: int) -> bool:
    """Whether a paragraph, line … ends before the text at an index."""
    left, right = tokens[before].shown, tokens[at].shown
    match kind:
        case "paragraph":
            return left.endswith("\n") and right.startswith("\n")
        case "line":
            return right.startswith(("\n", "\r"))
        case "sentence":
            return right.isspace() and left[-1:] in _SENTENCE_ENDS
        case "word":
            return right.isspace() and right not in _UNBROKEN


# Writing ---------------------------------------------------------------------------------------


def _cut(tokens: Sequence[_Token], limit: int) -> str:
    end = _fitting(tokens, 0, limit - len(ELLIPSIS))
    if sum(token.size for token in tokens[:end]) > limit - len(ELLIPSIS):
        return ELLIPSIS
    end = _natural_end(tokens, 0, end, ("word",)) if end < len(tokens) else end
    return _written(tokens[:end], [], ELLIPSIS) or ELLIPSIS


def _written(tokens: Sequence[_Token], opened: Sequence[_Token], mark: str = "") -> str:
    """Tokens inside of what was opened before, without white space and empty elements at their
    end, and with everything closed.

    Args:
        mark: Written after the last text.
    """
    texts = [i for i, token in enumerate(tokens) if token.is_text and not token.is_space]
    if not texts:
        return ""
    last = texts[-1] + 1
    stack = list(opened)
    _follow(tokens[:last], stack)
    written = "".join(token.raw for token in (*opened, *tokens[:last])) + mark
    return written + "".join(f"</{token.opens}>" for token in reversed(stack))


def _follow(tokens: Sequence[_Token], stack: list[_Token]) -> None:
    """What is open after the tokens."""
    for token in tokens:
        if token.opens:
            stack.append(token)
        elif token.closes:
            stack.pop()


def _skip_ended(tokens: Sequence[_Token], start: int, opened: list[_Token]) -> int:
    """Past tags before the next text: what only ends there is not opened again."""
    while start < len(tokens) and not tokens[start].is_text:
        _follow(tokens[start : start + 1], opened)
        start += 1
    return start


def _skip_space(tokens: Sequence[_Token], start: int, opened: list[_Token]) -> int:
    """Past the white space at a cut; of a line that starts there, the indentation stays."""
    end, after_line = start, None
    while end < len(tokens) and (tokens[end].is_space or not tokens[end].is_text):
        if "\n" in tokens[end].shown:
            after_line = end + 1
        end += 1
    if after_line is not None and end < len(tokens):
        end = after_line
    _follow(tokens[start:end], opened)
    return end
