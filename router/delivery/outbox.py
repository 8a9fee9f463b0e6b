"""Internal sinks: what leaves the router from ledger rows, such as dead letters and feedback.

Rows are durable first and published then, so a topic that is down blocks nothing and loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Generic, Protocol, TypeVar, final

from router.clock import Clock
from router.delivery.stages import Stage, reached
from router.ledger import Row, State
from router.planning import Waits, backoff

log = logging.getLogger("router.delivery")

_WAITS = Waits(first=1.0, factor=2.0, cap=60.0, give_up=float("inf"))
_ALONE_AFTER = 3
_GIVES_UP_AFTER = 3

ItemT = TypeVar("ItemT")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)


class PublishFailed(Exception):
    """Something could not be published; it stays in the ledger."""


class Publishes(Protocol[ItemT_contra]):
    """Where items go: a topic, or a file."""

    async def publish(self, items: Sequence[ItemT_contra], /) -> None:
        """Returns once all are durable there.

        Raises:
            PublishFailed: some may not be.
        """
        ...


@final
class Outbox(Generic[ItemT]):
    """Publishes items that came out of the schedule.

    Args:
        read: The item in a row's blob.
        what: How an operator calls several of them.
    """

    def __init__(
        self,
        publisher: Publishes[ItemT],
        read: Callable[[bytes], ItemT],
        what: str,
        clock: Clock,
        random: Random,
    ) -> None:
        self._publisher = publisher
        self._read = read
        self._what = what
        self._clock = clock
        self._random = random

    async def publish(self, rows: Sequence[Row]) -> list[Row]:
        """The rows as they shall stand now: delivered, or due again later.

        One that has failed before goes alone, so that an item that is never taken does not keep
        back those that happen to be due with it.
        """
        done = await self._together([row for row in rows if row.attempts < _ALONE_AFTER])
        alone = [row for row in rows if row.attempts >= _ALONE_AFTER]
        failures = 0
        while alone and failures < _GIVES_UP_AFTER:
            ended = await self._together([alone.pop(0)])
            failures = failures + 1 if ended[0].state is State.SCHEDULED else 0
            done += ended
        return done + [self._later(row) for row in alone]

    async def _together(self, rows: Sequence[Row]) -> list[Row]:
        if not rows:
            return []
        try:
            await self._publisher.publish([self._read(row.blob) for row in rows if row.blob])
        except PublishFailed as error:
            log.warning("%d %s wait, they could not be published: %s", len(rows), self._what, error)
            return [self._later(row) for row in rows]
        reached(Stage.PUBLISHED)
        return [replace(row, state=State.DELIVERED, blob=None) for row in rows]

    def _later(self, row: Row) -> Row:
        attempts = row.attempts + 1
        due = self._clock.now() + backoff(attempts, _WAITS, self._random.random())
        return replace(row, state=State.SCHEDULED, attempts=attempts, due=due)
