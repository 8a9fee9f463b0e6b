"""What waits in a lane: new deliveries, those out of the schedule, and short waits."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import final

from router.delivery.job import Job


@final
class Queue:
    """New deliveries are unclaimed, those out of the schedule claimed; the two take turns."""

    def __init__(self) -> None:
        self._fresh: deque[Job] = deque()
        self._resumed: deque[Job] = deque()
        self._held: list[tuple[float, int, Job]] = []
        self._numbers = count()
        self._turn = False

    @property
    def unclaimed(self) -> int:
        return len(self._fresh) + len(self._held)

    @property
    def fresh(self) -> int:
        """How many new ones stand in line."""
        return len(self._fresh)

    @property
    def resumed(self) -> int:
        """How many out of the schedule stand in line."""
        return len(self._resumed)

    @property
    def ready(self) -> int:
        """How many could be taken now."""
        return len(self._fresh) + len(self._resumed)

    def put(self, jobs: Iterable[Job]) -> None:
        self._fresh.extend(jobs)

    def put_first(self, jobs: Iterable[Job]) -> None:
        """New deliveries that were taken and could not be claimed."""
        self._fresh.extendleft(reversed(list(jobs)))

    def put_resumed(self, job: Job) -> None:
        self._resumed.append(job)

    def hold(self, job: Job, until: float) -> None:
        """Keeps an unclaimed delivery here until a monotonic time."""
        heapq.heappush(self._held, (until, next(self._numbers), job))

    def promote(self, now: float) -> None:
        """Those whose wait is over stand in line again."""
        while self._held and self._held[0][0] <= now:
            self._fresh.append(heapq.heappop(self._held)[2])

    @property
    def next_at(self) -> float | None:
        """When the next wait is over."""
        return self._held[0][0] if self._held else None

    def take(self) -> Job | None:
        """The next delivery, new and resumed in turn."""
        self._turn = not self._turn
        first, second = (self._fresh, self._resumed) if self._turn else (self._resumed, self._fresh)
        if first:
            return first.popleft()
        return second.popleft() if second else None

    def take_fresh(self, count: int) -> list[Job]:
        return [self._fresh.popleft() for _ in range(min(count, len(self._fresh)))]

    def take_resumed(self) -> list[Job]:
        resumed = list(self._resumed)
        self._resumed.clear()
        return resumed

    def take_unclaimed(self) -> list[Job]:
        """Everything that is not claimed, in order."""
        unclaimed = [*self._fresh, *(job for _, _, job in sorted(self._held))]
        self._fresh.clear()
        self._held.clear()
        return unclaimed

    def take_withdrawn(self) -> list[Job]:
        """Unclaimed deliveries whose partition went to another replica."""
        withdrawn = [job for job in self._fresh if job.is_withdrawn]
        withdrawn += [job for _, _, job in self._held if job.is_withdrawn]
        if withdrawn:
            self._fresh = deque(job for job in self._fresh if not job.is_withdrawn)
            self._held = [entry for entry in self._held if not entry[2].is_withdrawn]
            heapq.heapify(self._held)
        return withdrawn
