"""HTTP/1.1 requests as bytes, read back by another implementation; answers of any kind."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from router.transport import AnswerLost, HttpRequest, HttpResponse, NotSent
from router.transport.dialing import Place
from router.transport.http1.connection import Connection, Exchange
from router.transport.http1.wire import request_bytes, target_of


def written(url: str = "http://a.example/x?y=1", proxy: str | None = None, **given: Any) -> bytes:
    values: dict[str, Any] = {"method": "POST", "body": b"hello", **given}
    target = target_of(URL(url, encoded=True), URL(proxy) if proxy else None)
    return request_bytes(HttpRequest(url=url, **values), target)


def read(data: bytes) -> tuple[h11.Request, bytes]:
    """What a strict server makes of it: one request, its whole body, and nothing behind it."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    request, body = server.next_event(), b""
    assert isinstance(request, h11.Request)
    while not isinstance(event := server.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    assert server.trailing_data == (b"", False)
    return request, body


def headers(data: bytes) -> dict[bytes, bytes]:
    return dict(read(data)[0].headers)


def test_a_request_is_what_it_says() -> None:
    request, body = read(written(headers={"X-Key": "1"}))
    assert (request.method, request.target, body) == (b"POST", b"/x?y=1", b"hello")
    assert dict(request.headers) == {
        b"host": b"a.example",
        b"user-agent": b"router",
        b"accept": b"*/*",
        b"x-key": b"1",
        b"content-length": b"5",
    }


def test_what_a_request_says_of_itself_comes_before_what_the_client_would_say() -> None:
    given = {"user-agent": "acme", "HOST": "b.example", "Authorization": "Bearer t"}
    found = headers(written("http://user:pw@a.example/", headers=given))
    assert found[b"host"] == b"b.example"
    assert found[b"user-agent"] == b"acme"
    assert found[b"authorization"] == b"Bearer t"


def test_credentials_in_an_address_are_a_header_and_nothing_else() -> None:
    data = written("http://user:pw@a.example:8080/")
    assert headers(data)[b"host"] == b"a.example:8080"
    assert headers(data)[b"authorization"] == b"Basic dXNlcjpwdw=="
    assert b"user:pw" not in data


def test_the_connection_is_not_the_caller_s_business() -> None:
    given = {"Content-Length": "0", "transfer-encoding": "chunked", "Connection": "close"}
    found = headers(written(headers=given))
    assert found[b"content-length"] == b"5"
    assert not {b"transfer-encoding", b"connection"} & found.keys()


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("POST", None, b"0"), ("PUT", b"", b"0"), ("GET", None, None), ("DELETE", b"x", b"1")],
)
def test_content_has_a_length(method: str, body: bytes | None, length: bytes | None) -> None:
    assert headers(written(method=method, body=body)).get(b"content-length") == length


def test_a_proxy_is_told_the_whole_address_and_who_asks() -> None:
    request, _ = read(written(proxy="http://user:pw@proxy.example:3128"))
    assert request.target == b"http://a.example/x?y=1"
    assert dict(request.headers)[b"proxy-authorization"] == b"Basic dXNlcjpwdw=="


def test_a_server_behind_a_tunnel_hears_nothing_of_the_proxy() -> None:
    data = written("https://a.example/x", proxy="http://user:pw@proxy.example:3128")
    assert data.startswith(b"POST /x HTTP/1.1\r\n")
    assert b"proxy" not in data.lower()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://[::1]:8080/", b"[::1]:8080"),
        ("https://a.example:443/", b"a.example"),
        ("http://xn--80a1acny.xn--p1ai/", b"xn--80a1acny.xn--p1ai"),
    ],
)
def test_hosts_as_servers_want_them(url: str, host: bytes) -> None:
    assert headers(written(url))[b"host"] == host


@pytest.mark.parametrize(
    "given",
    [
        {"method": "POST /x HTTP/1.1\r\nX:"},
        {"method": "PO ST"},
        {"method": ""},
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": {"X": "a\nY: b"}},
        {"headers": {"X": "a\0"}},
        {"headers": {"X": "\udc80"}},
        {"headers": {"X:Y": "a"}},
        {"headers": {"X Y": "a"}},
        {"headers": {"": "a"}},
        {"headers": {"Ключ": "a"}},
    ],
)
def test_what_would_be_another_request_is_none(given: dict[str, Any]) -> None:
    with pytest.raises(NotSent) as caught:
        written(**given)
    assert caught.value.reason.code == "invalid_request"


_TEXT = st.text(max_size=20)


@settings(max_examples=500, deadline=None)
@given(
    method=st.sampled_from(["POST", "GET", "DELETE"]) | _TEXT,
    named=st.dictionaries(st.sampled_from(["X-A", "Host", "Content-Type"]) | _TEXT, _TEXT),
    body=st.none() | st.binary(max_size=50),
)
def test_no_input_makes_two_requests_of_one(
    method: str, named: dict[str, str], body: bytes | None
) -> None:
    try:
        data = written(method=method, headers=named, body=body)
    except NotSent:
        return
    head, _, rest = data.partition(b"\r\n\r\n")
    assert rest == (body or b"")
    lines = head.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert lines[0] == method.encode() + b" /x?y=1 HTTP/1.1"
    names = [line.split(b":")[0].lower() for line in lines[1:]]
    assert names.count(b"content-length") <= 1
    assert set(names) <= {name.lower().encode() for name in named} | {
        b"host", b"user-agent", b"accept", b"content-length"
    }  # fmt: skip


# Answers -------------------------------------------------------------------------------------


class Wire(asyncio.Transport):
    """What a connection writes into; nothing comes back by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def write(self, data: Any) -> None:
        assert not self.is_closed

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.is_closed = True

    abort = close


_PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.0 503 X\r\n", b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"Content-Length: 3\r\n", b"Content-Length: 9999\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n", b"X: y\r\n", b"\r\n", b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n",
        b"0\r\n", b"x" * 150,
    ]
) | st.binary(max_size=12)  # fmt: skip


async def played(pieces: list[bytes], *, is_head: bool, breaks: bool) -> tuple[Exchange, list[str]]:
    calls: list[str] = []
    connection = Connection(
        Place("a.example", 80, is_secure=False),
        100,
        lambda _: calls.append("freed"),
        lambda _: calls.append("lost"),
    )
    wire = Wire()
    connection.connection_made(wire)
    result: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
    exchange = Exchange(connection.place, b"x", is_head, result)
    connection.start(exchange)
    for piece in pieces:
        if not wire.is_closed:
            connection.data_received(piece)
    assert result.done() == ("freed" in calls)
    assert wire.is_closed or connection.is_open
    wire.close()
    connection.connection_lost(ConnectionResetError() if breaks else None)
    return exchange, calls


@settings(max_examples=1500, deadline=None)
@given(st.lists(_PIECES, max_size=12), st.booleans(), st.booleans())
def test_whatever_a_server_says_the_request_ends_once(
    pieces: list[bytes], is_head: bool, breaks: bool
) -> None:
    exchange, calls = asyncio.run(played(pieces, is_head=is_head, breaks=breaks))
    assert calls == ["freed", "lost"]
    error = exchange.result.exception()
    assert error is None or isinstance(error, AnswerLost)
    if error is None:
        answer = exchange.result.result()
        assert 200 <= answer.status <= 999
        assert len(answer.body) <= 100


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(1, 40), max_size=8), st.booleans())
def test_any_pieces_make_the_same_answer(body: bytes, sizes: list[int], is_chunked: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    data = b"HTTP/1.1 200 OK\r\nX-Thing: a\r\n" + framing + b"\r\n\r\n"
    data += chunk + b"0\r\n\r\n" if is_chunked else body
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    pieces.append(data)
    exchange, _ = asyncio.run(played([p for p in pieces if p], is_head=False, breaks=True))
    answer = exchange.result.result()
    assert (answer.status, answer.body, answer.truncated) == (200, body, False)
    assert answer.headers["x-thing"] == "a"
