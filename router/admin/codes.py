"""What each problem code of the admin server means, in one line."""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "S301": "An address to listen on is not host:port.",
    "S302": "The admin server would be reachable from outside without a token.",
    "E301": "An address can't be listened on.",
}
"""Every code this room gives."""
