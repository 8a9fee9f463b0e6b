"""Which offsets may be committed: everything before the first unsettled record, and no further."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import final

from router.events import Record, TopicPartition

_RECORD_OVERHEAD = 200


@final
class Ticket:
    """Holds a record's offset back until every piece of work on it is settled.

    It is opened with one hold, for planning; each delivery adds one. At zero the offset is free.

    Args:
        on_closed: Called once with the ticket, when nothing holds it any more.
        partition: Of the record; None for work that is in the ledger already.

    Attributes:
        opened_at: When the record was read, monotonic seconds.
    """

    __slots__ = ("_on_closed", "_partition", "holds", "key", "opened_at", "size")

    def __init__(
        self,
        on_closed: Callable[[Ticket], None],
        *,
        partition: Partition | None = None,
        key: int = 0,
        size: int = 0,
        opened_at: float = 0.0,
    ) -> None:
        self._on_closed = on_closed
        self._partition = partition
        self.key = key
        self.size = size
        self.opened_at = opened_at
        self.holds = 1

    @property
    def is_current(self) -> bool:
        """The partition is still ours, in the assignment that read the record."""
        return self._partition is None or not self._partition.is_leaving

    @property
    def is_closed(self) -> bool:
        return self.holds <= 0

    def hold(self, count: int = 1) -> None:
        self.holds += count

    def release(self, count: int = 1) -> None:
        """Ends holds.

        Raises:
            AssertionError: there are not as many: something was settled twice.
        """
        self.holds -= count
        assert self.holds >= 0, "a ticket was released more often than it was held"
        if self.holds == 0:
            self._on_closed(self)


@final
class Partition:
    """The unsettled records of one partition in one assignment."""

    def __init__(self, place: TopicPartition) -> None:
        self.place = place
        self.is_leaving = False
        self.open: dict[int, Ticket] = {}
        self.size = 0
        self.committed = -1

    def open_ticket(self, offset: int, size: int, now: float) -> Ticket:
        """A ticket for a record; one that was read before, and again, counts once."""
        ticket = Ticket(
            self._free, partition=self, key=offset, size=size + _RECORD_OVERHEAD, opened_at=now
        )
        if known := self.open.get(offset):
            self.size -= known.size
        self.open[offset] = ticket
        self.size += ticket.size
        return ticket

    def _free(self, ticket: Ticket) -> None:
        if self.open.get(ticket.key) is ticket:
            del self.open[ticket.key]
            self.size -= ticket.size

    def first_open(self) -> int | None:
        return min(self.open, default=None)

    def oldest_age(self, now: float) -> float:
        """Seconds since the first unsettled record was read; 0 where there is none."""
        first = self.first_open()
        return 0.0 if first is None else max(0.0, now - self.open[first].opened_at)


@final
class Offsets:
    """The partitions of one source, with what is unsettled on each."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, Partition] = {}

    def assign(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            self._partitions[place] = Partition(place)

    def leave(self, places: Iterable[TopicPartition]) -> None:
        """These partitions are about to go: work on them that is not claimed is let go of."""
        for place in places:
            if partition := self._partitions.get(place):
                partition.is_leaving = True

    def revoke(self, places: Iterable[TopicPartition]) -> None:
        """Forgets these partitions; tickets still out on them free nothing any more."""
        self.leave(places)
        for place in places:
            self._partitions.pop(place, None)

    def partition(self, place: TopicPartition) -> Partition:
        """The partition, which a source without assignments need not have announced."""
        found = self._partitions.get(place)
        if found is None:
            found = self._partitions[place] = Partition(place)
        return found

    def open_batch(self, records: Sequence[Record], now: float) -> list[Ticket]:
        """One ticket for each record, in order; ``now`` is monotonic."""
        return [
            self.partition(r.place).open_ticket(r.offset, len(r.value) if r.value else 0, now)
            for r in records
        ]

    def committable(
        self, positions: Mapping[TopicPartition, int | None]
    ) -> dict[TopicPartition, int]:
        """The offsets to commit now, where they moved since :meth:`mark_committed`.

        Args:
            positions: The next offset to be read of each partition, for those without open work.
        """
        found: dict[TopicPartition, int] = {}
        for place, partition in self._partitions.items():
            first = partition.first_open()
            offset = first if first is not None else positions.get(place)
            if offset is not None and offset > partition.committed:
                found[place] = offset
        return found

    def mark_committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        for place, offset in offsets.items():
            if partition := self._partitions.get(place):
                partition.committed = max(partition.committed, offset)

    @property
    def places(self) -> list[TopicPartition]:
        return list(self._partitions)

    @property
    def partitions(self) -> list[Partition]:
        return list(self._partitions.values())

    def over_window(self, records: int, size: int) -> set[TopicPartition]:
        """Partitions with more unsettled work than the window allows."""
        return {
            place
            for place, p in self._partitions.items()
            if len(p.open) >= records or p.size >= size
        }

    @property
    def size(self) -> int:
        """Bytes of all unsettled records."""
        return sum(p.size for p in self._partitions.values())

    @property
    def open_records(self) -> int:
        return sum(len(p.open) for p in self._partitions.values())
