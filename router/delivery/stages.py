"""Fault points: where a test kills the process, to see that nothing is lost.

Each stage of a batch's life tells that it was reached; this does nothing unless armed.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum


class Stage(StrEnum):
    """Where a record, a delivery or a batch of them has got to.

    ``decoded``, ``rendered``, ``sent`` and ``concluded`` come once for each record or delivery,
    the others once for each batch.
    """

    READ = "read"
    DECODED = "decoded"
    LOOKED_UP = "looked_up"
    RENDERED = "rendered"
    CLAIMED = "claimed"
    SENT = "sent"
    CONCLUDED = "concluded"
    SETTLED = "settled"
    PUBLISHED = "published"
    COMMITTED = "committed"


_left: dict[Stage, int] = {}


def arm(point: str) -> None:
    """Kills this process at a point such as ``claimed:3``: the third time the stage is reached.

    Raises:
        ValueError: there is no such stage, or the count is not a positive number.
    """
    name, _, count = point.partition(":")
    times = int(count or 1)
    if times < 1:
        raise ValueError("a fault point counts from 1")
    _left[Stage(name)] = times


def reached(stage: Stage) -> None:
    """SIGKILL, where armed for this time."""
    if _left and stage in _left:
        _left[stage] -= 1
        if _left[stage] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
