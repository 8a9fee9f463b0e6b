"""When a lane spills: what waits in it would stop reading for all lanes, while others have room."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

STUCK_S = 0.25
"""Nothing goes out of a lane for so long: it is stuck."""

SPILL_AFTER_S = 1.0
"""A lane that keeps pace gets down to half within this, if nothing comes."""

_SPILL_ON_S = 30.0


@final
class Crowding:
    """Watches how a lane fills and empties, on the monotonic clock.

    Attributes:
        is_spilling: What is above half the lane's capacity is to go to the schedule.
    """

    def __init__(self, capacity: int) -> None:
        self.is_spilling = False
        self._capacity = capacity
        self._since: float | None = None
        self._went = 0
        self._went_before = 0
        self._went_at = 0.0
        self._spilled_at = 0.0

    @property
    def is_watched(self) -> bool:
        """It may be found to be stuck soon."""
        return self._since is not None and not self.is_spilling

    def went(self, count: int, now: float) -> None:
        """So many deliveries went out to be sent."""
        self._went += count
        self._went_at = now

    def spilled(self, now: float) -> None:
        """Some went to the schedule instead."""
        self._spilled_at = now

    def look(self, depth: int, now: float, others_have_room: Callable[[], bool]) -> None:
        """Decides whether to spill, by how many deliveries wait now.

        Before the lane is full, where nothing goes out any more; once it is full, where it is not
        down to half for a while, nor could be by what went out.
        """
        is_crowded = depth > self._capacity // 2
        # What it spilled itself emptied it: the next fill must not stop the others again.
        if not is_crowded and now - self._spilled_at > _SPILL_ON_S:
            self.is_spilling = False
        if not is_crowded or not others_have_room():
            self._since = None
            return
        if self._since is None or self._keeps_pace(now - self._since):
            self._since, self._went_before = now, self._went
        is_stuck = now - max(self._since, self._went_at) >= STUCK_S
        is_slow = depth >= self._capacity and now - self._since >= SPILL_AFTER_S
        if is_stuck or is_slow:
            self.is_spilling = True

    def _keeps_pace(self, crowded_s: float) -> bool:
        """It is as fast as it has to be: only a backlog that is read keeps it crowded."""
        went = self._went - self._went_before
        return crowded_s >= SPILL_AFTER_S and went >= self._capacity // 2
