"""``texts/<locale>.txt``: the words of a template in each language, read as ``t``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from babel import Locale

from router.problems import Position, Problems, did_you_mean, nearest
from router.templating.bounded import kind
from router.templating.codes import RenderError
from router.templating.environment import BUILT_IN, Environments
from router.templating.filters import plural_category
from router.templating.locales import PLURAL_FORMS, Locales, cldr_locale, needed_plural_forms
from router.templating.names import TemplateFunction, TemplateNames
from router.templating.pieces import Piece, compile_text
from router.templating.rendering import Rendering
from router.templating.snippets import Field


@dataclass(frozen=True, slots=True)
class PlainText(TemplateFunction):
    """A text without plural forms: ``t.subject``, or ``t.hello(name=…)`` with names of its own."""

    piece: Piece

    def invoke(self, rendering: Rendering, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        if args:
            raise RenderError("T126", "a text without plural forms takes no count")
        return self.piece.render(rendering, kwargs)


@dataclass(frozen=True, slots=True)
class PluralText(TemplateFunction):
    """A text with plural forms: ``t.comments(count)``; the count is ``n`` in it.

    Attributes:
        language: Whose plural rule its forms follow, also where another locale borrows it.
    """

    language: Locale
    forms: Mapping[str, Piece]

    def invoke(self, rendering: Rendering, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        if len(args) != 1:
            raise RenderError("T126", "a text with plural forms takes one count")
        count = args[0]
        if not isinstance(count, int | float) or isinstance(count, bool):
            raise RenderError("T126", f"a count is a number, not {kind(count)}")
        category = plural_category(self.language, count)
        piece = self.forms.get(category) or self.forms.get("other") or self.forms.get("many")
        if piece is None:
            raise RenderError("T131", f'the text has no plural form "{category}"')
        return piece.render(rendering, {"n": count, **kwargs})


Text = PlainText | PluralText


def pieces_of(text: Text) -> Sequence[Piece]:
    """Every piece the text is made of."""
    return list(text.forms.values()) if isinstance(text, PluralText) else [text.piece]


@dataclass(frozen=True, slots=True)
class Catalogue(TemplateNames):
    """``t`` for one locale.

    Attributes:
        borrowed: Keys whose words come from another locale's file.
    """

    texts: Mapping[str, Text]
    borrowed: frozenset[str] = frozenset()

    def find(self, name: str) -> TemplateFunction | None:
        return self.texts.get(name)

    def names(self) -> list[str]:
        return list(self.texts)


@dataclass(frozen=True, slots=True)
class TextFile:
    """One locale's file, compiled."""

    locale: str
    start: Position
    texts: Mapping[str, Text]
    key_at: Mapping[str, Position]

    def over(self, other: TextFile | None) -> TextFile:
        """It with the other's texts where it has none."""
        if other is None:
            return self
        texts, key_at = {**other.texts, **self.texts}, {**other.key_at, **self.key_at}
        return replace(self, texts=texts, key_at=key_at)


def compile_file(
    locale: str,
    start: Position,
    fields: Mapping[str, Field],
    problems: Problems,
    environments: Environments = BUILT_IN,
) -> TextFile:
    """Compiles a file's texts and demands the plural forms of its language."""
    plain: dict[str, Text] = {}
    forms: dict[str, dict[str, Piece]] = {}
    key_at: dict[str, Position] = {}
    for field in fields.values():
        key, _, form = field.key.partition(".")
        if form and form not in PLURAL_FORMS:
            problems.error(
                "T110",
                f'"{form}" is no plural form; forms are {", ".join(PLURAL_FORMS)}',
                field.key_at,
            )
            continue
        piece = compile_text(field.snippet, problems, None, environments)
        if (key in plain) if form else (key in forms):
            problems.error("T111", f'"{key}" stands both with and without forms', field.key_at)
        key_at.setdefault(key, field.key_at)
        if piece and form:
            forms.setdefault(key, {})[form] = piece
        elif piece:
            plain[key] = PlainText(piece)
    for key, given in forms.items():
        _check_forms(locale, key, given, key_at[key], problems)
        plain.setdefault(key, PluralText(cldr_locale(locale), given))
    return TextFile(locale, start, plain, key_at)


def _check_forms(
    locale: str, key: str, given: Mapping[str, Piece], at: Position, problems: Problems
) -> None:
    needed = needed_plural_forms(locale)
    lacking = [form for form in needed if form not in given]
    if lacking:
        keys = ", ".join(f"{key}.{form}" for form in lacking)
        problems.error("T131", f'{keys} missing: "{locale}" has the forms {", ".join(needed)}', at)


def check_files(
    files: Mapping[str, TextFile],
    locales: Locales,
    required_at: Mapping[str, Position],
    problems: Problems,
) -> None:
    """Every required locale has every text of the default, and of the same kind."""
    if not files:
        return
    default = files.get(locales.default)
    for locale in dict.fromkeys((*locales.required, locales.default)):
        if locale not in files:
            problems.error(
                "T130",
                f"locale {locale} has no texts: texts/{locale}.txt is missing",
                required_at.get(locale),
            )
    if default is None:
        return
    for file in files.values():
        if file is not default:
            _compare(file, default, file.locale in locales.required, problems)


def _compare(file: TextFile, default: TextFile, is_required: bool, problems: Problems) -> None:
    for key, text in default.texts.items():
        there = default.key_at[key]
        if key not in file.texts:
            if is_required and key not in file.key_at:
                problems.error(
                    "T130",
                    f'text "{key}" is missing in locale {file.locale}',
                    file.start,
                    related=((there, f"locale {default.locale} has it"),),
                )
        elif type(file.texts[key]) is not type(text):
            problems.error(
                "T126",
                f'text "{key}" has plural forms in one of {file.locale} and {default.locale} only',
                file.key_at[key],
                related=((there, f"in locale {default.locale}"),),
            )


def check_uses(
    pieces: Iterable[Piece], file: TextFile, default: TextFile, problems: Problems
) -> None:
    """The texts that pieces read exist in a file or the default one, and are read rightly."""
    texts = {**default.texts, **file.texts}
    keys = [*dict.fromkeys((*default.key_at, *file.key_at))]
    for piece in pieces:
        for key, count, _, line in piece.uses.texts:
            at = piece.snippet.position(line, rf"\bt\.{key}\b")
            text = texts.get(key)
            if key not in keys:
                guess = did_you_mean(key, keys, "Texts")
                message = f'no text "{key}" in locale {file.locale}.{guess}'
                problems.error("T125", message, at)
            elif isinstance(text, PluralText) and count != 1:
                message = f'text "{key}" has plural forms; write t.{key}(count)'
                problems.error("T126", message, at)
            elif isinstance(text, PlainText) and count:
                message = f'text "{key}" has no plural forms; write t.{key}'
                problems.error("T126", message, at)


def warn_unused(
    file: TextFile, default: TextFile, used: Collection[str], problems: Problems
) -> None:
    """A text nothing uses: left over, or its key is misspelt."""
    for key, at in file.key_at.items():
        if key in used or (key in default.key_at and file is not default):
            continue
        guess = nearest(key, default.key_at) if file is not default else None
        hint = f' Did you mean "{guess}"?' if guess else ""
        problems.warn("T132", f'nothing uses the text "{key}".{hint}', at)


def catalogues(files: Mapping[str, TextFile], locales: Locales) -> Mapping[str, Catalogue]:
    """``t`` for each locale that has a file, gaps filled along its fallbacks."""
    made: dict[str, Catalogue] = {}
    for locale in files:
        texts: dict[str, Text] = {}
        for step in reversed(locales.chain(locale)):
            if step in files:
                texts.update(files[step].texts)
        borrowed = frozenset(texts) - frozenset(files[locale].texts)
        made[locale] = Catalogue(texts, borrowed)
    return made
