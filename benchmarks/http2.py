"""What a push costs: our HTTP/2 client, httpx's, HTTP/1.1, and the push sinks; all with TLS.

    python -m benchmarks.http2 [--requests 20000] [--tasks 64] [--uvloop]

A server of the least kind runs in a process of its own, so the figures are the client's: requests
a second, and CPU microseconds of this process for each. On two cores the server has the other one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing as mp
import resource
import secrets
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from router.clock import SystemClock
from router.messages import Delivered, Parcel, PushMessage, Target
from router.sandbox.certificates import make_certificates
from router.sinks import KINDS, Sink, SinkTools
from router.transport import HttpOptions, HttpRequest, open_client, open_http2_client

BODY = b'{"aps":{"alert":{"title":"Order","body":"' + b"x" * 240 + b'"}},"order":"12"}'
STEADY = {
    "authorization": f"bearer {secrets.token_urlsafe(140)}",
    "apns-topic": "com.example.shop",
    "apns-push-type": "alert",
    "apns-priority": "10",
}
TOKENS = [secrets.token_hex(32) for _ in range(256)]
SAID = b'{"name":"projects/p/messages/1","access_token":"t","expires_in":3600}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SAID) + SAID

Send = Callable[[int], Awaitable[object]]


class _Http2Server(asyncio.Protocol):
    """Answers each stream that ends, with what FCM and its token endpoint say; reads no headers."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._seen = b""
        self._has_preface = False
        self._owed = 0
        settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x03\xe8"
        self._transport.write(settings + self._window(2**30))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        seen = self._seen + data
        if not self._has_preface:
            seen, self._has_preface = seen[24:], True
        at, out = 0, bytearray()
        while len(seen) - at >= 9:
            size = int.from_bytes(seen[at : at + 3], "big")
            if len(seen) - at < 9 + size:
                break
            kind, flags, stream = seen[at + 3], seen[at + 4], seen[at + 5 : at + 9]
            if kind == 4 and not flags & 1:
                out += b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
            elif kind == 0 and flags & 1:
                out += b"\x00\x00\x01\x01\x04" + stream + b"\x88"
                out += len(SAID).to_bytes(3, "big") + b"\x00\x01" + stream + SAID
            if kind == 0:
                self._owed += size
            at += 9 + size
        self._seen = seen[at:]
        if self._owed > 2**29:
            out += self._window(self._owed)
            self._owed = 0
        if out:
            self._transport.write(bytes(out))  # type: ignore[attr-defined]

    def _window(self, size: int) -> bytes:
        return b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + size.to_bytes(4, "big")


class _Http1Server(asyncio.Protocol):
    """Answers each request of the known length."""

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


def _serve(ready: Connection, certificate: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ports: list[int] = []
        for protocol, name in ((_Http2Server, "h2"), (_Http1Server, "http/1.1")):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.set_alpn_protocols([name])
            server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context)
            ports.append(server.sockets[0].getsockname()[1])
        ready.send(ports)
        await asyncio.Event().wait()

    asyncio.run(main())


async def _measure(name: str, send: Send, requests: int, tasks: int) -> None:
    async def work(number: int, count: int) -> None:
        for at in range(count):
            await send(number * count + at)

    async def run(count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(tasks):
                group.create_task(work(number, count))

    await run(3)
    cpu, start = _cpu(), time.perf_counter()
    await run(max(1, requests // tasks))
    wall, used = time.perf_counter() - start, _cpu() - cpu
    done = max(1, requests // tasks) * tasks
    print(f"{name:<34} {done / wall:>9,.0f} req/s {used / done * 1e6:>8.1f} us CPU")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _headers(number: int) -> dict[str, str]:
    return {**STEADY, "apns-id": f"{number:08d}-0000-0000-0000-000000000000"}


async def _clients(ports: list[int], ca_file: str, requests: int, tasks: int) -> None:
    def request(port: int, number: int) -> HttpRequest:
        url = f"https://127.0.0.1:{port}/3/device/{TOKENS[number % 256]}"
        return HttpRequest("POST", url, _headers(number), BODY)

    new, old = ports
    for count in (1, tasks, 500):
        async with open_http2_client(HttpOptions(connections=2, ca_file=ca_file)) as client:
            await _measure(
                f"router, HTTP/2, {count} tasks",
                lambda n, c=client: c.send(request(new, n)),
                requests if count > 1 else requests // 4,
                count,
            )
    async with open_client(HttpOptions(connections=tasks, ca_file=ca_file)) as client:
        await _measure(
            f"router, HTTP/1.1, {tasks} tasks",
            lambda n, c=client: c.send(request(old, n)),
            requests,
            tasks,
        )
    trust = ssl.create_default_context(cafile=ca_file)
    async with httpx.AsyncClient(http1=False, http2=True, verify=trust, trust_env=False) as other:

        async def post(number: int) -> None:
            url = f"https://127.0.0.1:{new}/3/device/{TOKENS[number % 256]}"
            await other.post(url, headers=_headers(number), content=BODY)

        await _measure(f"httpx, HTTP/2, {tasks} tasks", post, requests // 10, tasks)


async def _sinks(port: int, ca_file: str, folder: Path, requests: int, tasks: int) -> None:
    url = f"https://127.0.0.1:{port}"
    account = folder / "account.json"
    account.write_text(_service_account(f"{url}/token"))
    key = folder / "key.p8"
    key.write_text(_pem(ec.generate_private_key(ec.SECP256R1())))
    apns = {"topic": "com.example.shop", "key_id": "A" * 10, "team_id": "B" * 10}
    addresses = {"production_url": url, "sandbox_url": url}
    message = PushMessage("Order 12", "x" * 240, data={"order": "12"}, ttl=3600, collapse="12")
    for kind, options in (
        ("fcm", {"base_url": url, "credentials_file": str(account)}),
        ("apns", {"key_file": str(key), **apns, **addresses}),
    ):
        sink_type = KINDS.load(kind)
        config = sink_type.config.model_validate({"type": kind, "ca_file": ca_file, **options})
        async with sink_type.open(config, SinkTools(kind, SystemClock())) as sink:

            async def push(number: int, sink: Sink = sink) -> None:
                target = Target(TOKENS[number % 256], "device", platform=None)
                sent = await sink.send(Parcel(number.to_bytes(16, "big"), message, target))
                assert isinstance(sent, Delivered), sent

            await _measure(f"{kind} sink, {tasks} tasks", push, requests, tasks)


def _service_account(token_uri: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fields = {"type": "service_account", "project_id": "p", "client_email": "router@p"}
    return json.dumps({**fields, "private_key": _pem(key), "token_uri": token_uri})


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    ours, theirs = mp.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        files = make_certificates(Path(folder))
        server = mp.Process(target=_serve, args=(theirs, str(files.server_file)), daemon=True)
        server.start()
        try:
            ports, ca_file = ours.recv(), str(files.ca_file)

            async def work() -> None:
                await _clients(ports, ca_file, options.requests, options.tasks)
                place = Path(folder)
                await _sinks(ports[0], ca_file, place, options.requests, options.tasks)

            if options.uvloop:
                import uvloop

                uvloop.run(work())
            else:
                asyncio.run(work())
        finally:
            server.terminate()
            server.join()


if __name__ == "__main__":
    main()
