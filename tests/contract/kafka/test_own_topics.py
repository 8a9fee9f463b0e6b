"""The router's own topics are there before it works, or are said to be missing."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from router.kafka import KafkaConnection
from router.kafka.admin import admin
from router.own_topics import OwnTopic, ensure_own_topics
from tests.brokers import Broker, create_topic

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

Unique = Callable[[str], str]


def own(bootstrap: str, name: str, purpose: str = "dead letters") -> OwnTopic:
    return OwnTopic(name, purpose, KafkaConnection(bootstrap=(bootstrap,)))


async def test_missing_topics_are_created_and_others_left_alone(
    broker: Broker, unique: Unique, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "router.kafka")
    there, missing = unique("there"), unique("missing")
    await create_topic(broker, there, partitions=3)
    topics = [own(broker.bootstrap, there), own(broker.bootstrap, missing, "replays")]
    assert await ensure_own_topics(topics) == []
    assert await ensure_own_topics(topics) == []
    told = [record.message for record in caplog.records if record.name == "router.kafka"]
    assert told == [f"topic {missing} for replays created"]
    async with admin(topics[0].cluster) as opened:
        assert {there, missing} <= await opened.topics()


async def test_a_topic_that_can_not_be_created_is_named_and_the_next_one_is_created(
    broker: Broker, unique: Unique, caplog: pytest.LogCaptureFixture
) -> None:
    if broker.kind != "apache":
        pytest.skip("takes any name")
    wrong, missing = "not a name", unique("missing")
    topics = [own(broker.bootstrap, wrong), own(broker.bootstrap, missing)]
    assert await ensure_own_topics(topics) == []
    [message] = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert f"topic {wrong} for dead letters is missing on {broker.bootstrap}" in message
    async with admin(topics[0].cluster) as opened:
        assert missing in await opened.topics()


async def test_topics_of_a_cluster_that_does_not_answer_are_left_for_later(
    broker: Broker, unique: Unique
) -> None:
    away, missing = own("127.0.0.1:1", unique("a")), own(broker.bootstrap, unique("b"))
    assert await ensure_own_topics([away, missing]) == [away]
    async with admin(missing.cluster) as opened:
        assert missing.name in await opened.topics()
