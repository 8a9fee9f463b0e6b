"""The configuration changes while things are stuck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from router.ledger import State
from router.sandbox import Fault, Sandbox, answer
from tests.chaos.scenario import Scenario
from tests.chaos.site import Report, Site
from tests.chaos.trial import trial
from tests.system.processes import Daemon, eventually
from tests.system.projects import api_sink, order_route

_PATIENT = {"retry": {"first": "200ms", "cap": "500ms"}, "breaker": {"at_least": 100_000}}
_RELOADS = 100


def _two_sinks(box: Sandbox, **options: Any) -> Mapping[str, Any]:
    """Each order goes to both; ``options`` are the stuck one's."""
    route = order_route("/fine", sink="fine")
    route["deliver"] += order_route("/stuck", sink="stuck")["deliver"]
    sinks = {"fine": api_sink(box), "stuck": api_sink(box, **options)}
    return {"sinks": sinks, "routes": {"paid": route}}


async def _reload(running: Daemon) -> str:
    status, body = await running.call("POST", "/-/reload", admin=True)
    assert status == 200, body
    return orjson.loads(body)["result"]


async def hundred_times(site: Site) -> Report:
    """A hundred changes in a row while a sink is stuck: none waits for it, nothing comes twice."""
    count = site.size(40)
    options = {"timeout": "60s", "concurrency": 4}
    async with trial(site, sections=lambda box: _two_sinks(box, **options), steps=2) as t:
        for number in range(4):
            path = f"/stuck/o-{number}"
            t.box.http.faults.plan(path, always=Fault("drip", seconds=site.seconds(10)))
        (running,) = await t.start_all([t.project("one")])
        await t.publish(count // 2)
        for number in range(_RELOADS):
            options["concurrency"] = 4 + number % 2
            t.sections = _two_sinks(t.box, **options)
            t.project("one")
            assert await _reload(running) in ("applied", "unchanged")
        assert await running.total("router_config_reloads_total", result="applied") >= _RELOADS - 1
        await t.publish(count - count // 2)
        await t.arrivals(count, lambda e: e.recipient.startswith("/fine/"))
        t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.repeats == report.books.counted == 0
    return report


async def removed_sink(site: Site) -> Report:
    """A sink with a backlog is taken out and put back: its backlog is parked, then sent."""
    count = site.size(40)
    async with trial(site, sections=lambda box: _two_sinks(box, **_PATIENT), steps=2) as t:
        for number in range(count):
            t.box.http.faults.plan(f"/stuck/o-{number}", always=answer(503))
        (running,) = await t.start_all([t.project("one")])
        await t.publish(count)
        await t.arrivals(count)

        async def has_backlog() -> bool:
            return await t.states() == {State.DELIVERED: count, State.SCHEDULED: count}

        await eventually(has_backlog, "a backlog", site.patience_s)
        whole = t.sections
        t.sections = {
            "sinks": {"fine": whole["sinks"]["fine"]},
            "routes": {"paid": order_route("/fine", sink="fine")},
        }
        t.project("one")
        assert await _reload(running) == "applied"
        assert running.messages("sink stuck is gone")
        t.box.http.faults.clear()
        assert len(t.box.record) == count
        t.sections = whole
        t.project("one")
        assert await _reload(running) == "applied"
        t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.repeats == report.books.counted == 0
    return report


SCENARIOS = [
    Scenario("reloads", "a hundred changed configurations while a sink is stuck", hundred_times),
    Scenario("sink-removed", "a sink with a backlog is removed and put back", removed_sink),
]
