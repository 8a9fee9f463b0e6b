"""Sinks for the worker's tests: they answer as scripted, and remember what they were sent."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, final

import anyio

from router.messages import Channel, Delivered, Outcome, Parcel
from router.sinks import BatchSink, Sink, SinkConfig, SinkTools, SinkType

Answer = Outcome | Callable[[Parcel], Outcome] | Exception


class ScriptedConfig(SinkConfig):
    """A scripted sink; ``name`` is of the provider it reaches."""

    type: str = "scripted"
    name: str = ""
    batch: bool = False
    version: int = 1


@dataclass(slots=True)
class Provider:
    """What stands behind a sink.

    Attributes:
        answers: To give, one a send; then ``always``.
        accepted: Keys of messages that were taken, in order; a lost answer counts too.
        sent: Every attempt's parcel.
        hangs: Until it is set, sends hang; only those that ``hangs_on`` names.
        seconds: How long a send takes; ``lag`` how long its answer is on the way.
        opens: How often the sink was opened; ``refuses`` openings fail first.
    """

    always: Answer = field(default_factory=Delivered)
    answers: deque[Answer] = field(default_factory=deque[Answer])
    by_target: dict[str, Answer] = field(default_factory=dict[str, Answer])
    accepted: list[bytes] = field(default_factory=list[bytes])
    sent: list[Parcel] = field(default_factory=list[Parcel])
    hangs: anyio.Event | None = None
    hangs_on: Callable[[Parcel], bool] = lambda _: True
    seconds: float = 0.0
    lag: float = 0.0
    opens: int = 0
    closes: int = 0
    refuses: int = 0
    at_once: int = 0
    most_at_once: int = 0
    batches: list[int] = field(default_factory=list[int])

    async def take(self, parcel: Parcel) -> Outcome:
        """One message arrives."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.sent.append(parcel)
            if self.hangs is not None and self.hangs_on(parcel):
                await self.hangs.wait()
            if self.seconds:
                await anyio.sleep(self.seconds)
            outcome = self._answer(parcel)
            if self.lag:
                await anyio.sleep(self.lag)
            return outcome
        finally:
            self.at_once -= 1

    def _answer(self, parcel: Parcel) -> Outcome:
        answer = self.answers.popleft() if self.answers else self.always
        answer = self.by_target.get(parcel.target.address, answer)
        if isinstance(answer, Exception):
            raise answer
        outcome = answer(parcel) if callable(answer) else answer
        if isinstance(outcome, Delivered):
            self.accepted.append(parcel.key)
        return outcome

    @property
    def repeats(self) -> int:
        """Messages that were accepted again."""
        return sum(count - 1 for count in Counter(self.accepted).values())


@final
class Providers:
    """Every provider of a test by name, and the sink type that reaches them."""

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = defaultdict(Provider)

    def __getitem__(self, name: str) -> Provider:
        return self._providers[name]

    def kind(self, name: str) -> SinkType[Any]:
        assert name == "scripted"
        return SinkType(
            "scripted", ScriptedConfig, lambda _: Channel.REQUEST, "request", self._open
        )

    @asynccontextmanager
    async def _open(
        self, config: ScriptedConfig, tools: SinkTools
    ) -> AsyncGenerator[Sink | BatchSink]:
        provider = self[config.name or tools.name]
        if provider.refuses:
            provider.refuses -= 1
            raise ConnectionRefusedError("scripted")
        provider.opens += 1
        try:
            yield _BatchSink(provider) if config.batch else _Sink(provider)
        finally:
            provider.closes += 1


@final
class _Sink:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def send(self, parcel: Parcel) -> Outcome:
        return await self._provider.take(parcel)


@final
class _BatchSink:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def send_batch(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        self._provider.batches.append(len(parcels))
        return [await self._provider.take(parcel) for parcel in parcels]


Rule = Literal["resend", "dead_letter"]
