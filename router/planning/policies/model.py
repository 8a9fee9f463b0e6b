"""What a policy says, as linked from configuration. Times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, Literal

from router.problems import Position
from router.routing import Condition, Path

DAY_MINUTES: Final = 24 * 60


class Bypass(StrEnum):
    """What a category's notifications pass by."""

    PREFERENCES = "preferences"
    QUIET_HOURS = "quiet_hours"
    THROTTLE = "throttle"
    SILENCES = "silences"


class Rank(IntEnum):
    """Whose turn it is when a sink has more to send than it can: the lower goes first."""

    URGENT = 0
    NORMAL = 1
    BULK = 2


class Mode(StrEnum):
    """Whether a route sends.

    ``shadow`` plans and renders everything, and sends nothing; ``off`` does not even match.
    """

    LIVE = "live"
    SHADOW = "shadow"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most ``limit`` notifications to one person within ``per`` seconds.

    A notification is a route's message to a person for an event, on however many channels and
    devices. Every throttle counts for each person on their own.

    Attributes:
        scope: What counts together: ``route:NAME``, ``category:NAME`` or ``all``.
        by: Counts by the value at this path beside the person; None does not.
        at: Where it is written.
    """

    limit: int
    per: float
    scope: str
    by: Path | None = None
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Dedupe:
    """The first of a key within ``window`` seconds is sent to a person, the others are not.

    ``at`` is where it is written.
    """

    key: Path
    window: float
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Digest:
    """Events are collected for a person and told of in one message.

    Attributes:
        key: Events of one value are told of together; None: all of the route.
        window: Seconds after its first event at which a digest closes.
        most: So many events close it at once.
        extend: Each further event moves the end to ``window`` seconds from then, though never
            beyond ``at_most`` seconds after the first.
        at: Where it is written.
    """

    window: float
    key: Path | None = None
    most: int = 100
    extend: bool = False
    at_most: float | None = None
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A part of the day at which people are left alone.

    Attributes:
        start, end: Minutes after midnight; an ``end`` before ``start`` is the next day's.
        zone: IANA name, or None for the recipient's own.
        otherwise: The zone of those of whom none is known.
        then: ``hold`` until the end, or ``suppress``.
    """

    start: int
    end: int
    zone: str | None = None
    otherwise: str = "UTC"
    then: Literal["hold", "suppress"] = "hold"


@dataclass(frozen=True, slots=True)
class Same:
    """What makes two events belong together: equal values at these paths.

    Attributes:
        own: Into the event that is sent.
        other: Into the event that ends it.
    """

    own: Path
    other: Path


@dataclass(frozen=True, slots=True)
class CancelOn:
    """Another event that makes a message that is not sent yet pointless.

    Attributes:
        same: All of these are equal in both events.
        within: The other event counts for so many seconds after the first.
    """

    match: Condition
    same: tuple[Same, ...]
    within: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """Only so many percent are sent to: the same ones each time.

    Attributes:
        by: What is drawn: None the recipient (the event where there is none), else a path's value.
        at: Where it is written.
    """

    percent: float
    by: Path | None = None
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """What a route's notifications are held to, before it comes to single steps.

    Attributes:
        throttles: From the narrowest (the route's) to the widest; all have to grant.
        bypass: What the route's category passes by.
    """

    mode: Mode = Mode.LIVE
    rollout: Rollout | None = None
    dedupe: Dedupe | None = None
    throttles: tuple[Throttle, ...] = ()
    digest: Digest | None = None
    cancel_on: CancelOn | None = None
    bypass: frozenset[Bypass] = frozenset()


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """When a step's deliveries go.

    Attributes:
        delay: Seconds after the event.
        quiet_hours: None at any time.
        is_ordered: One after the other for each Kafka key.
    """

    delay: float = 0.0
    quiet_hours: QuietHours | None = None
    is_ordered: bool = False
    rank: Rank = Rank.NORMAL


AT_ONCE: Final = StepPolicy()
FREE: Final = RoutePolicy()
