"""What waits in a lane: new deliveries, those out of the schedule, and short waits."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import final

from router.delivery.job import Job
from router.planning import has_expired
from router.planning.policies import Rank

BULK_EVERY = 8
"""Of so many turns bulk gets one while others wait, so that it is slow and not stuck."""


@final
class _Line:
    """Deliveries of one rank. New ones are unclaimed, those out of the schedule claimed; the two
    take turns."""

    __slots__ = ("_turn", "fresh", "resumed")

    def __init__(self) -> None:
        self.fresh: deque[Job] = deque()
        self.resumed: deque[Job] = deque()
        self._turn = False

    def __len__(self) -> int:
        return len(self.fresh) + len(self.resumed)

    def take(self) -> Job:
        self._turn = not self._turn
        first, second = (self.fresh, self.resumed) if self._turn else (self.resumed, self.fresh)
        return (first or second).popleft()


@final
class Queue:
    """Urgent deliveries go first, bulk ones when nothing else waits and now and then.

    Deliveries that have an order among themselves all stand in one line, whatever their rank.

    Attributes:
        in_hand: New deliveries that were taken and are not decided on yet: who took them says so.
    """

    def __init__(self) -> None:
        self.in_hand: Sequence[Job] = ()
        self._lines = {rank: _Line() for rank in Rank}
        self._held: list[tuple[float, int, Job]] = []
        self._numbers = count()
        self._turns = 0

    @property
    def unclaimed(self) -> int:
        """How many wait and are not claimed, those in hand among them."""
        return self.fresh + len(self._held) + len(self.in_hand)

    @property
    def fresh(self) -> int:
        """How many new ones stand in line."""
        return sum(len(line.fresh) for line in self._lines.values())

    @property
    def resumed(self) -> int:
        """How many out of the schedule stand in line."""
        return sum(len(line.resumed) for line in self._lines.values())

    @property
    def ready(self) -> int:
        """How many could be taken now."""
        return sum(len(line) for line in self._lines.values())

    def put(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._line(job).fresh.append(job)

    def put_first(self, jobs: Iterable[Job]) -> None:
        """New deliveries that were taken and could not be claimed."""
        for job in reversed(list(jobs)):
            self._line(job).fresh.appendleft(job)

    def put_resumed(self, job: Job) -> None:
        self._line(job).resumed.append(job)

    def hold(self, job: Job, until: float) -> None:
        """Keeps an unclaimed delivery here until a monotonic time."""
        heapq.heappush(self._held, (until, next(self._numbers), job))

    def promote(self, now: float) -> None:
        """Those whose wait is over stand in line again."""
        while self._held and self._held[0][0] <= now:
            self.put([heapq.heappop(self._held)[2]])

    @property
    def next_at(self) -> float | None:
        """When the next wait is over."""
        return self._held[0][0] if self._held else None

    def take(self) -> Job | None:
        """The delivery whose turn it is."""
        urgent, normal, bulk = self._lines.values()
        if urgent:
            return urgent.take()
        if normal and bulk:
            self._turns = (self._turns + 1) % BULK_EVERY
            return (normal if self._turns else bulk).take()
        line = normal or bulk
        return line.take() if line else None

    def take_fresh(self, count: int) -> list[Job]:
        """New deliveries, those first that can wait best."""
        taken: list[Job] = []
        for line in reversed(self._lines.values()):
            most = min(count - len(taken), len(line.fresh))
            taken += [line.fresh.popleft() for _ in range(most)]
        return taken

    def take_resumed(self) -> list[Job]:
        resumed = [job for line in self._lines.values() for job in line.resumed]
        for line in self._lines.values():
            line.resumed.clear()
        return resumed

    def take_expired(self, now: float) -> list[Job]:
        """New deliveries that have had their time; ``now`` is seconds since the epoch."""
        expired = [job for job in self._all_fresh() if has_expired(job.expires_at, now)]
        if expired:
            for line in self._lines.values():
                line.fresh = deque(j for j in line.fresh if not has_expired(j.expires_at, now))
        return expired

    def take_unclaimed(self) -> list[Job]:
        """Everything that is neither claimed nor in hand, in order."""
        unclaimed = [*self._all_fresh(), *(job for _, _, job in sorted(self._held))]
        for line in self._lines.values():
            line.fresh.clear()
        self._held.clear()
        return unclaimed

    def take_withdrawn(self) -> list[Job]:
        """Unclaimed deliveries whose partition went to another replica."""
        withdrawn = [job for job in self._all_fresh() if job.is_withdrawn]
        withdrawn += [job for _, _, job in self._held if job.is_withdrawn]
        if withdrawn:
            for line in self._lines.values():
                line.fresh = deque(job for job in line.fresh if not job.is_withdrawn)
            self._held = [entry for entry in self._held if not entry[2].is_withdrawn]
            heapq.heapify(self._held)
        return withdrawn

    def _all_fresh(self) -> Iterator[Job]:
        return (job for line in self._lines.values() for job in line.fresh)

    def _line(self, job: Job) -> _Line:
        return self._lines[Rank.NORMAL if job.order_scope else job.rank]
