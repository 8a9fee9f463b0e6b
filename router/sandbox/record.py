"""What the look-alikes accepted and refused: the witness of every test and of the demo's inbox."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from router.clock import Clock
from router.messages import Button, Channel


@dataclass(frozen=True, slots=True)
class Received:
    """One effect that a provider took on: a mail stored, a chat message shown, a call done.

    Attributes:
        provider: Which look-alike: ``smtp``, ``telegram``, ``webhook``, ``http`` …
        channel: What kind of message it is.
        recipient: The address it went to: mailbox, chat id, token, or the path called.
        title: Subject, title, or method and path.
        text: What the person reads, without markup; a call's body.
        html: The same with markup, where there is any.
        buttons: Rows of link buttons.
        key: The identity seen on the wire (``Message-ID``, ``webhook-id``, an idempotency
            header); None where the provider's protocol has none.
        raw: The bytes as they came.
        details: Further facts of the wire, by name.
        number: Position in the record, from 1.
        at: Seconds since the epoch by the sandbox's clock.
    """

    provider: str
    channel: Channel
    recipient: str
    title: str
    text: str
    html: str | None = None
    buttons: tuple[tuple[Button, ...], ...] = ()
    key: str | None = None
    raw: bytes = field(default=b"", repr=False)
    details: Mapping[str, str] = field(default_factory=dict[str, str])
    number: int = 0
    at: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without the raw bytes."""
        fields = asdict(self)
        del fields["raw"]
        return fields


@dataclass(frozen=True, slots=True)
class Refused:
    """One request that a look-alike did not accept, and why."""

    provider: str
    recipient: str
    why: str
    number: int = 0
    at: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@final
class Record:
    """An append-only list of effects, with ways to ask, to wait and to follow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._received: list[Received] = []
        self._refused: list[Refused] = []
        self._keys: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._grown = anyio.Event()
        self._feeds: list[Feed] = []

    def add(self, received: Received) -> Received:
        """Appends an effect; the answer has its number and time."""
        entry = replace(received, number=len(self._received) + 1, at=self._clock.now())
        self._received.append(entry)
        if entry.key is not None:
            self._keys[entry.key][entry.recipient] += 1
        for feed in self._feeds:
            feed.offer(entry)
        self._grown.set()
        self._grown = anyio.Event()
        return entry

    def refuse(self, provider: str, recipient: str, why: str) -> None:
        """Notes what was not accepted."""
        number = len(self._refused) + 1
        self._refused.append(Refused(provider, recipient, why, number, self._clock.now()))

    def __len__(self) -> int:
        return len(self._received)

    def __iter__(self) -> Iterator[Received]:
        return iter(tuple(self._received))

    @property
    def refused(self) -> Sequence[Refused]:
        """All refusals, oldest first."""
        return tuple(self._refused)

    def after(self, number: int, limit: int | None = None) -> Sequence[Received]:
        """The effects behind the one with this number, oldest first."""
        stop = None if limit is None else number + limit
        return tuple(self._received[max(0, number) : stop])

    def of(self, provider: str, recipient: str | None = None) -> Sequence[Received]:
        """One provider's effects, or those of one of its recipients."""
        return tuple(
            entry
            for entry in self._received
            if entry.provider == provider and recipient in (None, entry.recipient)
        )

    def count(self, key: str) -> int:
        """How often an effect with this key was accepted."""
        return sum(self._keys[key].values()) if key in self._keys else 0

    def repeats(self) -> Mapping[str, int]:
        """Keys that one recipient got more than once, with how often at most."""
        counts = {key: max(counts.values()) for key, counts in self._keys.items()}
        return {key: count for key, count in counts.items() if count > 1}

    async def wait_for(
        self, predicate: Callable[[Received], bool] = lambda _: True, count: int = 1
    ) -> Sequence[Received]:
        """The first ``count`` effects that satisfy the predicate, waiting until there are so many.

        It waits for ever: bound it with ``anyio.fail_after``.
        """
        found: list[Received] = []
        seen = 0
        while True:
            fresh = self._received[seen:]
            seen += len(fresh)
            found += [entry for entry in fresh if predicate(entry)]
            if len(found) >= count:
                return tuple(found[:count])
            await self._grown.wait()

    @contextmanager
    def follow(self, capacity: int = 1000) -> Generator[Feed]:
        """A live feed of what is accepted from now on."""
        feed = Feed(capacity)
        self._feeds.append(feed)
        try:
            yield feed
        finally:
            self._feeds.remove(feed)
            feed.close()


@final
class Feed:
    """Effects as they happen; a reader that falls behind its capacity misses some, counted."""

    def __init__(self, capacity: int) -> None:
        self._send: MemoryObjectSendStream[Received]
        self._receive: MemoryObjectReceiveStream[Received]
        self._send, self._receive = anyio.create_memory_object_stream[Received](capacity)
        self.missed = 0

    def offer(self, entry: Received) -> None:
        """Hands an effect to the reader, or counts it as missed."""
        try:
            self._send.send_nowait(entry)
        except anyio.WouldBlock:
            self.missed += 1

    def close(self) -> None:
        self._send.close()
        self._receive.close()

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Received:
        try:
            return await self._receive.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None
