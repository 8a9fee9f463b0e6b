"""One sink is dead, slow or limited under load: the other does not notice it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from router.ledger import State
from router.sandbox import Fault, Received, Sandbox, answer
from tests.chaos.scenario import Run, Scenario
from tests.chaos.site import Report, Site, order_of
from tests.chaos.trial import Trial, trial
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

_WITHIN_NOISE = {0.5: 0.05, 0.9: 0.2, 0.99: 0.5}
"""What each quantile of the healthy sink's latency may be above twice what it was before, in
seconds: a busy machine slows down now and then, a lane that waits for another one does so for
longer."""


def _sections(box: Sandbox) -> Mapping[str, Any]:
    route = order_route("/healthy", sink="healthy")
    route["deliver"] += order_route("/dying", sink="dying")["deliver"]
    return {
        "sinks": {"healthy": api_sink(box), "dying": api_sink(box, **_DYING)},
        "routes": {"paid": route},
        "delivery": {"lane_capacity": 40},
    }


async def dead(site: Site) -> Report:
    """It takes requests and never answers."""
    async with trial(site, sections=_sections, steps=2) as t:
        (running,) = await t.start_all([t.project("one")])
        before = await _calm(t)
        memory = await running.total(_RSS)
        await _troubled(t, Fault("stall", seconds=60))
        assert sum(map(_is_dying, t.box.record)) == before, "a dead sink delivers"
        assert await running.is_ready()

        async def has_opened() -> bool:
            return await running.total("router_sink_breaker_opened_total", sink="dying") > 0

        await eventually(has_opened, "an open breaker", site.patience_s)
        scrape = await running.scrape()
        grown = scrape.total(_RSS) - memory
        opened = scrape.total("router_sink_breaker_opened_total", sink="dying")
        dues = {row.key.hex(): row.due or 0.0 for row in await t.rows() if _waits(row)}

        await _recovered(t, running, before)
        await _is_closed(running, t)
        backlog = [e for e in t.box.record if _is_dying(e) and e.key in dues]
        t.details |= {
            "memory": f"{grown / 1024**2:+.0f} MiB",
            "breaker": f"opened {opened:.0f} times",
            "backlog": f"{len(backlog)}, at most {_most_at_once(backlog)} in a second",
            "due order": f"within {_disorder(backlog, dues)} of {len(backlog)} places",
        }
        report = await t.end()
    assert _most_at_once(backlog) <= 2 * _RATE + 10, "the backlog comes as a storm"
    assert opened > 0, "the breaker opens"
    assert grown < _MOST_GROWTH, f"{grown / 1024**2:.0f} MiB more memory"
    return _all_delivered(report)


def ailing(fault: Fault) -> Run:
    """Each of its calls meets the fault, and its queue fills."""

    async def run(site: Site) -> Report:
        async with trial(site, sections=_sections, steps=2) as t:
            (running,) = await t.start_all([t.project("one")])
            before = await _calm(t)
            await _troubled(t, fault)
            assert await running.is_ready()
            await _recovered(t, running, before)
            report = await t.end()
        return _all_delivered(report)

    return run


async def _calm(t: Trial) -> int:
    """Both sinks as they should be; how many events that took."""
    count = t.site.size(80)
    await t.publish(count, _PER_SECOND)
    await t.arrivals(2 * count)
    return count


async def _troubled(t: Trial, fault: Fault) -> None:
    """One sink meets the fault under load, until the other has everything."""
    first, count = len(t.times), t.site.size(240)
    for number in range(first, first + count):
        t.box.http.faults.plan(f"/dying/o-{number}", always=fault)
    await t.publish(count, _PER_SECOND)
    await t.arrivals(first + count, _is_healthy)


async def _recovered(t: Trial, running: Daemon, before: int) -> None:
    """The fault ends and all follows; the healthy sink's latencies are looked at."""
    spilled = await running.total("router_spilled_total", sink="dying")
    t.box.http.faults.clear()
    t.fault_ends()
    await t.drained()
    latencies = {order_of(e): e.at - t.times[order_of(e)] for e in t.box.record if _is_healthy(e)}
    first = {f"o-{number}" for number in range(before)}
    calm = sorted(seconds for order, seconds in latencies.items() if order in first)
    troubled = sorted(seconds for order, seconds in latencies.items() if order not in first)
    t.details |= {
        "healthy sink before": _histogram(calm),
        "healthy sink during": _histogram(troubled),
        "spilled": f"{spilled:.0f}",
    }
    assert spilled > 0, "the full lane spills into the schedule"
    for q, slack_s in _WITHIN_NOISE.items():
        most = 2 * _quantile(calm, q) + slack_s
        told = f"p{100 * q:.0f} {_quantile(troubled, q):.2f} s, not within {most:.2f} s"
        assert _quantile(troubled, q) < most, f"the healthy sink is held up: {told}"


def _all_delivered(report: Report) -> Report:
    assert report.books.states == {State.DELIVERED: report.books.planned}
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


def _histogram(seconds: Sequence[float]) -> str:
    """Of sorted values."""
    marks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return " ".join(f"{name} {1000 * _quantile(seconds, q):.0f} ms" for name, q in marks.items())


def _quantile(found: Sequence[float], q: float) -> float:
    """Of sorted values."""
    return found[min(len(found) - 1, int(q * len(found)))]


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
    Scenario("sink-dead", "one of two sinks is dead under load, then comes back", dead),
    Scenario(
        "sink-slow",
        "one of two sinks is slower than its load",
        ailing(Fault("drip", seconds=1.5)),
    ),
    Scenario(
        "sink-limited",
        "one of two sinks answers 429 to everything",
        ailing(answer(429, headers={"Retry-After": "2"})),
    ),
]
