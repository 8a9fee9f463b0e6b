"""Locale tags, time zones, and which locale a recipient gets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel import Locale
from babel.core import UnknownLocaleError

_COUNTS = range(201)


@dataclass(frozen=True, slots=True)
class Locales:
    """A template's ``locales:``.

    Attributes:
        required: Must be complete.
        default: For recipients without a locale, and for those no other rule serves.
        fallback: Locale or language to the locale it borrows from.
    """

    required: tuple[str, ...] = ("en",)
    default: str = "en"
    fallback: Mapping[str, str] = field(default_factory=dict[str, str])

    def chain(self, tag: str) -> list[str]:
        """Tags to try for a tag, nearest first: itself, its language, what it borrows from."""
        tried: list[str] = []
        queue = [tag, language_of(tag)]
        while queue:
            step = queue.pop(0)
            if step in tried:
                continue
            tried.append(step)
            borrowed = self.fallback.get(step)
            if borrowed:
                queue += [borrowed, language_of(borrowed)]
        return tried if self.default in tried else [*tried, self.default]


@dataclass(frozen=True, slots=True)
class FoundLocale:
    """The locale a recipient gets.

    Attributes:
        locale: The tag whose words are used.
        is_borrowed: Not the recipient's own language.
    """

    locale: str
    is_borrowed: bool


def normalized(tag: str) -> str:
    """``pt_br`` and ``PT-BR`` as ``pt-BR``."""
    language, *rest = tag.replace("_", "-").split("-")
    parts = [p.upper() if len(p) == 2 else p.title() if len(p) == 4 else p for p in rest]
    return "-".join([language.lower(), *parts])


def language_of(tag: str) -> str:
    return tag.partition("-")[0]


def find(tag: str | None, available: Collection[str], locales: Locales) -> FoundLocale:
    """The first available of the tag's chain; the default where the tag is None or unknown."""
    if not tag:
        return FoundLocale(locales.default, is_borrowed=False)
    wanted = normalized(tag)
    for candidate in locales.chain(wanted):
        if candidate in available:
            return FoundLocale(candidate, language_of(candidate) != language_of(wanted))
    return FoundLocale(locales.default, language_of(locales.default) != language_of(wanted))


@lru_cache(maxsize=256)
def cldr_locale(tag: str) -> Locale:
    """The CLDR data of a tag.

    Raises:
        ValueError: there is none.
    """
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError, TypeError):
        raise ValueError(f'"{tag}" is not a locale; write a tag as ru, en or pt-BR') from None


@lru_cache(maxsize=1024)
def time_zone(name: str | None) -> tzinfo:
    """The zone of that IANA name; UTC where it is unknown."""
    try:
        return ZoneInfo(name) if name else UTC
    except (OSError, ValueError, LookupError):
        return UTC


@lru_cache(maxsize=256)
def needed_plural_forms(tag: str) -> tuple[str, ...]:
    """The CLDR plural categories that whole numbers to 200 have in a language, as CLDR orders."""
    rule = cldr_locale(tag).plural_form
    used = {rule(n) for n in _COUNTS}
    return tuple(form for form in PLURAL_FORMS if form in used)


PLURAL_FORMS = ("zero", "one", "two", "few", "many", "other")
