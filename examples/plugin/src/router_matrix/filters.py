"""Filters for templates: plain functions of values, the same result for the same input."""

from __future__ import annotations

from urllib.parse import quote


def matrix_to(identifier: str) -> str:
    """A link that opens a Matrix user, room or alias in whatever client the reader has.

    ``@anna:acme.example`` becomes ``https://matrix.to/#/@anna:acme.example``.
    """
    return f"https://matrix.to/#/{quote(identifier, safe='@:!')}"
