"""What each problem code of the ledgers means, in one line."""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "E303": "The ledger was written by a newer router.",
    "E304": "The ledger's file can't be used.",
    "E305": "The ledger lies on a file system that loses it or can't lock it.",
    "E306": "Another process has the ledger's file.",
    "E309": "The ledger's server refuses the user, the password or the database.",
    "E310": "The ledger's server is too old.",
}
"""Every code this room gives."""
