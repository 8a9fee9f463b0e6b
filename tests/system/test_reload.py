"""Reloading a running daemon: atomic, only what changed, and never anything invalid."""

from __future__ import annotations

import signal

import orjson
import pytest

from router.ledger import State
from router.sandbox import Fault, Sandbox, answer, sandbox
from tests.brokers import create_topic
from tests.system.place import Place, orders_of
from tests.system.processes import Daemon, arrivals, daemon, eventually
from tests.system.projects import api_sink, order_route
from tests.system.topics import order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

_RELOADS = "router_config_reloads_total"


async def _hup(running: Daemon, result: str) -> None:
    """SIGHUP, and waits until one more reload has ended so."""
    before = await running.total(_RELOADS, result=result)
    running.signal(signal.SIGHUP)

    async def has_ended() -> bool:
        return await running.total(_RELOADS, result=result) > before

    await eventually(has_ended, f"a reload is {result}")


def paths(box: Sandbox) -> list[str]:
    return [entry.recipient for entry in box.record]


async def test_a_changed_route_takes_effect_and_an_invalid_one_does_not(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(box, routes={"paid": order_route("/before")})
        async with daemon(project, "--no-watch") as running:
            await place.publish([order(1)])
            await arrivals(box, 1)
            old_hash = await running.total("router_config_hash")

            project.write_routes({"paid": order_route("/after")})
            await _hup(running, "applied")
            new_hash = await running.total("router_config_hash")
            assert new_hash != old_hash
            assert running.messages(r"reloaded: routes")
            await place.publish([order(2)])
            await arrivals(box, 2)

            project.write_routes({"paid": order_route("/broken") | {"deliver": ["nobody"]}})
            await _hup(running, "refused")
            assert running.messages(r'unknown sink "nobody"')
            assert running.messages("the old one stays in force")
            scrape = await running.scrape()
            assert scrape.total("router_config_last_reload_successful") == 0
            assert scrape.total("router_config_hash") == new_hash
            status, body = await running.call("POST", "/-/reload", admin=True)
            report = orjson.loads(body)
            assert (status, report["result"]) == (422, "refused")
            assert [problem["code"] for problem in report["problems"]] == ["R101"]
            await place.publish([order(3)])
            await arrivals(box, 3)

            project.write_routes({"paid": order_route("/healed")})
            status, body = await running.call("POST", "/-/reload", admin=True)
            assert (status, orjson.loads(body)["result"]) == (200, "applied")
            assert await running.total("router_config_last_reload_successful") == 1
            await place.publish([order(4)])
            await arrivals(box, 4)
        assert paths(box) == ["/before/o-1", "/after/o-2", "/after/o-3", "/healed/o-4"]


async def test_a_route_that_was_taken_away_leaves_the_metrics(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        routes = {"paid": order_route("/paid"), "lost": order_route("/lost")}
        project = place.project(box, routes=routes)
        async with daemon(project, "--no-watch") as running:
            await place.publish([order(1)])
            await place.commits(1)
            before = await running.scrape()
            assert before.total("router_route_matched_total", route="lost") == 1
            project.write_routes({"paid": order_route("/paid")})
            await _hup(running, "applied")

            async def is_forgotten() -> bool:
                scrape = await running.scrape()
                return bool(scrape.samples) and not any(
                    labels.get("route") == "lost" for _, labels, _ in scrape.samples
                )

            await eventually(is_forgotten, "nothing of the route shows")
            after = await running.scrape()
            assert after.total("router_route_matched_total", route="paid") == 1
            assert after.total("router_deliveries_settled_total", route="paid") == 1


async def test_reloads_of_unchanged_content_cause_nothing(place: Place) -> None:
    await place.create()
    await create_topic(place.broker, place.replay_topic)
    async with sandbox() as box:
        project = place.project(box, sink={"concurrency": 2})
        box.http.faults.plan("*", always=Fault("drip", seconds=0.1))
        async with daemon(project, "--no-watch") as running:
            await place.publish([order(n) for n in range(60)])
            before = await running.scrape()
            for _ in range(100):
                status, body = await running.call("POST", "/-/reload", admin=True)
                assert (status, orjson.loads(body)["result"]) == (200, "unchanged")
            await place.commits(60)
            after = await running.scrape()
            assert after.total(_RELOADS, result="unchanged") == 100
            assert after.total(_RELOADS) == before.total(_RELOADS) + 100
            assert after.total("router_rebalances_total") == 0
            assert after.total("router_in_doubt_total") == 0
            assert len(running.messages("connected to")) == 1
            assert not running.messages("revoked|reloaded")
        assert sorted(orders_of(list(box.record))) == sorted(f"o-{n}" for n in range(60))


async def test_content_on_disk_is_watched(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(box, routes={"paid": order_route("/before")})
        async with daemon(project, "--watch-every", "0.5") as running:
            await place.publish([order(1)])
            await arrivals(box, 1)
            project.write_routes({"paid": order_route("/after")})
            await running.says("reloaded: routes")
            await place.publish([order(2)])
            await arrivals(box, 2)
        assert paths(box) == ["/before/o-1", "/after/o-2"]


async def test_a_reload_does_not_wait_for_a_stuck_sink(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        sinks = {"api": api_sink(box, timeout="60s"), "other": api_sink(box)}
        routes = {"stuck": order_route("/stuck")}
        project = place.project(box, routes=routes, sinks=sinks)
        box.http.faults.plan("/stuck/o-1", always=Fault("drip", seconds=4))
        async with daemon(project, "--no-watch") as running:
            await place.publish([order(1)])
            await arrivals(box, 1)

            # The stuck sink itself changes: its send under way ends under what it began with.
            sinks["api"]["timeout"] = "50s"
            fresh = {"stuck": order_route("/moved"), "fine": order_route("/fine", sink="other")}
            place.project(box, routes=fresh, sinks=sinks)
            await _hup(running, "applied")
            await place.publish([order(2)])
            await arrivals(box, 3)
            assert sorted(paths(box)) == ["/fine/o-2", "/moved/o-2", "/stuck/o-1"]
            assert await place.committed() != 2
            await place.commits(2)
            assert await running.total("router_in_doubt_total") == 0
        assert await place.states(project) == {State.DELIVERED: 3}
        assert len(box.record) == 3


async def test_a_backlog_outlives_renames_and_a_sink_that_goes_and_comes(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        patient = {"retry": {"first": "200ms", "cap": "200ms"}, "breaker": {"at_least": 1000}}
        sinks = {"api": api_sink(box, **patient)}
        project = place.project(box, routes={"paid": order_route()}, sinks=sinks)
        box.http.faults.plan("*", always=answer(503))
        async with daemon(project, "--no-watch") as running:
            await place.publish([order(1), order(2)])
            await place.commits(2)

            place.project(
                box,
                routes={"renamed": order_route() | {"was": "paid", "deliver": ["away"]}},
                sinks={"away": {"type": "console", "channel": "request"}},
            )
            await _hup(running, "applied")
            assert running.messages("sink api is gone")
            box.http.faults.clear()

            place.project(box, routes={"renamed": order_route() | {"was": "paid"}}, sinks=sinks)
            await _hup(running, "applied")
            await arrivals(box, 2)

            async def is_delivered() -> bool:
                return await place.states(project) == {State.DELIVERED: 2}

            await eventually(is_delivered, "the backlog is delivered")
        assert sorted(orders_of(list(box.record))) == ["o-1", "o-2"]
