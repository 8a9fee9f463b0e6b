"""Many things go wrong at once: everything still arrives, and every repeat has its reason."""

from __future__ import annotations

from random import Random

import pytest

from router.ledger import Kind, State
from router.sandbox import Fault, answer, lost_answer, sandbox
from tests.system.place import Place, orders_of
from tests.system.processes import arrivals, daemon, eventually
from tests.system.projects import api_sink, order_route
from tests.system.topics import order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

_COUNT = 160
_PARTITIONS = 2
_PATIENT = {"retry": {"first": "100ms", "cap": "500ms"}, "breaker": {"at_least": 10_000}}


@pytest.mark.kill
async def test_the_books_balance_after_kills_and_every_kind_of_failure(
    evicting_place: Place,
) -> None:
    place, random = evicting_place, Random(4711)
    await place.create(_PARTITIONS)
    kinds = {
        "lost": lost_answer("reset"),
        "lost_slowly": lost_answer("stall", seconds=2),
        "reset": Fault("reset"),
        "unavailable": answer(503),
        "truncated": Fault("truncate"),
        "wait": answer(429, headers={"Retry-After": "1"}),
        "refused": answer(422),
    }
    chosen = {f"o-{n}": random.choice(list(kinds)) for n in random.sample(range(_COUNT), 42)}
    async with sandbox() as box:
        for name, kind in chosen.items():
            always = kinds[kind] if kind == "refused" else None
            box.http.faults.plan(f"/orders/{name}", on={1: kinds[kind]}, always=always)
        project = place.project(
            box, source={"session_timeout": "2s"}, sink={"timeout": "1s", **_PATIENT}
        )
        await place.publish([order(n) for n in range(_COUNT)], _PARTITIONS)
        in_doubt: set[str] = set()
        for share in (0.2, 0.5):
            async with daemon(project) as running:
                await arrivals(box, int(share * _COUNT))
                await running.kill()
            rows = await place.rows(project)
            in_doubt |= {row.key.hex() for row in rows if row.state is State.CLAIMED}
        async with daemon(project) as running:
            refused = sum(kind == "refused" for kind in chosen.values())
            wanted = {State.DELIVERED: _COUNT - refused, State.DEAD: refused}

            async def have_ended() -> bool:
                letters = await place.states(project, Kind.DEAD_LETTER)
                found = await place.states(project)
                return found == wanted and letters == {State.DELIVERED: refused}

            await eventually(have_ended, f"{wanted}")
            await place.commits(_COUNT // 2, _COUNT // 2)
            assert await running.total("router_deliveries_open", state="in_flight") == 0
        arrived = set(orders_of(list(box.record)))
        assert arrived == {f"o-{n}" for n in range(_COUNT)} - {
            name for name, kind in chosen.items() if kind == "refused"
        }
        lost = {f"/orders/{name}" for name, kind in chosen.items() if kind.startswith("lost")}
        repeated = box.record.repeats()
        for entry in box.record:
            if entry.key in repeated:
                assert entry.recipient in lost or entry.key in in_doubt
        assert {e.recipient for e in box.record if e.key in repeated} & lost


async def test_a_dead_sink_stalls_no_other_and_its_backlog_follows(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        both = order_route("/fine", sink="fine")
        both["deliver"] += order_route("/stuck", sink="stuck")["deliver"]
        sinks = {
            "fine": api_sink(box),
            "stuck": api_sink(box, timeout="1s", concurrency=4, **_PATIENT),
        }
        project = place.project(
            box, sinks=sinks, routes={"paid": both}, delivery={"lane_capacity": 40}
        )
        for n in range(_COUNT):
            box.http.faults.plan(f"/stuck/o-{n}", always=Fault("stall", seconds=30))
        async with daemon(project) as running:
            await place.publish([order(n) for n in range(_COUNT)])
            await arrivals(box, _COUNT, lambda e: e.recipient.startswith("/fine"))
            assert not [e for e in box.record if e.recipient.startswith("/stuck")]

            async def has_spilled() -> bool:
                return await running.total("router_spilled_total", sink="stuck") > 0

            await eventually(has_spilled, "the full lane spills into the schedule")
            assert await running.is_ready()
            box.http.faults.clear()
            await arrivals(box, _COUNT, lambda e: e.recipient.startswith("/stuck"))

            async def is_delivered() -> bool:
                return await place.states(project) == {State.DELIVERED: 2 * _COUNT}

            await eventually(is_delivered, "all is delivered")
            await place.commits(_COUNT)
        assert box.record.repeats() == {}
