"""Dead letters, their causes mended, are sent again; nothing else is."""

from __future__ import annotations

import subprocess

import anyio
import orjson
import pytest

from router.ledger import Kind, State
from router.sandbox import answer, sandbox
from tests.system.place import Place
from tests.system.processes import ROUTER, Daemon, arrivals, daemon, environment, eventually
from tests.system.projects import Project, api_sink, order_route
from tests.system.topics import order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]


async def _replay(project: Project, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [str(ROUTER), "dead-letters", "replay", "-c", str(project.config), *options]
    with anyio.fail_after(30):
        return await anyio.run_process(command, check=False, env=environment(project))


async def _until_states(running: Daemon, place: Place, states: dict[State, int]) -> None:
    async def are_reached() -> bool:
        return await place.states(running.project) == states

    await eventually(are_reached, f"states {states}")


async def test_a_rejected_delivery_is_replayed_once_and_alone(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        both = order_route("/api")
        both["deliver"] += order_route("/other", sink="other")["deliver"]
        project = place.project(
            box, sinks={"api": api_sink(box), "other": api_sink(box)}, routes={"paid": both}
        )
        box.http.faults.plan("/api/o-1", always=answer(422, '{"error": "no such account"}'))
        async with daemon(project) as running:
            await place.publish([order(1), order(2)])
            await _until_states(running, place, {State.DELIVERED: 3, State.DEAD: 1})
            await place.dead_letters(1)
            box.http.faults.clear()

            shown = await _replay(project, "--all", "--dry-run")
            assert shown.returncode == 0, shown.stderr
            assert await place.states(project) == {State.DELIVERED: 3, State.DEAD: 1}

            for _ in range(2):
                done = await _replay(project, "--sink", "api", "--output", "json")
                assert done.returncode == 0, done.stderr
            await _until_states(running, place, {State.DELIVERED: 4})

            async def has_read_both() -> bool:
                read = await running.total("router_records_read_total", topic=place.replay_topic)
                return read == 2

            await eventually(has_read_both, "both replays are read")
            await place.publish([order(3)])
            await arrivals(box, 2, lambda e: e.recipient.endswith("o-3"))
            assert await running.total("router_repeats_total") == 0
        sent = sorted(entry.recipient for entry in box.record)
        assert sent == [f"/{sink}/o-{n}" for sink in ("api", "other") for n in (1, 2, 3)]
        assert box.record.repeats() == {}


async def test_an_event_that_could_not_be_rendered_is_replayed_under_mended_configuration(
    place: Place,
) -> None:
    await place.create()
    async with sandbox() as box:
        broken = order_route()
        broken["deliver"][0]["request"]["json"] = {"order": "{{ data.nothing_such }}"}
        project = place.project(box, routes={"paid": broken})
        async with daemon(project, "--no-watch") as running:
            await place.publish([order(1)])
            await _until_states(running, place, {State.DEAD: 1})
            (letter,) = await place.dead_letters(1)
            facts = dict(letter.headers)
            assert facts["router-reason"] == b"render_failed"
            assert facts["router-stage"] == b"render"
            assert letter.value == order(1)

            project.write_routes({"paid": order_route()})
            status, _ = await running.call("POST", "/-/reload", admin=True)
            assert status == 200
            done = await _replay(project, "--reason", "render_failed")
            assert done.returncode == 0, done.stderr
            await _until_states(running, place, {State.DELIVERED: 1})
            assert await place.states(project, Kind.DEAD_LETTER) == {State.DELIVERED: 1}
        (entry,) = box.record
        assert orjson.loads(entry.raw) == {"order": "o-1"}


async def test_what_dies_again_in_each_replay_is_a_dead_letter_each_time(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        route = order_route(per="recipient") | {"recipients": {"each": "data.id", "id": "item"}}
        project = place.project(box, routes={"paid": route})
        async with daemon(project) as running:
            await place.publish([order(1), b"no json"])
            for letters in (2, 4):
                await _until_published(running, place, letters)
                done = await _replay(project, "--all")
                assert done.returncode == 0, done.stderr
            await _until_published(running, place, 6)
            found = [dict(letter.headers) for letter in await place.dead_letters(6)]
        ends = sorted((facts["router-stage"], facts["router-hop"]) for facts in found)
        stages = (b"decode", b"recipients")
        assert ends == [(stage, hop) for stage in stages for hop in (b"0", b"1", b"2")]


async def _until_published(running: Daemon, place: Place, count: int) -> None:
    async def are_published() -> bool:
        states = await place.states(running.project, Kind.DEAD_LETTER)
        return states == {State.DELIVERED: count}

    await eventually(are_published, f"{count} dead letters are published")
