"""Which unquoted scalars are more than text."""

from __future__ import annotations

import re
from typing import TypeAlias

Plain: TypeAlias = str | int | float | bool | None

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,99})(\.\d{1,99}(?:[eE][+-]?\d{1,3})?)?", re.ASCII)
_NUMBER_STARTS = frozenset("-0123456789")


def read_plain(text: str) -> Plain:
    """The value of an unquoted scalar.

    Typed are ``true``, ``false``, ``null``, decimal integers without leading zeros, and decimal
    floats; everything else is text, so that ``on``, ``22:00``, ``010`` and ``+7999`` stay as
    written.
    """
    if text[:1] in _NUMBER_STARTS:
        match = _NUMBER.fullmatch(text)
        if match is None:
            return text
        return int(text) if match[1] is None else float(text)
    return _WORDS.get(text, text) if text in _WORDS else text


class Raw(str):
    """A scalar that still has to be resolved: it holds ``${NAME}``, ``$$`` or a tag.

    Attributes:
        tag: ``!env``, ``!file``, ``!secret``, ``!include`` (of a file that can't be read, and so
            stays unresolved), or empty.
        is_plain: It was written without quotes, so its text may be typed.
    """

    __slots__ = ("is_plain", "tag")

    tag: str
    is_plain: bool

    @classmethod
    def of(cls, text: str, tag: str, is_plain: bool) -> Raw:
        raw = cls(text)
        raw.tag = tag
        raw.is_plain = is_plain
        return raw
