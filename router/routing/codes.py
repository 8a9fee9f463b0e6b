"""Codes of the mistakes that a condition can have."""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "R120": "A path can't be read",
    "R121": "Unknown operator in a condition",
    "R122": "A condition, list or operand is empty",
    "R123": "An operand has the wrong type",
    "R124": "A regular expression or glob can't be used",
    "R125": "Not an address or a network",
    "R126": "A condition is not a mapping, or a combinator not a list of them",
    "R127": "An expression can't stand here",
    "R128": "A condition is nested too deeply",
}
"""Code to its one-line meaning."""
