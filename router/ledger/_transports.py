"""What the event loop says of a connection that is gone."""

from __future__ import annotations


def is_closed_transport(error: BaseException) -> bool:
    """Whether it comes of a write to a connection that the other side has just reset.

    asyncio's own loop ignores such a write, and the next read fails; uvloop raises a bare
    ``RuntimeError``.
    """
    return type(error) is RuntimeError and "handler is closed" in str(error)
