"""A worker that runs a project's routes on a real ledger; sinks answer as they are told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio

from router.clock import SystemClock
from router.config import Project
from router.delivery import Limits, Reporting, Topics, Window, Worker
from router.events import DeadLetter, DecodeConfig, Record, TopicPartition
from router.ledger import KINDS as LEDGERS
from router.ledger import Kind, Ledger, Row
from router.messages import Delivered, Outcome, Parcel
from router.recipients import Directory
from router.sinks import KINDS, Sink, SinkConfig, SinkTools, SinkType
from router.telemetry import Metrics

PLAIN = DecodeConfig()
Answer = Callable[[str, Parcel], Outcome]


class Crash(BaseException):
    """Ends a run in the middle of a send, as a kill does: nothing is settled."""


@dataclass(slots=True)
class Sent:
    """What sinks were given, in order, and how they answer.

    Attributes:
        answer: By the sink's name and the parcel; by default everything is delivered.
    """

    answer: Answer = lambda sink, parcel: Delivered()
    parcels: list[tuple[str, Parcel]] = field(default_factory=list[tuple[str, Parcel]])

    def to(self, sink: str) -> list[Parcel]:
        return [parcel for name, parcel in self.parcels if name == sink]

    @property
    def addresses(self) -> list[tuple[str, str]]:
        return [(sink, parcel.target.address) for sink, parcel in self.parcels]

    def load_kind(self, name: str) -> SinkType[Any]:
        """The sink type of that name, with this in place of the provider."""
        kind = KINDS.load(name)
        return SinkType(kind.name, kind.config, kind.channel, kind.address_kind, self._open)

    @asynccontextmanager
    async def _open(self, config: SinkConfig, tools: SinkTools) -> AsyncGenerator[Sink]:
        yield _Told(self, tools.name)


@dataclass(frozen=True, slots=True)
class _Told:
    sent: Sent
    name: str

    async def send(self, parcel: Parcel) -> Outcome:
        self.sent.parcels.append((self.name, parcel))
        return self.sent.answer(self.name, parcel)


@dataclass(slots=True)
class Letters:
    """Dead letters as published."""

    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters


@dataclass(slots=True)
class Records:
    """A source that gives these records, then ends."""

    records: list[Record]
    group: str = "test"
    is_joined: bool = True
    committed: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])

    @property
    def has_ended(self) -> bool:
        return not self.records

    async def read(self, limit: int, wait: float) -> Sequence[Record]:
        if not self.records:
            await anyio.sleep(0.005)
        given, self.records = self.records[:limit], self.records[limit:]
        return given

    def position(self, place: TopicPartition) -> int | None:
        return None

    def end(self, place: TopicPartition) -> int | None:
        return None

    def pause(self, places: Sequence[TopicPartition]) -> None: ...

    def resume(self, places: Sequence[TopicPartition]) -> None: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.committed.update(offsets)


def memory_ledger() -> AbstractAsyncContextManager[Ledger]:
    kind = LEDGERS.load("memory")
    return kind.open(kind.config(type="memory"), owner="test", clock=SystemClock())


def ledger_file(path: Path, owner: str = "test") -> AbstractAsyncContextManager[Ledger]:
    kind = LEDGERS.load("sqlite")
    config = kind.config.model_validate({"path": str(path), "ephemeral": True})
    return kind.open(config, owner=owner, clock=SystemClock())


@dataclass(slots=True)
class Ran:
    """What a run left behind."""

    letters: Letters
    metrics: Metrics
    rows: list[Row]

    def outcome(self, key: str) -> str:
        """State and reason code of the delivery of that key (hexadecimal)."""
        (row,) = [row for row in self.rows if row.key.hex() == key]
        return f"{row.state} {row.reason.code}" if row.reason else str(row.state)


async def run(
    project: Project,
    records: Sequence[Record],
    sent: Sent,
    directory: Directory,
    ledger: Ledger,
    *,
    until: Callable[[], bool] = lambda: True,
    reporting: Reporting | None = None,
    decoding: DecodeConfig = PLAIN,
) -> Ran:
    """Reads the records, and works until all is settled and ``until`` holds."""
    letters, metrics = Letters(), Metrics("test")
    clock = SystemClock()
    worker = Worker(
        project.rules(),
        ledger,
        directory,
        letters,
        Limits(Window(1000, 2**20, 2**22)),
        clock,
        metrics,
        Random(1),
        topics=Topics(),
        reporting=reporting,
        load_kind=sent.load_kind,
    )
    digests = {name: name for name in project.sinks}
    async with anyio.create_task_group() as tasks:
        await worker.start(tasks, project.sinks, digests, {"main": decoding})
        intake = worker.intake("main", decoding)
        await intake.assigned(list({record.place for record in records}))
        with anyio.fail_after(10):
            await intake.run(Records(list(records)))
            while not until():  # noqa: ASYNC110 - nothing tells when a sink was called
                await anyio.sleep(0.005)
        await worker.finish()
        tasks.cancel_scope.cancel()
    rows = await ledger.rows(kind=Kind.DELIVERY, limit=1000)
    return Ran(letters, metrics, list(rows))
