"""An HTTP/1.1 server for look-alikes that can also misbehave below HTTP."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import orjson
from aiohttp import web

from router.clock import SystemClock
from router.sandbox.faults import UNREAD, Fault, Faults

_WIRE = SystemClock()  # faults take real time, whatever the sandbox's clock shows
_DRIPS = 20
_OF_CONNECTION = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "host", "transfer-encoding"}
)
_SECRET = re.compile("authorization|cookie|secret|token|api-?key")
_MOST_BODY = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came: ``path`` still encoded, ``query`` without ``?``."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def headers_of(call: Call) -> dict[str, str]:
    """A call's headers by lower-case name, without those of the connection, secrets covered."""
    headers = {name.lower(): value for name, value in call.headers.items()}
    return {
        name: _covered(value) if _SECRET.search(name) else value
        for name, value in headers.items()
        if name not in _OF_CONNECTION
    }


def _covered(secret: str) -> str:
    scheme, _, rest = secret.partition(" ")
    return f"{scheme} …" if rest else "…"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer with a JSON body."""
    content = {"Content-Type": "application/json"}
    return Answer(status, orjson.dumps(value), content | dict(headers or {}))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one look-alike does with a call.

    Attributes:
        target: Whom the call is for, which chooses its fault; asked before anything else.
        answer: Validates the call, stores its effect, and answers.
        faults: Its plans.
    """

    target: Callable[[Call], str]
    answer: Callable[[Call], Answer]
    faults: Faults


@asynccontextmanager
async def serve_http(
    endpoint: Endpoint, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """Serves on loopback until the block ends; gives the port."""
    runner = web.ServerRunner(http1_server(endpoint), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        yield int(runner.addresses[0][1])
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def http1_server(endpoint: Endpoint) -> web.Server:
    """Makes a protocol for each HTTP/1.1 connection."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if unread := endpoint.faults.draw(UNREAD, or_any=False):
            return await _misbehave(request, unread, None)
        call = Call(
            request.method,
            request.rel_url.raw_path,
            request.rel_url.raw_query_string,
            request.headers,
            await request.read(),
        )
        fault = endpoint.faults.draw(endpoint.target(call))
        if fault is None:
            return _response(endpoint.answer(call))
        honest = endpoint.answer(call) if fault.needs_effect else None
        return await _misbehave(request, fault, honest)

    # Bodies stay as they came, compressed ones too, and large ones are the look-alike's to refuse.
    return web.Server(handle, request_factory=_request, access_log=None, auto_decompress=False)


def _request(*parts: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(*parts, loop=loop, client_max_size=_MOST_BODY)


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


async def _misbehave(
    request: web.BaseRequest, fault: Fault, honest: Answer | None
) -> web.StreamResponse:
    match fault.kind:
        case "answer":
            return web.Response(
                status=fault.status, body=fault.body.encode(), headers=fault.headers
            )
        case "reset" | "close" | "rst_stream" | "goaway":
            return _hang_up(request, reset=fault.kind != "close")
        case "stall":
            await _WIRE.sleep(fault.seconds)
            return _hang_up(request, reset=False)
        case "drip" | "cut" | "truncate" | "html":
            return await _spoil(request, fault, honest or Answer(200))


async def _spoil(request: web.BaseRequest, fault: Fault, honest: Answer) -> web.StreamResponse:
    half = honest.body[: len(honest.body) // 2]
    match fault.kind:
        case "truncate":
            return web.Response(status=honest.status, body=half, headers=honest.headers)
        case "html":
            headers = {**honest.headers, "Content-Type": "text/html"}
            return web.Response(status=honest.status, body=honest.body, headers=headers)
        case "drip":
            return await _drip(request, honest, fault.seconds)
        case _:
            response = web.StreamResponse(status=honest.status, headers=honest.headers)
            response.content_length = len(honest.body)
            await response.prepare(request)
            await response.write(half)
            return _hang_up(request, reset=False)


async def _drip(request: web.BaseRequest, honest: Answer, seconds: float) -> web.StreamResponse:
    response = web.StreamResponse(status=honest.status, headers=honest.headers)
    response.content_length = len(honest.body)
    await response.prepare(request)
    size = max(1, -(-len(honest.body) // _DRIPS))
    for start in range(0, len(honest.body), size):
        await _WIRE.sleep(seconds / _DRIPS)
        await response.write(honest.body[start : start + size])
    await response.write_eof()
    return response


def _hang_up(request: web.BaseRequest, *, reset: bool) -> web.StreamResponse:
    if (transport := request.transport) is not None:
        if reset:
            reset_on_close(transport.get_extra_info("socket"))
            transport.abort()
        else:
            transport.close()
    return web.Response()  # goes nowhere


def reset_on_close(raw: socket.socket) -> None:
    """Makes the socket's close a TCP reset."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
