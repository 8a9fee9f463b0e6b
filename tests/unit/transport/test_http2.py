"""HTTP/2 without a network: frames in any pieces, and whatever a server may send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from router.messages import Reason
from router.transport import AnswerLost, HttpResponse, NotSent
from router.transport.http2 import frames
from router.transport.http2.connection import Connection
from router.transport.http2.exchange import Exchange
from router.transport.http2.frames import ConnectionBroken, ErrorCode, Frame, FrameReader, Type

FRAMES = st.builds(
    Frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.integers(0, 9),
    st.one_of(
        st.binary(max_size=20),
        st.binary(min_size=4, max_size=4),
        st.binary(min_size=8, max_size=8),
        st.sampled_from(
            [
                b"",
                Encoder().encode([(":status", "200"), ("a", "b")]),
                Encoder().encode([(":status", "100")]),
                Encoder().encode([(":status", "abc")]),
            ]
        ),
    ),
)


def wire(sent: Frame) -> bytes:
    head = len(sent.payload).to_bytes(3, "big") + bytes([sent.type, sent.flags])
    return head + sent.stream_id.to_bytes(4, "big") + sent.payload


class TestFrames:
    @given(st.lists(FRAMES, max_size=8), st.lists(st.integers(1, 30), max_size=20))
    def test_any_pieces_make_the_same_frames(self, sent: list[Frame], sizes: list[int]) -> None:
        data = b"".join(map(wire, sent))
        reader, found = FrameReader(), list[Frame]()
        for size in sizes:
            found += reader.feed(data[:size])
            data = data[size:]
        found += reader.feed(data)
        assert found == sent

    def test_a_frame_that_is_too_large_is_refused_before_it_is_all_there(self) -> None:
        with pytest.raises(ConnectionBroken) as caught:
            list(FrameReader().feed(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01"))
        assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR

    @given(st.binary(max_size=200), st.integers(1, 64), st.booleans())
    def test_a_header_block_in_pieces_is_the_same_block(
        self, block: bytes, largest: int, ends: bool
    ) -> None:
        data = frames.header_frames(5, block, largest, ends_stream=ends)
        found = list(FrameReader().feed(data))
        assert b"".join(part.payload for part in found) == block
        assert found[0].type == Type.HEADERS
        assert bool(found[0].flags & frames.END_STREAM) is ends
        assert [bool(part.flags & frames.END_HEADERS) for part in found] == (
            [False] * (len(found) - 1) + [True]
        )

    @given(st.binary(max_size=30), st.integers(0, 255))
    def test_padding_is_taken_off_or_refused(self, payload: bytes, flags: int) -> None:
        received = Frame(Type.HEADERS, flags, 1, payload)
        try:
            assert len(frames.unpadded(received)) <= len(payload)
        except ConnectionBroken:
            assert flags & (frames.PADDED | frames.PRIORITY)


class Wire(asyncio.Transport):
    """Takes what is written and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def settings_frame(**values: int) -> bytes:
    return frames.settings_frame({frames.Setting[name]: value for name, value in values.items()})


async def played(sent: list[Frame]) -> tuple[Wire, list[Exchange]]:
    """A connection with three requests under way, to which a server says this."""
    loop = asyncio.get_running_loop()
    connection, transport = Connection(1000), Wire()
    connection.connection_made(transport)
    connection.data_received(settings_frame(MAX_CONCURRENT_STREAMS=10, INITIAL_WINDOW_SIZE=40))
    exchanges = [
        Exchange([(":method", "POST"), (":path", "/")], body, loop.create_future(), 1000)
        for body in (b"", b"short", b"longer than the window" * 3)
    ]
    for exchange in exchanges:
        connection.start(exchange)
    for frame in sent:
        connection.data_received(wire(frame))
    connection.close()
    connection.connection_lost(None)
    await asyncio.sleep(0)
    return transport, exchanges


@settings(max_examples=1500, deadline=None)
@given(st.lists(FRAMES, max_size=12))
def test_whatever_a_server_says_every_request_ends(sent: list[Frame]) -> None:
    transport, exchanges = asyncio.run(played(sent))
    assert transport.is_closed
    for exchange in exchanges:
        assert exchange.result.done()
        error = exchange.result.exception()
        assert error is None or isinstance(error, NotSent | AnswerLost)
        if error is None:
            assert isinstance(exchange.result.result(), HttpResponse)
        elif not exchange.is_whole:
            assert isinstance(error, NotSent)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(-2000, 2000), max_size=6), st.lists(st.integers(1, 90), max_size=8))
def test_no_more_is_sent_than_the_windows_allow(changes: list[int], updates: list[int]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        connection, transport = Connection(1000), Wire()
        connection.connection_made(transport)
        window = 50
        connection.data_received(settings_frame(MAX_CONCURRENT_STREAMS=9, INITIAL_WINDOW_SIZE=50))
        exchange = Exchange([(":method", "POST")], b"x" * 5000, loop.create_future(), 1000)
        connection.start(exchange)
        most = window
        for change in changes:
            window = max(0, window + change)
            connection.data_received(settings_frame(INITIAL_WINDOW_SIZE=window))
            most = max(most, window)
        granted = sum(updates)
        for update in updates:
            connection.data_received(frames.window_update(1, update))
        assert exchange.sent <= most + granted
        assert exchange.window + exchange.sent == window + granted
        connection.abort(Reason("over"))
        exchange.result.exception()

    asyncio.run(run())
