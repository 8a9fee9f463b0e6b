"""What layouts and texts read, held against what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from router.problems import Position, Problems
from router.templating.names import GLOBALS
from router.templating.pieces import Piece, check_names
from router.templating.settings import Settings
from router.templating.texts import PluralText, check_uses, pieces_of
from router.templating.variables import Variable
from router.templating.view import BRAND, FIELDS, VIEW_NAMES
from router.templating.wording import Wording

_NAMES = frozenset({*VIEW_NAMES, BRAND, "locale", "unsubscribe_url", *GLOBALS})
_MONEY_FIELDS = ("minor", "currency")


@dataclass(frozen=True, slots=True)
class Uses:
    """What a template's words read.

    Attributes:
        names: Names that any part reads.
        texts: Keys of texts that are used.
        brand: Fields of ``brand``, each with the first place that reads it.
    """

    names: frozenset[str]
    texts: frozenset[str]
    brand: Mapping[str, Position]


def check_wording(wording: Wording, settings: Settings, problems: Problems) -> Uses:
    """Complains about every name and text that is read and does not exist."""
    texts = wording.texts
    from_layouts = list(dict.fromkeys(wording.layout_pieces()))
    from_texts = [p for file in texts.values() for t in file.texts.values() for p in pieces_of(t)]
    pieces = list(dict.fromkeys(from_layouts + from_texts))
    known = _NAMES | settings.variables.keys() | ({"t"} if texts else set())
    fields = {**FIELDS, **_money_fields(settings.variables)}
    arguments = _named_arguments(pieces)
    for piece in from_layouts:
        check_names(piece, known, fields, problems)
    for key, text in ((k, t) for file in texts.values() for k, t in file.texts.items()):
        extra = arguments.get(key, set()) | ({"n"} if isinstance(text, PluralText) else set())
        for piece in pieces_of(text):
            check_names(piece, known | extra, fields, problems)
    if default := texts.get(settings.locales.default):
        check_uses(from_layouts, default, default, problems)
        for file in texts.values():
            own = [piece for text in file.texts.values() for piece in pieces_of(text)]
            check_uses(own, file, default, problems)
    names = frozenset[str]().union(*(piece.names for piece in pieces))
    return Uses(names, frozenset(arguments), _brand_fields(pieces))


def _named_arguments(pieces: Iterable[Piece]) -> Mapping[str, set[str]]:
    """The texts that are used, each with the names it is given."""
    named: dict[str, set[str]] = {}
    for piece in pieces:
        for key, _, keywords, _ in piece.uses.texts:
            named.setdefault(key, set()).update(keywords)
    return named


def _brand_fields(pieces: Iterable[Piece]) -> Mapping[str, Position]:
    found: dict[str, Position] = {}
    for piece in pieces:
        for name, attribute, line in piece.uses.fields:
            if name == BRAND and BRAND in piece.names:
                at = piece.snippet.position(line, rf"\b{BRAND}\.{attribute}\b")
                found.setdefault(attribute, at)
    return found


def _money_fields(variables: Mapping[str, Variable]) -> Mapping[str, tuple[str, ...]]:
    return {name: _MONEY_FIELDS for name, v in variables.items() if v.type == "money"}
