"""Several daemons of one group on one ledger: killed, stalled, cut off, rolled."""

from __future__ import annotations

import signal
from dataclasses import replace

import anyio

from router.ledger import State
from router.sandbox import ANY_TARGET, Fault, answer
from tests.chaos.proxy import proxy
from tests.chaos.scenario import EVICTS, SHARED, Scenario
from tests.chaos.site import Report, Site
from tests.chaos.trial import Trial, trial
from tests.system.processes import Daemon, eventually
from tests.system.projects import Project

_PARTITIONS = 6
_SINK = {"concurrency": 2, "timeout": "1s"}
"""Claims are for 12 s: twice the timeout and ten seconds."""

_SLOW = Fault("drip", seconds=0.1)


async def killed(site: Site) -> Report:
    """The killed one's claims are in doubt, and the only ones that may arrive twice."""
    count, claimed = site.size(200), frozenset[str]()
    async with trial(site, partitions=_PARTITIONS, sink=_SINK) as t:
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.3))
        doomed, *_ = await t.replicas("one", "two", "three")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 15)
            await t.arrivals(count // 4)
            claimed = await _stop_amid_work(t, doomed)
            t.excuse(claimed, "claimed by the killed replica")
            await t.kill(doomed)
            t.fault_ends()
            await t.replicas("four")
        await t.drained()
        report = await t.end()
    assert report.books.counted == len(claimed)
    return report


async def stalled(site: Site) -> Report:
    """Past its lease and its session: what it had begun is sent by others, and counted."""
    count, claimed = site.size(200), frozenset[str]()
    async with trial(site, partitions=_PARTITIONS, sink=_SINK) as t:
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.3))
        one, *_ = await t.replicas("one", "two", "three")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 15)
            await t.arrivals(count // 10)
            claimed = await _stop_amid_work(t, one)
            t.excuse(claimed, "claimed by the stalled replica")

            async def is_taken_over() -> bool:
                return not await t.claimed_by(one)

            try:
                await eventually(is_taken_over, "its claims are taken over", site.patience_s)
                await anyio.sleep(site.seconds(1))
            finally:
                one.signal(signal.SIGCONT)
            t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.counted >= len(claimed)
    return report


async def _stop_amid_work(t: Trial, running: Daemon) -> frozenset[str]:
    """Stops a daemon while it has claims; the keys of these."""
    claimed: frozenset[str] = frozenset()

    async def has_claims() -> bool:
        nonlocal claimed
        running.signal(signal.SIGSTOP)
        claimed = await t.claimed_by(running)
        if not claimed:
            running.signal(signal.SIGCONT)
        return bool(claimed)

    await eventually(has_claims, "a stop amid work", t.site.patience_s)
    return claimed


async def _one_of_three(t: Trial, **ports: int) -> Daemon:
    """Starts three replicas; the first, which it gives back, goes through ports of its own."""
    projects = [t.project("one", **ports), t.project("two"), t.project("three")]
    one, *_ = await t.start_all(projects)
    return one


async def without_broker(site: Site) -> Report:
    """Cut off from the broker, it can still settle what it claimed: nothing comes twice."""
    count = site.size(200)
    port = int(site.broker.bootstrap.rpartition(":")[2])
    async with (
        proxy(port, is_kafka=True) as between,
        trial(site, partitions=_PARTITIONS, sink=_SINK) as t,
    ):
        t.box.http.faults.plan(ANY_TARGET, always=_SLOW)
        one = await _one_of_three(t, broker_port=between.port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 20)
            await t.arrivals(count // 10)
            between.hang()
            # Longer than its session: its partitions go to the others.
            await anyio.sleep(site.session_s + site.seconds(2))
            await between.mend()
            await t.is_ready(one)
            await t.arrivals(count * 6 // 10)
            between.cut()
            await anyio.sleep(site.session_s + site.seconds(2))
            await between.mend()
            t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.repeats == 0
    return report


async def without_ledger(site: Site) -> Report:
    """Cut off from the ledger it takes nothing in, and what it has claimed passes to others."""
    count = site.size(200)
    assert site.server is not None
    async with (
        proxy(site.server.port) as between,
        trial(site, partitions=_PARTITIONS, sink=_SINK) as t,
    ):
        t.box.http.faults.plan(ANY_TARGET, always=_SLOW)
        one = await _one_of_three(t, ledger_port=between.port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 10)
            await t.arrivals(count // 10)
            between.hang()
            await anyio.sleep(0.5)
            t.excuse(await t.claimed_by(one), "claimed by the replica that lost the ledger")

            # Its partitions stay its own, so their records wait for it. The others go on.
            sent = len(t.box.record)
            await t.arrivals(min(count * 9 // 10, sent + 10))
            await anyio.sleep(site.seconds(13))
            await eventually(lambda: _is_down(one), "not ready, but healthy", site.patience_s)
            await between.mend()
            await anyio.sleep(0.5)
            # What it asked for while nothing came through reaches the ledger now.
            t.excuse(await t.claimed_by(one), "claimed by the replica that lost the ledger")
            t.fault_ends()
        await t.drained()
        await t.is_ready(one)
        return await t.end()


async def _is_down(running: Daemon) -> bool:
    is_healthy = (await running.get("/-/healthy"))[0] == 200
    return is_healthy and not await running.is_ready()


async def rolled(site: Site) -> Report:
    """A rolling restart: each finishes what it claimed, and nothing comes twice."""
    count = site.size(200)
    async with trial(site, partitions=_PARTITIONS, sink=_SINK) as t:
        t.box.http.faults.plan(ANY_TARGET, always=_SLOW)
        names = ("one", "two", "three")
        running = await t.replicas(*names)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 20)
            await t.arrivals(count // 10)
            for name, old in zip(names, running, strict=True):
                await t.stop(old)
                await t.replicas(name)
            t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.repeats == report.books.counted == 0
    return report


async def rebalanced(site: Site) -> Report:
    """Members come while a sink is slow: claimed sends end before a partition is given up."""
    count = site.size(60)
    async with trial(site, partitions=_PARTITIONS, sink=_SINK | {"timeout": "5s"}) as t:
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.6))
        await t.replicas("one")
        await t.publish(count)
        await t.arrivals(5)
        await t.replicas("two")
        await t.replicas("three")
        t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.repeats == report.books.counted == 0
    return report


async def racing_for_keys(site: Site) -> Report:
    """The same events on two partitions at once: replicas race for each key, one sends it."""
    count = site.size(150)
    async with trial(site, partitions=_PARTITIONS, sink=_SINK | {"concurrency": 8}) as t:
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.05))
        await t.replicas("one", "two", "three")
        await t.publish(count, copies=2)
        t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.repeats == report.books.counted == 0
    return report


async def racing_for_what_is_due(site: Site) -> Report:
    """A backlog in the schedule, three schedulers: each delivery is taken by one."""
    count = site.size(150)
    patient = {"retry": {"first": "2s", "cap": "2s"}, "breaker": {"at_least": 100_000}}
    async with trial(site, partitions=_PARTITIONS, sink=_SINK | patient) as t:
        t.box.http.faults.plan(ANY_TARGET, always=answer(503))
        await t.replicas("one", "two", "three")
        await t.publish(count)

        async def is_scheduled() -> bool:
            states = await t.states()
            return sum(states.values()) == count and states.get(State.SCHEDULED, 0) > count // 2

        await eventually(is_scheduled, "a backlog", site.patience_s)
        t.box.http.faults.clear()
        t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.repeats == report.books.counted == 0
    return report


_WRONG_CLOCK = """
import os, time

_off, _time = float(os.environ["CLOCK_OFF_S"]), time.time
time.time = lambda: _time() + _off
"""
"""What Python runs at its start, where it is told to: a clock that is off."""


async def clocks_off(site: Site) -> Report:
    """Leases and what is due go by the ledger's clock: nobody takes a claim over too soon."""
    count = site.size(120)
    patient = {"retry": {"first": "1s", "cap": "1s"}, "breaker": {"at_least": 100_000}}
    async with trial(site, partitions=_PARTITIONS, sink=_SINK | patient) as t:
        for number in range(count):
            t.box.http.faults.plan(f"/orders/o-{number}", on={1: answer(503)}, always=_SLOW)
        projects = [_off_by(t.project(name), s) for name, s in _CLOCKS.items()]
        await t.start_all(projects)
        await t.publish(count, 20)
        t.fault_ends()
        await t.drained()
        report = await t.end()
    assert report.books.repeats == report.books.counted == 0
    return report


_CLOCKS = {"one": 60, "two": -60, "three": 0}


def _off_by(project: Project, seconds: int) -> Project:
    """The same daemon on a machine whose clock is off."""
    (project.folder / "sitecustomize.py").write_text(_WRONG_CLOCK)
    wrong = {"PYTHONPATH": str(project.folder), "CLOCK_OFF_S": str(seconds)}
    return replace(project, env={**project.env, **wrong})


SCENARIOS = [
    Scenario(
        "replica-killed",
        "SIGKILL of one of three replicas under load, a fourth joins",
        killed,
        SHARED,
        EVICTS,
    ),
    Scenario(
        "replica-stalled",
        "SIGSTOP of a replica past its lease and its session, then SIGCONT",
        stalled,
        SHARED,
        EVICTS,
    ),
    Scenario(
        "replica-without-broker",
        "a replica's way to the broker hangs, then is cut",
        without_broker,
        SHARED,
        EVICTS,
    ),
    Scenario(
        "replica-without-ledger",
        "a replica's way to the ledger hangs past its lease",
        without_ledger,
        SHARED,
        EVICTS,
    ),
    Scenario(
        "rolling-restart", "three replicas restarted one after another", rolled, SHARED, EVICTS
    ),
    Scenario("rebalance", "two replicas join while a sink is slow", rebalanced, SHARED, EVICTS),
    Scenario("race-for-keys", "the same events on two partitions at once", racing_for_keys, SHARED),
    Scenario("race-for-due", "three schedulers, one backlog", racing_for_what_is_due, SHARED),
    Scenario(
        "clocks-off",
        "the clock of one replica is a minute ahead, of another a minute behind",
        clocks_off,
        SHARED,
    ),
]
