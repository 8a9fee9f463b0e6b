"""Events from standard input, one JSON object a line: pipes and trials."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from io import BufferedReader
from typing import cast

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from router.clock import Clock
from router.ledger import Ledger
from router.sources._contract import Listener, Source, SourceConfig, SourceType
from router.sources._lines import LineSource

_CHUNK = 64 * 1024
_CHUNKS_AHEAD = 4


class StdinSourceConfig(SourceConfig):
    """Events from standard input. What was read and not settled is lost at a stop."""


@asynccontextmanager
async def open_source(
    config: StdinSourceConfig,
    *,
    name: str,
    listener: Listener,
    ledger: Ledger,
    clock: Clock,
    accept_new_ledger: bool = False,
) -> AsyncGenerator[Source]:
    """Reads standard input to its end."""
    send, receive = anyio.create_memory_object_stream[bytes](_CHUNKS_AHEAD)

    async def read_chunk(wait: float) -> bytes | None:
        return await _receive(receive, wait)

    source = LineSource(
        read_chunk,
        group=name,
        topic="stdin",
        clock=clock,
        timestamp=clock.now,
        longest=config.decode.max_size,
    )
    with receive:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pump, cast("BufferedReader", sys.stdin.buffer), send)
            try:
                await listener.assigned([source.place])
                yield source
            finally:
                tasks.cancel_scope.cancel()


async def _pump(stdin: BufferedReader, chunks: MemoryObjectSendStream[bytes]) -> None:
    with chunks:
        while chunk := await anyio.to_thread.run_sync(stdin.read1, _CHUNK, abandon_on_cancel=True):
            await chunks.send(chunk)


async def _receive(chunks: MemoryObjectReceiveStream[bytes], wait: float) -> bytes | None:
    try:
        with anyio.move_on_after(wait):
            return await chunks.receive()
    except anyio.EndOfStream:
        return None
    return b""


SOURCE = SourceType("stdin", StdinSourceConfig, open_source)
