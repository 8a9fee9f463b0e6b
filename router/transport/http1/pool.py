"""The connections of a client, and the requests that wait for one."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import final

import anyio

from router.messages import Reason
from router.transport.dialing import CLIENT_CLOSED, NO_ANSWER, Dialer, Place
from router.transport.http1.connection import Connection, Exchange
from router.transport.model import HttpOptions, NotSent

_KEEP_ALIVE_S = 15.0

_NO_CONNECTION = Reason("pool_timeout", "no connection became free in time")
_ENDED = Reason("connect_failed", "the server ended the connection")


@final
class Pool:
    """Requests in the order they came, on the connection that was used last.

    So many exchanges as the options allow are under way at once, and as many connections are kept
    beside them for a while.
    """

    def __init__(self, options: HttpOptions, dialer: Dialer) -> None:
        self._most = options.connections
        self._max_body = options.max_body
        self._dialer = dialer
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._under_way = 0
        self._is_closed = False
        self._connections: set[Connection] = set()
        self._idle: dict[Place, dict[Connection, None]] = {}
        self._by_age: dict[Connection, None] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def start(self, exchange: Exchange) -> bool:
        """Hands a request to a connection that is free; False where it has to wait for one."""
        if self._under_way >= self._most or self._is_closed:
            return False
        connection = self._take_idle(exchange.place)
        if connection is None:
            return False
        self._under_way += 1
        connection.start(exchange)
        return True

    async def start_later(self, exchange: Exchange) -> None:
        """Hands a request to a connection as soon as there is one.

        Raises:
            NotSent: there is none, and why.
        """
        await self._wait_for_turn(exchange)
        try:
            connection = self._take_idle(exchange.place) or await self._dial(exchange)
            if exchange.is_late:
                self._keep(connection)
                raise NotSent(_NO_CONNECTION)
        except BaseException:
            self._ended()
            raise
        connection.start(exchange)

    def expire(self, exchange: Exchange) -> None:
        """The request's time is over."""
        if exchange.connection is not None:
            exchange.connection.give_up(exchange, NO_ANSWER)
            return
        exchange.is_late = True
        if exchange.dialing is not None:
            exchange.dialing.cancel()
        elif exchange.turn is not None and not exchange.turn.done():
            exchange.turn.set_exception(NotSent(_NO_CONNECTION))

    def abandon(self, exchange: Exchange) -> None:
        """Nobody waits for the answer any longer."""
        if exchange.connection is not None:
            exchange.connection.give_up(exchange, NO_ANSWER)

    async def close(self) -> None:
        """Ends every connection; what is under way is broken off."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(NotSent(CLIENT_CLOSED))
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        for connection in connections:
            await connection.closed

    def abort(self) -> None:
        """Ends what :meth:`close` could not end in time."""
        for connection in self._connections:
            connection.abort()

    # Turns ---------------------------------------------------------------------------------------

    async def _wait_for_turn(self, exchange: Exchange) -> None:
        """Waits until one more exchange may be under way, and counts it."""
        if self._is_closed:
            raise NotSent(CLIENT_CLOSED)
        if self._under_way < self._most:
            self._under_way += 1
            return
        turn = exchange.turn = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._ended()
            raise
        finally:
            exchange.turn = None

    def _ended(self) -> None:
        """One exchange less is under way: the next may start."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._under_way -= 1

    async def _dial(self, exchange: Exchange) -> Connection:
        place = exchange.place
        with anyio.CancelScope() as exchange.dialing:
            connection = await self._dialer.dial(
                place, lambda: Connection(place, self._max_body, self._freed, self._forget)
            )
            exchange.dialing = None
            if not connection.is_open:
                raise NotSent(_ENDED)
            if self._is_closed:
                connection.abort()
                raise NotSent(CLIENT_CLOSED)
            self._connections.add(connection)
            return connection
        raise NotSent(_NO_CONNECTION)

    def _freed(self, connection: Connection) -> None:
        if self._is_closed:
            connection.close()
        elif connection.is_open:
            self._keep(connection)
        self._ended()

    # Kept connections ----------------------------------------------------------------------------

    def _take_idle(self, place: Place) -> Connection | None:
        while idle := self._idle.get(place):
            connection = next(reversed(idle))
            self._unkeep(connection)
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        connection.idle_since = self._loop.time()
        self._idle.setdefault(connection.place, {})[connection] = None
        self._by_age[connection] = None
        if len(self._by_age) > self._most:
            self._drop(next(iter(self._by_age)))
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_KEEP_ALIVE_S, self._sweep)

    def _sweep(self) -> None:
        """Ends what was not used for long: its peer may be about to."""
        self._sweeper = None
        now = self._loop.time()
        for connection in list(self._by_age):
            left = connection.idle_since + _KEEP_ALIVE_S - now
            if left > 0:
                self._sweeper = self._loop.call_later(left, self._sweep)
                return
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._unkeep(connection)
        connection.close()

    def _unkeep(self, connection: Connection) -> None:
        if connection in self._by_age:
            del self._by_age[connection]
            idle = self._idle[connection.place]
            del idle[connection]
            if not idle:
                del self._idle[connection.place]

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._unkeep(connection)
