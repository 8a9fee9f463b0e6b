"""The whole daemon on the embedded broker: CPU microseconds per event beside events per second.

Run ``python benchmarks/path.py [EVENTS]``. Records are published first; the clock runs from the
first record read to the last one settled, with the ledger on SQLite (synchronous FULL), offset
commits, metrics and logs at info. CPU time is the process's own, all threads. The HTTP server
that the webhook scenario sends to is another process, as is the broker; on two cores they compete.

Scenarios: "unwanted, type in a header" is never decoded; "unwanted, type in the payload" is
decoded and matched by nobody; "matched, file" renders a chat message, claims, writes it to
/dev/null, settles; "matched, webhook" signs and posts a small JSON body instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic, process_time

import anyio
import orjson

from router.config import Project, load_project
from router.daemon import Daemon, Options
from router.kafka.admin import TopicSpec, ensure_topics
from router.kafka.connection import KafkaConnection
from router.kafka.producer import Outgoing, producer
from router.sandbox import embedded_broker

ROUTER = """
include: [routes.yaml]
templates: templates
sources:
  events:
    type: kafka
    bootstrap: ${BOOTSTRAP}
    topics: ["${TOPIC}"]
    group: "bench-${TOPIC}"
    start: earliest
ledger: {type: sqlite, path: "${TOPIC}.db", ephemeral: true}
admin: {enabled: false}
logs: {level: warning}
sinks:
  sink:
"""
# One sink alone: beside an idle one, a lane that can't keep up spills into the schedule.
FILE = """\
    type: file
    path: /dev/null
    fsync: false
"""
HOOK = """\
    type: webhook
    url: ${HOOK}
    secrets: [!secret "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    allow_http: true
    allow_private: true
    concurrency: 64
"""
CHAT = "recipient: {id: data.user}, template: note, "
OTHER_ROUTES = 1000
SERVER = """
import asyncio, sys
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport; self.buffer = b""
    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.buffer[:end].lower()
            start = head.find(b"content-length:")
            stop = head.find(b"\\r\\n", start)
            length = int(head[start + 15 : stop if stop > 0 else None]) if start >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.transport.write(b"HTTP/1.1 204 No Content\\r\\nContent-Length: 0\\r\\n\\r\\n")
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
try:
    import uvloop; uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""


def write_project(folder: Path, scenario: str) -> None:
    """A project with a route for the scenario among a thousand others."""
    template = folder / "templates" / "note"
    (template / "texts").mkdir(parents=True)
    (template / "template.yaml").write_text(
        "description: bench\nlocales: {required: [en], default: en}\n"
        "variables:\n  amount: {type: integer, example: 5}\n  user: {type: text, example: u}\n"
    )
    (template / "texts" / "en.txt").write_text("line: Order of {{ amount }} for {{ user }}\n")
    (template / "chat.html").write_text("<b>{{ t.line }}</b>\n")
    is_file = scenario == "file"
    (folder / "router.yaml").write_text(ROUTER + (FILE if is_file else HOOK))
    kinds = ["order.wanted", *(f"other.{number}" for number in range(OTHER_ROUTES))]
    routes = "".join(
        f"  route-{number}: {{match: {{type: {kind}, data.amount: {{gte: {max(1, number)}}}}}, "
        f"{CHAT if is_file else ''}deliver: [sink]}}\n"
        for number, kind in enumerate(kinds)
    )
    (folder / "routes.yaml").write_text(f"routes:\n{routes}")


def record(scenario: str, number: int) -> Outgoing:
    """One event of about 1 kB."""
    kinds = {"header": "none.header", "payload": "none.payload"}
    kind = kinds.get(scenario, "order.wanted")
    data = {"user": f"u-{number % 1000}", "amount": number % 90 + 1, "note": "x" * 900}
    if scenario == "payload":
        value = orjson.dumps({"id": f"e-{number}", "type": kind, **data})
        return None, value, ()
    attributes = {"specversion": "1.0", "id": f"e-{number}", "source": "/bench", "type": kind}
    headers = [(f"ce_{k}", v.encode()) for k, v in attributes.items()]
    return None, orjson.dumps(data), headers


@asynccontextmanager
async def answering_server() -> AsyncGenerator[str]:
    async with await anyio.open_process([sys.executable, "-c", SERVER], stderr=None) as process:
        assert process.stdout is not None
        port = int(await process.stdout.receive())
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.kill()


async def measure(project: Project, count: int) -> tuple[float, float]:
    """Events per second and CPU microseconds per event."""
    daemon = Daemon(project, lambda: load_project(project.root), options=Options(watch_s=None))
    async with anyio.create_task_group() as tasks:
        await tasks.start(daemon.run)
        while daemon.records_read == 0:
            await anyio.sleep(0.001)
        started, cpu = monotonic(), process_time()
        first = daemon.records_read
        while daemon.records_read < count or not daemon.is_idle:
            await anyio.sleep(0.005)
        await daemon.settler.flush()
        seconds, spent = monotonic() - started, process_time() - cpu
        balance = daemon.metrics.balance()
        daemon.stop()
        await daemon.stopped.wait()
    if balance.planned != balance.delivered + balance.suppressed + balance.dead:
        raise SystemExit(f"the run is void, its books don't balance: {balance}")
    done = count - first
    return done / seconds, spent / done * 1e6


async def run(scenarios: Sequence[str], count: int) -> None:
    names = {
        "header": "unwanted, type in a header",
        "payload": "unwanted, type in the payload",
        "file": "matched, file",
        "webhook": "matched, webhook",
    }
    print(f"{'scenario':<32}{'events':>8}{'events/s':>12}{'CPU us/event':>15}")
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        async with embedded_broker() as broker, answering_server() as hook:
            connection = KafkaConnection(bootstrap=(broker.bootstrap,))
            for scenario in scenarios:
                folder = Path(name) / scenario
                write_project(folder, scenario)
                topic = f"bench-{scenario}"
                await ensure_topics(connection, [TopicSpec(topic, 1, 1)])
                async with producer(connection, linger_s=0.005) as opened:
                    for start in range(0, count, 1000):
                        batch = [record(scenario, i) for i in range(start, start + 1000)]
                        await opened.publish(topic, batch)
                environ = {"BOOTSTRAP": broker.bootstrap, "TOPIC": topic, "HOOK": hook}
                loaded = load_project(folder, environ=environ)
                if loaded.project is None:
                    raise SystemExit("\n".join(p.render() for p in loaded.problems))
                rate, cost = await measure(loaded.project, count)
                print(f"{names[scenario]:<32}{count:>8}{rate:>12,.0f}{cost:>15.1f}")


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=30_000)
    parser.add_argument("--only", choices=["header", "payload", "file", "webhook"])
    given = parser.parse_args(arguments)
    scenarios = [given.only] if given.only else ["header", "payload", "file", "webhook"]
    anyio.run(run, scenarios, given.events, backend_options={"use_uvloop": has_uvloop()})


def has_uvloop() -> bool:
    try:
        import uvloop as _  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
