"""The providers of a day: moody, and with a good memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import Any, final

import anyio
import orjson

from router.clock import Clock
from router.messages import (
    AnalyticsEvent,
    ChatMessage,
    Delivered,
    EmailMessage,
    Halt,
    InDoubt,
    Message,
    Outcome,
    Parcel,
    PushMessage,
    Reason,
    Rejected,
    Request,
    Retry,
    Scope,
)
from router.sinks import KINDS, BatchSink, Sink, SinkConfig, SinkTools, SinkType
from tests.day.journal import Answer, Attempt, Journal

_ROUTES = {"entry.booked": "entry", "deal.closed": "deal"}


class Mood(Enum):
    """How a provider is; what is rare in ``WELL`` ones is common in others."""

    WELL = auto()
    DOWN = auto()
    LIMITING = auto()
    REFUSING = auto()
    HANGING = auto()
    LOSING = auto()


@dataclass(slots=True)
class Provider:
    """What stands behind a sink.

    Attributes:
        until: With ``LIMITING``: until when it takes nothing.
        gone: Addresses that nobody has any more.
    """

    mood: Mood = Mood.WELL
    until: float = 0.0
    gone: set[str] = field(default_factory=set[str])


@final
class Providers:
    """All of them, by sink, and the sink types that reach them."""

    def __init__(self, journal: Journal, clock: Clock, dice: Random) -> None:
        self.life = 0
        self._by_sink: dict[str, Provider] = defaultdict(Provider)
        self._journal = journal
        self._clock = clock
        self._dice = dice

    def __getitem__(self, sink: str) -> Provider:
        return self._by_sink[sink]

    def are_well(self) -> None:
        """Whatever ails them is over."""
        for provider in self._by_sink.values():
            provider.mood = Mood.WELL

    def kind(self, name: str) -> SinkType[Any]:
        """The sink type of that name, with one of these in place of the provider."""
        found = KINDS.load(name)
        return SinkType(found.name, found.config, found.channel, found.address_kind, self._open)

    @asynccontextmanager
    async def _open(self, config: SinkConfig, tools: SinkTools) -> AsyncGenerator[Sink | BatchSink]:
        yield _Many(self, tools.name) if config.type == "mixpanel" else _One(self, tools.name)

    async def take(self, sink: str, parcel: Parcel) -> tuple[Attempt, Outcome]:
        """One message arrives: it is on its way, then is taken or not, then its answer is."""
        attempt = _attempt(sink, parcel, self._clock.now(), self.life)
        self._journal.attempts.append(attempt)
        await anyio.sleep(self._dice.uniform(0.01, 0.2))
        provider = self._by_sink[sink]
        attempt.answer = self._answer(provider, attempt)
        if provider.mood is Mood.HANGING:
            await anyio.sleep(self._dice.choice([1.0, 60.0]))
        else:
            await anyio.sleep(self._dice.uniform(0.01, 0.2))
        return attempt, self._outcome(provider, attempt)

    def heard(self, attempt: Attempt) -> None:
        """Its answer has come."""
        attempt.ended = self._clock.now()

    def _answer(self, provider: Provider, attempt: Attempt) -> Answer:
        roll = self._dice.random()
        if attempt.address in provider.gone:
            return Answer.GONE
        match provider.mood:
            case Mood.DOWN:
                return Answer.BUSY
            case Mood.LIMITING if self._clock.now() < provider.until:
                return Answer.WAIT
            case Mood.REFUSING:
                return Answer.HALT
            case Mood.LOSING if roll < 0.4:
                return Answer.LOST if roll < 0.3 else Answer.BROKEN
            case _:
                return _rarely(roll)

    def _outcome(self, provider: Provider, attempt: Attempt) -> Outcome:
        match attempt.answer:
            case Answer.LOST | Answer.BROKEN:
                return InDoubt(Reason("timeout"))
            case Answer.BUSY:
                return Retry(Reason("unavailable"))
            case Answer.WAIT:
                attempt.wait = max(1.0, provider.until - self._clock.now())
                return Retry(Reason("rate_limited"), attempt.wait, Scope.SINK)
            case Answer.HALT:
                return Halt(Reason("unauthorized"))
            case Answer.REJECTED:
                return Rejected(Reason("invalid"))
            case Answer.GONE:
                return Rejected(Reason("gone"), recipient_gone=True)
            case _:
                return Delivered()


def _rarely(roll: float) -> Answer:
    """What even a provider that is well answers now and then."""
    for share, answer in (
        (0.004, Answer.REJECTED),
        (0.008, Answer.LOST),
        (0.010, Answer.BROKEN),
        (0.030, Answer.BUSY),
    ):
        if roll < share:
            return answer
    return Answer.DELIVERED


@final
class _One:
    def __init__(self, providers: Providers, sink: str) -> None:
        self._providers = providers
        self._sink = sink

    async def send(self, parcel: Parcel) -> Outcome:
        attempt, outcome = await self._providers.take(self._sink, parcel)
        self._providers.heard(attempt)
        return outcome


@final
class _Many:
    """Takes many at once; their answers differ, and come together."""

    def __init__(self, providers: Providers, sink: str) -> None:
        self._providers = providers
        self._sink = sink

    async def send_batch(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        answers: dict[int, tuple[Attempt, Outcome]] = {}

        async def take(index: int, parcel: Parcel) -> None:
            answers[index] = await self._providers.take(self._sink, parcel)

        async with anyio.create_task_group() as tasks:
            for index, parcel in enumerate(parcels):
                tasks.start_soon(take, index, parcel)
        for attempt, _ in answers.values():
            self._providers.heard(attempt)
        return [answers[index][1] for index in range(len(parcels))]


# What a message says ------------------------------------------------------------------------------


def _attempt(sink: str, parcel: Parcel, now: float, life: int) -> Attempt:
    route, person, count, events = _told(parcel.message)
    return Attempt(
        at=now,
        life=life,
        sink=sink,
        key=parcel.key,
        address=parcel.target.address,
        route=route,
        person=person,
        events=events,
        count=count,
    )


def _told(message: Message) -> tuple[str, str, int, tuple[str, ...]]:
    match message:
        case PushMessage():
            return _read(message.body)
        case ChatMessage():
            return _read(message.html)
        case EmailMessage():
            return _read(message.text)
        case AnalyticsEvent():
            return str(message.properties["route"]), "", 1, (str(message.properties["id"]),)
        case Request() if message.body is not None:
            data = orjson.loads(message.body)["data"]
            return _ROUTES[data["type"]], "", 1, (data["id"],)
        case _:
            raise AssertionError(f"nothing of the day's makes a {type(message).__name__}")


def _read(text: str) -> tuple[str, str, int, tuple[str, ...]]:
    route, person, count, *events = text.split()
    return route, person, int(count), tuple(events)
