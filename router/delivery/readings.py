"""Kept records, read again as their sources are read today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from router.events import DecodeConfig, Event, Record, decode


@final
class Readings:
    """How each source reads its records; the worker has one, which a reload changes."""

    def __init__(self) -> None:
        self._by_source: Mapping[str, DecodeConfig] = {}
        self._distinct: tuple[DecodeConfig, ...] = ()

    def use(self, decodings: Mapping[str, DecodeConfig]) -> None:
        """The sources have changed."""
        self._by_source = decodings
        self._distinct = tuple({repr(d): d for d in decodings.values()}.values())

    def of(self, source: str, record: Record) -> Event | None:
        """The event of a source's record; None where it can't be read any more."""
        decoding = self._by_source.get(source)
        event = decode(record, decoding) if decoding else None
        return event if isinstance(event, Event) else None

    def all_together(self, records: Sequence[Record]) -> list[list[Event]]:
        """Records as events, all read in one way, once for each way; those that can't be read so
        are left out."""
        ways = (
            [event for event in (decode(r, way) for r in records) if isinstance(event, Event)]
            for way in self._distinct
        )
        return [events for events in ways if events]

    def all_of(self, record: Record) -> list[Event]:
        """A record as an event, once for each way that sources read records."""
        return [event for (event,) in self.all_together([record])]
