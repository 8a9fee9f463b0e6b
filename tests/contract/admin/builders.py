"""A running admin server, and a client that sees exactly what goes over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import h11
from starlette.types import ASGIApp

from router.admin import Address, Overview, ReloadReport, SinkView, serve


@dataclass
class StatedHealth:
    healthy: tuple[bool, str] = (True, "all parts run")
    ready: tuple[bool, str] = (True, "joined router")

    def is_healthy(self) -> tuple[bool, str]:
        return self.healthy

    def is_ready(self) -> tuple[bool, str]:
        return self.ready


@dataclass
class Reloads:
    """Answers each reload as told, once ``go`` is set."""

    report: ReloadReport = field(default_factory=lambda: ReloadReport("applied", "abc123"))
    calls: int = 0
    go: anyio.Event | None = None

    async def __call__(self) -> ReloadReport:
        self.calls += 1
        if self.go is not None:
            await self.go.wait()
        return self.report


def overview(**changes: object) -> Overview:
    values: dict[str, object] = {
        "version": "1.2.3",
        "environment": "stage",
        "config_hash": "abcdef0123456789",
        "uptime_s": 3700.0,
        "sinks": (
            SinkView("mail", "smtp", counts={"delivered": 7, "backlog": 0}),
            SinkView("bot", "telegram", "halted", "unauthorized", {"delivered": 0, "backlog": 3}),
        ),
        "counts": {"planned": 10, "delivered": 7, "scheduled": 3},
    }
    return Overview(**(values | changes))  # pyright: ignore[reportArgumentType]


@asynccontextmanager
async def running(app: ASGIApp, listen: str = "127.0.0.1:0") -> AsyncIterator[Address]:
    async with anyio.create_task_group() as tg:
        address = await tg.start(serve, app, listen)
        yield address
        tg.cancel_scope.cancel()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(
    address: Address,
    path: str,
    method: str = "GET",
    body: bytes = b"",
    **headers: str,
) -> Answer:
    """One request on a connection of its own; ``headers`` with underscores for hyphens."""
    named = {"host": str(address), "connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    if body:
        named.setdefault("content-length", str(len(body)))
    client = h11.Connection(h11.CLIENT)
    with anyio.fail_after(5):
        async with await anyio.connect_tcp(address.host, address.port) as stream:
            request = h11.Request(method=method, target=path, headers=list(named.items()))
            await stream.send(client.send(request) or b"")
            await stream.send((client.send(h11.Data(body)) or b"") if body else b"")
            await stream.send(client.send(h11.EndOfMessage()) or b"")
            return await _answer(client, stream)


async def _answer(client: h11.Connection, stream: anyio.abc.ByteStream) -> Answer:
    status, headers, parts = 0, {}, []
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            try:
                client.receive_data(await stream.receive())
            except anyio.EndOfStream:
                client.receive_data(b"")
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return Answer(status, headers, b"".join(parts))
