"""A TCP proxy on loopback that can be told to cut, hang or slow down what goes through it."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias, final

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup

from router.sandbox.http import reset_on_close
from router.sandbox.process import free_port

_CHUNK = 64 * 1024
_HOST = "127.0.0.1"
_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)

Read: TypeAlias = Callable[[], Awaitable[bytes]]


@final
class Proxy:
    """What stands between one client and one server.

    Attributes:
        port: Where it listens, while it is not cut.
    """

    def __init__(self, target: int, tasks: TaskGroup, *, is_kafka: bool) -> None:
        self.port = free_port()
        self._target = target
        self._tasks = tasks
        self._is_kafka = is_kafka
        self._delay_s = 0.0
        self._flows = anyio.Event()
        self._flows.set()
        self._connections: set[anyio.CancelScope] = set()
        self._listening: anyio.CancelScope | None = None

    async def mend(self) -> None:
        """Lets everything through, what was held up as well."""
        self._delay_s = 0.0
        self._flows.set()
        if self._listening is None:
            await self._tasks.start(self._listen)

    def hang(self) -> None:
        """Connections stay open, new ones too, and no byte gets through."""
        self._flows = anyio.Event()

    def slow(self, seconds: float) -> None:
        """Every piece takes so long each way."""
        self._delay_s = seconds

    def cut(self) -> None:
        """Resets connections and refuses new ones."""
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        for connection in tuple(self._connections):
            connection.cancel()

    def lead_to(self, target: int) -> None:
        """Resets connections; new ones go to another server."""
        self._target = target
        for connection in tuple(self._connections):
            connection.cancel()

    async def _listen(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        listener = await anyio.create_tcp_listener(local_host=_HOST, local_port=self.port)
        async with listener:
            with anyio.CancelScope() as scope:
                self._listening = scope
                task_status.started()
                await listener.serve(self._serve, self._tasks)

    async def _serve(self, client: SocketStream) -> None:
        with anyio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                await self._connect(client)
            finally:
                self._connections.discard(scope)
                with suppress(OSError):  # it may be closed already
                    reset_on_close(client.extra(SocketAttribute.raw_socket))
                with anyio.CancelScope(shield=True):
                    await client.aclose()

    async def _connect(self, client: SocketStream) -> None:
        await self._flows.wait()
        try:
            server = await anyio.connect_tcp(_HOST, self._target)
        except OSError:
            return
        # Small pieces go at once: with them held back, a slow link would be slower than stated.
        for stream in (client, server):
            stream.extra(SocketAttribute.raw_socket).setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )
        async with server, anyio.create_task_group() as pipes:
            answers = _frames(server, self._advertise) if self._is_kafka else _chunks(server)
            pipes.start_soon(self._pass_on, _chunks(client), server, pipes)
            pipes.start_soon(self._pass_on, answers, client, pipes)

    async def _pass_on(self, read: Read, to: SocketStream, pipes: TaskGroup) -> None:
        with suppress(*_GONE):
            while True:
                data = await read()
                await self._flows.wait()
                if self._delay_s:
                    await anyio.sleep(self._delay_s)
                await to.send(data)
        pipes.cancel_scope.cancel()

    def _advertise(self, frame: bytes) -> bytes:
        """Has the broker name the proxy where it names itself: host, then port in four bytes."""
        own, ours = (port.to_bytes(4) for port in (self._target, self.port))
        return frame.replace(_HOST.encode() + own, _HOST.encode() + ours)


def _chunks(stream: SocketStream) -> Read:
    return lambda: stream.receive(_CHUNK)


def _frames(stream: SocketStream, change: Callable[[bytes], bytes]) -> Read:
    """Whole messages, each behind its length, which the change must keep."""
    buffered = bytearray()

    async def read() -> bytes:
        while len(buffered) < 4 or len(buffered) < 4 + int.from_bytes(buffered[:4]):
            buffered.extend(await stream.receive(_CHUNK))
        end = 4 + int.from_bytes(buffered[:4])
        frame = bytes(buffered[:end])
        del buffered[:end]
        return change(frame)

    return read


@asynccontextmanager
async def proxy(target: int, *, is_kafka: bool = False) -> AsyncGenerator[Proxy]:
    """A proxy to a port of loopback until the block ends, letting everything through.

    Args:
        is_kafka: The server is a broker at ``127.0.0.1``, whose clients go to the address that it
            names: they are told the proxy's.
    """
    async with anyio.create_task_group() as tasks:
        between = Proxy(target, tasks, is_kafka=is_kafka)
        await between.mend()
        try:
            yield between
        finally:
            tasks.cancel_scope.cancel()
