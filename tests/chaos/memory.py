"""Memory stays where it is, however far behind the daemon is and however many an event is for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from router.sandbox import Sandbox
from tests.chaos.ledgers import nothing_twice
from tests.chaos.scenario import NOTES, Scenario
from tests.chaos.site import Report, Site
from tests.chaos.trial import trial
from tests.system.processes import Daemon, eventually
from tests.system.projects import write_template
from tests.system.topics import order

_MIB = 1024**2
_MARGIN = 96 * _MIB
"""What SQLite's caches, of 32 MiB a connection, come to hold as the ledger grows, and the garbage
between two collections; far less than the records of the greater lag, or the messages to all
recipients, would take."""

_PATIENCE_S = 900.0


async def lag(site: Site) -> Report:
    """A daemon that starts four times as far behind takes no more memory. The smaller lag is long
    enough for windows and lanes to be full, and for what is collected later to have piled up."""
    few, _ = await _peak(site, "few", events=50_000)
    many, report = await _peak(site, "many", events=200_000)
    return _flat(report, few, many, "50,000 behind", "200,000 behind")


async def fan_out(site: Site) -> Report:
    """As many messages of one event take no more memory than of a thousand."""
    few, _ = await _peak(site, "few", events=1_000, people=100)
    many, report = await _peak(site, "many", people=100_000)
    return _flat(report, few, many, "1,000 events for 100", "1 event for 100,000")


def _flat(report: Report, few: int, many: int, before: str, after: str) -> Report:
    told = {before: f"at most {few / _MIB:.0f} MiB", after: f"at most {many / _MIB:.0f} MiB"}
    grown = f"{few / _MIB:.0f} MiB grew to {many / _MIB:.0f} MiB"
    assert many - few < _MARGIN, grown
    return nothing_twice(replace(report, details={**report.details, **told}))


async def _peak(
    site: Site,
    name: str,
    *,
    events: int = 1,
    people: int = 1,
) -> tuple[int, Report]:
    """The most memory that a daemon takes for events that wait, each for so many people."""
    place = replace(site, folder=site.folder / name, patience_s=_PATIENCE_S)
    lines = events * people
    out = place.folder / "out.jsonl"

    def event(number: int) -> bytes:
        return order(number, people=[f"u{n}" for n in range(people)])

    async with trial(place, sections=_file(out), steps=people, event=event) as t:
        await t.publish(events, in_batches=True)
        project = t.project("one")
        write_template(project, "note", {"chat.html": "Order {{ data.id }}\n"})
        (running,) = await t.start_all([project])
        await eventually(_line_counter(out, lines), f"{lines} lines", _PATIENCE_S)
        await t.drained()
        peak = _high_water(running)
        return peak, await t.end(arrived=_keys(out))


def _file(out: Path) -> Callable[[Sandbox], Mapping[str, Any]]:
    route = {
        "match": {"type": "order.paid"},
        "recipients": {"each": "data.people", "id": "item"},
        "deliver": [{"sink": "out", "template": "note"}],
    }
    sections = {
        "templates": "templates",
        "sinks": {"out": {"type": "file", "path": str(out)}},
        "routes": {"paid": route},
    }
    return lambda _: sections


def _high_water(running: Daemon) -> int:
    """The most memory that its process has had, in bytes."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _line_counter(path: Path, wanted: int) -> Callable[[], bool]:
    """Whether a file has so many lines; each call reads what was added."""
    seen = 0
    counted = 0

    def has_all() -> bool:
        nonlocal seen, counted
        if path.exists():
            with path.open("rb") as file:
                file.seek(seen)
                added = file.read()
            seen, counted = seen + len(added), counted + added.count(b"\n")
        return counted >= wanted

    return has_all


def _keys(path: Path) -> list[str]:
    return [orjson.loads(line)["key"] for line in path.read_bytes().splitlines()]


SCENARIOS = [
    Scenario("memory-lag", "a daemon starts 200,000 records behind", lag, brokers=NOTES),
    Scenario("memory-fan-out", "one event is for 100,000 people", fan_out),
]
