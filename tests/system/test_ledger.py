"""The ledger file and the group's offsets belong together, and to one process."""

from __future__ import annotations

import pytest

from router.ledger import State
from router.sandbox import sandbox
from tests.system.place import Place, orders_of
from tests.system.processes import daemon, run_to_its_end
from tests.system.projects import order_route
from tests.system.topics import forget_group, order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

_BAD_CONFIG = 78


async def test_a_new_ledger_with_an_old_group_is_refused_until_accepted(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(box)
        await place.publish([order(1)])
        async with daemon(project):
            await place.commits(1)
        for file in project.folder.glob("ledger.db*"):
            file.unlink()
        await place.publish([order(2)])

        refused = await run_to_its_end(project)
        assert refused.returncode == _BAD_CONFIG
        output = refused.stdout.decode()
        assert place.group in output
        assert "--accept-new-ledger" in output
        assert "Traceback" not in output
        assert len(box.record) == 1
        assert await place.committed() == 1

        async with daemon(project, "--accept-new-ledger") as running:
            await place.commits(2)
            assert running.messages("goes on with a new ledger, as told")
        async with daemon(project):
            pass
        assert orders_of(list(box.record)) == ["o-1", "o-2"]


async def test_a_second_process_on_the_same_ledger_is_refused(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(box)
        async with daemon(project) as first:
            second = await run_to_its_end(project)
            output = second.stdout.decode()
            assert second.returncode == _BAD_CONFIG
            assert f"pid {first.process.pid}" in output
            assert "one owner" in output
            assert "Traceback" not in output
            assert await first.is_ready()


async def test_rewound_offsets_send_nothing_again(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(box)
        await place.publish([order(n) for n in range(5)])
        async with daemon(project) as running:
            await place.commits(5)
            assert await running.stop() == 0
        await place.rewind()
        # A template that broke meanwhile does not turn what was delivered into dead letters.
        broken = order_route()
        broken["deliver"][0]["request"]["json"] = {"order": "{{ data.nothing_such }}"}
        project.write_routes({"paid": broken})

        async with daemon(project) as running:
            await place.commits(5)
            assert running.messages("lies before 5, where the ledger is")
            assert running.messages("name no ledger")
        assert len(box.record) == 5
        assert await place.states(project) == {State.DELIVERED: 5}


async def test_a_group_whose_offsets_are_gone_goes_on_where_the_ledger_is(place: Place) -> None:
    await place.create()
    async with sandbox() as box:
        project = place.project(box, source={"start": "now"})
        async with daemon(project) as running:
            await place.commits(0)
            await place.publish([order(1), order(2)])
            await place.commits(2)
            assert await running.stop() == 0
        await forget_group(place.broker.bootstrap, place.group)
        assert await place.committed() is None
        await place.publish([order(3)])

        async with daemon(project) as running:
            await place.commits(3)
            assert running.messages("offsets are gone from Kafka; resumed at 2")
        assert sorted(orders_of(list(box.record))) == ["o-1", "o-2", "o-3"]
