"""What an HTTP delivery costs: the transport's client, bare aiohttp, a bare protocol; and SMTP.

    python -m benchmarks.http_client [--requests 20000] [--tasks 64] [--uvloop]

A server of the least kind runs in a process of its own, so the figures are the client's: requests
a second, and CPU microseconds of this process for each. On two cores the server has the other one.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing as mp
import resource
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp

from router.clock import SystemClock
from router.messages import EmailMessage, Parcel, Target
from router.sinks import Sink, SinkTools
from router.sinks._mime import Heading, serialise
from router.sinks.smtp import SINK
from router.transport import HttpOptions, HttpRequest, open_client

BODY = b'{"type":"order.paid","data":{"id":"o-1","note":"' + b"x" * 258 + b'"}}'
HEADERS = {"Content-Type": "application/json", "X-Key": "0" * 32}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + (
    b'{"ok":true}'
)

HTML = "<p style='margin:0'>Оплата не прошла — проверьте карту.</p>\r\n" * 20
MAIL = EmailMessage("Заказ №12: оплата не прошла", HTML, "Оплата не прошла.\n" * 20)

Send = Callable[[], Awaitable[object]]


class _Server(asyncio.Protocol):
    """Answers each request of the known length; parses nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while (end := self._seen.find(b"\r\n\r\n")) >= 0:
            if len(self._seen) < end + 4 + len(BODY):
                return
            self._seen = self._seen[end + 4 + len(BODY) :]
            self._transport.write(ANSWER)  # type: ignore[attr-defined]


class _MailServer(asyncio.Protocol):
    """Says yes to every command and every mail."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._in_data = False
        self._seen = b""
        self._say(b"220 bench\r\n")

    def data_received(self, data: bytes) -> None:
        self._seen += data
        end = b"\r\n.\r\n" if self._in_data else b"\r\n"
        if not self._seen.endswith(end):
            return
        is_data = self._seen == b"DATA\r\n"
        self._in_data, self._seen = is_data, b""
        self._say(b"354 go\r\n" if is_data else b"250-bench\r\n250 8BITMIME\r\n")

    def _say(self, text: bytes) -> None:
        self._transport.write(text)  # type: ignore[attr-defined]


def _serve(ready: Connection) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        web = await loop.create_server(_Server, "127.0.0.1", 0)
        mail = await loop.create_server(_MailServer, "127.0.0.1", 0)
        ready.send((web.sockets[0].getsockname()[1], mail.sockets[0].getsockname()[1]))
        await asyncio.gather(web.serve_forever(), mail.serve_forever())

    asyncio.run(main())


class _Bare(asyncio.Protocol):
    """The least that a client can do."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self.waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        pass


async def _measure(name: str, send: Callable[[int], Send], requests: int, tasks: int) -> None:
    async def work(number: int, count: int) -> None:
        one = send(number)
        for _ in range(count):
            await one()

    async def run(count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(tasks):
                group.create_task(work(number, count))

    await run(3)
    cpu, start = _cpu(), time.perf_counter()
    await run(requests // tasks)
    wall, used = time.perf_counter() - start, _cpu() - cpu
    done = requests // tasks * tasks
    print(f"{name:<34} {done / wall:>9,.0f} req/s {used / done * 1e6:>8.1f} us CPU")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _clients(port: int, requests: int, tasks: int) -> None:
    url = f"http://127.0.0.1:{port}/hook"
    async with open_client(HttpOptions(connections=tasks)) as client:
        request = HttpRequest("POST", url, HEADERS, BODY)
        await _measure("router.transport", lambda _: lambda: client.send(request), requests, tasks)

    connector = aiohttp.TCPConnector(limit=tasks)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post() -> None:
            async with session.post(url, data=BODY, headers=HEADERS) as answer:
                await answer.read()

        await _measure("aiohttp alone", lambda _: post, requests, tasks)

    loop = asyncio.get_running_loop()
    head = f"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    pairs = [await loop.create_connection(_Bare, "127.0.0.1", port) for _ in range(tasks)]

    def bare(number: int) -> Send:
        transport, protocol = pairs[number]

        async def post() -> None:
            protocol.waiter = loop.create_future()
            transport.write(head + BODY)
            await protocol.waiter

        return post

    await _measure("a bare protocol", bare, requests, tasks)
    for transport, _ in pairs:
        transport.close()


async def _mails(port: int, requests: int) -> None:
    options = {"type": "smtp", "host": "127.0.0.1", "port": port, "security": "none"}
    config = SINK.config.model_validate({**options, "from": "Acme <a@acme.example>"})
    parcel = Parcel(b"0" * 16, MAIL, Target("anna@example.com", "email"))
    async with SINK.open(config, SinkTools("mail", SystemClock())) as sink:
        assert isinstance(sink, Sink)
        await _measure("smtp sink, 8 connections", lambda _: lambda: sink.send(parcel), requests, 8)


def _mime(rounds: int = 3000) -> None:
    heading = Heading("Acme <a@acme.example>", "anna@example.com", "<1@acme.example>", 1.76e9)
    for eight_bit in (True, False):
        start = time.perf_counter()
        for _ in range(rounds):
            serialise(MAIL, heading, eight_bit=eight_bit)
        used = (time.perf_counter() - start) / rounds * 1e6
        name = f"mail to bytes, {'8bit' if eight_bit else 'encoded'}"
        print(f"{name:<34} {'':>15} {used:>8.1f} us CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    ours, theirs = mp.Pipe()
    server = mp.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        web, mail = ours.recv()

        async def work() -> None:
            await _clients(web, options.requests, options.tasks)
            await _mails(mail, options.requests // 4)

        if options.uvloop:
            import uvloop

            uvloop.run(work())
        else:
            asyncio.run(work())
        _mime()
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
