"""Rows out of the schedule that are worked on as records are: each ends when all deliveries planned
of it are settled, and a process that dies before leaves it to the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from router.clock import Clock
from router.delivery.dispatch import Dispatcher, Work
from router.planning import Planned

_ROOM_S = 0.02


@final
class UnderWay:
    """Such rows, from when they are planned until they have ended here.

    A row's claim may end while its deliveries are still on their way: what is in here must not be
    planned again.
    """

    def __init__(self, dispatcher: Dispatcher, clock: Clock) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._keys: set[bytes] = set()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    async def plan(self, works: Mapping[bytes, Work]) -> list[Planned]:
        """Plans the works of rows, by key, once lanes have room.

        Returns:
            What each came to. Its ticket is held once more, for the caller to release.

        Raises:
            LedgerDown: nothing was put anywhere, and none is under way.
        """
        if not works:
            return []
        while not self._dispatcher.has_room:
            await self._clock.sleep(_ROOM_S)
        for work in works.values():
            work.ticket.hold()
        self._keys |= works.keys()
        try:
            return await self._dispatcher.plan(list(works.values()))
        except BaseException:
            self._keys -= works.keys()
            raise

    def end(self, key: bytes) -> None:
        """All that was planned of a row is settled."""
        self._keys.discard(key)
