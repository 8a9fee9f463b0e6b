"""HTTP/2 servers on loopback, on the ``h2`` package, that do to a client whatever a test asks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import Frame

MAX_STREAMS = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE


@dataclass
class Call:
    """One request, whole."""

    stream_id: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class Peer(asyncio.Protocol):
    """One accepted connection, from the server's side."""

    def __init__(self, log: Log, settings: dict[int, int], *, acknowledges: bool) -> None:
        self._log = log
        self._settings = settings
        self._acknowledges = acknowledges
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self.open: dict[int, Call] = {}
        self.resets: list[tuple[int, int]] = []
        self.pings = 0
        self.closed = asyncio.Event()
        self.moved = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._log.connections.append(self)
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=self._settings)
        self.h2.initiate_connection()
        self.flush()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        with suppress(ConnectionError):
            await self._log.handler(self)

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._log.errors.append(error)
            self.flush()
            self.transport.close()
            return
        for event in events:
            self._see(event)
        self.flush()
        self.moved.set()
        self.moved = asyncio.Event()

    def _see(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(number), headers=list(headers)):
                self.open[number] = Call(number, {str(k): str(v) for k, v in headers})
                self._log.most_open = max(self._log.most_open, len(self.open))
            case h2.events.DataReceived(stream_id=int(number), data=bytes(data)):
                self.open[number].body += data
                if self._acknowledges:
                    size = event.flow_controlled_length
                    self.h2.acknowledge_received_data(size, number)
            case h2.events.StreamEnded(stream_id=int(number)):
                self._log.calls.append(self.open[number])
                self._log.moved.set()
                self.calls.put_nowait(self.open[number])
            case h2.events.StreamReset(stream_id=int(number), error_code=code):
                self.resets.append((number, int(code or 0)))
                self.open.pop(number, None)
            case h2.events.PingReceived():
                self.pings += 1
            case _:
                pass

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self._task.cancel()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def raw(self, *frames: Frame | bytes) -> None:
        """Frames past the ``h2`` package, which knows nothing of them."""
        for frame in frames:
            self.transport.write(frame if isinstance(frame, bytes) else frame.serialize())

    def answer(self, call: Call, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """A whole answer, whose body has to fit the windows."""
        fields = [(":status", str(status))]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(call.stream_id, fields, end_stream=not body)
        if body:
            self.h2.send_data(call.stream_id, body, end_stream=True)
        self.open.pop(call.stream_id, None)
        self.flush()


Handler = Callable[[Peer], Awaitable[None]]


@dataclass
class Log:
    """What a server has seen."""

    handler: Handler
    port: int = 0
    connections: list[Peer] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    most_open: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def saw(self, calls: int) -> None:
        """Waits until so many whole requests have come."""
        while len(self.calls) < calls:
            await self.moved.wait()
            self.moved.clear()


@asynccontextmanager
async def serve_http2(
    handler: Handler,
    tls: ssl.SSLContext,
    settings: dict[int, int] | None = None,
    *,
    acknowledges: bool = True,
) -> AsyncGenerator[Log]:
    """Runs a handler for each connection until the block ends."""
    log = Log(handler)
    tls.set_alpn_protocols(["h2"])
    values = {MAX_STREAMS: 100, **(settings or {})}
    server = await asyncio.get_running_loop().create_server(
        lambda: Peer(log, values, acknowledges=acknowledges), "127.0.0.1", 0, ssl=tls
    )
    log.port = server.sockets[0].getsockname()[1]
    try:
        yield log
    finally:
        server.close()
        for peer in log.connections:
            peer.transport.abort()


async def answer_all(peer: Peer) -> None:
    """An honest server: 200 and an echo of the path."""
    while True:
        call = await peer.calls.get()
        peer.answer(call, 200, call.headers[":path"].encode(), x_thing="Yes")
