"""Events that no route wants: ignored, counted, or dead letters, as the source says."""

from __future__ import annotations

import pytest

from router.events import TopicPartition
from router.sources import Unmatched
from tests.contract.delivery.harness import DECODE, World, running, sinks
from tests.contract.delivery.sources import ListSource
from tests.unit.planning.builders import request_step, route, rules

pytestmark = pytest.mark.anyio

PLACE = TopicPartition("other", 0)
HOOK = rules(route(request_step()))


@pytest.mark.parametrize(
    ("unmatched", "counted", "buried"),
    [("ignore", 0, []), ("count", 2, []), ("dead_letter", 2, ["unmatched", "unmatched"])],
)
async def test_what_no_route_wants(
    world: World, unmatched: Unmatched, counted: int, buried: list[str]
) -> None:
    """One is told by its header, and never decoded; the other by its payload."""
    async with running(world, HOOK, sinks("hook")) as run:
        intake = run.worker.intake("other", DECODE, unmatched)
        source = ListSource(world.log, intake, ends=True)
        header = (("ce_specversion", b"1.0"), ("ce_type", b"order.lost"))
        world.publish({"id": "a"}, place=PLACE, headers=header)
        world.publish({"id": "b", "type": "order.lost"}, {"id": "c"}, place=PLACE)
        await source.assign(PLACE)
        await intake.run(source)
        await run.ended()
        assert world.letters.reasons == buried
        assert all(letter.stage == "match" for letter in world.letters.published)
        assert await run.states() == {"delivered": 1}
        page = run.metrics.render().decode()
        assert f'router_events_total{{outcome="unmatched",topic="other"}} {counted}.0' in page
