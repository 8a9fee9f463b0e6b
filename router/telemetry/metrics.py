"""The daemon's metrics, in a registry of their own.

``metrics.sink("mail")`` and the like give what counts one thing. Labels are names from the
configuration, Kafka's topics and partitions, and bounded codes, never personal data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from router.telemetry.accounts import Accounts, Balance
from router.telemetry.bound import (
    OUTCOMES,
    EventOutcome,
    LedgerMetrics,
    PartitionMetrics,
    RouteMetrics,
    SinkMetrics,
    TopicMetrics,
)
from router.telemetry.families import Families

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of :meth:`Metrics.render`'s text."""

_Part = Literal["route", "sink"]


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
                outcome: self.families.events.labels(topic, outcome) for outcome in OUTCOMES
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
            bound = self._sinks[name] = SinkMetrics(name, self.families)
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

    def lost(self, offsets: int) -> None:
        self.families.offsets_lost.inc(offsets)

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
