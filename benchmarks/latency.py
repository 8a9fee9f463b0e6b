"""Time from a record's append to its arrival at a webhook, at a steady rate.

Run ``python benchmarks/latency.py [EVENTS_PER_SECOND] [SECONDS]``. The generator keeps its
schedule whatever the router does, and the time counts from when an event was due to be sent, so a
router that falls behind shows it. Generator and daemon share this process, broker and receiving
server are two more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import anyio
import orjson
from anyio.abc import Process

from benchmarks.path import has_uvloop, write_project
from router.config import load_project
from router.daemon import Daemon, Options
from router.kafka.admin import TopicSpec, ensure_topics
from router.kafka.connection import KafkaConnection
from router.kafka.producer import producer
from router.sandbox import embedded_broker

TOPIC = "latency"
SERVER = """
import asyncio, json, sys, time
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport; self.buffer = b""
    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.buffer[:end].lower()
            start = head.find(b"content-length:")
            stop = head.find(b"\\r\\n", start)
            length = int(head[start + 15 : stop if stop > 0 else None])
            if len(self.buffer) < end + 4 + length:
                return
            body = json.loads(self.buffer[end + 4 : end + 4 + length])
            print(time.monotonic() - body["data"]["due"], flush=True)
            self.buffer = self.buffer[end + 4 + length :]
            self.transport.write(b"HTTP/1.1 204 No Content\\r\\nContent-Length: 0\\r\\n\\r\\n")
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@asynccontextmanager
async def server() -> AsyncGenerator[Process]:
    async with await anyio.open_process([sys.executable, "-c", SERVER], stderr=None) as process:
        try:
            yield process
        finally:
            process.kill()


async def lines(process: Process, count: int) -> list[str]:
    """The next lines that the server prints."""
    assert process.stdout is not None
    buffer = b""
    while buffer.count(b"\n") < count:
        buffer += await process.stdout.receive()
    return buffer.decode().split("\n")[:count]


async def run(rate: float, seconds: float) -> None:
    count = int(rate * seconds)
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        write_project(folder, "webhook")
        async with embedded_broker() as broker, server() as process:
            port = (await lines(process, 1))[0]
            connection = KafkaConnection(bootstrap=(broker.bootstrap,))
            await ensure_topics(connection, [TopicSpec(TOPIC, 1, 1)])
            hook = f"http://127.0.0.1:{port}/"
            environ = {"BOOTSTRAP": broker.bootstrap, "TOPIC": TOPIC, "HOOK": hook}
            loaded = load_project(folder, environ=environ)
            assert loaded.project is not None
            daemon = Daemon(
                loaded.project, lambda: load_project(folder), options=Options(watch_s=None)
            )
            async with producer(connection) as opened, anyio.create_task_group() as tasks:
                await tasks.start(daemon.run)
                while not daemon.is_ready()[0]:
                    await anyio.sleep(0.01)

                async def publish() -> None:
                    started, sent = monotonic(), 0
                    while sent < count:
                        due = min(count, int((monotonic() - started) * rate) + 1)
                        batch = [record(started + i / rate, i) for i in range(sent, due)]
                        if batch:
                            await opened.publish(TOPIC, batch)
                        sent = max(sent, due)
                        await anyio.sleep(0.001)

                tasks.start_soon(publish)
                found = sorted(float(line) for line in await lines(process, count))
                daemon.stop()
                await daemon.stopped.wait()
    marks = {f"p{p}": found[min(count - 1, count * p // 100)] for p in (50, 90, 99)}
    shown = "  ".join(f"{name} {value * 1000:.1f} ms" for name, value in marks.items())
    print(f"{count} events at {rate:g}/s: {shown}  max {found[-1] * 1000:.1f} ms")


def record(due: float, number: int) -> tuple[None, bytes, list[tuple[str, bytes]]]:
    """An event that says when it was due to be sent."""
    attributes = {"specversion": "1.0", "id": str(number), "source": "/b", "type": "order.wanted"}
    data = {"due": due, "amount": 5, "user": "u-1", "note": "x" * 300}
    return None, orjson.dumps(data), [(f"ce_{k}", v.encode()) for k, v in attributes.items()]


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rate", nargs="?", type=float, default=500)
    parser.add_argument("seconds", nargs="?", type=float, default=8)
    given = parser.parse_args(arguments)
    anyio.run(run, given.rate, given.seconds, backend_options={"use_uvloop": has_uvloop()})


if __name__ == "__main__":
    main(sys.argv[1:])
