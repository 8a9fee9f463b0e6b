"""Counts of one thing each: a topic, a partition, a route, a sink, a ledger's operation.

They hold their children, so that counting costs well below a microsecond. Ask for them once, where
the counted thing is built, not per message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, final, get_args

from prometheus_client import Counter, Gauge, Histogram

from router.telemetry.accounts import Account, Accounts
from router.telemetry.families import Families

EventOutcome = Literal["matched", "unmatched", "poison", "skipped", "unknown_tenant"]
AttemptOutcome = Literal["delivered", "retry", "halt", "rejected", "in_doubt"]
GateScope = Literal["sink", "endpoint", "target"]
GateCause = Literal["halt", "pause", "breaker", "retry_after"]
BreakerState = Literal["closed", "half_open", "open"]

OUTCOMES: tuple[EventOutcome, ...] = get_args(EventOutcome)
_BREAKER: Mapping[BreakerState, int] = {"closed": 0, "half_open": 1, "open": 2}


@final
class TopicMetrics:
    """Counts of one topic as one source reads it."""

    __slots__ = ("_outcomes", "_read")

    def __init__(self, read: Counter, outcomes: Mapping[EventOutcome, Counter]) -> None:
        self._read = read
        self._outcomes = outcomes

    def read(self, count: int = 1) -> None:
        """Records that came."""
        self._read.inc(count)

    def event(self, outcome: EventOutcome, count: int = 1) -> None:
        """What became of records: ``skipped`` were settled before, ``unmatched`` no route wants,
        those of an ``unknown_tenant`` are dead letters."""
        self._outcomes[outcome].inc(count)


@final
class PartitionMetrics:
    """How far behind one partition is."""

    __slots__ = ("_age", "_lag", "_paused", "_unsettled")

    def __init__(self, lag: Gauge, age: Gauge, unsettled: Gauge, paused: Gauge) -> None:
        self._lag = lag
        self._age = age
        self._unsettled = unsettled
        self._paused = paused

    def lag(self, records: int) -> None:
        """Records between the committed offset and the end of the partition."""
        self._lag.set(records)

    def unsettled(self, records: int, oldest_age_s: float) -> None:
        """Records read and not settled yet, and the age of the oldest."""
        self._unsettled.set(records)
        self._age.set(oldest_age_s)

    def paused(self, is_paused: bool) -> None:
        self._paused.set(is_paused)


@final
class RouteMetrics:
    """Counts of one route."""

    __slots__ = ("_accounts", "_errors", "_matched", "_route", "_shadow_failures")

    def __init__(
        self,
        route: str,
        matched: Counter,
        errors: Counter,
        shadow_failures: Counter,
        accounts: Accounts,
    ) -> None:
        self._route = route
        self._matched = matched
        self._errors = errors
        self._shadow_failures = shadow_failures
        self._accounts = accounts

    def matched(self, count: int = 1) -> None:
        self._matched.inc(count)

    def expression_error(self, count: int = 1) -> None:
        """A ``when:`` that was missing or mistyped, and so false."""
        self._errors.inc(count)

    def shadow_failed(self) -> None:
        """A message in shadow mode that can't be rendered."""
        self._shadow_failures.inc()

    def sink(self, name: str) -> Account:
        """The books of this route's deliveries through one sink."""
        return self._accounts.of(self._route, name)


@final
class SinkMetrics:
    """Counts and states of one sink."""

    __slots__ = (
        "_attempts",
        "_breaker",
        "_breakers_opened",
        "_cancel_late",
        "_delivery_s",
        "_families",
        "_gates",
        "_in_doubt",
        "_lane",
        "_name",
        "_repeats",
        "_retries",
        "_seconds",
        "_spilled",
    )

    def __init__(self, name: str, families: Families) -> None:
        self._name = name
        self._families = families
        self._attempts: dict[str, Counter] = {}
        self._gates: dict[tuple[str, str], Gauge] = {}
        self._retries: dict[str, Counter] = {}
        self._seconds = families.attempt_seconds.labels(name)
        self._delivery_s = families.delivery_seconds.labels(name)
        self._repeats = families.repeats.labels(name)
        self._cancel_late = families.cancel_late.labels(name)
        self._in_doubt = families.in_doubt.labels(name)
        self._lane = families.lane_depth.labels(name)
        self._spilled = families.spilled.labels(name)
        self._breaker = families.breaker.labels(name)
        self._breakers_opened = families.breakers_opened.labels(name)

    def attempt(self, outcome: AttemptOutcome, seconds: float) -> None:
        """One attempt ended after so many seconds."""
        child = self._attempts.get(outcome)
        if child is None:
            child = self._families.attempts.labels(self._name, outcome)
            self._attempts[outcome] = child
        child.inc()
        self._seconds.observe(seconds)

    def delivered_after(self, seconds: float) -> None:
        """Time from the event to its acceptance by the provider."""
        self._delivery_s.observe(seconds)

    def retry(self, reason: str) -> None:
        """A delivery was scheduled for another attempt, for a reason code."""
        child = self._retries.get(reason)
        if child is None:
            child = self._families.retries.labels(self._name, reason)
            self._retries[reason] = child
        child.inc()

    def repeat(self, count: int = 1) -> None:
        """A second send of a delivery whose first may have been accepted."""
        self._repeats.inc(count)

    def cancel_late(self, count: int = 1) -> None:
        """Deliveries were claimed already when the event came that ends them."""
        self._cancel_late.inc(count)

    def in_doubt(self, count: int = 1) -> None:
        self._in_doubt.inc(count)

    def lane_depth(self, waiting: int) -> None:
        self._lane.set(waiting)

    def spilled(self, count: int = 1) -> None:
        """Deliveries put into the schedule because the lane was full or gated."""
        self._spilled.inc(count)

    def gates(self, scope: GateScope, cause: GateCause, closed: int) -> None:
        """How many gates are closed: 0 or 1 for the sink, a count of targets or endpoints."""
        child = self._gates.get((scope, cause))
        if child is None:
            child = self._families.gates.labels(self._name, scope, cause)
            self._gates[scope, cause] = child
        child.set(closed)

    def breaker(self, state: BreakerState) -> None:
        self._breaker.set(_BREAKER[state])
        if state == "open":
            self._breakers_opened.inc()


@final
class LedgerMetrics:
    """One ledger operation's times and failures."""

    __slots__ = ("_failures", "_seconds")

    def __init__(self, seconds: Histogram, failures: Counter) -> None:
        self._seconds = seconds
        self._failures = failures

    def took(self, seconds: float) -> None:
        self._seconds.observe(seconds)

    def failed(self) -> None:
        self._failures.inc()
