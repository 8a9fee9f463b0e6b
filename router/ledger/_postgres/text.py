"""Text that PostgreSQL can't hold as it is: it has no NUL and no lone surrogates."""

from __future__ import annotations

import re

_UNFIT = re.compile("[\x00\x1b\ud800-\udfff]")
_ESCAPED = re.compile("\x1b([0-9a-f]{4})")


def to_store(text: str) -> str:
    """The text with what can't be stored escaped (by ESC and four digits)."""
    if text.isprintable():
        return text
    return _UNFIT.sub(lambda found: f"\x1b{ord(found[0]):04x}", text)


def optional_to_store(text: str | None) -> str | None:
    return None if text is None else to_store(text)


def from_store(text: str) -> str:
    """What :func:`to_store` was given."""
    if "\x1b" not in text:
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def optional_from_store(text: str | None) -> str | None:
    return None if text is None else from_store(text)
