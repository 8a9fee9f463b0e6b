"""Daemons as real processes: started, watched through logs, probes and metrics, and stopped."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import orjson
from prometheus_client.parser import text_string_to_metric_families

from router.clock import SystemClock
from router.ledger import KINDS as LEDGERS
from router.ledger import Kind, Row, State
from router.sandbox import Received, Sandbox
from router.sandbox.process import OwnedProcess, StartFailed, owned_process
from tests.system.projects import Project

ROUTER = Path(sys.executable).with_name("router")
_PATIENCE_S = 40.0
_POLL_S = 0.05


async def eventually(
    condition: Callable[[], Awaitable[Any]] | Callable[[], Any],
    what: str,
    within_s: float = _PATIENCE_S,
) -> Any:
    """The condition's first true value; fails, saying what did not happen, when time is over."""
    value: Any = None
    with anyio.move_on_after(within_s):
        while True:
            value = condition()
            if hasattr(value, "__await__"):
                value = await value
            if value:
                return value
            await anyio.sleep(_POLL_S)
    raise AssertionError(f"not within {within_s:g} s: {what} (last: {value!r})")


async def arrivals(
    box: Sandbox,
    count: int = 1,
    where: Callable[[Received], bool] = lambda _: True,
    within_s: float = _PATIENCE_S,
) -> Sequence[Received]:
    """The first so many of what the sandbox accepts, waiting for them."""
    with anyio.move_on_after(within_s):
        return await box.record.wait_for(where, count)
    found = sum(map(where, box.record))
    raise AssertionError(f"not within {within_s:g} s: {count} arrivals (there are {found})")


@dataclass(frozen=True, slots=True)
class Scrape:
    """One reading of a daemon's metrics.

    Attributes:
        families: Names of all there are, with or without samples.
        samples: Name, labels and value.
    """

    families: frozenset[str] = frozenset()
    samples: Sequence[tuple[str, Mapping[str, str], float]] = ()

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of a metric that have these labels.

        Raises:
            KeyError: there is no such metric.
        """
        if not self.families & {name, name.removesuffix("_total"), name.removesuffix("_count")}:
            raise KeyError(name)
        return sum(
            value
            for sample, found, value in self.samples
            if sample == name and labels.items() <= found.items()
        )


@dataclass(slots=True)
class Daemon:
    """A ``router run`` under test."""

    project: Project
    process: OwnedProcess
    _session: aiohttp.ClientSession = field(repr=False)

    # What it says --------------------------------------------------------------------------------

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return self.process.log.read_text(errors="replace")

    def messages(self, pattern: str) -> list[str]:
        """The messages of log lines in which the pattern is found."""
        return [text for text in self._messages() if re.search(pattern, text)]

    def _messages(self) -> list[str]:
        found: list[str] = []
        for line in self.output.splitlines():
            try:
                found.append(str(orjson.loads(line)["message"]))
            except (ValueError, KeyError, TypeError):
                found.append(line)
        return found

    async def says(self, pattern: str, within_s: float = _PATIENCE_S) -> str:
        """The first log message in which the pattern is found, waiting for it."""
        found = await eventually(
            lambda: self.messages(pattern), f"a log line like {pattern!r}", within_s
        )
        return found[0]

    # Its servers ---------------------------------------------------------------------------------

    @property
    def addresses(self) -> tuple[str, str] | None:
        """Admin and probes, once it has said where they are."""
        found = re.search(r"admin on (\S+), probes on ([^\s\",]+)", self.output)
        return (f"http://{found[1]}", f"http://{found[2]}") if found else None

    async def get(self, path: str, *, admin: bool = False) -> tuple[int, str]:
        """Status and body; 0 while it does not answer."""
        return await self.call("GET", path, admin=admin)

    async def call(self, method: str, path: str, *, admin: bool = False) -> tuple[int, str]:
        """Status and body of a call; 0 while it does not answer."""
        if self.addresses is None:
            return 0, ""
        url = self.addresses[0 if admin else 1] + path
        try:
            async with self._session.request(method, url) as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def is_ready(self) -> bool:
        return (await self.get("/-/ready"))[0] == 200

    async def scrape(self) -> Scrape:
        """Its metrics now; none while it does not answer."""
        _, text = await self.get("/metrics")
        families = list(text_string_to_metric_families(text))
        samples = [(s.name, s.labels, s.value) for f in families for s in f.samples]
        return Scrape(frozenset(f.name for f in families), samples)

    async def total(self, name: str, **labels: str) -> float:
        return (await self.scrape()).total(name, **labels)

    # Its end -------------------------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ends(self, within_s: float = _PATIENCE_S) -> int:
        """The exit status, once it has ended by itself."""
        with anyio.move_on_after(within_s):
            return await self.process.wait()
        raise AssertionError(f"did not end within {within_s:g} s")

    async def stop(self, within_s: float = _PATIENCE_S) -> int:
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return await self.ends(within_s)

    async def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def daemon(
    project: Project, *options: str, is_ready: bool = True, within_s: float = _PATIENCE_S
) -> AsyncGenerator[Daemon]:
    """``router run`` on a project until the block ends; by default it has joined its group."""
    number = len(list(project.folder.glob("run-*.log"))) + 1
    log = project.folder / f"run-{number}.log"
    command = [ROUTER, "run", "-c", str(project.config), *options]
    timeout = aiohttp.ClientTimeout(total=10)

    async def at_once() -> bool:
        return True

    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        owned_process(
            command, log=log, ready=at_once, env=environment(project), stop_timeout_s=3
        ) as process,
    ):
        running = Daemon(project, process, session)
        try:
            if is_ready:
                await eventually(lambda: ready_or_ended(running), "ready", within_s)
            yield running
        except Exception as error:
            error.add_note(f"the daemon's last output:\n{process.output()}")
            raise


async def ready_or_ended(running: Daemon) -> bool:
    """Whether it is ready.

    Raises:
        StartFailed: it has ended.
    """
    if not running.process.is_running:
        raise StartFailed("ended at once")
    return await running.is_ready()


def environment(project: Project) -> dict[str, str]:
    """A bare environment: the project's variables, and nothing of the developer's."""
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **project.env}


async def run_to_its_end(
    project: Project, *options: str, stdin: bytes = b"", within_s: float = _PATIENCE_S
) -> subprocess.CompletedProcess[bytes]:
    """``router run`` until it ends by itself."""
    command = [str(ROUTER), "run", "-c", str(project.config), *options]
    with anyio.fail_after(within_s):
        return await anyio.run_process(
            command, input=stdin, check=False, env=environment(project), stderr=subprocess.STDOUT
        )


# Ledger --------------------------------------------------------------------------------------


async def ledger_rows(project: Project, kind: Kind = Kind.DELIVERY) -> list[Row]:
    """Every row of a kind, read beside whoever has the ledger."""
    ledger = LEDGERS.load("sqlite")
    assert ledger.open_reader is not None
    config = ledger.config.model_validate({"type": "sqlite", "path": str(project.ledger)})
    rows: list[Row] = []
    async with ledger.open_reader(config, clock=SystemClock()) as reader:
        while page := await reader.rows(
            kind=kind, after=rows[-1].key if rows else None, limit=1000
        ):
            rows += page
    return rows


def count_states(rows: Sequence[Row]) -> dict[State, int]:
    """How many rows are in each state, states without any left out."""
    return {s: n for s in State if (n := sum(row.state is s for row in rows))}
