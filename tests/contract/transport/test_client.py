"""The HTTP client against real servers: answers, failures and their class, connection handling."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from router.transport import (
    AnswerLost,
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    NotSent,
    open_client,
)
from tests.contract.transport.servers import OK, Authority, Peer, answer, http, serve

pytestmark = pytest.mark.anyio


def post(port: int, path: str = "/", scheme: str = "http", **changes: object) -> HttpRequest:
    values = {"body": b"hello", "timeout_s": 5.0, **changes}
    return HttpRequest("POST", f"{scheme}://127.0.0.1:{port}{path}", **values)  # type: ignore[arg-type]


async def send(request: HttpRequest, **options: object) -> HttpResponse:
    async with open_client(HttpOptions(**options)) as client:  # type: ignore[arg-type]
        return await client.send(request)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TestAnswers:
    async def test_status_headers_and_body_come_back(self) -> None:
        async with http(answer(404, b'{"a":1}', X_Thing="Yes")) as server:
            response = await send(post(server.port))
        assert response.status == 404
        assert response.headers["x-thing"] == "Yes"
        assert response.body == b'{"a":1}'
        assert not response.truncated

    async def test_the_request_is_sent_as_it_was_given(self) -> None:
        async with http() as server:
            request = post(
                server.port, "/a%2Fb/%D1%8F?q=1%262", headers={"X-Key": "Ж".encode().hex()}
            )
            await send(request)
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /a%2Fb/%D1%8F?q=1%262 HTTP/1.1\r\n")
        assert b"X-Key: d096" in head
        assert b"Accept-Encoding" not in head
        assert b"Content-Type" not in head
        assert body == b"hello"

    async def test_redirects_are_answers(self) -> None:
        async with http(answer(302, Location="/elsewhere"), OK) as server:
            response = await send(post(server.port))
        assert response.status == 302
        assert len(server.requests) == 1

    async def test_cookies_are_not_kept(self) -> None:
        async with http(answer(200, Set_Cookie="a=1"), OK) as server:
            async with open_client(HttpOptions()) as client:
                await client.send(post(server.port))
                await client.send(post(server.port))
        assert b"Cookie" not in server.requests[1]

    async def test_a_body_past_the_limit_is_cut(self) -> None:
        async with http(answer(200, b"x" * 5000)) as server:
            response = await send(post(server.port), max_body=1000)
        assert response.body == b"x" * 1000
        assert response.truncated

    async def test_a_body_of_exactly_the_limit_is_whole(self) -> None:
        async with http(answer(200, b"x" * 1000)) as server:
            response = await send(post(server.port), max_body=1000)
        assert response.body == b"x" * 1000
        assert not response.truncated

    async def test_a_status_holds_when_its_body_breaks_off(self) -> None:
        cut = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ok":true'
        async with http(cut, keep_alive=False) as server:
            response = await send(post(server.port))
        assert (response.status, response.truncated) == (200, True)
        assert response.body == b'{"ok":true'

    async def test_a_status_holds_when_its_body_never_ends(self) -> None:
        async with http(b"HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\nslow") as server:
            response = await send(post(server.port, timeout_s=0.3))
        assert (response.status, response.truncated) == (503, True)

    async def test_connections_are_reused(self) -> None:
        async with http() as server:
            async with open_client(HttpOptions()) as client:
                for _ in range(3):
                    await client.send(post(server.port))
        assert (server.connections, len(server.requests)) == (1, 3)

    async def test_the_pool_is_bounded(self) -> None:
        async with http() as server:
            async with open_client(HttpOptions(connections=2)) as client:
                async with anyio.create_task_group() as tasks:
                    for _ in range(10):
                        tasks.start_soon(client.send, post(server.port))
        assert server.connections <= 2
        assert len(server.requests) == 10

    async def test_proxy_variables_are_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
        async with http() as server:
            response = await send(post(server.port))
        assert response.status == 200


class TestFraming:
    """Where an answer ends, and what may come after it on its connection."""

    async def twice(self, *answers: bytes, method: str = "POST") -> tuple[HttpResponse, int]:
        """The first answer, and how many connections two requests took."""
        async with http(*answers, OK) as server:
            url = f"http://127.0.0.1:{server.port}/"
            async with open_client(HttpOptions()) as client:
                first = await client.send(HttpRequest(method, url, body=b"1"))
                second = await client.send(HttpRequest("POST", url, body=b"2"))
        assert (second.status, second.body) == (200, b"ok")
        return first, server.connections

    async def lost(self, data: bytes) -> str:
        async with http(data) as server:
            with pytest.raises(AnswerLost) as caught:
                await send(post(server.port))
        return caught.value.reason.code

    async def test_chunks_are_put_together_and_trailers_left(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Thing: a\r\n\r\n"
        body = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Thing: b\r\n\r\n"
        first, connections = await self.twice(head + body)
        assert (first.body, first.truncated) == (b"abcde", False)
        assert first.headers["x-thing"] == "a"
        assert connections == 1

    async def test_an_answer_without_a_length_goes_on_to_the_end(self) -> None:
        async with http(b"HTTP/1.1 200 OK\r\n\r\nall of it", keep_alive=False) as server:
            response = await send(post(server.port))
        assert (response.body, response.truncated) == (b"all of it", False)

    async def test_chunks_that_break_off_are_cut(self) -> None:
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
        async with http(data, keep_alive=False) as server:
            response = await send(post(server.port))
        assert (response.status, response.body, response.truncated) == (200, b"ab", True)

    async def test_broken_chunks_are_cut(self) -> None:
        data = b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"
        first, connections = await self.twice(data)
        assert (first.status, first.body, first.truncated) == (503, b"ab", True)
        assert connections == 2

    async def test_what_comes_before_the_answer_is_not_it(self) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nX-Thing: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        first, connections = await self.twice(early + answer(404, b"no"))
        assert (first.status, first.body) == (404, b"no")
        assert "x-thing" not in first.headers
        assert connections == 1

    @pytest.mark.parametrize("status", [204, 304])
    async def test_some_answers_have_no_body(self, status: int) -> None:
        first, connections = await self.twice(f"HTTP/1.1 {status} X\r\n\r\n".encode())
        assert (first.status, first.body, first.truncated) == (status, b"", False)
        assert connections == 1

    async def test_an_answer_to_head_has_none_either(self) -> None:
        first, _ = await self.twice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", method="HEAD")
        assert (first.status, first.body, first.truncated) == (200, b"", False)

    @pytest.mark.parametrize(
        "data",
        [
            answer(200, b"ok", Connection="close"),
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            OK + OK,
            OK + b"junk",
        ],
    )
    async def test_a_connection_that_can_t_be_trusted_is_not_used_again(self, data: bytes) -> None:
        first, connections = await self.twice(data)
        assert (first.body, first.truncated, connections) == (b"ok", False, 2)

    async def test_a_second_answer_later_is_nobody_s(self) -> None:
        async def chatty(peer: Peer) -> None:
            await peer.request()
            await peer.answer(OK)
            await anyio.sleep(0.05)
            await peer.answer(answer(500))
            await peer.reader.read()

        async with serve(chatty) as server, open_client(HttpOptions()) as client:
            for _ in range(2):
                assert (await client.send(post(server.port))).status == 200
                await anyio.sleep(0.15)
        assert server.connections == 2

    async def test_an_answer_before_the_request_is_whole_is_an_answer(self) -> None:
        async def refusing(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.answer(answer(413))
            await peer.reader.read()

        big = b"x" * 20_000_000
        async with serve(refusing) as server, open_client(HttpOptions()) as client:
            for _ in range(2):
                assert (await client.send(post(server.port, body=big))).status == 413
        assert server.connections == 2

    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nBad Header: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\n",
        ],
    )
    async def test_what_is_no_answer(self, data: bytes) -> None:
        assert await self.lost(data) == "answer_malformed"


class TestNotSent:
    async def refused(self, request: HttpRequest, **options: object) -> NotSent:
        with pytest.raises(NotSent) as caught:
            await send(request, **options)
        return caught.value

    async def test_connection_refused(self) -> None:
        error = await self.refused(post(free_port()))
        assert error.reason.code == "connection_refused"

    async def test_name_does_not_resolve(self) -> None:
        error = await self.refused(HttpRequest("POST", "http://nowhere.invalid/", body=b""))
        assert error.reason.code == "dns_failed"

    async def test_connecting_takes_too_long(self) -> None:
        async with full_backlog() as port:
            error = await self.refused(post(port), connect_timeout_s=0.2)
        assert error.reason.code == "connect_timeout"

    async def test_deadline_ends_while_connecting(self) -> None:
        async with full_backlog() as port:
            error = await self.refused(post(port, timeout_s=0.2))
        assert error.reason.code == "pool_timeout"

    async def test_tls_handshake_takes_too_long(self, authority: Authority) -> None:
        async def silent(peer: Peer) -> None:
            await peer.reader.read()

        async with serve(silent) as server:
            error = await self.refused(
                post(server.port, scheme="https"),
                connect_timeout_s=0.2,
                ca_file=str(authority.ca_file),
            )
        assert error.reason.code == "connect_timeout"

    async def test_no_connection_becomes_free(self) -> None:
        arrived, release = anyio.Event(), anyio.Event()

        async def held(peer: Peer) -> None:
            await peer.request()
            arrived.set()
            await release.wait()
            await peer.answer(OK)

        async with serve(held) as server:
            async with open_client(HttpOptions(connections=1)) as client:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.send, post(server.port))
                    await arrived.wait()
                    with pytest.raises(NotSent) as caught:
                        await client.send(post(server.port, timeout_s=0.1))
                    release.set()
        assert caught.value.reason.code == "pool_timeout"
        assert server.connections == 1

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1/a b",
            "http://127.0.0.1/\r\nX: 1",
            "ftp://127.0.0.1/",
            "http:///x",
            "nonsense",
            "http://127.0.0.1:99999/",
        ],
    )
    async def test_url_is_not_usable(self, url: str) -> None:
        error = await self.refused(HttpRequest("GET", url))
        assert error.reason.code == "invalid_request"

    async def test_header_would_break_the_request(self) -> None:
        error = await self.refused(HttpRequest("GET", "http://127.0.0.1/", {"X": "a\r\nY: b"}))
        assert error.reason.code == "invalid_request"


class TestAnswerLost:
    async def lost(self, request: HttpRequest, **options: object) -> AnswerLost:
        with pytest.raises(AnswerLost) as caught:
            await send(request, **options)
        return caught.value

    async def test_server_resets_after_reading(self) -> None:
        async def reset(peer: Peer) -> None:
            await peer.request()
            peer.reset()

        async with serve(reset) as server:
            error = await self.lost(post(server.port))
        assert error.reason.code == "connection_lost"

    async def test_server_closes_before_reading(self) -> None:
        async def close(peer: Peer) -> None:
            return

        async with serve(close) as server:
            error = await self.lost(post(server.port))
        assert error.reason.code == "connection_lost"

    async def test_no_answer_in_time(self) -> None:
        async def silent(peer: Peer) -> None:
            await peer.reader.read()

        async with serve(silent) as server:
            error = await self.lost(post(server.port, timeout_s=0.2))
        assert error.reason.code == "answer_timeout"

    async def test_answer_is_not_http(self) -> None:
        async with http(b"220 smtp.example ESMTP\r\n\r\n") as server:
            error = await self.lost(post(server.port))
        assert error.reason.code == "answer_malformed"

    @pytest.mark.parametrize("method", ["POST", "PUT", "GET", "DELETE"])
    async def test_nothing_is_sent_twice_on_a_reused_connection(self, method: str) -> None:
        seen: list[bytes] = []

        async def once(peer: Peer) -> None:
            seen.append(await peer.request())
            await peer.answer(OK)
            seen.append(await peer.request())

        async with serve(once) as server:
            url = f"http://127.0.0.1:{server.port}/"
            async with open_client(HttpOptions()) as client:
                await client.send(HttpRequest(method, url, body=b"1"))
                with pytest.raises(AnswerLost):
                    await client.send(HttpRequest(method, url, body=b"2"))
        assert server.connections == 1
        assert len(seen) == 2

    async def test_a_connection_closed_while_idle_is_not_used(self) -> None:
        async with http(keep_alive=False) as server:
            async with open_client(HttpOptions()) as client:
                await client.send(post(server.port))
                await anyio.sleep(0.05)
                await client.send(post(server.port))
        assert server.connections == 2

    async def test_a_connection_whose_end_was_not_read_yet_is_not_used(self) -> None:
        may_close, has_closed = threading.Event(), threading.Event()

        def serve_twice(listener: socket.socket) -> None:
            for _ in range(2):
                peer, _ = listener.accept()
                with peer:
                    peer.recv(65536)
                    peer.sendall(OK)
                    may_close.wait(5)
                has_closed.set()

        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
            listener.settimeout(5)
            served = threads.submit(serve_twice, listener)
            port = listener.getsockname()[1]
            async with open_client(HttpOptions()) as client:
                await client.send(post(port))
                may_close.set()
                assert has_closed.wait(5)  # the loop stands still: nobody reads the end
                assert (await client.send(post(port))).status == 200
            served.result()


class TestTls:
    async def test_private_authority_is_trusted_by_ca_file(self, authority: Authority) -> None:
        async with http(tls=authority.server_context()) as server:
            response = await send(post(server.port, scheme="https"), ca_file=str(authority.ca_file))
        assert response.status == 200

    async def test_private_authority_is_refused_by_default(self, authority: Authority) -> None:
        async with http(tls=authority.server_context()) as server:
            with pytest.raises(NotSent) as caught:
                await send(post(server.port, scheme="https"))
        assert caught.value.reason.code == "certificate_invalid"
        assert not server.requests

    @pytest.mark.parametrize("defect", ["expired", "other host", "other authority"])
    async def test_bad_certificate(self, authority: Authority, tmp_path: Path, defect: str) -> None:
        context: ssl.SSLContext
        match defect:
            case "expired":
                context = authority.server_context(is_expired=True)
            case "other host":
                context = authority.server_context("example.com")
            case _:
                context = Authority(tmp_path, "another").server_context()
        async with http(tls=context) as server:
            with pytest.raises(NotSent) as caught:
                await send(post(server.port, scheme="https"), ca_file=str(authority.ca_file))
        assert caught.value.reason.code == "certificate_invalid"

    async def test_plain_text_server_on_a_tls_address(self, authority: Authority) -> None:
        async def greet(peer: Peer) -> None:
            await peer.answer(b"220 hello\r\n")
            await peer.reader.read()

        async with serve(greet) as server:
            with pytest.raises(NotSent) as caught:
                await send(post(server.port, scheme="https"), ca_file=str(authority.ca_file))
        assert caught.value.reason.code == "tls_failed"

    async def test_unreadable_ca_file_names_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match=r"missing\.pem"):
            async with open_client(HttpOptions(ca_file=str(tmp_path / "missing.pem"))):
                pass


class TestPublicOnly:
    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "[::1]", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433", "127.1"],
    )
    async def test_inside_addresses_are_refused(self, host: str) -> None:
        async with http() as server:
            with pytest.raises(NotSent) as caught:
                await send(
                    HttpRequest("POST", f"http://{host}:{server.port}/", body=b""),
                    public_only=True,
                )
        assert caught.value.reason.code in ("address_refused", "invalid_request")
        assert server.connections == 0

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_allowed_hosts_pass(self, host: str) -> None:
        async with http() as server:
            response = await send(
                HttpRequest("POST", f"http://{host}:{server.port}/", body=b""),
                public_only=True,
                allow_hosts=frozenset({"LOCALHOST", "127.0.0.1"}),
            )
        assert response.status == 200


class TestProxy:
    async def test_plain_requests_go_through_the_proxy(self) -> None:
        async with http() as proxy:
            response = await send(
                HttpRequest("POST", "http://crm.example/notes", body=b"x"),
                proxy=f"http://user:pass@127.0.0.1:{proxy.port}",
            )
        assert response.status == 200
        assert proxy.requests[0].startswith(b"POST http://crm.example/notes HTTP/1.1")
        assert b"Proxy-Authorization: Basic dXNlcjpwYXNz" in proxy.requests[0]

    async def test_a_tunnel_that_is_refused_sent_nothing(self) -> None:
        async with http(answer(407)) as proxy:
            with pytest.raises(NotSent) as caught:
                await send(
                    HttpRequest("POST", "https://crm.example/notes", body=b"x"),
                    proxy=f"http://127.0.0.1:{proxy.port}",
                )
        assert caught.value.reason.code == "proxy_refused"

    @pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
    async def test_a_name_that_is_none_sends_nothing_through_a_proxy(self, host: str) -> None:
        async with http() as proxy:
            request = HttpRequest("POST", f"https://{host}/")
            with pytest.raises(NotSent) as caught:
                await send(request, proxy=f"http://127.0.0.1:{proxy.port}")
        assert caught.value.reason.code == "dns_failed"

    async def test_an_unreachable_proxy_sent_nothing(self) -> None:
        with pytest.raises(NotSent) as caught:
            await send(
                HttpRequest("POST", "http://crm.example/notes", body=b"x"),
                proxy=f"http://127.0.0.1:{free_port()}",
            )
        assert caught.value.reason.code == "proxy_unreachable"


async def test_failures_do_not_quote_the_url() -> None:
    secret = "bot123:SECRET"

    async def reset(peer: Peer) -> None:
        peer.reset()

    texts: list[str] = []
    async with serve(reset) as server, open_client(HttpOptions()) as client:
        for url in (f"http://127.0.0.1:{server.port}/{secret}", f"http://nowhere.invalid/{secret}"):
            request = HttpRequest("POST", url, body=b"x" * 500_000)
            try:
                await client.send(request)
            except (NotSent, AnswerLost) as error:
                texts += [repr(error), repr(request), "".join(traceback.format_exception(error))]
                texts.append(repr(error.__context__))
    assert len(texts) == 8
    assert not any("SECRET" in text for text in texts)


async def test_a_cancelled_request_frees_its_connection() -> None:
    async def silent_then_ok(peer: Peer) -> None:
        if b"first" in await peer.request():
            await peer.reader.read()
        else:
            await peer.answer(OK)

    async with serve(silent_then_ok) as server:
        async with open_client(HttpOptions(connections=1)) as client:
            with anyio.move_on_after(0.05):
                await client.send(post(server.port, "/first"))
            response = await client.send(post(server.port, "/second"))
    assert response.status == 200


async def test_a_request_that_is_cancelled_in_line_leaves_it() -> None:
    release = anyio.Event()

    async def held(peer: Peer) -> None:
        while await peer.request():
            await release.wait()
            await peer.answer(OK)

    async with serve(held) as server, open_client(HttpOptions(connections=1)) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.send, post(server.port, "/1"))
            await anyio.sleep(0.05)
            with anyio.move_on_after(0.05):
                await client.send(post(server.port, "/2"))
            release.set()
        assert (await client.send(post(server.port, "/3"))).status == 200
    assert server.connections == 1


async def test_a_request_that_is_cancelled_while_connecting_leaves_its_place() -> None:
    async with full_backlog() as port, http() as server:
        async with open_client(HttpOptions(connections=1)) as client:
            with anyio.move_on_after(0.05):
                await client.send(post(port))
            assert (await client.send(post(server.port))).status == 200


async def test_hosts_share_the_pool() -> None:
    async with http() as one, http() as other:
        async with open_client(HttpOptions(connections=1)) as client:
            for _ in range(2):
                for server in (one, other):
                    assert (await client.send(post(server.port))).status == 200
    assert len(one.requests) == len(other.requests) == 2


async def test_closing_the_client_ends_what_is_under_way() -> None:
    asked = anyio.Event()
    ends: list[str] = []

    async def silent(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.reader.read()

    async def try_(port: int, client: HttpClient) -> None:
        try:
            await client.send(post(port))
        except (NotSent, AnswerLost) as error:
            ends.append(type(error).__name__)

    async with serve(silent) as server, anyio.create_task_group() as tasks:
        async with open_client(HttpOptions(connections=1)) as client:
            tasks.start_soon(try_, server.port, client)
            await asked.wait()
            tasks.start_soon(try_, server.port, client)
            await anyio.sleep(0.01)
    assert sorted(ends) == ["AnswerLost", "NotSent"]


def full_backlog() -> BacklogServer:
    return BacklogServer()


class BacklogServer:
    """A listener that accepts nothing and whose queue is full, so that connecting hangs."""

    async def __aenter__(self) -> int:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self._fillers: list[socket.socket] = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
            self._fillers.append(filler)
        await asyncio.sleep(0)
        return self._listener.getsockname()[1]

    async def __aexit__(self, *exc: object) -> None:
        for filler in self._fillers:
            filler.close()
        self._listener.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))
