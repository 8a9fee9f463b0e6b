"""The HTTP/1.1 client of all sinks, held to one attempt and to a precise failure.

A sink has to know whether a request can have reached its provider. What fails before a request is
handed to a connection is :class:`NotSent`, what fails after is :class:`AnswerLost`, and nothing is
resent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import final

import anyio

from router.transport.checks import checked_url
from router.transport.dialing import Dialer, dialer_for
from router.transport.http1.connection import Exchange
from router.transport.http1.pool import Pool
from router.transport.http1.wire import Target, request_bytes, target_of
from router.transport.model import HttpClient, HttpOptions, HttpRequest, HttpResponse

_CLOSE_S = 2.0
_KNOWN_URLS = 1024


@asynccontextmanager
async def open_client(options: HttpOptions) -> AsyncGenerator[HttpClient]:
    """A client for as long as the context is open; its pool is closed with it.

    Raises:
        OSError: a file with certificates can't be read or used, or the proxy is not an HTTP one.
    """
    dialer = await dialer_for(options, "http/1.1")
    pool = Pool(options, dialer)
    try:
        yield _Client(options, dialer, pool)
    finally:
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await pool.close()
        pool.abort()


@final
class _Client:
    def __init__(self, options: HttpOptions, dialer: Dialer, pool: Pool) -> None:
        self._options = options
        self._proxy = dialer.proxy
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._targets: dict[str, Target] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        target = self._targets.get(request.url) or self._target(request.url)
        exchange = Exchange(
            target.place,
            request_bytes(request, target),
            request.method == "HEAD",
            self._loop.create_future(),
        )
        deadline = self._loop.call_later(request.timeout_s, self._pool.expire, exchange)
        try:
            if not self._pool.start(exchange):
                await self._pool.start_later(exchange)
            return await exchange.result
        except asyncio.CancelledError:
            self._pool.abandon(exchange)
            raise
        finally:
            deadline.cancel()

    def _target(self, url: str) -> Target:
        """Most sinks have one URL, or a few: what it means is worked out once."""
        target = target_of(checked_url(url, self._options), self._proxy)
        if len(self._targets) >= _KNOWN_URLS:
            self._targets.clear()
        self._targets[url] = target
        return target
