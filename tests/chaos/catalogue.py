"""Every scenario there is, in the order in which they run."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos import (
    broker,
    isolation,
    ledgers,
    lost_ledgers,
    memory,
    providers,
    records,
    reloads,
    replicas,
)
from tests.chaos.scenario import Scenario

SCENARIOS: Sequence[Scenario] = [
    *replicas.SCENARIOS,
    *broker.SCENARIOS,
    *records.SCENARIOS,
    *ledgers.SCENARIOS,
    *lost_ledgers.SCENARIOS,
    *providers.SCENARIOS,
    *isolation.SCENARIOS,
    *memory.SCENARIOS,
    *reloads.SCENARIOS,
]
