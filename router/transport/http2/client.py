"""The HTTP/2 client: few long-lived connections to a host, shared by every request to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import final

import anyio
from anyio.abc import TaskGroup
from yarl import URL

from router.messages import Reason
from router.transport.checks import check_head, checked_url
from router.transport.dialing import Dialer, Place, dialer_for
from router.transport.http2.exchange import Exchange
from router.transport.http2.pool import Pool
from router.transport.model import (
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    NotSent,
)

_CLOSE_S = 2.0
_PER_CONNECTION = frozenset(
    {"connection", "host", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)


@asynccontextmanager
async def open_http2_client(options: HttpOptions) -> AsyncGenerator[HttpClient]:
    """A client for as long as the context is open; its connections are closed with it.

    Raises:
        OSError: a file with certificates can't be read or used, or the proxy is not an HTTP one.
    """
    dialer = await dialer_for(options, "h2")
    async with anyio.create_task_group() as tasks:
        client = _Client(options, dialer, tasks)
        try:
            yield client
        finally:
            await client.close()
            tasks.cancel_scope.cancel()


@final
class _Client:
    def __init__(self, options: HttpOptions, dialer: Dialer, tasks: TaskGroup) -> None:
        self._options = options
        self._dialer = dialer
        self._tasks = tasks
        self._pools: dict[Place, Pool] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        check_head(request)
        url = checked_url(request.url, self._options)
        if url.scheme != "https":
            raise NotSent(Reason("invalid_request", "HTTP/2 needs an https URL"))
        loop = asyncio.get_running_loop()
        exchange = Exchange(
            _head(request, url), request.body or b"", loop.create_future(), self._options.max_body
        )
        pool = self._pool(url)
        deadline = loop.call_later(request.timeout_s, pool.expire, exchange)
        pool.submit(exchange)
        try:
            return await exchange.result
        except asyncio.CancelledError:
            pool.abandon(exchange)
            raise
        finally:
            deadline.cancel()

    def _pool(self, url: URL) -> Pool:
        place = Place(url.host or "", url.port or 443, is_secure=True)
        pool = self._pools.get(place)
        if pool is None:
            pool = Pool(place, self._options, self._dialer, self._tasks)
            self._pools[place] = pool
        return pool

    async def close(self) -> None:
        """Ends every connection, at first politely."""
        with anyio.move_on_after(_CLOSE_S, shield=True):
            for pool in self._pools.values():
                await pool.close()
        for pool in self._pools.values():
            pool.abort()


def _head(request: HttpRequest, url: URL) -> list[tuple[str, str]]:
    """Header fields as HTTP/2 wants them (RFC 9113 §8.2 and §8.3.1)."""
    head = [
        (":method", request.method),
        (":scheme", "https"),
        (":authority", url.raw_authority),
        (":path", url.raw_path_qs or "/"),
        ("user-agent", "router"),
    ]
    for name, value in request.headers.items():
        lower = name.lower()
        if lower not in _PER_CONNECTION:
            head.append((lower, value))
    if request.body is not None:
        head.append(("content-length", str(len(request.body))))
    return head
