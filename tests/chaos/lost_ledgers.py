"""The ledger is emptied or replaced, which must not go unnoticed, or fails over, which may."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TypeAlias

import anyio
import asyncpg
from redis.asyncio import Redis

from router.sandbox import ANY_TARGET, Fault
from tests.chaos.ledgers import OwnServer, nothing_twice, own_server, say_so, two_at_work
from tests.chaos.proxy import proxy
from tests.chaos.scenario import NOTES, SHARED, Run, Scenario
from tests.chaos.site import Report, Site
from tests.chaos.trial import Trial, trial
from tests.servers import PASSWORD, USER, postgres_standby
from tests.system.processes import run_to_its_end
from tests.system.projects import Project

_PARTITIONS = 4
_SINK = {"concurrency": 2, "timeout": "1s"}
_BAD_CONFIG = 78

_Prepared: TypeAlias = tuple[Trial, Project, Callable[[], Awaitable[object]]]
"""The daemon's project, and what makes it lose its ledger."""


@asynccontextmanager
async def _emptied(site: Site) -> AsyncGenerator[_Prepared]:
    """FLUSHALL."""
    async with own_server(site) as (_, own), _slow_trial(own) as t:
        assert own.server is not None
        client = Redis(host="127.0.0.1", port=own.server.port, password=PASSWORD)
        try:
            yield t, t.project("one"), client.flushall
        finally:
            await client.aclose()


@asynccontextmanager
async def _restarted(site: Site) -> AsyncGenerator[_Prepared]:
    """A restart of a server that keeps nothing on disk."""
    async with own_server(site, forgets=True) as (server, own), _slow_trial(own) as t:

        async def lose() -> None:
            await server.crash()
            await server.start()

        yield t, t.project("one"), lose


@asynccontextmanager
async def _replaced(site: Site) -> AsyncGenerator[_Prepared]:
    """The server's address leads to another server."""
    assert site.server is not None
    other = OwnServer(site.ledger, site.folder / "other")
    second = await other.start()
    try:
        async with proxy(site.server.port) as between, _slow_trial(site) as t:

            async def lose() -> None:
                between.lead_to(second.port)
                t.ledger = {**t.ledger, "url": second.url}

            yield t, t.project("one", ledger_port=between.port), lose
    finally:
        await other.stop()


@asynccontextmanager
async def _slow_trial(site: Site) -> AsyncGenerator[Trial]:
    async with trial(site, partitions=_PARTITIONS, sink=_SINK) as t:
        t.sections = {**t.sections, "delivery": {"grace": "2s"}}
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.2))
        yield t


def losing(prepared: Callable[[Site], AbstractAsyncContextManager[_Prepared]]) -> Run:
    """The ledger is gone under load: the daemon takes nothing in and says why, another start is
    refused, and one that is told to goes on with what was not committed."""

    async def run(site: Site) -> Report:
        count = site.size(100)
        async with prepared(site) as (t, project, lose):
            (running,) = await t.start_all([project])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(t.publish, count, 20)
                await t.arrivals(count // 4)
                await lose()
                await say_so([running], site)
            await running.says("emptied or replaced", site.patience_s)
            sent = len(t.box.record)
            await anyio.sleep(site.seconds(2))
            assert len(t.box.record) == sent, "it sends without its ledger"
            assert await running.stop(site.patience_s) == 0

            refused = await run_to_its_end(project, within_s=site.patience_s)
            assert refused.returncode == _BAD_CONFIG, refused.stdout.decode()
            assert "--accept-new-ledger" in refused.stdout.decode()
            assert len(t.box.record) == sent, "it sends with a ledger that knows nothing"

            await t.ledger_is_lost()
            t.fault_ends()
            await t.is_ready(await t.start(project, "--accept-new-ledger", is_ready=False))
            await t.drained()
            return nothing_twice(await t.end())

    return run


async def failed_over(site: Site) -> Report:
    """The primary dies and its replica, which it waited for with each commit, takes over."""
    count = site.size(120)
    folder = site.folder / "servers"
    for place in (folder / "one", folder / "two"):
        place.mkdir(parents=True, exist_ok=True)
    for place in folder.parents[:3]:
        place.chmod(0o755)  # the servers' user has to get through
    primary = OwnServer("postgres", folder / "one")
    first = await primary.start()
    try:
        async with postgres_standby(folder / "two", first) as second:
            hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
            both = replace(first, url=f"postgresql://{USER}@{hosts}/postgres")
            async with trial(replace(site, server=both), partitions=_PARTITIONS, sink=_SINK) as t:
                async with two_at_work(t, count, 0.2) as replicas:
                    await primary.crash()
                    await say_so(replicas, site)
                    await anyio.sleep(site.seconds(2))
                    await _promote(second.url)
                return nothing_twice(await t.end())
    finally:
        await primary.stop()


async def _promote(url: str) -> None:
    connection = await asyncpg.connect(url, password=PASSWORD)
    try:
        assert await connection.fetchval("SELECT pg_promote()")
    finally:
        await connection.close()


SCENARIOS = [
    Scenario(
        "ledger-emptied", "the ledger is emptied under load", losing(_emptied), ("redis",), NOTES
    ),
    Scenario(
        "ledger-restarted-empty",
        "a ledger without persistence restarts",
        losing(_restarted),
        ("redis",),
        NOTES,
    ),
    Scenario(
        "ledger-replaced",
        "the ledger's address leads to another server",
        losing(_replaced),
        SHARED,
        NOTES,
    ),
    Scenario(
        "ledger-failover",
        "the ledger's server dies, and its replica takes over",
        failed_over,
        ("postgres",),
    ),
]
