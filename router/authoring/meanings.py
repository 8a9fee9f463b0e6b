"""Every code of a problem with its meaning, from the rooms that give them."""

from __future__ import annotations

from collections.abc import Mapping

from router.admin import codes as admin
from router.authoring import codes as lint
from router.config import codes as config
from router.routing import codes as routing
from router.templating import codes as templating

_OPENING: Mapping[str, str] = {
    "E302": "A source's file can't be read, or another process has the ledger's.",
    "E303": "The ledger was written by a newer router.",
    "E304": "The ledger can't be used as it is.",
    "S101": "The `answers:` of an http sink can't be read.",
}
"""Of components that find out only when they are opened or linked."""

TABLES: tuple[Mapping[str, str], ...] = (
    config.CODES,
    routing.CODES,
    templating.CODES,
    admin.CODES,
    lint.CODES,
    _OPENING,
)


def meanings() -> dict[str, str]:
    """Code to its one-line meaning."""
    return {code: text for table in TABLES for code, text in table.items()}
