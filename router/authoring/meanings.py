"""Every code of a problem with its meaning, from the rooms that give them."""

from __future__ import annotations

from collections.abc import Mapping

from router import ledger
from router.admin import codes as admin
from router.authoring import codes as lint
from router.config import codes as config
from router.routing import codes as routing
from router.templating import codes as templating

_OPENING: Mapping[str, str] = {
    "E302": "A change takes effect with a restart, not with a reload.",
    "E307": "A source's file can't be read.",
    "E308": "The group's offsets belong to another ledger.",
    "S101": "The `answers:` of an http sink can't be read.",
}
"""Of components that find out only when they are opened, and of reloads."""

TABLES: tuple[Mapping[str, str], ...] = (
    config.CODES,
    routing.CODES,
    templating.CODES,
    admin.CODES,
    ledger.CODES,
    lint.CODES,
    _OPENING,
)


def meanings() -> dict[str, str]:
    """Code to its one-line meaning."""
    return {code: text for table in TABLES for code, text in table.items()}
