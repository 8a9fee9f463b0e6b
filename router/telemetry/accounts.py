"""The books of deliveries: what was planned, where it went, and whether the two agree.

A delivery enters the process's books when it is planned or when it is resumed from the schedule,
and leaves them in exactly one way at a time. ``scheduled`` is a way out: the row is the ledger's
again, and may come back as ``resumed`` here or on another replica. A waiting fallback that the
ledger drops, because its primary was delivered, is resumed and suppressed. So at every moment

    planned + resumed = delivered + suppressed + dead + scheduled + duplicate + withdrawn
                        + in flight

holds for each route and sink by itself, after restarts and with several replicas too, and with
``scheduled - resumed`` as the schedule's open rows it is the promised identity

    planned = delivered + scheduled + suppressed + dead

once nothing is in flight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_MAX_REASONS = 64


class Exit(StrEnum):
    """How a delivery leaves the books."""

    DELIVERED = "delivered"
    SCHEDULED = "scheduled"
    SUPPRESSED = "suppressed"
    DEAD = "dead"
    DUPLICATE = "duplicate"
    WITHDRAWN = "withdrawn"


@final
class Account:
    """The books of one route's deliveries through one sink. Only the loop's thread writes."""

    __slots__ = ("_exits", "planned_count", "resumed_count", "route", "sink")

    def __init__(self, route: str, sink: str) -> None:
        self.route = route
        self.sink = sink
        self.planned_count = 0
        self.resumed_count = 0
        self._exits: dict[tuple[Exit, str], int] = {}

    def planned(self, count: int = 1) -> None:
        """Deliveries made of an event just now."""
        self.planned_count += count

    def resumed(self, count: int = 1) -> None:
        """Deliveries taken out of the schedule, by whomever they were planned."""
        self.resumed_count += count

    def delivered(self, count: int = 1) -> None:
        self._leave(Exit.DELIVERED, "", count)

    def scheduled(self, reason: str, count: int = 1) -> None:
        """Put into the schedule, again or for the first time; waiting fallbacks count here."""
        self._leave(Exit.SCHEDULED, reason, count)

    def suppressed(self, reason: str, count: int = 1) -> None:
        self._leave(Exit.SUPPRESSED, reason, count)

    def dead(self, reason: str, count: int = 1) -> None:
        self._leave(Exit.DEAD, reason, count)

    def duplicate(self, count: int = 1) -> None:
        """Recognised as known to the ledger, and not sent."""
        self._leave(Exit.DUPLICATE, "", count)

    def withdrawn(self, count: int = 1) -> None:
        """Given back unsettled: Kafka still has the record (revocation, shutdown)."""
        self._leave(Exit.WITHDRAWN, "", count)

    def add(self, other: Account) -> None:
        """Enters all that another account holds."""
        self.planned_count += other.planned_count
        self.resumed_count += other.resumed_count
        for exit_, reason, count in other.exits():
            self._leave(exit_, reason, count)

    def _leave(self, exit_: Exit, reason: str, count: int) -> None:
        key = (exit_, reason)
        exits = self._exits
        if key not in exits and len(exits) >= _MAX_REASONS:
            key = (exit_, "other")
        exits[key] = exits.get(key, 0) + count

    def exits(self) -> list[tuple[Exit, str, int]]:
        """Every way out taken so far: way, reason code, count."""
        return [(exit_, reason, count) for (exit_, reason), count in list(self._exits.items())]


@dataclass(frozen=True, slots=True)
class Balance:
    """The books added up.

    Attributes:
        planned: Deliveries made, less those recognised as duplicates and those withdrawn.
        scheduled: Put into the schedule less taken out of it. It may be negative on one replica
            that works off what another, or an earlier process, has scheduled.
        in_flight: Neither settled nor scheduled yet.
    """

    planned: int
    delivered: int
    scheduled: int
    suppressed: int
    dead: int
    in_flight: int
    duplicate: int
    withdrawn: int

    @property
    def holds(self) -> bool:
        """Nothing is in flight, so planned = delivered + scheduled + suppressed + dead."""
        return self.in_flight == 0

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


def add_up(accounts: Iterable[Account]) -> Balance:
    """One balance of many accounts."""
    entered, resumed = 0, 0
    left = dict.fromkeys(Exit, 0)
    for account in accounts:
        entered += account.planned_count
        resumed += account.resumed_count
        for exit_, _, count in account.exits():
            left[exit_] += count
    return Balance(
        planned=entered - left[Exit.DUPLICATE] - left[Exit.WITHDRAWN],
        delivered=left[Exit.DELIVERED],
        scheduled=left[Exit.SCHEDULED] - resumed,
        suppressed=left[Exit.SUPPRESSED],
        dead=left[Exit.DEAD],
        in_flight=entered + resumed - sum(left.values()),
        duplicate=left[Exit.DUPLICATE],
        withdrawn=left[Exit.WITHDRAWN],
    )


@final
class Accounts(Collector):
    """Every account, and how they show in a scrape."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Account] = {}
        self._former = Account("", "")

    def of(self, route: str, sink: str) -> Account:
        """The account of a route and sink; the same object each time."""
        account = self._accounts.get((route, sink))
        if account is None:
            account = self._accounts[route, sink] = Account(route, sink)
        return account

    def balance(self, *, route: str | None = None, sink: str | None = None) -> Balance:
        """All books added up, or those of one route, or one sink."""
        if route is None and sink is None:
            return add_up([*self._accounts.values(), self._former])
        return add_up(
            account
            for account in list(self._accounts.values())
            if (route is None or account.route == route) and (sink is None or account.sink == sink)
        )

    def forget(self, *, route: str | None = None, sink: str | None = None) -> None:
        """No more shows the books of a route, or of a sink; they still count in the whole."""
        for key, account in list(self._accounts.items()):
            if account.route == route or account.sink == sink:
                self._former.add(account)
                del self._accounts[key]

    def collect(self) -> Iterator[Metric]:
        planned = CounterMetricFamily(
            "router_deliveries_planned",
            "Deliveries made of events, before duplicates are recognised.",
            labels=("route", "sink"),
        )
        resumed = CounterMetricFamily(
            "router_deliveries_resumed",
            "Deliveries taken out of the schedule.",
            labels=("route", "sink"),
        )
        settled = CounterMetricFamily(
            "router_deliveries_settled",
            "Deliveries that left the process's hands, by way and reason.",
            labels=("route", "sink", "state", "reason"),
        )
        accounts = list(self._accounts.values())
        for account in accounts:
            labels = (account.route, account.sink)
            planned.add_metric(labels, account.planned_count)
            resumed.add_metric(labels, account.resumed_count)
            for exit_, reason, count in account.exits():
                settled.add_metric((*labels, exit_, reason), count)
        balance = add_up([*accounts, self._former])
        open_ = GaugeMetricFamily(
            "router_deliveries_open",
            "Deliveries not ended yet: in flight here, and put into the schedule less taken out.",
            labels=("state",),
        )
        open_.add_metric(("in_flight",), balance.in_flight)
        open_.add_metric(("scheduled",), balance.scheduled)
        yield from (planned, resumed, settled, open_)
