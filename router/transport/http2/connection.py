"""One HTTP/2 connection of a client (RFC 9113): streams, flow control, and how it ends.

Nothing is ever sent twice here. When a stream ends without an answer, the peer's own words decide
whether the request can have been served: above the last stream of a GOAWAY, or reset as refused,
it was not; in every other case it may have been.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import cast, final

from hpack import Decoder, Encoder, HPACKError
from hpack.struct import NeverIndexedHeaderTuple

from router.messages import Reason
from router.transport.http2 import frames
from router.transport.http2.exchange import Exchange
from router.transport.http2.frames import (
    ConnectionBroken,
    ErrorCode,
    Frame,
    FrameReader,
    Setting,
    Type,
)

_RECEIVE_WINDOW = 1 << 20
_MAX_HEADERS = 64 * 1024
_MAX_TABLE = 4096
_BEFORE_SETTINGS = 0
_UNLIMITED = 1000
_TICK_S = 5.0
_QUIET_BUSY_S = 5.0
_QUIET_IDLE_S = 60.0
_PING_S = 10.0
_PING = b"router\0\0"

# Header fields that stay the same from request to request are worth a place in the peer's table;
# all others would only push them out of it.
_STEADY = frozenset(
    {
        ":method",
        ":scheme",
        ":authority",
        "authorization",
        "content-type",
        "user-agent",
        "apns-topic",
        "apns-push-type",
        "apns-priority",
    }
)
_REMARK = re.compile(rb'"reason"\s*:\s*"([A-Za-z]{1,40})"')

_LOST = Reason("connection_lost", "the connection broke before an answer")
_CLOSED = Reason("connection_closed", "the client was closed before an answer")
_SILENT = Reason("connection_lost", "the server stopped answering pings")


@final
class Connection(asyncio.Protocol):
    """The client's end of a connection.

    Args:
        max_body: Bytes of an answer that are read at most.

    Attributes:
        ready: True once the server's settings are in, False if it ended before.
        is_open: It takes new requests. Then it may still bring answers to earlier ones.
        closed: Done when nothing is left of it.
    """

    def __init__(self, max_body: int) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[bool] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.is_open = True
        self._loop = loop
        self._changed: Callable[[Connection], None] = lambda _: None
        # All that is read of an answer fits, so that only the connection's window is replenished.
        self._stream_window = max(frames.DEFAULT_WINDOW, 2 * max_body)
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._encoder, self._decoder = Encoder(), Decoder(_MAX_HEADERS)
        self._streams: dict[int, Exchange] = {}
        self._blocked: dict[int, Exchange] = {}
        self._next_id = 1
        self._max_streams = _BEFORE_SETTINGS
        self._max_frame = frames.LARGEST_FRAME
        self._initial_window = frames.DEFAULT_WINDOW
        self._send_window = frames.DEFAULT_WINDOW
        self._receive_window = _RECEIVE_WINDOW
        self._block: tuple[int, bool, bytes] | None = None
        self._out: list[bytes] = []
        self._is_paused = False
        self._heard_at = loop.time()
        self._pinged_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # For the pool --------------------------------------------------------------------------------

    def watch(self, changed: Callable[[Connection], None]) -> None:
        """Has it called whenever there may be room for more, or none any more."""
        self._changed = changed

    @property
    def load(self) -> int:
        """Streams under way."""
        return len(self._streams)

    @property
    def room(self) -> int:
        """How many more requests may start now."""
        if not self.is_open or self._is_paused:
            return 0
        return self._max_streams - len(self._streams)

    def start(self, exchange: Exchange) -> None:
        """Makes a stream of a request. Only while there is room."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        exchange.connection, exchange.stream_id = self, stream_id
        exchange.window = self._initial_window
        self._streams[stream_id] = exchange
        block = self._encoder.encode(
            [f if f[0] in _STEADY else NeverIndexedHeaderTuple(*f) for f in exchange.head],
            huffman=False,
        )
        has_body = bool(exchange.body)
        self._write(
            frames.header_frames(stream_id, block, self._max_frame, ends_stream=not has_body)
        )
        if has_body:
            self._send_body(exchange)
        else:
            exchange.is_whole = True
        if self._next_id > frames.LARGEST_WINDOW:
            self._retire()

    def give_up(self, exchange: Exchange, reason: Reason) -> None:
        """Ends a stream whose answer nobody waits for any longer, and asks if the peer lives."""
        if self._streams.get(exchange.stream_id) is exchange:
            self._write(frames.rst_stream(exchange.stream_id, ErrorCode.CANCEL))
            self._ping()
            self._forget(exchange)
        exchange.break_off(reason)

    def close(self) -> None:
        """Says good-bye; what is still under way is broken off."""
        self._end(ErrorCode.NO_ERROR, _CLOSED)

    def abort(self, reason: Reason = _CLOSED) -> None:
        """Ends without a word, for a peer that does not listen."""
        if self._transport is not None:
            self._transport.abort()
        self._stop(reason)

    # asyncio -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = {
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: self._stream_window,
            Setting.MAX_HEADER_LIST_SIZE: _MAX_HEADERS,
        }
        growth = _RECEIVE_WINDOW - frames.DEFAULT_WINDOW
        self._write(
            frames.PREFACE + frames.settings_frame(settings) + frames.window_update(0, growth)
        )
        self._timer = self._loop.call_later(_TICK_S, self._tick)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            for received in self._reader.feed(data):
                self._receive(received)
        except ConnectionBroken as error:
            self._end(error.code, Reason("answer_malformed", f"HTTP/2 {error.code.name}"))
        except HPACKError:
            code = ErrorCode.COMPRESSION_ERROR
            self._end(code, Reason("answer_malformed", f"HTTP/2 {code.name}"))

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._changed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop(_LOST)
        if not self.closed.done():
            self.closed.set_result(None)
        self._changed(self)

    # Receiving -----------------------------------------------------------------------------------

    def _receive(self, received: Frame) -> None:
        if self._block is not None and received.type != Type.CONTINUATION:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR)
        match received.type:
            case Type.HEADERS:
                block = frames.unpadded(received)
                self._add_block(received, bool(received.flags & frames.END_STREAM), block)
            case Type.CONTINUATION:
                if self._block is None or self._block[0] != received.stream_id:
                    raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR)
                _, ends_stream, before = self._block
                self._add_block(received, ends_stream, before + received.payload)
            case Type.DATA:
                self._receive_data(received)
            case Type.RST_STREAM:
                self._receive_reset(received)
            case Type.SETTINGS:
                self._receive_settings(received)
            case Type.PING:
                self._receive_ping(received)
            case Type.GOAWAY:
                self._receive_goaway(received)
            case Type.WINDOW_UPDATE:
                self._receive_window_update(received)
            case Type.PUSH_PROMISE:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR)
            case _:
                pass

    def _stream_of(self, received: Frame) -> Exchange | None:
        """The stream a frame belongs to; None for one that has ended here."""
        stream_id = received.stream_id
        if stream_id == 0 or stream_id % 2 == 0 or stream_id >= self._next_id:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR)
        return self._streams.get(stream_id)

    def _add_block(self, received: Frame, ends_stream: bool, block: bytes) -> None:
        exchange = self._stream_of(received)
        if len(block) > 2 * _MAX_HEADERS:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM)
        if not received.flags & frames.END_HEADERS:
            self._block = received.stream_id, ends_stream, block
            return
        self._block = None
        fields = self._decoder.decode(block, raw=True)  # even if unused: the table moves on
        if exchange is None:
            return
        if not exchange.status and not self._take_head(exchange, fields):
            return
        if ends_stream:
            self._finish(exchange)

    def _take_head(self, exchange: Exchange, fields: object) -> bool:
        """Reads an answer's head; False when there is none to go on with."""
        pairs = cast("list[tuple[bytes, bytes]]", fields)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
        status = headers.pop(":status", "")
        if not (len(status) == 3 and status.isascii() and status.isdigit()):
            self._write(frames.rst_stream(exchange.stream_id, ErrorCode.PROTOCOL_ERROR))
            self._forget(exchange)
            exchange.break_off(Reason("answer_malformed", "the answer has no status"))
            return False
        if status.startswith("1"):
            return False
        exchange.status, exchange.headers = int(status), headers
        return True

    def _receive_data(self, received: Frame) -> None:
        size = len(received.payload)
        exchange = self._stream_of(received)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR)
        if self._receive_window <= _RECEIVE_WINDOW // 2:
            self._write(frames.window_update(0, _RECEIVE_WINDOW - self._receive_window))
            self._receive_window = _RECEIVE_WINDOW
        data = frames.unpadded(received)
        if exchange is None:
            return
        if not exchange.status:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR)
        if not exchange.take(data):
            self._write(frames.rst_stream(exchange.stream_id, ErrorCode.CANCEL))
            self._forget(exchange)
            exchange.break_off(_LOST)
        elif received.flags & frames.END_STREAM:
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        if not exchange.is_whole:  # answered before the request was all out
            self._write(frames.rst_stream(exchange.stream_id, ErrorCode.NO_ERROR))
        self._forget(exchange)
        exchange.finish()

    def _receive_reset(self, received: Frame) -> None:
        code = frames.read_number(received.payload)
        exchange = self._stream_of(received)
        if exchange is None:
            return
        self._forget(exchange)
        if code == ErrorCode.REFUSED_STREAM:
            refused = Reason("stream_refused", "the server did not take the request")
            exchange.break_off(refused, was_refused=True)
        else:
            exchange.break_off(Reason("stream_reset", f"HTTP/2 {frames.error_name(code)}"))

    def _receive_settings(self, received: Frame) -> None:
        if received.stream_id != 0:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR)
        if received.flags & frames.ACK:
            return
        if not self.ready.done():
            self._max_streams = _UNLIMITED
        for name, value in frames.read_settings(received.payload):
            self._apply(name, value)
        self._write(frames.frame(Type.SETTINGS, frames.ACK, 0))
        if not self.ready.done():
            self.ready.set_result(True)
        self._changed(self)

    def _apply(self, name: int, value: int) -> None:
        match name:
            case Setting.HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, _MAX_TABLE)
            case Setting.MAX_CONCURRENT_STREAMS:
                self._max_streams = min(value, _UNLIMITED)
            case Setting.INITIAL_WINDOW_SIZE:
                if value > frames.LARGEST_WINDOW:
                    raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR)
                change, self._initial_window = value - self._initial_window, value
                for exchange in self._streams.values():
                    exchange.window += change
                self._send_blocked()
            case Setting.MAX_FRAME_SIZE:
                if not frames.LARGEST_FRAME <= value < 2**24:
                    raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR)
                self._max_frame = value
            case _:
                pass

    def _receive_ping(self, received: Frame) -> None:
        if len(received.payload) != 8:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR)
        if received.flags & frames.ACK:
            self._pinged_at = None
        else:
            self._write(frames.frame(Type.PING, frames.ACK, 0, received.payload))

    def _receive_goaway(self, received: Frame) -> None:
        last, code, remark = frames.read_goaway(received.payload)
        said = _REMARK.search(remark)
        text = frames.error_name(code) + (f" {said[1].decode()}" if said else "")
        self.is_open = False
        unserved = [e for stream_id, e in self._streams.items() if stream_id > last]
        for exchange in unserved:
            self._forget(exchange)
            exchange.break_off(Reason("going_away", f"GOAWAY {text}"), was_refused=True)
        self._retire()

    def _receive_window_update(self, received: Frame) -> None:
        increment = frames.read_number(received.payload) & frames.LARGEST_WINDOW
        if received.stream_id == 0:
            self._send_window += increment
            if increment == 0 or self._send_window > frames.LARGEST_WINDOW:
                raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR)
        elif (exchange := self._stream_of(received)) is not None:
            exchange.window += increment
            if increment == 0 or exchange.window > frames.LARGEST_WINDOW:
                self._write(frames.rst_stream(exchange.stream_id, ErrorCode.FLOW_CONTROL_ERROR))
                self._forget(exchange)
                exchange.break_off(Reason("answer_malformed", "HTTP/2 FLOW_CONTROL_ERROR"))
        self._send_blocked()

    # Sending -------------------------------------------------------------------------------------

    def _send_body(self, exchange: Exchange) -> None:
        """Sends what the windows allow; the rest follows when they open."""
        size = len(exchange.body)
        while not exchange.is_whole:
            allowed = min(size - exchange.sent, self._send_window, exchange.window, self._max_frame)
            if allowed <= 0:
                self._blocked[exchange.stream_id] = exchange
                return
            stop = exchange.sent + allowed
            flags = frames.END_STREAM if stop == size else 0
            part = exchange.body[exchange.sent : stop]
            self._write(frames.frame(Type.DATA, flags, exchange.stream_id, part))
            self._send_window -= allowed
            exchange.window -= allowed
            exchange.sent, exchange.is_whole = stop, stop == size
        self._blocked.pop(exchange.stream_id, None)

    def _send_blocked(self) -> None:
        for exchange in list(self._blocked.values()):
            if self._send_window <= 0:
                return
            self._send_body(exchange)

    def _write(self, data: bytes) -> None:
        """Sends with whatever else is written in the same turn of the loop."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    # Keeping alive and ending --------------------------------------------------------------------

    def _tick(self) -> None:
        """Asks a peer that has been quiet whether it is there, and gives up one that is not."""
        now = self._loop.time()
        if self._pinged_at is not None and now - self._pinged_at >= _PING_S:
            self.abort(_SILENT)
            return
        if now - self._heard_at >= (_QUIET_BUSY_S if self._streams else _QUIET_IDLE_S):
            self._ping()
        self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _ping(self) -> None:
        if self._pinged_at is None:
            self._pinged_at = self._loop.time()
            self._write(frames.frame(Type.PING, 0, 0, _PING))

    def _forget(self, exchange: Exchange) -> None:
        del self._streams[exchange.stream_id]
        self._blocked.pop(exchange.stream_id, None)
        if not self._streams and not self.is_open:
            self._end(ErrorCode.NO_ERROR, _LOST)
        else:
            self._changed(self)

    def _retire(self) -> None:
        """Takes no more requests, and ends when the last answer is in."""
        self.is_open = False
        if not self._streams:
            self._end(ErrorCode.NO_ERROR, _LOST)
        else:
            self._changed(self)

    def _end(self, code: ErrorCode, reason: Reason) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._write(frames.goaway(code))
            self._flush()
            self._transport.close()
        self._stop(reason)

    def _stop(self, reason: Reason) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        if not self.ready.done():
            self.ready.set_result(False)
        streams = list(self._streams.values())
        self._streams.clear()
        self._blocked.clear()
        for exchange in streams:
            exchange.break_off(reason)
        self._changed(self)
