"""The broker is not there yet, hangs for a while, or restarts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from router.ledger import State
from router.sandbox import ANY_TARGET, Fault, embedded_broker, sandbox
from router.sandbox.process import free_port
from tests.brokers import Broker, apache_kafka
from tests.system.place import Place, orders_of
from tests.system.processes import arrivals, daemon, eventually
from tests.system.topics import order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]


def _place(port: int, unique: Callable[[str], str], folder: Path) -> Place:
    broker = Broker("noida", f"127.0.0.1:{port}")
    return Place(broker, unique("orders"), unique("router"), folder)


async def test_a_daemon_started_before_its_broker_says_so_and_joins_later(
    unique: Callable[[str], str], tmp_path: Path
) -> None:
    port = free_port()
    place = _place(port, unique, tmp_path / "project")
    async with sandbox() as box:
        project = place.project(box)
        async with daemon(project, is_ready=False) as running:
            await running.says(rf"source main: can't reach 127\.0\.0\.1:{port}.*trying again")
            assert (await running.get("/-/healthy"))[0] == 200
            status, body = await running.get("/-/ready")
            assert status == 503
            assert "source main has not joined its group" in body

            async with embedded_broker(tmp_path / "broker", port):
                await place.create()
                await place.publish([order(n) for n in range(5)])
                await arrivals(box, 5)
                await eventually(running.is_ready, "ready")
                assert await running.stop() == 0
    assert await place.states(project) == {State.DELIVERED: 5}


async def test_a_stop_without_a_broker_keeps_to_the_grace_period(
    unique: Callable[[str], str], tmp_path: Path
) -> None:
    place = _place(free_port(), unique, tmp_path / "project")
    async with sandbox() as box:
        async with daemon(place.project(box), is_ready=False) as running:
            await running.says("can't reach")
            assert await running.stop(within_s=5) == 0


async def test_a_broker_that_hangs_costs_neither_loss_nor_repeats(
    unique: Callable[[str], str], tmp_path: Path
) -> None:
    port = free_port()
    place = _place(port, unique, tmp_path / "project")
    async with sandbox() as box, embedded_broker(tmp_path / "broker", port) as broker:
        await place.create()
        project = place.project(box, sink={"concurrency": 1})
        box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=1))
        async with daemon(project) as running:
            await place.publish([order(n) for n in range(8)])
            await arrivals(box, 2)
            broker.process.send_signal(signal.SIGSTOP)

            async def is_refused() -> bool:
                return await running.total("router_commit_failures_total") > 0

            await eventually(is_refused, "a commit has failed")
            assert (await running.get("/-/healthy"))[0] == 200
            broker.process.send_signal(signal.SIGCONT)
            box.http.faults.clear()
            await place.publish([order(n) for n in range(8, 12)])
            await place.commits(12)
            assert await running.total("router_repeats_total") == 0
        assert sorted(orders_of(list(box.record))) == sorted(f"o-{n}" for n in range(12))


async def test_a_broker_that_restarts_costs_neither_loss_nor_repeats(
    unique: Callable[[str], str], tmp_path: Path
) -> None:
    """Only Apache Kafka keeps its data: the embedded brokers come back empty."""
    if "apache" not in os.environ.get("ROUTER_TEST_BROKERS", ""):
        pytest.skip("Apache Kafka is not among ROUTER_TEST_BROKERS")
    home, port = tmp_path / "kafka", free_port()
    place = _place(port, unique, tmp_path / "project")
    async with sandbox() as box:
        project = place.project(box, sink={"concurrency": 1})
        box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.5))
        async with AsyncExitStack() as stack:
            async with apache_kafka(home=home, port=port):
                await place.create()
                await place.publish([order(n) for n in range(20)])
                running = await stack.enter_async_context(daemon(project))
                await arrivals(box, 3)
            await running.says("connection lost|were not committed|can't reach")
            box.http.faults.clear()
            async with apache_kafka(home=home, port=port):
                await place.publish([order(n) for n in range(20, 30)])
                await place.commits(30)
                assert await running.total("router_repeats_total") == 0
                assert await running.stop() == 0
        assert sorted(orders_of(list(box.record))) == sorted(f"o-{n}" for n in range(30))
