"""The connections to one host, and the requests that wait for a stream on one of them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import final

from anyio.abc import TaskGroup

from router.messages import Reason
from router.transport.dialing import CLIENT_CLOSED, NO_ANSWER, Dialer, Place
from router.transport.http2.connection import Connection
from router.transport.http2.exchange import Exchange
from router.transport.model import HttpOptions, NotSent

_REDIAL_S = 1.0

_ABANDONED = Reason("abandoned", "the sender was stopped")
_NO_STREAM = Reason("pool_timeout", "no stream became free in time")


@final
class Pool:
    """Requests in the order they came, on the connection that has least to do.

    A connection is opened when none has room, one at a time, up to the options' number.
    """

    def __init__(
        self, place: Place, options: HttpOptions, dialer: Dialer, tasks: TaskGroup
    ) -> None:
        self._place = place
        self._most = options.connections
        self._max_body = options.max_body
        self._dialer = dialer
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Exchange] = deque()
        self._connections: list[Connection] = []
        self._is_dialing = False
        self._is_pumping = False
        self._is_closed = False
        self._redial_at = 0.0

    def submit(self, exchange: Exchange) -> None:
        """Starts a request, or lets it wait for a stream."""
        if self._is_closed:
            exchange.break_off(CLIENT_CLOSED)
            return
        self._waiting.append(exchange)
        self.pump()

    def expire(self, exchange: Exchange) -> None:
        """The request's time is over."""
        self._give_up(exchange, _NO_STREAM if exchange.connection is None else NO_ANSWER)

    def abandon(self, exchange: Exchange) -> None:
        """Nobody waits for the answer any longer."""
        self._give_up(exchange, _ABANDONED)

    def pump(self) -> None:
        """Starts what there is room for; opens a connection for what there is none for."""
        if self._is_pumping or self._is_closed:
            return
        self._is_pumping = True
        try:
            while self._waiting:
                if self._waiting[0].result.done():
                    self._waiting.popleft()
                elif (connection := self._roomiest()) is not None:
                    connection.start(self._waiting.popleft())
                else:
                    self._dial()
                    return
        finally:
            self._is_pumping = False

    async def close(self) -> None:
        """Ends every connection; what is under way is broken off."""
        self._is_closed = True
        while self._waiting:
            self._waiting.popleft().break_off(CLIENT_CLOSED)
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        for connection in connections:
            await connection.closed

    def abort(self) -> None:
        """Ends what :meth:`close` could not end in time."""
        for connection in self._connections:
            connection.abort()

    def _give_up(self, exchange: Exchange, reason: Reason) -> None:
        if exchange.connection is None:
            exchange.break_off(reason)
            self.pump()
        else:
            exchange.connection.give_up(exchange, reason)

    def _roomiest(self) -> Connection | None:
        best: Connection | None = None
        for connection in self._connections:
            if connection.room > 0 and (best is None or connection.load < best.load):
                best = connection
        return best

    def _dial(self) -> None:
        is_served = any(connection.is_open for connection in self._connections)
        if self._is_dialing or (is_served and self._loop.time() < self._redial_at):
            return
        if sum(connection.is_open for connection in self._connections) < self._most:
            self._is_dialing = True
            self._tasks.start_soon(self._open_connection)

    async def _open_connection(self) -> None:
        failure: NotSent | None = None
        try:
            connection = await self._dialer.dial(
                self._place, lambda: Connection(self._max_body), _greet
            )
        except NotSent as error:
            failure = error
        else:
            self._connections.append(connection)
            connection.watch(self._changed)
        finally:
            self._is_dialing = False
        if failure is not None:
            self._redial_at = self._loop.time() + _REDIAL_S
            if not any(connection.is_open for connection in self._connections):
                while self._waiting:
                    self._waiting.popleft().break_off(failure.reason)
        self.pump()

    def _changed(self, connection: Connection) -> None:
        if not connection.is_open:
            self._connections = [c for c in self._connections if not c.closed.done()]
        self.pump()


async def _greet(transport: asyncio.Transport, connection: Connection) -> Reason | None:
    """Waits for the server's settings; before them nothing may be asked of it."""
    if transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
        return Reason("http2_refused", "the server does not speak HTTP/2")
    if not await connection.ready:
        return Reason("connect_failed", "the server ended the connection")
    return None
