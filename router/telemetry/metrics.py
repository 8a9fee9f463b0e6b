"""The daemon's metrics, in a registry of their own.

Bound objects (``metrics.sink("mail")``) hold their children, so that counting costs well below a
microsecond. Ask for them once, where the counted thing is built, not per message. Labels are
names from the configuration, Kafka's topics and partitions, and bounded codes, never personal data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from router.telemetry.accounts import Account, Accounts, Balance
from router.telemetry.families import Families

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of :meth:`Metrics.render`'s text."""

EventOutcome = Literal["matched", "unmatched", "poison", "skipped", "unknown_tenant"]
AttemptOutcome = Literal["delivered", "retry", "halt", "rejected", "in_doubt"]
GateScope = Literal["sink", "endpoint", "target"]
GateCause = Literal["halt", "pause", "breaker", "retry_after"]
BreakerState = Literal["closed", "half_open", "open"]
_Part = Literal["route", "sink"]

_OUTCOMES: tuple[EventOutcome, ...] = get_args(EventOutcome)
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
        "_gates",
        "_in_doubt",
        "_lane",
        "_metrics",
        "_name",
        "_repeats",
        "_retries",
        "_seconds",
        "_spilled",
    )

    def __init__(self, name: str, metrics: Metrics) -> None:
        families = metrics.families
        self._name = name
        self._metrics = metrics
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
            child = self._metrics.families.attempts.labels(self._name, outcome)
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
            child = self._metrics.families.retries.labels(self._name, reason)
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
            child = self._metrics.families.gates.labels(self._name, scope, cause)
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


@final
class Metrics:
    """Everything the daemon counts. One for each daemon; nothing global."""

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.families: Final = Families(self.registry)
        self._accounts = Accounts()
        self.registry.register(self._accounts)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.families.build.labels(version).set(1)
        self._topics: dict[tuple[str, str], TopicMetrics] = {}
        self._partitions: dict[tuple[str, int], PartitionMetrics] = {}
        self._routes: dict[str, RouteMetrics] = {}
        self._sinks: dict[str, SinkMetrics] = {}
        self._ledger: dict[str, LedgerMetrics] = {}
        self._seen: dict[Gauge, set[tuple[str, ...]]] = {}
        self._configured: dict[_Part, frozenset[str]] = {}
        self._former: set[tuple[_Part, str]] = set()

    # Bound objects ---------------------------------------------------------------------------

    def topic(self, source: str, topic: str) -> TopicMetrics:
        """Counts of a topic read by a source."""
        bound = self._topics.get((source, topic))
        if bound is None:
            outcomes: dict[EventOutcome, Counter] = {
                outcome: self.families.events.labels(topic, outcome) for outcome in _OUTCOMES
            }
            bound = TopicMetrics(self.families.records_read.labels(source, topic), outcomes)
            self._topics[source, topic] = bound
        return bound

    def partition(self, topic: str, partition: int) -> PartitionMetrics:
        """Lag and age of one partition; :meth:`forget_partition` when it goes to others."""
        bound = self._partitions.get((topic, partition))
        if bound is None:
            families, labels = self.families, (topic, str(partition))
            bound = PartitionMetrics(
                families.lag.labels(*labels),
                families.unsettled_age.labels(*labels),
                families.unsettled.labels(*labels),
                families.paused.labels(*labels),
            )
            self._partitions[topic, partition] = bound
        return bound

    def forget_partition(self, topic: str, partition: int) -> None:
        """Stops showing a partition that this process no longer reads."""
        if self._partitions.pop((topic, partition), None) is None:
            return
        families = self.families
        for family in (families.lag, families.unsettled_age, families.unsettled, families.paused):
            family.remove(topic, str(partition))

    def route(self, route: str) -> RouteMetrics:
        """Counts of a route; ``metrics.route(id).sink(name)`` are its books with a sink."""
        bound = self._routes.get(route)
        if bound is None:
            families = self.families
            bound = self._routes[route] = RouteMetrics(
                route,
                families.route_matched.labels(route),
                families.expression_errors.labels(route),
                families.shadow_failures.labels(route),
                self._accounts,
            )
        return bound

    def sink(self, name: str) -> SinkMetrics:
        """Counts and states of a sink."""
        bound = self._sinks.get(name)
        if bound is None:
            bound = self._sinks[name] = SinkMetrics(name, self)
        return bound

    def ledger(self, operation: str) -> LedgerMetrics:
        """Times of a ledger operation, by its method's name."""
        bound = self._ledger.get(operation)
        if bound is None:
            bound = self._ledger[operation] = LedgerMetrics(
                self.families.ledger_seconds.labels(operation),
                self.families.ledger_failures.labels(operation),
            )
        return bound

    # Configuration ---------------------------------------------------------------------------

    def configured(self, routes: Iterable[str], sinks: Iterable[str]) -> None:
        """These are in force from here on: what was before and is gone may be forgotten."""
        parts: dict[_Part, frozenset[str]] = {"route": frozenset(routes), "sink": frozenset(sinks)}
        for part, names in parts.items():
            self._former |= {(part, name) for name in self._configured.get(part, names) - names}
            self._former -= {(part, name) for name in names}
        self._configured = parts

    def forget_former(self) -> None:
        """Stops showing routes and sinks that are gone, each once nothing of it is under way."""
        for part, name in list(self._former):
            is_route = part == "route"
            books = {"route": name} if is_route else {"sink": name}
            if not self._accounts.balance(**books).holds:
                continue
            self._accounts.forget(**books)
            self.families.forget(part, name)
            self._former.discard((part, name))
            if is_route:
                self._routes.pop(name, None)
            else:
                self._sinks.pop(name, None)
                for family in (self.families.backlog, self.families.backlog_bytes):
                    self._seen.get(family, set()).discard((name,))

    # Singles ---------------------------------------------------------------------------------

    def committed(self) -> None:
        self.families.commits.inc()

    def commit_failed(self) -> None:
        self.families.commit_failures.inc()

    def revoked(self, partitions: int) -> None:
        self.families.rebalances.inc(partitions)

    def duplicate_event(self, count: int = 1) -> None:
        """A delivery key was met again from a different record than the one stored."""
        self.families.duplicate_events.inc(count)

    def silences(self, count: int) -> None:
        """How many silences keep something from being sent."""
        self.families.silences.set(count)

    def feedback_dropped(self) -> None:
        """What arrived was not reported, since too much feedback waits to be published."""
        self.families.feedback_dropped.inc()

    def ledger_up(self, is_up: bool) -> None:
        self.families.ledger_up.set(is_up)

    def schedule(
        self,
        rows: Mapping[tuple[str, str], int],
        backlog: Mapping[str, int],
        backlog_bytes: Mapping[str, int],
        oldest_due_s: float,
    ) -> None:
        """The ledger's own numbers: rows by kind and state, open rows by sink, oldest due row."""
        families = self.families
        self._set_all(families.ledger_rows, rows)
        self._set_all(families.backlog, {(sink,): count for sink, count in backlog.items()})
        self._set_all(families.backlog_bytes, {(sink,): n for sink, n in backlog_bytes.items()})
        families.oldest_due.set(oldest_due_s)

    def _set_all(self, family: Gauge, values: Mapping[tuple[str, ...], int]) -> None:
        """Sets these children, and those set earlier to 0."""
        known = self._seen.setdefault(family, set())
        for labels in known - values.keys():
            family.labels(*labels).set(0)
        for labels, value in values.items():
            family.labels(*labels).set(value)
        known.update(values)

    def reloaded(
        self, result: Literal["applied", "unchanged", "refused"], digest: str, now: float
    ) -> None:
        """A configuration was loaded, or refused (then the old ``digest`` stays in force).

        ``digest`` is hexadecimal; its first 48 bits are exact in a float and tell replicas apart.
        """
        families = self.families
        families.reloads.labels(result).inc()
        families.reload_ok.set(result != "refused")
        if result != "refused":
            families.reload_time.set(now)
            families.config_hash.set(int(digest[:12], 16))

    # Out -------------------------------------------------------------------------------------

    def balance(self, *, route: str | None = None, sink: str | None = None) -> Balance:
        """The accounting identity's numbers, of everything or of one route or sink."""
        return self._accounts.balance(route=route, sink=sink)

    def render(self) -> bytes:
        """The scrape, as Prometheus text. Slow with many routes: call it in a thread."""
        return generate_latest(_WithoutCreated(self.registry))


@final
class _WithoutCreated(Collector):
    """Leaves out ``*_created`` samples, which double a scrape for nothing in the text format."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
