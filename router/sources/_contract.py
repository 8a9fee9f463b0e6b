"""What every source is: records in batches, offsets committed only when told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from router.clock import Clock
from router.events import DecodeConfig, Record, TopicPartition
from router.ledger import Ledger

Unmatched = Literal["ignore", "count", "dead_letter"]


class SourceConfig(BaseModel):
    """Options that every source has."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: str = Field(description="The source's kind.")
    decode: DecodeConfig = Field(default=DecodeConfig(), description="How bytes become events.")
    unmatched: Unmatched = Field(
        default="count",
        description="What to do with events that no route wants: `count` them in the metrics, "
        "`ignore` them there too, or make each a `dead_letter`.",
    )


ConfigT = TypeVar("ConfigT", bound=SourceConfig)
ConfigT_contra = TypeVar("ConfigT_contra", bound=SourceConfig, contravariant=True)


class CommitFailed(Exception):
    """An offset commit did not succeed in time; the records may be read again."""


class Listener(Protocol):
    """Hears of partitions coming and going. Its methods never raise."""

    async def assigned(self, places: Sequence[TopicPartition]) -> None:
        """These partitions are read from now on."""
        ...

    async def revoked(self, places: Sequence[TopicPartition]) -> None:
        """These partitions go to others when this returns: drain and commit inside."""
        ...

    def lost(self, offsets: int) -> None:
        """So many were gone before they could be read."""
        ...


class Source(Protocol):
    """An open source.

    Attributes:
        group: The consumer group, or the name that progress is kept under.
    """

    group: str

    @property
    def is_joined(self) -> bool:
        """Ready: a member of the group, with or without partitions."""
        ...

    @property
    def has_ended(self) -> bool:
        """No record will ever come again (a file or a pipe at its end)."""
        ...

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        """The next records, at most ``limit``; none if none came within ``wait`` seconds.

        Has to be called again and again, even while everything is paused: it is the sign of life.
        """
        ...

    def position(self, place: TopicPartition) -> int | None:
        """The next offset that will be read; beyond gaps left by compaction and transactions."""
        ...

    def end(self, place: TopicPartition) -> int | None:
        """The offset after the last record there is, as far as known; None where it is not."""
        ...

    def pause(self, places: Sequence[TopicPartition]) -> None: ...

    def resume(self, places: Sequence[TopicPartition]) -> None: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commits "read next from here", with the ledger's uuid as metadata where there is such.

        Raises:
            CommitFailed: not done within the deadline (3 s), or the partition is another's now.
        """
        ...


class OpenSource(Protocol[ConfigT_contra]):
    """Opens a source for its lifetime. The ledger serves progress and its uuid."""

    def __call__(
        self,
        config: ConfigT_contra,
        *,
        name: str,
        listener: Listener,
        ledger: Ledger,
        clock: Clock,
        accept_new_ledger: bool = False,
    ) -> AbstractAsyncContextManager[Source]: ...


@dataclass(frozen=True, slots=True)
class SourceType(Generic[ConfigT]):
    """One kind of source: what its module exports as ``SOURCE``."""

    name: str
    config: type[ConfigT]
    open: OpenSource[ConfigT]
