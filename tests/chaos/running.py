"""Runs scenarios: on servers that they share, each in a folder of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.brokers import Broker
from tests.chaos.scenario import Scenario
from tests.chaos.trial import Report, Site
from tests.servers import Server, postgres, redis


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario on one kind of ledger."""

    scenario: Scenario
    ledger: str

    @property
    def name(self) -> str:
        if len(self.scenario.ledgers) == 1:
            return self.scenario.name
        return f"{self.scenario.name}@{self.ledger}"


def cases(scenarios: Sequence[Scenario]) -> list[Case]:
    """Every scenario on each of its ledgers."""
    return [Case(scenario, ledger) for scenario in scenarios for ledger in scenario.ledgers]


@dataclass(frozen=True, slots=True)
class Result:
    """How a case ended.

    Attributes:
        report: Its books, unless it broke off.
        failure: What was not as promised; empty for what held.
        skipped: Why it did not take place.
    """

    name: str
    fault: str
    seconds: float = 0.0
    report: Report | None = None
    failure: str = ""
    skipped: str = ""

    @property
    def is_good(self) -> bool:
        return not self.failure

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        found: dict[str, Any] = {
            "name": self.name,
            "fault": self.fault,
            "seconds": round(self.seconds, 1),
            "ok": self.is_good and not self.skipped,
            "failure": self.failure,
            "skipped": self.skipped,
        }
        if (report := self.report) is not None:
            books = report.books
            found |= {
                "events": report.events,
                "planned": books.planned,
                "states": dict(books.states),
                "loss": books.lost,
                "repeats": books.repeats,
                "counted": books.counted,
                "recovery_s": None if report.recovery_s is None else round(report.recovery_s, 1),
                "details": dict(report.details),
            }
        return found


async def run(case: Case, site: Site) -> Result:
    """Runs one case; whatever goes wrong is in the result."""
    began = time.monotonic()
    scenario = case.scenario
    report, failure = None, ""
    try:
        report = await scenario.run(site)
        failure = "; ".join(report.books.problems)
    except Exception as error:
        failure = _told(error)
    return Result(case.name, scenario.fault, time.monotonic() - began, report, failure)


def _told(error: BaseException) -> str:
    """The first error inside groups, with its notes."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    notes = "\n".join(getattr(error, "__notes__", ()))
    return "\n".join(filter(None, (f"{type(error).__name__}: {error}", notes)))


@asynccontextmanager
async def ledger_servers(folder: Path) -> AsyncGenerator[Callable[[str], Awaitable[Server]]]:
    """PostgreSQL and Redis, started when first asked for."""
    async with AsyncExitStack() as stack:
        running: dict[str, Server] = {}
        starters = {"postgres": postgres, "redis": redis}

        async def server_of(kind: str) -> Server:
            if kind not in running:
                place = folder / kind
                place.mkdir()
                running[kind] = await stack.enter_async_context(starters[kind](place))
            return running[kind]

        yield server_of


def unfit(case: Case, broker: Broker) -> str:
    """Why a broker can't carry a case; empty if it can."""
    if broker.kind in case.scenario.brokers:
        return ""
    return f"needs {' or '.join(sorted(case.scenario.brokers))}, not {broker.kind}"
