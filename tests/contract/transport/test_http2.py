"""The HTTP/2 client against real servers: streams, windows, and how each end is told apart."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import h2.errors
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from router.transport import (
    AnswerLost,
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    NotSent,
    open_http2_client,
)
from tests.contract.transport.http2_servers import (
    MAX_STREAMS,
    WINDOW,
    Handler,
    Log,
    Peer,
    answer_all,
    serve_http2,
)
from tests.contract.transport.servers import Authority

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def post(port: int, path: str = "/3/device/ab", **changes: object) -> HttpRequest:
    values = {"body": b"hello", "timeout_s": 5.0, **changes}
    return HttpRequest("POST", f"https://127.0.0.1:{port}{path}", **values)  # type: ignore[arg-type]


def opened(authority: Authority, **changes: object) -> AbstractAsyncContextManager[HttpClient]:
    values = {"ca_file": str(authority.ca_file), "connections": 2, **changes}
    return open_http2_client(HttpOptions(**values))  # type: ignore[arg-type]


class Ends:
    """How requests of a test ended, by path."""

    def __init__(self) -> None:
        self.by_path: dict[str, HttpResponse | NotSent | AnswerLost] = {}

    async def send(self, client: HttpClient, request: HttpRequest) -> None:
        path = request.url.rpartition("/")[2]
        try:
            self.by_path[path] = await client.send(request)
        except (NotSent, AnswerLost) as error:
            self.by_path[path] = error

    def __getitem__(self, path: str) -> tuple[type, object]:
        end = self.by_path[path]
        return type(end), end.status if isinstance(end, HttpResponse) else end.reason.code


async def ends_of(authority: Authority, handler: Handler, *paths: str, **options: object) -> Ends:
    """Sends one request a path, all at once, to a server with a handler."""
    ends = Ends()
    async with serve_http2(handler, authority.server_context()) as server:
        async with opened(authority, **options) as client, anyio.create_task_group() as tasks:
            for path in paths:
                tasks.start_soon(ends.send, client, post(server.port, f"/{path}"))
    return ends


class TestAnswers:
    async def test_status_headers_and_body_come_back(self, authority: Authority) -> None:
        async with serve_http2(answer_all, authority.server_context()) as server:
            async with opened(authority) as client:
                response = await client.send(post(server.port, headers={"X-Key": "1", "Host": "x"}))
        assert (response.status, response.body) == (200, b"/3/device/ab")
        assert response.headers["x-thing"] == "Yes"
        assert not response.truncated
        [call] = server.calls
        assert call.headers == {
            ":method": "POST",
            ":scheme": "https",
            ":authority": f"127.0.0.1:{server.port}",
            ":path": "/3/device/ab",
            "user-agent": "router",
            "x-key": "1",
            "content-length": "5",
        }
        assert call.body == b"hello"

    async def test_many_requests_share_a_connection(self, authority: Authority) -> None:
        async with serve_http2(answer_all, authority.server_context()) as server:
            async with opened(authority) as client, anyio.create_task_group() as tasks:
                for number in range(80):
                    tasks.start_soon(client.send, post(server.port, f"/{number}"))
        assert len(server.calls) == 80
        assert len(server.connections) == 1

    async def test_requests_without_a_body(self, authority: Authority) -> None:
        async with serve_http2(answer_all, authority.server_context()) as server:
            async with opened(authority) as client:
                response = await client.send(post(server.port, body=None))
        assert response.status == 200
        assert "content-length" not in server.calls[0].headers

    async def test_an_answer_may_be_headers_alone(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            peer.answer(await peer.calls.get(), 503)

        ends = await ends_of(authority, handler, "a")
        assert ends["a"] == (HttpResponse, 503)

    async def test_interim_answers_and_trailers_are_passed_over(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            call = await peer.calls.get()
            peer.h2.send_headers(call.stream_id, [(":status", "103"), ("link", "x")])
            peer.h2.send_headers(call.stream_id, [(":status", "200")])
            peer.h2.send_data(call.stream_id, b"body")
            peer.h2.send_headers(call.stream_id, [("x-trailer", "1")], end_stream=True)
            peer.flush()

        ends = await ends_of(authority, handler, "a")
        response = ends.by_path["a"]
        assert isinstance(response, HttpResponse)
        assert (response.status, response.body, response.truncated) == (200, b"body", False)

    async def test_long_headers_go_and_come_in_pieces(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            call = await peer.calls.get()
            peer.answer(call, 200, b"", x_long=call.headers["x-long"])

        long = "x" * 20_000
        async with serve_http2(handler, authority.server_context()) as server:
            async with opened(authority) as client:
                response = await client.send(post(server.port, headers={"X-Long": long}))
        assert response.headers["x-long"] == long

    async def test_a_body_past_the_limit_is_cut(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            peer.answer(await peer.calls.get(), 200, b"x" * 5000)
            peer.answer(await peer.calls.get(), 200, b"x" * 1000)

        async with serve_http2(handler, authority.server_context()) as server:
            async with opened(authority, max_body=1000) as client:
                cut = await client.send(post(server.port))
                whole = await client.send(post(server.port))
        assert (cut.status, cut.body, cut.truncated) == (200, b"x" * 1000, True)
        assert (whole.status, whole.body, whole.truncated) == (200, b"x" * 1000, False)
        assert len(server.connections) == 1

    async def test_a_body_shorter_than_stated_is_cut(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            peer.answer(await peer.calls.get(), 200, b"half", content_length="8")

        ends = await ends_of(authority, handler, "a")
        response = ends.by_path["a"]
        assert isinstance(response, HttpResponse)
        assert response.truncated

    async def test_a_status_holds_when_its_stream_breaks_off(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            call = await peer.calls.get()
            peer.h2.send_headers(call.stream_id, [(":status", "200")])
            peer.h2.send_data(call.stream_id, b"ha")
            peer.h2.reset_stream(call.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            peer.flush()

        ends = await ends_of(authority, handler, "a")
        response = ends.by_path["a"]
        assert isinstance(response, HttpResponse)
        assert (response.status, response.body, response.truncated) == (200, b"ha", True)


class TestFlowControl:
    async def test_thousands_of_error_bodies_on_one_connection(self, authority: Authority) -> None:
        body = b'{"reason":"BadDeviceToken"}'

        async def handler(peer: Peer) -> None:
            while True:
                peer.answer(await peer.calls.get(), 400, body)

        async with serve_http2(handler, authority.server_context()) as server:
            async with opened(authority) as client:

                async def work() -> None:
                    for _ in range(80):
                        assert (await client.send(post(server.port))).body == body

                async with anyio.create_task_group() as tasks:
                    for _ in range(50):
                        tasks.start_soon(work)
        assert len(server.calls) == 4000
        assert len(server.connections) == 1

    async def test_large_answers_do_not_use_up_the_window(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            while True:
                call = await peer.calls.get()
                peer.h2.send_headers(call.stream_id, [(":status", "200")])
                left = 200_000
                while left:
                    moved = peer.moved
                    size = min(left, peer.h2.local_flow_control_window(call.stream_id), 16_384)
                    if size == 0:
                        await moved.wait()
                        continue
                    left -= size
                    peer.h2.send_data(call.stream_id, b"x" * size, end_stream=not left)
                    peer.flush()

        async with serve_http2(handler, authority.server_context()) as server:
            async with opened(authority) as client:
                for _ in range(8):
                    assert len((await client.send(post(server.port))).body) == 200_000

    async def test_a_request_waits_for_the_servers_window(self, authority: Authority) -> None:
        body = b"y" * 150_000
        async with serve_http2(
            answer_all, authority.server_context(), {WINDOW: 1000}, acknowledges=True
        ) as server:
            async with opened(authority) as client:
                response = await client.send(post(server.port, body=body))
        assert response.status == 200
        assert server.calls[0].body == body

    async def test_a_window_that_never_opens_sent_nothing(self, authority: Authority) -> None:
        async with serve_http2(
            answer_all, authority.server_context(), {WINDOW: 10}, acknowledges=False
        ) as server:
            async with opened(authority) as client:
                with pytest.raises(NotSent) as caught:
                    await client.send(post(server.port, body=b"z" * 50, timeout_s=0.3))
                assert (await client.send(post(server.port, body=b"z" * 10))).status == 200
        assert caught.value.reason.code == "answer_timeout"
        assert [bytes(call.body) for call in server.calls] == [b"z" * 10]

    async def test_an_answer_before_the_request_is_out(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            while not peer.open:
                await peer.moved.wait()
            [call] = peer.open.values()
            peer.answer(call, 413)
            await answer_all(peer)

        async with serve_http2(
            handler, authority.server_context(), {WINDOW: 10}, acknowledges=False
        ) as server:
            async with opened(authority) as client:
                assert (await client.send(post(server.port, body=b"z" * 50))).status == 413
                assert (await client.send(post(server.port, body=b"ok"))).status == 200


class TestStreams:
    async def test_the_servers_limit_holds_from_the_first_request(
        self, authority: Authority
    ) -> None:
        """As with APNs: one stream until the first good answer, then many."""

        async def handler(peer: Peer) -> None:
            first = await peer.calls.get()
            await asyncio.sleep(0.05)
            assert peer.calls.empty()
            peer.h2.update_settings({MAX_STREAMS: 50})
            peer.answer(first)
            await answer_all(peer)

        async with serve_http2(handler, authority.server_context(), {MAX_STREAMS: 1}) as server:
            async with opened(authority, connections=1) as client:
                async with anyio.create_task_group() as tasks:
                    for number in range(40):
                        tasks.start_soon(client.send, post(server.port, f"/{number}"))
        assert len(server.calls) == 40
        assert 1 < server.most_open <= 50
        assert not server.errors

    async def test_a_full_connection_gets_company(self, authority: Authority) -> None:
        release = anyio.Event()

        async def handler(peer: Peer) -> None:
            calls = [await peer.calls.get() for _ in range(2)]
            await release.wait()
            for call in calls:
                peer.answer(call)
            await answer_all(peer)

        async with serve_http2(handler, authority.server_context(), {MAX_STREAMS: 2}) as server:
            async with opened(authority, connections=3) as client:
                async with anyio.create_task_group() as tasks:
                    for number in range(12):
                        tasks.start_soon(client.send, post(server.port, f"/{number}"))
                    await server.saw(6)
                    release.set()
        assert len(server.connections) == 3
        assert len(server.calls) == 12

    async def test_no_stream_becomes_free(self, authority: Authority) -> None:
        async def silent(peer: Peer) -> None:
            await peer.closed.wait()

        async with serve_http2(silent, authority.server_context(), {MAX_STREAMS: 1}) as server:
            async with opened(authority, connections=1) as client:
                ends = Ends()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ends.send, client, post(server.port, "/a", timeout_s=0.6))
                    await anyio.sleep(0.1)
                    tasks.start_soon(ends.send, client, post(server.port, "/b", timeout_s=0.2))
        assert ends["a"] == (AnswerLost, "answer_timeout")
        assert ends["b"] == (NotSent, "pool_timeout")

    async def test_a_timeout_frees_its_stream(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            await peer.calls.get()
            await answer_all(peer)

        async with serve_http2(handler, authority.server_context(), {MAX_STREAMS: 1}) as server:
            async with opened(authority, connections=1) as client:
                with pytest.raises(AnswerLost):
                    await client.send(post(server.port, timeout_s=0.2))
                assert (await client.send(post(server.port))).status == 200
            assert server.connections[0].resets == [(1, h2.errors.ErrorCodes.CANCEL)]

    async def test_a_cancelled_request_frees_its_stream(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            await peer.calls.get()
            await answer_all(peer)

        async with serve_http2(handler, authority.server_context(), {MAX_STREAMS: 1}) as server:
            async with opened(authority, connections=1) as client:
                with anyio.move_on_after(0.2):
                    await client.send(post(server.port))
                assert (await client.send(post(server.port))).status == 200
            assert len(server.connections) == 1


class TestEnds:
    async def test_refused_streams_were_not_served(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            call = await peer.calls.get()
            peer.h2.reset_stream(call.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            peer.flush()

        assert (await ends_of(authority, handler, "a"))["a"] == (NotSent, "stream_refused")

    async def test_other_resets_leave_it_open(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            call = await peer.calls.get()
            peer.h2.reset_stream(call.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
            peer.flush()

        ends = await ends_of(authority, handler, "a")
        assert ends["a"] == (AnswerLost, "stream_reset")
        error = ends.by_path["a"]
        assert isinstance(error, AnswerLost)
        assert error.reason.text == "HTTP/2 INTERNAL_ERROR"

    async def test_goaway_tells_served_from_unserved(self, authority: Authority) -> None:
        async def handler(peer: Peer) -> None:
            calls = [await peer.calls.get() for _ in range(3)]
            peer.raw(
                GoAwayFrame(
                    last_stream_id=calls[1].stream_id,
                    error_code=0,
                    additional_data=b'{"reason":"Shutdown"}',
                )
            )
            peer.answer(calls[0])
            peer.transport.close()

        ends = await ends_of(authority, handler, "a", "b", "c", connections=1)
        assert ends["a"] == (HttpResponse, 200)
        assert ends["b"] == (AnswerLost, "connection_lost")
        assert ends["c"] == (NotSent, "going_away")
        error = ends.by_path["c"]
        assert isinstance(error, NotSent)
        assert error.reason.text == "GOAWAY NO_ERROR Shutdown"

    async def test_after_goaway_answers_still_come_and_requests_go_elsewhere(
        self, authority: Authority
    ) -> None:
        async def handler(peer: Peer) -> None:
            call = await peer.calls.get()
            peer.raw(GoAwayFrame(last_stream_id=2**31 - 1, error_code=0))
            await asyncio.sleep(0.05)
            peer.answer(call)

        async with serve_http2(handler, authority.server_context()) as server:
            async with opened(authority) as client:
                ends = Ends()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ends.send, client, post(server.port, "/a"))
                    await server.saw(1)
                    await anyio.sleep(0.02)
                    tasks.start_soon(ends.send, client, post(server.port, "/b"))
            for peer in server.connections:
                await peer.closed.wait()
        assert ends["a"] == ends["b"] == (HttpResponse, 200)
        assert len(server.connections) == 2

    async def test_a_lost_connection_leaves_it_open_and_is_replaced(
        self, authority: Authority
    ) -> None:
        async def handler(peer: Peer) -> None:
            call = await peer.calls.get()
            if call.headers[":path"] == "/lost":
                peer.transport.abort()
            else:
                peer.answer(call)

        async with serve_http2(handler, authority.server_context()) as server:
            async with opened(authority) as client:
                ends = Ends()
                await ends.send(client, post(server.port, "/lost"))
                await ends.send(client, post(server.port, "/next"))
        assert ends["lost"] == (AnswerLost, "connection_lost")
        assert ends["next"] == (HttpResponse, 200)

    async def test_an_idle_connection_that_was_closed_is_replaced(
        self, authority: Authority
    ) -> None:
        async def handler(peer: Peer) -> None:
            peer.answer(await peer.calls.get())
            peer.raw(GoAwayFrame(last_stream_id=1, error_code=0))
            peer.transport.close()

        async with serve_http2(handler, authority.server_context()) as server:
            async with opened(authority) as client:
                for _ in range(3):
                    assert (await client.send(post(server.port))).status == 200
                    await server.connections[-1].closed.wait()
        assert len(server.connections) == 3

    async def test_a_server_that_does_not_answer_pings_is_left(
        self, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from router.transport.http2 import connection

        for name, seconds in {"_TICK_S": 0.05, "_QUIET_BUSY_S": 0.05, "_PING_S": 0.1}.items():
            monkeypatch.setattr(connection, name, seconds)

        async def deaf(peer: Peer) -> None:
            await peer.calls.get()
            peer.transport.pause_reading()

        ends = await ends_of(authority, deaf, "a")
        assert ends["a"] == (AnswerLost, "connection_lost")

    async def test_a_server_that_answers_pings_may_take_its_time(
        self, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from router.transport.http2 import connection

        for name, seconds in {"_TICK_S": 0.02, "_QUIET_BUSY_S": 0.02, "_PING_S": 0.1}.items():
            monkeypatch.setattr(connection, name, seconds)

        async def slow(peer: Peer) -> None:
            call = await peer.calls.get()
            while peer.pings < 5:
                await peer.moved.wait()
            peer.answer(call)

        assert (await ends_of(authority, slow, "a"))["a"] == (HttpResponse, 200)

    async def test_closing_the_client_ends_what_is_under_way(self, authority: Authority) -> None:
        async def silent(peer: Peer) -> None:
            await peer.closed.wait()

        async with serve_http2(silent, authority.server_context()) as server:
            ends = Ends()
            async with anyio.create_task_group() as tasks:
                async with opened(authority) as client:
                    tasks.start_soon(ends.send, client, post(server.port, "/a"))
                    await server.saw(1)
            await server.connections[0].closed.wait()
        assert ends["a"] == (AnswerLost, "connection_closed")


def broken(*frames: object) -> Handler:
    async def handler(peer: Peer) -> None:
        await peer.calls.get()
        peer.raw(*frames)  # type: ignore[arg-type]

    return handler


@pytest.mark.parametrize(
    "frames",
    [
        [DataFrame(stream_id=1, data=b"x")],
        [DataFrame(stream_id=7, data=b"x")],
        [HeadersFrame(stream_id=1, data=b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"])],
        [HeadersFrame(stream_id=1, data=b"\x88"), PingFrame(opaque_data=b"12345678")],
        [ContinuationFrame(stream_id=1, data=b"\x88", flags=["END_HEADERS"])],
        [PushPromiseFrame(stream_id=1, promised_stream_id=2, data=b"\x88")],
        [SettingsFrame(settings={4: 2**31})],
        [SettingsFrame(settings={5: 10})],
        [WindowUpdateFrame(stream_id=0, window_increment=2**31 - 1)],
        [b"\x00\x00\x03\x03\x00\x00\x00\x00\x01abc"],
        [b"\x00\x00\x05\x04\x00\x00\x00\x00\x00abcde"],
        [b"\x00\x00\x03\x07\x00\x00\x00\x00\x00abc"],
        [b"\x00\x00\x03\x06\x00\x00\x00\x00\x00abc"],
        [b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"],
        [b"\x00\x00\x02\x00\x08\x00\x00\x00\x01\xff\xff"],
        [b"\x00\x00\x04\x03\x00\x00\x00\x00\x00\x00\x00\x00\x01"],
    ],
    ids=lambda frames: str(frames[0])[:50],
)
async def test_a_server_that_breaks_the_protocol_is_left(
    authority: Authority, frames: list[object]
) -> None:
    ends = await ends_of(authority, broken(*frames), "a")
    assert ends["a"] == (AnswerLost, "answer_malformed")


async def test_frames_of_unknown_kinds_are_passed_over(authority: Authority) -> None:
    async def handler(peer: Peer) -> None:
        call = await peer.calls.get()
        peer.raw(
            b"\x00\x00\x03\xee\x00\x00\x00\x00\x01abc", b"\x00\x00\x00\xef\x00\x00\x00\x00\x00"
        )
        peer.answer(call)

    assert (await ends_of(authority, handler, "a"))["a"] == (HttpResponse, 200)


async def test_an_answer_without_a_status_ends_its_stream_alone(authority: Authority) -> None:
    async def handler(peer: Peer) -> None:
        call = await peer.calls.get()
        block = b"\x00\x01a\x01b"
        flags = ["END_HEADERS", "END_STREAM"]
        peer.raw(HeadersFrame(stream_id=call.stream_id, data=block, flags=flags))
        peer.answer(await peer.calls.get())

    async with serve_http2(handler, authority.server_context()) as server:
        async with opened(authority) as client:
            ends = Ends()
            await ends.send(client, post(server.port, "/a"))
            await ends.send(client, post(server.port, "/b"))
    assert ends["a"] == (AnswerLost, "answer_malformed")
    assert ends["b"] == (HttpResponse, 200)
    assert len(server.connections) == 1


class TestConnecting:
    async def refused(self, port: int, authority: Authority, **options: object) -> NotSent:
        async with opened(authority, **options) as client:
            with pytest.raises(NotSent) as caught:
                await client.send(post(port))
        return caught.value

    async def test_connection_refused(self, authority: Authority) -> None:
        async with serve_http2(answer_all, authority.server_context()) as server:
            port = server.port
        assert (await self.refused(port, authority)).reason.code == "connection_refused"

    async def test_a_server_without_http2(self, authority: Authority) -> None:
        log = Log(answer_all)
        server = await asyncio.get_running_loop().create_server(
            lambda: Peer(log, {}, acknowledges=True),
            "127.0.0.1",
            0,
            ssl=authority.server_context(),
        )
        error = await self.refused(server.sockets[0].getsockname()[1], authority)
        server.close()
        assert error.reason.code == "http2_refused"

    async def test_a_certificate_of_another_authority(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        stranger = Authority(tmp_path, "stranger")
        async with serve_http2(answer_all, stranger.server_context()) as server:
            error = await self.refused(server.port, authority)
        assert error.reason.code == "certificate_invalid"

    async def test_a_certificate_for_another_host(self, authority: Authority) -> None:
        async with serve_http2(answer_all, authority.server_context("10.0.0.1")) as server:
            error = await self.refused(server.port, authority)
        assert error.reason.code == "certificate_invalid"

    async def test_a_silent_server(self, authority: Authority) -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        error = await self.refused(port, authority, connect_timeout_s=0.2)
        server.close()
        assert error.reason.code == "connect_timeout"

    async def test_a_name_that_does_not_resolve(self, authority: Authority) -> None:
        async with opened(authority) as client:
            with pytest.raises(NotSent) as caught:
                await client.send(HttpRequest("POST", "https://nowhere.invalid/", body=b""))
        assert caught.value.reason.code == "dns_failed"

    async def test_plain_http_is_refused(self, authority: Authority) -> None:
        async with opened(authority) as client:
            with pytest.raises(NotSent) as caught:
                await client.send(HttpRequest("POST", "http://127.0.0.1/", body=b""))
        assert caught.value.reason.code == "invalid_request"

    async def test_addresses_inside_are_refused_where_asked(self, authority: Authority) -> None:
        async with opened(authority, public_only=True) as client:
            for host in ("127.0.0.1", "localhost"):
                with pytest.raises(NotSent) as caught:
                    await client.send(HttpRequest("POST", f"https://{host}/", body=b""))
                assert caught.value.reason.code == "address_refused"

    async def test_every_waiting_request_hears_of_it(self, authority: Authority) -> None:
        async with serve_http2(answer_all, authority.server_context()) as server:
            port = server.port
        ends = Ends()
        async with opened(authority) as client, anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(ends.send, client, post(port, f"/{number}"))
        assert {ends[str(n)] for n in range(10)} == {(NotSent, "connection_refused")}

    async def test_a_ca_file_that_is_missing_is_told_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match=r"CA file .*none\.pem"):
            async with open_http2_client(HttpOptions(ca_file=str(tmp_path / "none.pem"))):
                pass


class TestProxy:
    async def test_requests_go_through_a_tunnel(self, authority: Authority) -> None:
        asked: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            port = int(asked[-1].split(b" ")[1].rpartition(b":")[2])
            upstream, to_upstream = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    sink.write(data)
                sink.close()

            await asyncio.gather(copy(reader, to_upstream), copy(upstream, writer))

        tunnel = await asyncio.start_server(proxy, "127.0.0.1", 0)
        address = f"http://user:pass@127.0.0.1:{tunnel.sockets[0].getsockname()[1]}"
        async with serve_http2(answer_all, authority.server_context()) as server:
            async with opened(authority, proxy=address) as client:
                assert (await client.send(post(server.port))).status == 200
        tunnel.close()
        assert asked[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n".encode())
        assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in asked[0]

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 403 no\r\n\r\n", b"junk\r\n\r\n", b""])
    async def test_a_proxy_that_says_no_sent_nothing(
        self, authority: Authority, answer: bytes
    ) -> None:
        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await TestConnecting().refused(9, authority, proxy=address)
        server.close()
        assert error.reason.code == "proxy_refused"


class TestClientCertificate:
    async def test_it_is_shown_to_who_asks(self, authority: Authority) -> None:
        context = authority.server_context()
        context.load_verify_locations(authority.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        async with serve_http2(answer_all, context) as server:
            certificate = authority.client_certificate()
            async with opened(authority, cert_file=str(certificate)) as client:
                assert (await client.send(post(server.port))).status == 200
            async with opened(authority) as client:
                with pytest.raises(NotSent):
                    await client.send(post(server.port))

    async def test_one_that_can_not_be_read_is_told_at_once(
        self, authority: Authority, tmp_path: Path
    ) -> None:
        broken = tmp_path / "broken.pem"
        broken.write_text("nothing")
        for path in (broken, tmp_path / "none.pem"):
            with pytest.raises(OSError, match="client certificate"):
                async with opened(authority, cert_file=str(path)):
                    pass
