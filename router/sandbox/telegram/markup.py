"""Formatted text as Telegram keeps it: plain text and entities counted in UTF-16 units."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html import escape

_HTML = {
    "bold": ("<b>", "</b>"),
    "italic": ("<i>", "</i>"),
    "underline": ("<u>", "</u>"),
    "strikethrough": ("<s>", "</s>"),
    "code": ("<code>", "</code>"),
    "pre": ("<pre>", "</pre>"),
    "blockquote": ("<blockquote>", "</blockquote>"),
    "spoiler": ("<span class='spoiler'>", "</span>"),
}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WEB = re.compile(r"(?i:https?|ftp|tonsite)://([^\s/?#]+)([/?#]\S*)?")
_TG = re.compile(r"tg://[\w?=&./-]+")


class MarkupError(ValueError):
    """Telegram would answer 400; the text is what stands behind ``can't parse entities:``."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A formatted stretch; ``offset`` and ``length`` in UTF-16 units."""

    type: str
    offset: int
    length: int
    url: str | None = None

    @property
    def end(self) -> int:
        return self.offset + self.length

    def as_dict(self) -> dict[str, str | int]:
        """Its form in an answer."""
        fields: dict[str, str | int] = {
            "type": self.type,
            "offset": self.offset,
            "length": self.length,
        }
        return fields if self.url is None else fields | {"url": self.url}


@dataclass(frozen=True, slots=True)
class Formatted:
    """Text as the person sees it."""

    text: str
    entities: tuple[Entity, ...] = ()

    @property
    def length(self) -> int:
        """In UTF-16 units, as Telegram counts."""
        return utf16_length(self.text)

    def trimmed(self) -> Formatted:
        """Without white space around it, as it is stored."""
        text = self.text.rstrip()
        skipped = utf16_length(text) - utf16_length(text.lstrip())
        end = utf16_length(text)
        kept: list[Entity] = []
        for entity in self.entities:
            start, stop = max(entity.offset, skipped), min(entity.end, end)
            if start < stop:
                kept.append(replace(entity, offset=start - skipped, length=stop - start))
        return Formatted(text.lstrip(), tuple(kept))

    def as_html(self) -> str:
        """Safe HTML: the text escaped, the entities as a handful of tags."""
        units = self.text.encode("utf-16-le")
        marks: list[tuple[int, int, int, str]] = []
        for number, entity in enumerate(self.entities):
            opening, closing = _tags(entity)
            marks.append((entity.offset, 1, number, opening))
            marks.append((entity.end, 0, -number, closing))
        pieces: list[str] = []
        done = 0
        for at, _, _, tag in sorted(marks):
            pieces += [escape(units[2 * done : 2 * at].decode("utf-16-le")), tag]
            done = at
        pieces.append(escape(units[2 * done :].decode("utf-16-le")))
        return "".join(pieces)


def _tags(entity: Entity) -> tuple[str, str]:
    if entity.url is not None:
        return f'<a href="{escape(entity.url)}" rel="noreferrer noopener">', "</a>"
    return _HTML.get(entity.type, ("", ""))


def utf16_length(text: str) -> int:
    """How many UTF-16 units the text takes."""
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)


def byte_offset(source: str, at: int) -> int:
    """Where a character stands, in UTF-8 bytes, as Telegram's errors count."""
    return len(source[:at].encode())


def usable_url(text: str) -> str | None:
    """The link Telegram makes of an address; None where it shows mere text."""
    if _TG.fullmatch(text):
        return text
    url = text if _SCHEME.match(text) else f"http://{text}"
    match = _WEB.fullmatch(url)
    host = match[1].rpartition("@")[2].partition(":")[0] if match else ""
    return url if "." in host.strip(".") else None


@dataclass(slots=True)
class Output:
    """Text and entities in the making."""

    parts: list[str] = field(default_factory=list[str])
    units: int = 0
    entities: list[Entity] = field(default_factory=list[Entity])

    def add(self, text: str) -> None:
        self.parts.append(text)
        self.units += utf16_length(text)

    def close(self, kind: str, start: int, url: str | None = None) -> None:
        """Ends an entity that began at ``start``; an empty one vanishes."""
        if self.units > start:
            self.entities.append(Entity(kind, start, self.units - start, url))

    def formatted(self) -> Formatted:
        order = sorted(self.entities, key=lambda entity: (entity.offset, -entity.length))
        return Formatted("".join(self.parts), tuple(order))
