"""The proxy does what it is told, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from tests.chaos.proxy import Proxy, proxy

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def echo(*, is_kafka: bool = False) -> AsyncGenerator[tuple[Proxy, int]]:
    """A proxy before a server that sends back what it gets; and the server's port."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = int(listener.extra(SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        async with proxy(port, is_kafka=is_kafka) as between:
            yield between, port
        tasks.cancel_scope.cancel()


async def test_what_goes_through_is_unchanged() -> None:
    async with echo() as (between, _), await anyio.connect_tcp("127.0.0.1", between.port) as way:
        await way.send(b"hello")
        assert await way.receive() == b"hello"


async def test_what_hangs_comes_once_it_is_mended() -> None:
    async with echo() as (between, _), await anyio.connect_tcp("127.0.0.1", between.port) as way:
        between.hang()
        await way.send(b"hello")
        with anyio.move_on_after(0.1) as scope:
            await way.receive()
        assert scope.cancelled_caught
        await between.mend()
        assert await way.receive() == b"hello"


async def test_a_cut_resets_and_refuses_until_it_is_mended() -> None:
    async with echo() as (between, _), await anyio.connect_tcp("127.0.0.1", between.port) as way:
        await way.send(b"hello")
        await way.receive()
        between.cut()
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await way.receive()
        with pytest.raises(OSError, match=r"."):
            await anyio.connect_tcp("127.0.0.1", between.port)
        await between.mend()
        async with await anyio.connect_tcp("127.0.0.1", between.port) as again:
            await again.send(b"hello")
            assert await again.receive() == b"hello"


async def test_a_broker_is_made_to_name_the_proxy() -> None:
    """In whole messages, in whatever pieces they come."""
    async with (
        echo(is_kafka=True) as (between, port),
        await anyio.connect_tcp("127.0.0.1", between.port) as way,
    ):

        def message(of: int) -> bytes:
            body = b"\0\x09127.0.0.1" + of.to_bytes(4) + b"rack"
            return len(body).to_bytes(4) + body

        sent = message(port) * 2
        for start in range(0, len(sent), 7):
            await way.send(sent[start : start + 7])
        received = b""
        while len(received) < len(sent):
            received += await way.receive()
        assert received == message(between.port) * 2
