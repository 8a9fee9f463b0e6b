"""What a rehearsal tells: of events, of their routes' deliveries, and of digests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from router.events import Event, Poison
from router.messages import Message, Reason
from router.planning import Route
from router.planning.policies import Rank
from router.problems import Position


class Verdict(StrEnum):
    """What would become of a delivery, or of a recipient."""

    NOW = "now"
    HOLD = "hold"
    DIGEST = "digest"
    IF = "if"
    SUPPRESSED = "suppressed"
    EXCLUDED = "excluded"
    DEAD = "dead"
    WAITS = "waits"


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One line of a rehearsal. Times are seconds since the epoch.

    Attributes:
        recipient: The recipient's id; empty for steps that run once per event.
        step, sink, channel, target: Empty where no step was reached.
        reason: Why, for everything but NOW.
        message: As it would be sent, or would be without shadow mode; None where nothing would.
        key: The delivery key, hexadecimal.
        starts: Of IF: when it starts by itself; None where only its primary's failure starts it.
        hold: Of IF: what keeps it back once it has started.
        until: Of HOLD, and of IF with ``hold``: when that ends; of DIGEST: when it closes.
        zone: The zone of these times: the recipient's, IANA name.
        at: Of SUPPRESSED: where the rule is written, if it is.
        collected: Of DIGEST: how many events the digest has by then.
        digest: Of DIGEST: the digest's key, hexadecimal.
        rank: Whose turn it is at the sink.
        order: The Kafka key of which messages go one after the other; None: in no order.
    """

    verdict: Verdict
    recipient: str = ""
    step: str = ""
    sink: str = ""
    channel: str = ""
    target: str = ""
    reason: Reason | None = None
    message: Message | None = None
    key: str = ""
    starts: float | None = None
    hold: Reason | None = None
    until: float | None = None
    zone: str = ""
    at: Position | None = None
    collected: int = 0
    digest: str = ""
    rank: Rank = Rank.NORMAL
    order: str | None = None

    @property
    def is_alive(self) -> bool:
        """Something is, or may be, sent."""
        return self.verdict in (Verdict.NOW, Verdict.HOLD, Verdict.IF)


@dataclass(frozen=True, slots=True)
class RouteRehearsal:
    """A route that the event matches, and what it would do."""

    route: Route
    lines: tuple[Rehearsed, ...]


@dataclass(frozen=True, slots=True)
class EventRehearsal:
    """An event, or a record that is none, and every route that matches.

    Attributes:
        ends: The routes (and ``route/step``) whose waiting messages it may end.
        tenant: Whose event it is; empty where no tenants are configured, or it is not known.
        dead: Why the event as a whole would be a dead letter, if it would.
    """

    event: Event | Poison
    routes: tuple[RouteRehearsal, ...] = ()
    ends: tuple[str, ...] = ()
    tenant: str = ""
    dead: Reason | None = None


@dataclass(frozen=True, slots=True)
class DigestRehearsal:
    """A digest that has closed, and what is sent then.

    Attributes:
        key: Of the digest, hexadecimal: what its members' lines name.
        recipient: The person's id.
        closed_at: Seconds since the epoch.
        zone: The person's, IANA name.
        after: How many events had come by then.
        events: What it tells of, the oldest first.
        left_out: What it was to tell of, and does not.
        lines: Its deliveries; empty where nothing is left to tell of.
    """

    key: str
    route: Route
    recipient: str
    tenant: str
    closed_at: float
    zone: str
    after: int
    events: tuple[Event, ...]
    left_out: tuple[tuple[Event, Reason], ...]
    lines: tuple[Rehearsed, ...]
