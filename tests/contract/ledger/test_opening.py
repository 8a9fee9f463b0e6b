"""A ledger that does not answer at the start is waited for, within bounds."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

import anyio
import pytest

from router.clock import SystemClock
from router.ledger import Ledger, LedgerDown
from router.ledger.postgres import PostgresConfig
from router.opening import open_ledger
from router.problems import ConfigError
from router.sandbox.process import free_port
from tests.contract.ledger.scarce import scarce_store, take_connection
from tests.contract.ledger.stores import PostgresStore
from tests.servers import Server
from tests.system.processes import eventually

pytestmark = pytest.mark.anyio


async def opened(
    config: PostgresConfig, stack: AsyncExitStack, stopping: anyio.Event, patience_s: float = 60
) -> Ledger | None:
    return await open_ledger(
        config,
        stack,
        owner="one",
        clock=SystemClock(),
        stopping=stopping,
        patience_s=patience_s,
    )


def nobody_there() -> PostgresConfig:
    return PostgresConfig(url=f"postgresql://router@127.0.0.1:{free_port()}/router")


async def test_a_server_without_a_connection_left_is_waited_for(
    postgres_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with scarce_store(postgres_server, most=1) as store, AsyncExitStack() as stack:
        taken = await take_connection(store)

        async def makes_room() -> None:
            await eventually(lambda: "too many connections" in caplog.text, "a warning")
            await taken.close()

        with anyio.fail_after(50):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(makes_room)
                assert await opened(store.config, stack, anyio.Event()) is not None
        assert "trying again for" in caplog.text
        assert "the ledger is there" in caplog.text


async def test_after_its_patience_the_start_gives_up() -> None:
    async with AsyncExitStack() as stack:
        with anyio.fail_after(30), pytest.raises(LedgerDown, match="Connect call failed"):
            await opened(nobody_there(), stack, anyio.Event(), patience_s=0.2)


async def test_a_stop_ends_the_wait(caplog: pytest.LogCaptureFixture) -> None:
    stopping = anyio.Event()

    async def stop() -> None:
        await eventually(lambda: "trying again" in caplog.text, "a warning")
        stopping.set()

    async with AsyncExitStack() as stack:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop)
                assert await opened(nobody_there(), stack, stopping) is None


async def test_what_no_waiting_would_change_is_told_at_once(postgres_server: Server) -> None:
    config = PostgresStore.on(postgres_server).config
    nowhere = config.model_copy(update={"url": config.url.removesuffix("postgres") + "nowhere"})
    async with AsyncExitStack() as stack:
        with anyio.fail_after(30), pytest.raises(ConfigError, match="nowhere"):
            await opened(nowhere, stack, anyio.Event())
