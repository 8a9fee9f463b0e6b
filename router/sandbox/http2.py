"""An HTTP/2 server for look-alikes, on the ``h2`` package, that can also misbehave below HTTP.

Flow control is left to the client: who never acknowledges what it received gets no more of it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, cast, final

import anyio
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from aiohttp import web
from hyperframe.frame import GoAwayFrame, SettingsFrame

from router.sandbox.faults import UNREAD, Fault, Faults
from router.sandbox.http import Answer, Call, Endpoint, http1_server, reset_on_close

_DRIPS = 20
_MAX_BODY = 1 << 20
_NO_LIMIT = 2**31 - 1


class Session(Protocol):
    """One connection, as a look-alike sees it."""

    @property
    def max_streams(self) -> int:
        """How many requests may be under way; asked again after each answer."""
        ...

    def answer(self, call: Call) -> Answer:
        """Validates the call, stores its effect, and answers."""
        ...


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a client's certificate says of its subject, by name of field."""

    subject: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Http2Endpoint:
    """What one look-alike does with connections and calls.

    Attributes:
        target: Whom a call is for, which chooses its fault; asked before anything else.
        connected: Begins a session; gets the client's certificate, if it showed one.
        faults: Its plans.
        idle_s: A connection without requests for so long is closed with GOAWAY; None never.
        over_http1: Serves clients that don't speak HTTP/2; None turns them away.
    """

    target: Callable[[Call], str]
    connected: Callable[[Certificate | None], Session]
    faults: Faults
    idle_s: float | None = None
    over_http1: Endpoint | None = None


@asynccontextmanager
async def serve_http2(
    endpoint: Http2Endpoint, tls: ssl.SSLContext, port: int = 0
) -> AsyncGenerator[int]:
    """Serves on loopback until the block ends; gives the port.

    Args:
        tls: Says which protocols are offered; ``h2`` is added in front of them.
    """
    tls.set_alpn_protocols(["h2", "http/1.1"] if endpoint.over_http1 is not None else ["h2"])
    older = http1_server(endpoint.over_http1) if endpoint.over_http1 is not None else None
    connections: set[_Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Greeter(endpoint, older, connections), "127.0.0.1", port, ssl=tls
    )
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for connection in list(connections):
            connection.transport.abort()
        if older is not None:
            with anyio.move_on_after(1, shield=True):
                await older.shutdown(0.1)


@final
class _Greeter(asyncio.Protocol):
    """Hands a new connection to the protocol that both sides agreed on."""

    def __init__(
        self, endpoint: Http2Endpoint, older: web.Server | None, open_ones: set[_Connection]
    ) -> None:
        self._endpoint = endpoint
        self._older = older
        self._open_ones = open_ones

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        carrier = cast("asyncio.Transport", transport)
        chosen = carrier.get_extra_info("ssl_object").selected_alpn_protocol()
        if chosen == "h2":
            handler: asyncio.Protocol = _Connection(self._endpoint, carrier, self._open_ones)
        elif self._older is not None:
            handler = self._older()
        else:
            carrier.abort()
            return
        carrier.set_protocol(handler)
        handler.connection_made(carrier)


@dataclass(slots=True)
class _Stream:
    """A request in the making, then its answer on the way out."""

    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    left: bytes | None = None
    is_cut: bool = False


@final
class _Connection(asyncio.Protocol):
    def __init__(
        self,
        endpoint: Http2Endpoint,
        transport: asyncio.Transport,
        open_ones: set[_Connection],
    ) -> None:
        self.transport = transport
        self._endpoint = endpoint
        self._open_ones = open_ones
        self._loop = asyncio.get_running_loop()
        self._session = endpoint.connected(_certificate(transport))
        self._stated = self._session.max_streams
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._streams: dict[int, _Stream] = {}
        self._last_id = _NO_LIMIT
        self._timers: list[asyncio.TimerHandle] = []
        self._idle: asyncio.TimerHandle | None = None

    # asyncio -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open_ones.add(self)
        code = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
        self._h2.local_settings = h2.settings.Settings(
            client=False, initial_values={code: self._stated}
        )
        self._h2.initiate_connection()
        # The package would end the connection over one stream too many; providers refuse it.
        self._h2.local_settings = h2.settings.Settings(
            client=False, initial_values={code: _NO_LIMIT}
        )
        self._flush()
        self._watch_idleness()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self.transport.close()
            return
        for event in events:
            self._see(event)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        for timer in self._timers:
            timer.cancel()
        if self._idle is not None:
            self._idle.cancel()

    # Requests ------------------------------------------------------------------------------------

    def _see(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(number), headers=list(headers)):
                self._begin(number, cast("list[tuple[str, str]]", headers))
            case h2.events.DataReceived(stream_id=int(number), data=bytes(data)):
                size = event.flow_controlled_length or 0
                self._h2.acknowledge_received_data(size, number)
                stream = self._streams.get(number)
                if stream is not None and len(stream.body) < _MAX_BODY:
                    stream.body += data
            case h2.events.StreamEnded(stream_id=int(number)) if number in self._streams:
                self._serve(number, self._streams[number])
            case h2.events.StreamReset(stream_id=int(number)):
                self._forget(number)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for number in list(self._streams):
                    self._send_body(number)
            case h2.events.ConnectionTerminated():
                self.transport.close()
            case _:
                pass

    def _begin(self, number: int, headers: list[tuple[str, str]]) -> None:
        if number > self._last_id:
            return
        if len(self._streams) >= self._stated:
            self._h2.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        if self._idle is not None:
            self._idle.cancel()
        self._streams[number] = _Stream(headers)
        if unread := self._endpoint.faults.draw(UNREAD, or_any=False):
            self._misbehave(number, unread, None)

    def _serve(self, number: int, stream: _Stream) -> None:
        call = _call(stream)
        fault = self._endpoint.faults.draw(self._endpoint.target(call))
        if fault is None:
            self._respond(number, self._session.answer(call))
        else:
            honest = self._session.answer(call) if fault.needs_effect else None
            self._misbehave(number, fault, honest)
        self._state_limit()

    def _state_limit(self) -> None:
        """Tells the client when more streams, or fewer, are allowed from now on."""
        limit = self._session.max_streams
        if limit != self._stated:
            self._stated = limit
            code = int(h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS)
            self._flush()
            self.transport.write(SettingsFrame(settings={code: limit}).serialize())

    # Answers -------------------------------------------------------------------------------------

    def _respond(self, number: int, answer: Answer, *, is_cut: bool = False) -> None:
        fields = [(":status", str(answer.status))]
        fields += [(name.lower(), value) for name, value in answer.headers.items()]
        self._h2.send_headers(number, fields, end_stream=not answer.body and not is_cut)
        stream = self._streams[number]
        stream.left, stream.is_cut = answer.body, is_cut
        self._send_body(number)

    def _send_body(self, number: int) -> None:
        """Sends what the client's windows allow; what fits a frame goes out in one piece."""
        stream = self._streams[number]
        while stream.left:
            window = self._h2.local_flow_control_window(number)
            size = min(self._h2.max_outbound_frame_size, len(stream.left))
            if window < size:
                return
            part, stream.left = stream.left[:size], stream.left[size:]
            self._h2.send_data(number, part, end_stream=not stream.left and not stream.is_cut)
        if stream.left is not None:
            if stream.is_cut:
                self._h2.reset_stream(number, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self._forget(number)

    def _forget(self, number: int) -> None:
        self._streams.pop(number, None)
        if self._streams:
            return
        if self._last_id != _NO_LIMIT:
            self._flush()
            self.transport.close()
        else:
            self._watch_idleness()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self.transport.write(data)

    # Misbehaviour --------------------------------------------------------------------------------

    def _misbehave(self, number: int, fault: Fault, honest: Answer | None) -> None:
        match fault.kind:
            case "answer":
                self._respond(number, Answer(fault.status, fault.body.encode(), fault.headers))
            case "reset":
                reset_on_close(self.transport.get_extra_info("socket"))
                self.transport.abort()
            case "close":
                self._flush()
                self.transport.close()
            case "stall":
                self._later(fault.seconds, self.transport.close)
            case "rst_stream":
                self._h2.reset_stream(number, fault.code)
                self._forget(number)
            case "goaway":
                self._go_away(number, fault, honest)
            case _:
                self._spoil(number, fault, honest or Answer(200))

    def _go_away(self, number: int, fault: Fault, honest: Answer | None) -> None:
        self.go_away(number if honest is not None else number - 2, fault.code, fault.body)
        if honest is not None:
            self._respond(number, honest)
        else:
            self._forget(number)

    def go_away(self, last_id: int, code: int, remark: str = "") -> None:
        """Accepts no streams past one. Past the package, which would forget the others too."""
        self._last_id = max(last_id, 0)
        self._flush()
        frame = GoAwayFrame(
            last_stream_id=self._last_id, error_code=code, additional_data=remark.encode()
        )
        self.transport.write(frame.serialize())

    def _spoil(self, number: int, fault: Fault, honest: Answer) -> None:
        half = honest.body[: len(honest.body) // 2]
        match fault.kind:
            case "truncate":
                self._respond(number, Answer(honest.status, half, honest.headers))
            case "html":
                headers = {**honest.headers, "Content-Type": "text/html"}
                self._respond(number, Answer(honest.status, honest.body, headers))
            case "drip":
                self._drip(number, honest, fault.seconds)
            case _:
                self._respond(number, Answer(honest.status, half, honest.headers), is_cut=True)

    def _drip(self, number: int, honest: Answer, seconds: float) -> None:
        """The head at once, then the body in pieces; an empty body is an end that comes late."""
        fields = [(":status", str(honest.status))]
        fields += [(name.lower(), value) for name, value in honest.headers.items()]
        self._h2.send_headers(number, fields)
        size = max(1, -(-len(honest.body) // _DRIPS))
        pieces = [honest.body[at : at + size] for at in range(0, len(honest.body), size)] or [b""]
        for index, piece in enumerate(pieces):
            is_last = index == len(pieces) - 1
            self._later(seconds * (index + 1) / len(pieces), self._drop, number, piece, is_last)

    def _drop(self, number: int, piece: bytes, is_last: bool) -> None:
        if number in self._streams:
            self._h2.send_data(number, piece, end_stream=is_last)
            self._flush()
            if is_last:
                self._forget(number)

    def _later(self, seconds: float, do: Callable[..., None], *args: object) -> None:
        self._timers.append(self._loop.call_later(seconds, do, *args))

    def _watch_idleness(self) -> None:
        if (seconds := self._endpoint.idle_s) is None:
            return
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_later(seconds, self._close_idle)

    def _close_idle(self) -> None:
        self.go_away(self._h2.highest_inbound_stream_id, 0, '{"reason":"IdleTimeout"}')
        self.transport.close()


def _certificate(transport: asyncio.Transport) -> Certificate | None:
    shown = cast("Mapping[str, object] | None", transport.get_extra_info("peercert"))
    if not shown:
        return None
    parts = cast("Sequence[Sequence[tuple[str, str]]]", shown.get("subject", ()))
    return Certificate({name: value for part in parts for name, value in part})


def _call(stream: _Stream) -> Call:
    fields = dict(stream.headers)
    path, _, query = fields.get(":path", "").partition("?")
    headers = {name: value for name, value in stream.headers if not name.startswith(":")}
    return Call(fields.get(":method", ""), path, query, headers, bytes(stream.body))
