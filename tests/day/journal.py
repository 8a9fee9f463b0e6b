"""What happened in a day, as witnesses outside the router saw it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from router.events import DeadLetter, Event
from router.ledger import Row
from router.planning import Ruleset
from router.planning.silences import Silence
from router.recipients import Recipient
from router.telemetry import Balance


class Answer(StrEnum):
    """What a provider answered; ``lost`` is an acceptance of which nobody heard."""

    DELIVERED = "delivered"
    LOST = "lost"
    BROKEN = "broken"
    BUSY = "busy"
    WAIT = "wait"
    HALT = "halt"
    REJECTED = "rejected"
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Attempt:
    """A message at a provider.

    Attributes:
        at: When it was sent, seconds since the epoch; ``ended`` when its answer was heard, None if
            it never was.
        life: Of the process that sent it.
        route, person, events: Whom it tells of what, by its own text.
        count: How many events it says that it tells of.
        wait: What it was told to wait, with ``Answer.WAIT``.
    """

    at: float
    life: int
    sink: str
    key: bytes
    address: str
    route: str
    person: str
    events: tuple[str, ...]
    count: int = 1
    answer: Answer | None = None
    ended: float | None = None
    wait: float = 0.0

    @property
    def is_accepted(self) -> bool:
        return self.answer in (Answer.DELIVERED, Answer.LOST)

    @property
    def is_known(self) -> bool:
        """Its acceptance was heard of."""
        return self.answer is Answer.DELIVERED and self.ended is not None


@dataclass(slots=True)
class Published:
    """An event, and when it was first published."""

    at: float
    event: Event


@dataclass(slots=True)
class Life:
    """A process: when it ran, and its books when it ended.

    Attributes:
        is_killed: It had no chance to finish.
        repeats: That it counted, by sink.
    """

    start: float
    end: float = 0.0
    is_killed: bool = False
    balance: Balance | None = None
    repeats: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(slots=True)
class Journal:
    """A day.

    Attributes:
        rests: When all that was published by then had been taken in, and nothing was under way.
        away: From when until when nobody could be looked up.
        rows: The ledger's in the end, by key; ``digests`` those of digests.
        expected: What has to be in the ledger, by key or family: route and event.
        members: Keys of the members of digests: route, person, event.
        troubles: How often each kind of fault was brought on.
    """

    rules: Ruleset
    people: Mapping[str, Recipient]
    events: dict[str, Published] = field(default_factory=dict[str, Published])
    records: int = 0
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    rests: list[float] = field(default_factory=list[float])
    lives: list[Life] = field(default_factory=list[Life])
    silences: list[Silence] = field(default_factory=list[Silence])
    away: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    troubles: Counter[str] = field(default_factory=Counter[str])
    rows: dict[bytes, Row] = field(default_factory=dict[bytes, Row])
    digests: list[Row] = field(default_factory=list[Row])
    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    expected: dict[bytes, tuple[str, str]] = field(default_factory=dict[bytes, tuple[str, str]])
    members: dict[bytes, tuple[str, str, str]] = field(
        default_factory=dict[bytes, tuple[str, str, str]]
    )
    uncommitted: int = 0

    def taken_by(self, at: float) -> float:
        """By when what was published then had been taken in for certain."""
        place = bisect_left(self.rests, at)
        return self.rests[place] if place < len(self.rests) else float("inf")

    def by_key(self) -> Mapping[bytes, Sequence[Attempt]]:
        """Attempts of each delivery, in their order."""
        found: dict[bytes, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            found[attempt.key].append(attempt)
        return found

    def known(self) -> Mapping[bytes, Row]:
        """The ledger's rows by key, and by family (one of each)."""
        return {row.family: row for row in self.rows.values() if row.family} | self.rows
