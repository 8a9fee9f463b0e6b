"""Everything that was printed, served or stored, and a search for what should not be in it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import quote

import orjson


@dataclass(slots=True)
class Evidence:
    """Everything seen, by where it was seen."""

    found: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def leaks(self, *words: str) -> list[tuple[str, str]]:
        """Where which word shows, in any of the spellings in which it could."""
        return [
            (where, word)
            for where, content in self.found.items()
            for word in words
            if any(spelling in content for spelling in _spellings(word))
        ]


def _spellings(word: str) -> set[bytes]:
    raw = word.encode()
    return {
        raw,
        quote(word, safe="").encode(),
        base64.b64encode(raw),
        raw.hex().encode(),
        orjson.dumps(word)[1:-1],
    }
