"""``parse_mode: HTML`` as the Bot API server reads it: what it rejects is rejected.

Sources: "HTML style" of the Bot API documentation, and the parser's published error texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from router.sandbox.telegram.markup import (
    Formatted,
    MarkupError,
    Output,
    byte_offset,
    usable_url,
)

_SPACE = " \t\n\r\v\f"
_ENTITY = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(lt|gt|amp|quot));?")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_TYPES = {
    "a": "text_link",
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "u": "underline",
    "ins": "underline",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "tg-emoji": "custom_emoji",
    "pre": "pre",
    "code": "code",
    "blockquote": "blockquote",
}


@dataclass(frozen=True, slots=True)
class _Open:
    """A tag whose end has not come yet; ``start`` counts UTF-16 units of output."""

    tag: str
    start: int
    argument: str


def parse_html(source: str) -> Formatted:
    """The formatted text.

    Raises:
        MarkupError: an unknown tag, bad nesting, a broken attribute.
    """
    output, opened = Output(), list[_Open]()
    at = 0
    while at < len(source):
        char = source[at]
        if char == "&" and (match := _ENTITY.match(source, at)):
            output.add(_decode(match))
            at = match.end()
        elif char != "<":
            output.add(char)
            at += 1
        elif source.startswith("</", at):
            at = _end_tag(source, at, opened, output)
        else:
            at = _start_tag(source, at, opened, output)
    if opened:
        raise MarkupError(f'Can\'t find end tag corresponding to start tag "{opened[-1].tag}"')
    return output.formatted()


def _decode(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name:
        return _NAMED[name]
    code = int(decimal) if decimal else int(hexadecimal, 16)
    is_character = 0 < code < 0x10FFFF and not 0xD800 <= code < 0xE000
    return chr(code) if is_character else match[0]


def _start_tag(source: str, begin: int, opened: list[_Open], output: Output) -> int:
    byte = byte_offset(source, begin)
    at = _scan(source, begin + 1, _SPACE + ">")
    if at == len(source):
        raise MarkupError(f"Unclosed start tag at byte offset {byte}")
    tag = source[begin + 1 : at].lower()
    if tag not in _TYPES:
        raise MarkupError(f'Unsupported start tag "{tag}" at byte offset {byte}')
    argument = ""
    while True:
        at = _skip_space(source, at)
        if at >= len(source):
            raise MarkupError(f'Unclosed start tag "{tag}" at byte offset {byte}')
        if source[at] == ">":
            break
        name, value, at = _attribute(source, at, tag, byte)
        argument = _argument(tag, name, value) or argument
    if tag == "span" and argument != "spoiler":
        raise MarkupError(f'Tag "span" must have class "tg-spoiler" at byte offset {byte}')
    opened.append(_Open(tag, output.units, argument))
    return at + 1


def _attribute(source: str, begin: int, tag: str, byte: int) -> tuple[str, str, int]:
    """Name, value, and where the attribute ends."""
    at = _scan(source, begin, _SPACE + "=>/\"'")
    name = source[begin:at].lower()
    if not name:
        raise MarkupError(f'Empty attribute name in the tag "{tag}" at byte offset {byte}')
    at = _skip_space(source, at)
    if at < len(source) and source[at] != "=":
        return name, "", at
    at = _skip_space(source, at + 1)
    if at >= len(source):
        raise MarkupError(f'Unclosed start tag "{tag}" at byte offset {byte}')
    if source[at] in "\"'":
        end = _scan(source, at + 1, source[at])
        return name, _ENTITY.sub(_decode, source[at + 1 : end]), end + 1
    end = at
    while end < len(source) and (source[end].isalnum() or source[end] in ".-"):
        end += 1
    if end < len(source) and source[end] not in _SPACE + ">":
        raise MarkupError(f"Unexpected end of name token at byte offset {byte_offset(source, at)}")
    return name, source[at:end].lower(), end


def _argument(tag: str, name: str, value: str) -> str:
    match tag, name:
        case ("a", "href") | ("tg-emoji", "emoji-id"):
            return value
        case "span", "class":
            return value.removeprefix("tg-") if value.startswith("tg-") else ""
        case _:
            return ""


def _end_tag(source: str, begin: int, opened: list[_Open], output: Output) -> int:
    byte = byte_offset(source, begin)
    if not opened:
        raise MarkupError(f"Unexpected end tag at byte offset {byte}")
    at = _scan(source, begin + 2, _SPACE + ">")
    name = source[begin + 2 : at].lower()
    at = _skip_space(source, at)
    if at == len(source) or source[at] != ">":
        raise MarkupError(f"Unclosed end tag at byte offset {byte}")
    entity = opened.pop()
    if name and name != entity.tag:
        raise MarkupError(
            f'Unmatched end tag at byte offset {byte}, expected "</{entity.tag}>",'
            f' found "</{name}>"'
        )
    if entity.tag != "a":
        output.close(_TYPES[entity.tag], entity.start)
    elif url := usable_url(entity.argument):
        output.close("text_link", entity.start, url)
    return at + 1


def _scan(source: str, at: int, stop: str) -> int:
    while at < len(source) and source[at] not in stop:
        at += 1
    return at


def _skip_space(source: str, at: int) -> int:
    while at < len(source) and source[at] in _SPACE:
        at += 1
    return at
