"""One HTTP/1.1 connection of a client: one request at a time, and how it ends.

Nothing is ever sent twice here. From the moment a request is handed to a connection its bytes may
have left: whatever goes wrong after that is ``AnswerLost``, until the status has come, which holds.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast, final

import anyio
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from router.messages import Reason
from router.transport.dialing import Place
from router.transport.model import AnswerLost, HttpResponse

_LONGEST_HEAD = 64 * 1024

_LOST = Reason("connection_lost", "the connection broke before an answer")
_MALFORMED = Reason("answer_malformed", "the answer is not HTTP")


@final
@dataclass(slots=True, eq=False)
class Exchange:
    """A request on its way: it waits for a connection, then for its answer.

    Attributes:
        wire: The whole request.
        is_head: Its answer has no body, whatever its headers say.
        result: The answer, or :class:`AnswerLost`, once it was handed to a connection.
        turn: Given when it may have a connection, while it waits for that.
        dialing: Ends the making of its connection, while that goes on.
        is_late: Its time was over before it was handed to a connection.
        connection: Where it was handed to.
    """

    place: Place
    wire: bytes
    is_head: bool
    result: asyncio.Future[HttpResponse]
    turn: asyncio.Future[None] | None = None
    dialing: anyio.CancelScope | None = None
    is_late: bool = False
    connection: Connection | None = None


@final
class Connection(asyncio.Protocol):
    """The client's end of a connection.

    Args:
        max_body: Bytes of an answer that are read at most.
        freed: Called when an exchange has ended; the connection is open if it can take another.
        lost: Called when nothing is left of it.

    Attributes:
        is_open: It can take a request when it has none.
        idle_since: When its last exchange ended, on the loop's clock.
        closed: Done when nothing is left of it.
    """

    def __init__(
        self,
        place: Place,
        max_body: int,
        freed: Callable[[Connection], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self.place = place
        self.is_open = True
        self.idle_since = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._max_body = max_body
        self._freed = freed
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._parser = HttpResponseParser(self)
        self._forget_answer()

    def _forget_answer(self) -> None:
        self._status = 0
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._has_head = self._is_whole = self._is_cut = self._may_stay = False

    # For the pool --------------------------------------------------------------------------------

    def is_usable(self) -> bool:
        """Whether it can take a request, as far as can be known before one is lost on it: that its
        server has ended it may have come, and not have been looked at yet."""
        transport = self._transport
        if not self.is_open or transport is None or transport.is_closing():
            return False
        socket = transport.get_extra_info("socket")
        return socket is None or not _is_readable(socket.fileno())

    def start(self, exchange: Exchange) -> None:
        """Sends a request. Only while it is open and has none."""
        assert self._transport is not None
        exchange.connection, self._exchange = self, exchange
        self._transport.write(exchange.wire)

    def give_up(self, exchange: Exchange, reason: Reason) -> None:
        """Ends an exchange whose answer nobody waits for any longer, if it has not ended."""
        if self._exchange is exchange:
            self._break_off(reason)

    def close(self) -> None:
        """Ends it; what is under way is broken off."""
        self._break_off(_LOST)
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Ends it without waiting for the peer."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:  # said without being asked, which answers nothing
            self.abort()
            return
        if not self._has_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._may_stay = False
            if not self._is_whole:
                self._break_off(_MALFORMED)
                return
        if self._is_whole:
            self._end(is_whole=True)
        elif self._is_cut:
            self._break_off(_LOST)
        elif not self._has_head and self._head_size > _LONGEST_HEAD:
            self._break_off(_MALFORMED)

    def eof_received(self) -> None:
        self.is_open = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._exchange is not None:
            # An answer that does not say how long it is goes on to the connection's end.
            is_sized = "content-length" in self._headers or "transfer-encoding" in self._headers
            self._end(is_whole=self._has_head and exc is None and not is_sized)
        if not self.closed.done():
            self.closed.set_result(None)
        self._lost(self)

    # httptools -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_whole:  # more than was asked for
            self._may_stay = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._is_whole:
            return
        status = self._parser.get_status_code()
        if status < 200:  # there is another head to come (RFC 9110 §15.2)
            self._headers = {}
            return
        self._status, self._has_head = status, True
        if self._exchange is not None and self._exchange.is_head:
            self._is_whole = True

    def on_body(self, body: bytes) -> None:
        if self._is_whole or self._is_cut:
            return
        room = self._max_body - self._size
        self._is_cut = len(body) > room
        self._parts.append(body[:room])
        self._size += len(body)

    def on_message_complete(self) -> None:
        if self._has_head and not self._is_whole and not self._is_cut:
            self._is_whole = True
            self._may_stay = self._parser.should_keep_alive()

    # The end of an exchange ----------------------------------------------------------------------

    def _break_off(self, reason: Reason) -> None:
        self._end(reason, is_whole=False)

    def _end(self, reason: Reason = _LOST, *, is_whole: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if not exchange.result.done():
            if self._has_head:
                body = b"".join(self._parts)
                exchange.result.set_result(
                    HttpResponse(self._status, self._headers, body, truncated=not is_whole)
                )
            else:
                exchange.result.set_exception(AnswerLost(reason))
        self._leave(can_stay=is_whole and self._may_stay)
        self._forget_answer()
        self._freed(self)

    def _leave(self, *, can_stay: bool) -> None:
        """Keeps the connection for another request, or ends it."""
        transport = self._transport
        if transport is None or not self.is_open:
            return
        if can_stay and not transport.is_closing() and not transport.get_write_buffer_size():
            return
        self.is_open = False
        transport.abort()


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
