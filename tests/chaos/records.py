"""What becomes of topics under a daemon: they come late, lose records, or are made anew."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.brokers import apache_kafka, create_topic
from tests.chaos.ledgers import nothing_twice
from tests.chaos.scenario import KEEPS, NOTES, Scenario
from tests.chaos.site import Report, Site
from tests.chaos.trial import Trial, trial
from tests.system.processes import eventually


@asynccontextmanager
async def _admin(t: Trial) -> AsyncGenerator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=t.site.broker.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def late(site: Site) -> Report:
    """A daemon that was there before its topic reads it from its first record, whatever its
    ``start`` says of topics that it finds."""
    count = site.size(40)
    async with (
        apache_kafka(home=site.folder / "kafka", makes_topics=False) as broker,
        trial(replace(site, broker=broker), partitions=2, has_topic=False) as t,
    ):
        await t.start_all([t.project("one", start="now", metadata_refresh="2s")])
        await create_topic(broker, t.topic, 2)
        await t.publish(count)
        t.fault_ends()
        await t.drained()
        return nothing_twice(await t.end())


async def overtaken(site: Site) -> Report:
    """Kafka deletes records before they were read: that is said and counted, and the rest goes."""
    count = site.size(60)
    async with trial(site) as t:
        (running,) = await t.replicas("one")
        await t.publish(count // 3)
        await t.drained()
        await t.stop(running)
        first = len(t.times)
        await t.publish(count - first)
        deleted = [f"o-{number}" for number in range(first, 2 * first)]
        async with _admin(t) as admin:
            before = RecordsToDelete(before_offset=2 * first)
            await admin.delete_records({TopicPartition(t.topic, 0): before})
        t.forget(deleted)
        t.fault_ends()
        (running,) = await t.replicas("one")
        told = await running.says(r"\d+ offsets from \d+ on were deleted by Kafka", 30)
        assert f"{first} offsets" in told
        assert await running.total("router_offsets_lost_total") == first
        await t.drained()
        return nothing_twice(await t.end())


async def made_anew(site: Site) -> Report:
    """The topic is deleted and made anew: what is committed lies past its end, and it is read from
    its beginning. Nobody takes its records for those that stood in their places."""
    count = site.size(60)
    async with trial(site) as t:
        (running,) = await t.replicas("one")
        await t.publish(count * 2 // 3)
        await t.drained()
        await t.stop(running)
        async with _admin(t) as admin:
            await admin.delete_topics([t.topic])

            async def is_gone() -> bool:
                return t.topic not in await admin.list_topics()

            await eventually(is_gone, "the topic is gone", site.patience_s)
        await create_topic(site.broker, t.topic)
        await t.publish(count - count * 2 // 3)
        t.fault_ends()
        (running,) = await t.replicas("one")
        await running.says("lies past the end", 30)
        await t.drained()
        return nothing_twice(await t.end())


SCENARIOS = [
    Scenario("topic-late", "a topic is made after the daemon has started", late, brokers=KEEPS),
    Scenario(
        "retention-overtakes",
        "Kafka deletes records before they are read",
        overtaken,
        brokers=NOTES,
    ),
    Scenario(
        "topic-made-anew",
        "a topic is deleted and made anew, shorter than what is committed",
        made_anew,
        brokers=NOTES,
    ),
]
