"""Runs scenarios: on servers that they share, each in a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from tests.brokers import Broker
from tests.chaos.scenario import Scenario
from tests.chaos.site import Report, Site
from tests.servers import Server

ServerOf: TypeAlias = Callable[[str], Awaitable[Server]]


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
                "states": {str(state): count for state, count in books.states.items()},
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
    except pytest.skip.Exception as error:
        return Result(case.name, scenario.fault, skipped=str(error))
    except Exception as error:
        failure = _told(error)
    return Result(case.name, scenario.fault, time.monotonic() - began, report, failure)


def _told(error: BaseException) -> str:
    """The first error inside groups, with its notes."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    notes = "\n".join(getattr(error, "__notes__", ()))
    return "\n".join(filter(None, (f"{type(error).__name__}: {error}", notes)))


def unfit(case: Case, broker: Broker) -> str:
    """Why a broker can't carry a case; empty if it can."""
    if broker.kind in case.scenario.brokers:
        return ""
    return f"needs {' or '.join(sorted(case.scenario.brokers))}, not {broker.kind}"


async def run_all(
    chosen: Sequence[Case],
    broker: Broker,
    server_of: ServerOf,
    folder: Path,
    *,
    is_long: bool = False,
    at_once: int = 1,
    ended: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Runs cases, some at the same time; results are in the order of the cases.

    Args:
        server_of: Gives the server of a kind of ledger; skips, as a test would, without one.
        ended: Told of each result as it comes.
    """
    found: dict[str, Result] = {}
    limit = anyio.Semaphore(at_once)

    async def one(case: Case) -> None:
        async with limit:
            found[case.name] = await _run_on(case, broker, server_of, folder, is_long)
            ended(found[case.name])

    async with anyio.create_task_group() as tasks:
        for case in chosen:
            tasks.start_soon(one, case)
    return [found[case.name] for case in chosen]


async def _run_on(
    case: Case, broker: Broker, server_of: ServerOf, folder: Path, is_long: bool
) -> Result:
    if reason := unfit(case, broker):
        return Result(case.name, case.scenario.fault, skipped=reason)
    try:
        server = None if case.ledger == "sqlite" else await server_of(case.ledger)
    except pytest.skip.Exception as error:
        return Result(case.name, case.scenario.fault, skipped=str(error))
    place = folder / case.name.replace("@", "-")
    return await run(case, Site(broker, case.ledger, server, place, is_long))


def results_of(
    chosen: Sequence[Case],
    broker: Broker,
    servers: Callable[[str], Server],
    folder: Path,
    *,
    at_once: int,
) -> dict[str, Result]:
    """What became of each case, by name, for a test. Most of it is waiting for leases to end, so
    they go side by side."""

    async def server_of(kind: str) -> Server:
        return await anyio.to_thread.run_sync(servers, kind)

    run = partial(run_all, at_once=at_once)
    found = anyio.run(run, chosen, broker, server_of, folder)
    return {result.name: result for result in found}
