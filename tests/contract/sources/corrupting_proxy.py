"""A proxy in front of a broker that spoils records on their way out, as a broken disk would."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

MARK = b"spoil-this"


@asynccontextmanager
async def corrupting_proxy(bootstrap: str) -> AsyncGenerator[str]:
    """The address of the proxy. It changes a byte of every value that holds ``MARK``, so that
    the batch's checksum is wrong, and puts itself in the broker's place in metadata."""
    host, _, port = bootstrap.rpartition(":")
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        own = listener.extra(anyio.abc.SocketAttribute.local_port)
        changes = [
            (MARK, MARK.upper()),
            (host.encode() + struct.pack(">i", int(port)), _address("127.0.0.1", own)),
        ]

        async def serve(client: ByteStream) -> None:
            async with client, await anyio.connect_tcp(host, int(port)) as broker:
                async with anyio.create_task_group() as both:
                    both.start_soon(_copy, client, broker)
                    await _copy_frames(broker, client, changes)
                    both.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield f"127.0.0.1:{own}"
            tasks.cancel_scope.cancel()


def _address(host: str, port: int) -> bytes:
    return host.encode() + struct.pack(">i", port)


async def _copy(source: ByteStream, target: ByteStream) -> None:
    try:
        async for chunk in source:
            await target.send(chunk)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def _copy_frames(
    source: ByteStream, target: ByteStream, changes: list[tuple[bytes, bytes]]
) -> None:
    frames = BufferedByteReceiveStream(source)
    try:
        while True:
            size = await frames.receive_exactly(4)
            frame = await frames.receive_exactly(int.from_bytes(size, "big"))
            for old, new in changes:
                frame = frame.replace(old, new)
            await target.send(size + frame)
    except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return
