"""HTTP/2 frames as bytes (RFC 9113 §4 and §6): what a client writes, and a reader of what comes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_FRAME: Final = 16_384
"""What a frame may carry as long as SETTINGS_MAX_FRAME_SIZE was not raised; ours never is."""

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

_HEAD: Final = struct.Struct(">BHBBL")
_HEAD_SIZE: Final = 9


class Type(IntEnum):
    """Kinds of frames; others are ignored (§4.1)."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class Setting(IntEnum):
    """Settings that mean something to a client (§6.5.2)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (§7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionBroken(Exception):
    """The peer broke the protocol: the connection has to end, with this code."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came; ``type`` may be none that is known."""

    type: int
    flags: int
    stream_id: int
    payload: bytes


@final
class FrameReader:
    """Cuts received bytes into frames."""

    def __init__(self) -> None:
        self._seen = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole by now.

        Raises:
            ConnectionBroken: a frame is larger than allowed.
        """
        seen = self._seen + data if self._seen else data
        start, end = 0, len(seen)
        try:
            while end - start >= _HEAD_SIZE:
                high, low, kind, flags, stream_id = _HEAD.unpack_from(seen, start)
                size = high << 16 | low
                if size > LARGEST_FRAME:
                    raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR)
                stop = start + _HEAD_SIZE + size
                if stop > end:
                    break
                payload = seen[start + _HEAD_SIZE : stop]
                start = stop
                yield Frame(kind, flags, stream_id & LARGEST_WINDOW, payload)
        finally:
            self._seen = seen[start:]


def frame(kind: Type, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame's bytes."""
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def header_frames(stream_id: int, block: bytes, largest: int, *, ends_stream: bool) -> bytes:
    """A header block as one HEADERS frame and as many CONTINUATION frames as it takes."""
    flags = END_STREAM if ends_stream else 0
    if len(block) <= largest:
        return frame(Type.HEADERS, flags | END_HEADERS, stream_id, block)
    parts = [block[at : at + largest] for at in range(0, len(block), largest)]
    frames = [frame(Type.HEADERS, flags, stream_id, parts[0])]
    frames += [frame(Type.CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
    frames.append(frame(Type.CONTINUATION, END_HEADERS, stream_id, parts[-1]))
    return b"".join(frames)


def settings_frame(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(struct.pack(">HL", name, value) for name, value in values.items())
    return frame(Type.SETTINGS, 0, 0, payload)


def window_update(stream_id: int, increment: int) -> bytes:
    """Lets the peer send so many more bytes."""
    return frame(Type.WINDOW_UPDATE, 0, stream_id, struct.pack(">L", increment))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """Ends one stream."""
    return frame(Type.RST_STREAM, 0, stream_id, struct.pack(">L", code))


def goaway(code: ErrorCode) -> bytes:
    """Ends the connection from our side; a client has accepted no streams."""
    return frame(Type.GOAWAY, 0, 0, struct.pack(">LL", 0, code))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The pairs of a SETTINGS frame.

    Raises:
        ConnectionBroken: they are cut.
    """
    if len(payload) % 6:
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR)
    yield from struct.iter_unpack(">HL", payload)


def read_number(payload: bytes) -> int:
    """The one 32-bit number of a RST_STREAM or WINDOW_UPDATE frame.

    Raises:
        ConnectionBroken: the payload has another size.
    """
    if len(payload) != 4:
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR)
    return int.from_bytes(payload, "big")


def read_goaway(payload: bytes) -> tuple[int, int, bytes]:
    """The last stream that was or may be processed, the error code, and the peer's remarks.

    Raises:
        ConnectionBroken: the payload is cut.
    """
    if len(payload) < 8:
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR)
    last, code = struct.unpack_from(">LL", payload)
    return last & LARGEST_WINDOW, code, payload[8:]


def unpadded(received: Frame) -> bytes:
    """The payload of a DATA or HEADERS frame without padding and priority.

    Raises:
        ConnectionBroken: there is more padding than payload.
    """
    payload, start, stop = received.payload, 0, len(received.payload)
    if received.flags & PADDED:
        if not payload:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR)
        start, stop = 1, stop - payload[0]
    if received.type == Type.HEADERS and received.flags & PRIORITY:
        start += 5
    if start > stop:
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR)
    return payload[start:stop] if (start, stop) != (0, len(payload)) else payload


def error_name(code: int) -> str:
    """The code's name, or its number."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return hex(code)
