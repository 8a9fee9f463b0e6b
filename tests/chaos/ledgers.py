"""The ledger hangs, is slow, crashes and comes back, is locked, or has no room."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import final

import anyio
import asyncpg
import pytest
from redis.asyncio import Redis

from router.sandbox import ANY_TARGET, Fault
from router.sandbox.process import free_port
from tests.chaos.proxy import proxy
from tests.chaos.scenario import SHARED, Scenario
from tests.chaos.site import Report, Site
from tests.chaos.trial import Trial, trial
from tests.servers import PASSWORD, USER, Server, postgres, redis
from tests.system.processes import Daemon, eventually

_PARTITIONS = 4
_SINK = {"concurrency": 2, "timeout": "1s"}
_CRASH = {"postgres": signal.SIGQUIT, "redis": signal.SIGKILL}
"""What ends a server at once, without a word to its clients or its disk."""


@final
class OwnServer:
    """A ledger's server of the scenario's own, which it may crash and start again."""

    def __init__(self, kind: str, folder: Path, *, forgets: bool = False) -> None:
        self._kind = kind
        self._folder = folder
        self._starts = {"postgres": postgres, "redis": partial(redis, durable=not forgets)}
        self._port = free_port()
        self._running: AbstractAsyncContextManager[Server] | None = None
        self._server: Server | None = None

    async def start(self) -> Server:
        """Starts it on the data that it had."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in self._folder.parents[:2]:
            folder.chmod(0o755)  # the server's user has to get through
        self._running = self._starts[self._kind](self._folder, self._port)
        self._server = await self._running.__aenter__()
        return self._server

    async def crash(self) -> None:
        """Ends it as a fault would."""
        if self._server is not None:
            self._server.process.send_signal(_CRASH[self._kind])
            await self._server.process.wait()
        await self.stop()

    async def stop(self) -> None:
        if self._running is not None:
            running, self._running, self._server = self._running, None, None
            await running.__aexit__(None, None, None)


@asynccontextmanager
async def own_server(
    site: Site, *, forgets: bool = False
) -> AsyncGenerator[tuple[OwnServer, Site]]:
    """The scenario's own server, and the site with it.

    Args:
        forgets: It comes up empty, where it can be told to.
    """
    server = OwnServer(site.ledger, site.folder / "server", forgets=forgets)
    started = await server.start()
    try:
        yield server, replace(site, server=started)
    finally:
        await server.stop()


@asynccontextmanager
async def two_at_work(t: Trial, count: int, drip_s: float) -> AsyncGenerator[list[Daemon]]:
    """Two replicas amid their work; the block is the fault. After it, all is done in the end."""
    t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=drip_s))
    replicas = await t.replicas("one", "two")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(t.publish, count, 12)
        await t.arrivals(count // 6)
        yield replicas
        t.fault_ends()
    await t.drained()
    for running in replicas:
        await t.is_ready(running)


async def crashed(site: Site) -> Report:
    """It crashes under load and comes back: what was acknowledged is there, the rest waits."""
    count = site.size(120)
    async with (
        own_server(site) as (server, own),
        trial(own, partitions=_PARTITIONS, sink=_SINK) as t,
    ):
        async with two_at_work(t, count, 0.2) as replicas:
            await server.crash()
            await say_so(replicas, site)
            await anyio.sleep(site.seconds(2))
            await server.start()
        return nothing_twice(await t.end())


async def hung(site: Site) -> Report:
    """It answers nobody for longer than a lease: claims are left to who holds them."""
    count = site.size(120)
    assert site.server is not None
    async with (
        proxy(site.server.port) as between,
        trial(site, partitions=_PARTITIONS, sink=_SINK) as t,
    ):
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.2))
        names = ("one", "two")
        replicas = await t.start_all([t.project(n, ledger_port=between.port) for n in names])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 12)
            await t.arrivals(count // 6)
            between.hang()
            await say_so(replicas, site)
            await anyio.sleep(site.seconds(13))
            sent = len(t.box.record)
            await anyio.sleep(1)
            assert len(t.box.record) == sent, "it sends without a ledger"
            await between.mend()
            t.fault_ends()
        await t.drained()
        return await t.end()


async def slow(site: Site) -> Report:
    """Each call takes half a second: it is slow, and that is all."""
    count = site.size(100)
    assert site.server is not None
    async with (
        proxy(site.server.port) as between,
        trial(site, partitions=_PARTITIONS, sink=_SINK | {"concurrency": 16}) as t,
    ):
        names = ("one", "two")
        await t.start_all([t.project(name, ledger_port=between.port) for name in names])
        between.slow(0.25)
        await t.publish(count)
        await t.arrivals(count // 2)
        between.slow(0)
        t.fault_ends()
        await t.drained()
        return nothing_twice(await t.end())


async def locked(site: Site) -> Report:
    """Somebody else holds the file's write lock for a while."""
    count = site.size(80)
    async with trial(site, partitions=_PARTITIONS, sink=_SINK) as t:
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.1))
        replicas = await t.replicas("one")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 12)
            await t.arrivals(count // 6)
            holder = sqlite3.connect(t.ledger["path"], isolation_level=None)
            try:
                holder.execute("BEGIN IMMEDIATE")
                await say_so(replicas, site)
                await anyio.sleep(site.seconds(3))
            finally:
                holder.close()
            t.fault_ends()
        await t.drained()
        await t.is_ready(replicas[0])
        return nothing_twice(await t.end())


async def full(site: Site) -> Report:
    """Its disk takes no more for a while."""
    count = site.size(80)
    async with trial(site, partitions=_PARTITIONS, sink=_SINK) as t:
        t.box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.1))
        (running,) = await t.replicas("one")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(t.publish, count, 12)
            await t.arrivals(count // 6)
            pid, limit = running.process.pid, resource.RLIMIT_FSIZE
            before = resource.prlimit(pid, limit)
            # Logs are smaller, and can still be written.
            resource.prlimit(pid, limit, (64 * 1024, before[1]))
            try:
                await say_so([running], site)
                await anyio.sleep(site.seconds(3))
            finally:
                resource.prlimit(pid, limit, before)
            t.fault_ends()
        await t.drained()
        await t.is_ready(running)
        return nothing_twice(await t.end())


async def out_of_memory(site: Site) -> Report:
    """Redis has no memory for more for a while, and drops nothing of what it has."""
    count = site.size(80)
    async with (
        own_server(site) as (_, own),
        trial(own, partitions=_PARTITIONS, sink=_SINK) as t,
    ):
        assert own.server is not None
        async with (
            Redis(host="127.0.0.1", port=own.server.port, password=PASSWORD) as client,
            two_at_work(t, count, 0.1) as replicas,
        ):
            await client.config_set("maxmemory", "1mb")
            await say_so(replicas, site)
            await anyio.sleep(site.seconds(3))
            await client.config_set("maxmemory", "0")
        return nothing_twice(await t.end())


async def out_of_space(site: Site) -> Report:
    """The file system with PostgreSQL's tables is full for a while."""
    count = site.size(120)
    place = site.folder / "small"
    with _small_file_system(place):
        async with (
            own_server(site) as (_, own),
            trial(own, partitions=_PARTITIONS, sink=_SINK) as t,
        ):
            assert own.server is not None
            await _put_tables_on(own.server, place / "tables")
            async with two_at_work(t, count, 0.1) as replicas:
                filler = place / "filler"
                _fill(filler)
                await say_so(replicas, site)
                await anyio.sleep(site.seconds(3))
                filler.unlink()
            return nothing_twice(await t.end())


@contextmanager
def _small_file_system(place: Path) -> Generator[None]:
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system of a given size can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


async def _put_tables_on(server: Server, place: Path) -> None:
    """Whatever is made from now on lies there."""
    await anyio.to_thread.run_sync(_give_folder_to, server, place)
    connection = await asyncpg.connect(server.url, password=PASSWORD)
    try:
        await connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        await connection.execute(f"ALTER ROLE {USER} SET default_tablespace = small")
    finally:
        await connection.close()


def _give_folder_to(server: Server, place: Path) -> None:
    owner = Path(f"/proc/{server.process.pid}").stat()
    place.mkdir()
    os.chown(place, owner.st_uid, owner.st_gid)


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def say_so(replicas: list[Daemon], site: Site) -> None:
    """Each says that it is not ready, and that it is healthy."""

    async def are_down() -> bool:
        healthy = [(await running.get("/-/healthy"))[0] == 200 for running in replicas]
        ready = [await running.is_ready() for running in replicas]
        return all(healthy) and not any(ready)

    await eventually(are_down, "not ready, but healthy", site.patience_s)


def nothing_twice(report: Report) -> Report:
    assert report.books.repeats == 0, "repeats"
    return report


SCENARIOS = [
    Scenario("ledger-crash", "the ledger's server crashes and comes back", crashed, SHARED),
    Scenario("ledger-hang", "the ledger answers nobody for longer than a lease", hung, SHARED),
    Scenario("ledger-slow", "each call to the ledger takes half a second", slow, SHARED),
    Scenario("ledger-locked", "another process holds the ledger file's lock", locked),
    Scenario("ledger-full", "the ledger's disk is full for a while", full),
    Scenario(
        "ledger-out-of-memory",
        "the ledger's server has no memory for more",
        out_of_memory,
        ("redis",),
    ),
    Scenario(
        "ledger-out-of-space",
        "the file system of the ledger's tables is full",
        out_of_space,
        ("postgres",),
    ),
]
