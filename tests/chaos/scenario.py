"""What a scenario is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.chaos.site import Report, Site

Run: TypeAlias = Callable[[Site], Awaitable[Report]]
"""Brings on the fault and gives the books; an expectation that is not met is an AssertionError."""

SHARED = ("postgres", "redis")
"""Ledgers of several replicas."""

EVICTS = frozenset({"tansu", "apache"})
"""Brokers that give a dead member's partitions to others."""

KEEPS = frozenset({"apache"})
"""Brokers that have their records still after a restart."""

NOTES = frozenset({"noida", "apache"})
"""Brokers that keep the note beside an offset, delete records and topics."""

ANY = frozenset({"noida", "tansu", "apache"})


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault to survive.

    Attributes:
        name: What it is called for.
        fault: What happens, in a line.
        ledgers: The kinds of ledger it takes place on, each by itself.
        brokers: The kinds of broker that can carry it.
    """

    name: str
    fault: str
    run: Run = field(repr=False)
    ledgers: tuple[str, ...] = ("sqlite",)
    brokers: frozenset[str] = ANY
