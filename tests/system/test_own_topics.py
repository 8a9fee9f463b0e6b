"""The daemon's own topics: there from its start, so that none of them comes as a surprise."""

from __future__ import annotations

import pytest

from router.kafka import KafkaConnection
from router.kafka.admin import admin
from router.sandbox import sandbox
from tests.brokers import Broker
from tests.system.place import Place
from tests.system.processes import daemon
from tests.system.topics import order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]


async def _topics(broker: Broker) -> frozenset[str]:
    async with admin(KafkaConnection(bootstrap=(broker.bootstrap,))) as opened:
        return await opened.topics()


async def test_they_are_created_before_the_group_is_joined(place: Place) -> None:
    await place.create()
    feedback = f"{place.group}.feedback"
    async with sandbox() as box:
        project = place.project(box, feedback={"topic": feedback})
        async with daemon(project) as running:
            own = {place.dead_letter_topic, place.replay_topic, feedback}
            assert own <= await _topics(place.broker)
            assert [text for text in running.messages("created") if "topic" in text]
            await place.publish([order(1)])
            await place.commits(1)
            assert await running.total("router_rebalances_total") == 0
