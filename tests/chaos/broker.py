"""The broker hangs, is cut off, restarts, or has more partitions than before."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from router.sandbox import ANY_TARGET, Fault
from router.sandbox.process import free_port
from tests.brokers import apache_kafka
from tests.chaos.proxy import proxy
from tests.chaos.scenario import KEEPS, Scenario
from tests.chaos.site import Report, Site
from tests.chaos.trial import trial
from tests.system.processes import eventually

_SINK = {"concurrency": 2}


async def unreachable(site: Site) -> Report:
    """It hangs past the session, then is cut: nothing is lost, nothing comes twice."""
    count = site.size(120)
    port = int(site.broker.bootstrap.rpartition(":")[2])
    async with (
        proxy(port, is_kafka=True) as between,
        trial(site, partitions=2, sink=_SINK) as t,
    ):
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.1))
        (running,) = await t.start_all([t.project("one", broker_port=between.port)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 15)
            await t.arrivals(count // 6)
            between.hang()
            await anyio.sleep(site.session_s + site.seconds(2))
            await between.mend()
            await t.arrivals(count // 2)
            between.cut()
            await anyio.sleep(site.seconds(3))
            assert (await running.get("/-/healthy"))[0] == 200
            await between.mend()
            t.fault_ends()
        await t.drained()
        return _nothing_twice(await t.end())


async def restarted(site: Site) -> Report:
    """It is stopped under load and started again with its data."""
    count, port, home = site.size(60), free_port(), site.folder / "kafka"
    async with AsyncExitStack() as stack:
        async with apache_kafka(home=home, port=port) as first:
            t = await stack.enter_async_context(
                trial(replace(site, broker=first), partitions=2, sink=_SINK)
            )
            t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.2))
            (running,) = await t.replicas("one")
            await t.publish(count)
            await t.arrivals(count // 6)
        await anyio.sleep(site.seconds(3))
        assert (await running.get("/-/healthy"))[0] == 200
        async with apache_kafka(home=home, port=port):
            t.fault_ends()
            await t.publish(count // 3)
            await t.drained()
            return _nothing_twice(await t.end())


async def grown(site: Site) -> Report:
    """Partitions that are added under load are read from their beginning."""
    count = site.size(60)
    async with trial(site, partitions=1, sink=_SINK) as t:
        await t.replicas("one")
        await t.publish(count // 3)
        admin = AIOKafkaAdminClient(bootstrap_servers=site.broker.bootstrap)
        await admin.start()
        try:
            await admin.create_partitions({t.topic: NewPartitions(3)})
            t.partitions = 3

            async def have_come() -> bool:
                (topic,) = await admin.describe_topics([t.topic])
                return len(topic["partitions"]) == 3

            await eventually(have_come, "three partitions", site.patience_s)
        finally:
            await admin.close()
        t.fault_ends()
        await t.publish(count - count // 3)
        await t.drained()
        return _nothing_twice(await t.end())


def _nothing_twice(report: Report) -> Report:
    assert report.books.repeats == report.books.counted == 0, "repeats"
    return report


SCENARIOS = [
    Scenario("broker-unreachable", "the way to the broker hangs, then is cut", unreachable),
    Scenario("broker-restart", "the broker restarts under load", restarted, brokers=KEEPS),
    Scenario("partitions-grown", "a topic gets more partitions under load", grown),
]
