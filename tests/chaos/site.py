"""What a scenario is given, and what it gives back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from aiokafka import TopicPartition

from router.sandbox import Received
from tests.brokers import Broker
from tests.chaos.books import Books
from tests.servers import Server


@dataclass(frozen=True, slots=True)
class Site:
    """What a run lends each scenario.

    Attributes:
        ledger: ``sqlite``, ``postgres`` or ``redis``.
        server: The ledger's, for the shared ones.
        is_long: More events, longer faults.
        patience_s: How long anything may take before it counts as never.
    """

    broker: Broker
    ledger: str
    server: Server | None
    folder: Path
    is_long: bool = False
    patience_s: float = 120.0

    @property
    def session_s(self) -> float:
        """How long a member may be silent: as short as the broker allows."""
        return 6.0 if self.broker.kind == "noida" else 3.0

    def size(self, few: int) -> int:
        """That many events, or ten times as many."""
        return few * 10 if self.is_long else few

    def seconds(self, short: float) -> float:
        """That long, or three times as long."""
        return short * 3 if self.is_long else short


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies."""

    place: TopicPartition
    offset: int

    def __str__(self) -> str:
        return f"{self.place.topic}/{self.place.partition}/{self.offset}"


@final
@dataclass(frozen=True, slots=True)
class Report:
    """What a scenario found.

    Attributes:
        events: How many were published.
        recovery_s: From the end of the fault until nothing was open and all was committed.
        details: What else is worth telling, by name.
    """

    events: int
    books: Books
    recovery_s: float | None
    details: Mapping[str, str]


def order_of(entry: Received) -> str:
    """The id of the order that an effect is about."""
    found = re.search(r"\bo-\d+\b", entry.recipient) or re.search(r"\bo-\d+\b", entry.text)
    return found[0] if found else ""
