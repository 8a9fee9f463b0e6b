"""Where reading a partition starts, and the note kept beside each committed offset. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import orjson

Severity = Literal["info", "notice", "alert"]


class Why(StrEnum):
    """Why reading starts where it does."""

    RESUMED = "resumed"
    FIRST_START = "first_start"
    NEW_PARTITION = "new_partition"
    OFFSETS_GONE = "offsets_gone"
    REWIND = "rewind"
    RETENTION = "retention"
    OUT_OF_RANGE = "out_of_range"


@dataclass(frozen=True, slots=True)
class Start:
    """A decision.

    Attributes:
        offset: The first to read.
        why: Bounded code.
        severity: ``alert`` wants somebody to look.
        text: One line for operators.
        lost: Offsets that were deleted before they were read.
    """

    offset: int
    why: Why
    severity: Severity = "info"
    text: str = ""
    lost: int = 0


def decide_start(
    *,
    committed: int | None,
    progress: int | None,
    beginning: int,
    end: int,
    configured: int,
    is_new_partition: bool,
) -> Start:
    """Where to start one partition.

    Args:
        committed: The group's offset in Kafka, if it has one.
        progress: The next offset by the ledger, if it knows.
        beginning: The first offset the partition still has.
        end: The offset that its next record will get.
        configured: What the source's ``start`` leads to in this partition.
        is_new_partition: The topic grew since the group first read it.
    """
    if committed is not None:
        start = _from_known(committed, beginning, end, "committed")
        if start.why is Why.RESUMED and progress is not None and committed < progress:
            return Start(
                committed,
                Why.REWIND,
                "alert",
                f"the committed offset {committed} lies before {progress}, where the ledger is",
            )
        return start
    if progress is not None:
        start = _from_known(progress, beginning, end, "last settled")
        if start.why is not Why.RESUMED:
            return start
        return Start(
            progress,
            Why.OFFSETS_GONE,
            "alert",
            f"the group's offsets are gone from Kafka; resumed at {progress} by the ledger",
        )
    if is_new_partition:
        return Start(
            beginning, Why.NEW_PARTITION, "notice", f"a new partition, read from {beginning}"
        )
    return Start(
        configured, Why.FIRST_START, "notice", f"read for the first time, from {configured}"
    )


def _from_known(offset: int, beginning: int, end: int, what: str) -> Start:
    if offset < beginning:
        return Start(
            beginning,
            Why.RETENTION,
            "alert",
            f"{beginning - offset} offsets from {offset} on were deleted by Kafka before they were "
            f"read; resumed at {beginning}",
            beginning - offset,
        )
    if offset > end:
        return Start(
            beginning,
            Why.OUT_OF_RANGE,
            "alert",
            f"the {what} offset {offset} lies past the end {end}: the topic was recreated or "
            f"truncated; read from {beginning}",
        )
    return Start(offset, Why.RESUMED)


@dataclass(frozen=True, slots=True)
class Note:
    """What is kept in Kafka beside a committed offset.

    Attributes:
        ledger: The uuid of the ledger that knows the deliveries; None for one in memory.
        partitions: How many partitions the topic had when the group first read it: those from
            there on are new. It tells a partition that another member just has not committed
            yet from one that was added.
    """

    ledger: str | None = None
    partitions: int | None = None

    def dump(self) -> str:
        fields = {"ledger": self.ledger, "partitions": self.partitions}
        return orjson.dumps({k: v for k, v in fields.items() if v is not None}).decode()

    @classmethod
    def parse(cls, metadata: str) -> Note:
        """The note in a commit's metadata; an empty one where somebody else wrote it."""
        try:
            fields: Any = orjson.loads(metadata)
        except orjson.JSONDecodeError:
            return cls()
        if not isinstance(fields, dict):
            return cls()
        ledger, partitions = fields.get("ledger"), fields.get("partitions")
        return cls(
            ledger if isinstance(ledger, str) else None,
            partitions if type(partitions) is int and partitions >= 0 else None,
        )


def first_partition_count(notes: dict[int, Note], current: int) -> int:
    """How many partitions a topic had at first.

    Args:
        notes: Of every partition of the topic that the group committed.
        current: How many it has now.

    Without any commit that is now. Where commits carry no number (another program wrote them),
    partitions without a commit count as new: nothing is lost.
    """
    if not notes:
        return current
    known = [note.partitions for note in notes.values() if note.partitions is not None]
    return min(known) if known else 0
