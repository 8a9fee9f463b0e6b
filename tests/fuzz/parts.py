"""Several named parts in one input, so that one file of a corpus can hold a project or a record."""

from __future__ import annotations

import re
from collections.abc import Mapping

_MARK = re.compile(rb"^=== (.*)\n", re.MULTILINE)


def join(parts: Mapping[str, bytes]) -> bytes:
    """The parts one after another, each below ``=== NAME``."""
    return b"".join(
        b"=== " + name.encode() + b"\n" + (text if text.endswith(b"\n") else text + b"\n")
        for name, text in parts.items()
    )


def split(content: bytes) -> dict[str, bytes]:
    """What :func:`join` joined; whatever it is given, it gives some parts."""
    _, *found = _MARK.split(content)
    names, texts = found[::2], found[1::2]
    return {name.decode("utf-8", "replace"): text for name, text in zip(names, texts, strict=True)}
