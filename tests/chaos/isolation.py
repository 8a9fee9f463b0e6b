"""One sink is dead under load: the other does not notice, and the backlog follows in due order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from router.ledger import State
from router.sandbox import Fault, Received, Sandbox
from tests.chaos.scenario import Scenario
from tests.chaos.trial import Report, Site, Trial, order_of, trial
from tests.system.processes import Daemon, eventually
from tests.system.projects import api_sink, order_route

_PER_SECOND = 40
_RATE = 100
"""Messages a second that the dying sink is allowed: its backlog must not come as a storm."""

_MOST_GROWTH = 96 * 1024**2
_DYING = {
    "timeout": "2s",
    "concurrency": 8,
    "rate": f"{_RATE}/s",
    "retry": {"first": "300ms", "cap": "2s"},
    "breaker": {"window": "4s", "half_open": "1s"},
}
_RSS = "process_resident_memory_bytes"


def _sections(box: Sandbox) -> Mapping[str, Any]:
    route = order_route("/healthy", sink="healthy")
    route["deliver"] += order_route("/dying", sink="dying")["deliver"]
    return {
        "sinks": {"healthy": api_sink(box), "dying": api_sink(box, **_DYING)},
        "routes": {"paid": route},
        "delivery": {"lane_capacity": 40},
    }


async def dead_sink(site: Site) -> Report:
    before, during = site.size(80), site.size(240)
    async with trial(site, sections=_sections, steps=2) as t:
        (running,) = await t.start_all([t.project("one")])
        await t.publish(before, _PER_SECOND)
        await t.arrivals(2 * before)
        memory = await running.total(_RSS)
        for number in range(before, before + during):
            path = f"/dying/o-{number}"
            t.box.http.faults.plan(path, always=Fault("stall", seconds=60))
        await t.publish(during, _PER_SECOND)
        await t.arrivals(before + during, _is_healthy)
        assert sum(map(_is_dying, t.box.record)) == before, "a dead sink delivers"
        assert await running.is_ready()

        async def has_opened() -> bool:
            return await running.total("router_sink_breaker_opened_total", sink="dying") > 0

        await eventually(has_opened, "an open breaker", site.patience_s)
        scrape = await running.scrape()
        grown = scrape.total(_RSS) - memory
        spilled = scrape.total("router_spilled_total", sink="dying")
        opened = scrape.total("router_sink_breaker_opened_total", sink="dying")
        dues = {row.key.hex(): row.due or 0.0 for row in await t.rows() if _waits(row)}

        t.box.http.faults.clear()
        t.fault_ends()
        await t.drained()
        await _is_closed(running, t)
        _tell(t, before, grown, spilled, opened, dues)
        report = await t.end()
    assert spilled > 0, "the full lane spills into the schedule"
    assert opened > 0, "the breaker opens"
    assert grown < _MOST_GROWTH, f"{grown / 1024**2:.0f} MiB more memory"
    assert report.books.states == {State.DELIVERED: 2 * (before + during)}
    return report


def _is_healthy(entry: Received) -> bool:
    return entry.recipient.startswith("/healthy/")


def _is_dying(entry: Received) -> bool:
    return entry.recipient.startswith("/dying/")


def _waits(row: Any) -> bool:
    return row.state is State.SCHEDULED and row.sink == "dying"


async def _is_closed(running: Daemon, t: Trial) -> None:
    async def is_closed() -> bool:
        return await running.total("router_sink_breaker_state", sink="dying") == 0

    await eventually(is_closed, "a probe closes the breaker", t.site.patience_s)


def _tell(
    t: Trial, before: int, grown: float, spilled: float, opened: float, dues: Mapping[str, float]
) -> None:
    latencies = {order_of(e): e.at - t.times[order_of(e)] for e in t.box.record if _is_healthy(e)}
    first = {f"o-{number}" for number in range(before)}
    calm = [seconds for order, seconds in latencies.items() if order in first]
    troubled = [seconds for order, seconds in latencies.items() if order not in first]
    backlog = [e for e in t.box.record if _is_dying(e) and e.key in dues]
    t.details |= {
        "healthy sink before": _histogram(calm),
        "healthy sink during": _histogram(troubled),
        "memory": f"{grown / 1024**2:+.0f} MiB",
        "spilled": f"{spilled:.0f}; the breaker opened {opened:.0f} times",
        "backlog": f"{len(backlog)}, at most {_most_at_once(backlog)} in a second",
        "due order": f"within {_disorder(backlog, dues)} of {len(backlog)} places",
    }
    assert _most_at_once(backlog) <= 2 * _RATE + 10, "the backlog comes as a storm"


def _histogram(seconds: Sequence[float]) -> str:
    found = sorted(seconds)
    marks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    values = {name: found[min(len(found) - 1, int(q * len(found)))] for name, q in marks.items()}
    return " ".join(f"{name} {1000 * value:.0f} ms" for name, value in values.items())


def _most_at_once(entries: Sequence[Received]) -> int:
    """The most that came within any one second."""
    times = sorted(entry.at for entry in entries)
    return max((n + 1 - bisect_left(times, at - 1) for n, at in enumerate(times)), default=0)


def _disorder(entries: Sequence[Received], dues: Mapping[str, float]) -> int:
    """By how many places any came earlier or later than its due time would have it."""
    wanted = sorted(dues[entry.key or ""] for entry in entries)
    worst = 0
    for place, entry in enumerate(entries):
        due = dues[entry.key or ""]
        first = bisect_left(wanted, due)
        last = bisect_left(wanted, due + 1e-6) - 1
        worst = max(worst, first - place, place - last)
    return worst


SCENARIOS = [
    Scenario("sink-dead", "one of two sinks is dead under load, then comes back", dead_sink)
]
