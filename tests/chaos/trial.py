"""One scenario's ground: a topic, a ledger, a sandbox, and daemons that come and go."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from router.ledger import Kind, LedgerDown, Row, State
from router.sandbox import Received, Sandbox, sandbox
from tests.brokers import create_topic
from tests.chaos.books import balance, count_rows, read_rows
from tests.chaos.pace import Pace
from tests.chaos.site import Place, Report, Site, order_of
from tests.servers import PASSWORD, fresh_name
from tests.system.processes import Daemon, daemon, eventually, ready_or_ended
from tests.system.projects import (
    Env,
    Project,
    api_sink,
    kafka_source,
    order_route,
    secrets_of,
    write_project,
)
from tests.system.topics import order

_NAMESPACES = {"postgres": "schema_name", "redis": "prefix"}
_REPEATS = "router_repeats_total"
_BATCH = 1000


@dataclass(slots=True)
class Trial:
    """One scenario under way.

    Attributes:
        steps: Deliveries that each event asks for.
        sections: Of every project's configuration.
        ledger: Options of the ledger.
        event: The event of a number.
        times: When each order was published, by its id.
        reasons: Why a key may have come twice, by key.
        details: What else is worth telling, by name.
        pace: How evenly the harness itself runs.
    """

    site: Site
    box: Sandbox
    topic: str
    group: str
    partitions: int
    steps: int
    sections: Mapping[str, Any]
    ledger: Mapping[str, Any]
    event: Callable[[int], bytes]
    times: dict[str, float] = field(default_factory=dict[str, float])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    details: dict[str, str] = field(default_factory=dict[str, str])
    pace: Pace = field(default_factory=Pace)
    _published: int = 0
    _bygone: int = 0
    _places: dict[str, Place] = field(default_factory=dict[str, Place])
    _ends: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    _lives: list[Daemon] = field(default_factory=list[Daemon])
    _counted: dict[int, float] = field(default_factory=dict[int, float])
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _fault_ended: float | None = None
    _drained: float | None = None

    # Daemons ------------------------------------------------------------------------------------

    def project(
        self,
        name: str,
        *,
        broker_port: int | None = None,
        ledger_port: int | None = None,
        **source_options: Any,
    ) -> Project:
        """Writes a replica's project; the ports are of proxies that it has to go through."""
        bootstrap = self.site.broker.bootstrap
        if broker_port is not None:
            bootstrap = f"127.0.0.1:{broker_port}"
        source = kafka_source(bootstrap, [self.topic], self.group)
        source |= {"session_timeout": f"{self.site.session_s:g}s"} | source_options
        ledger = dict(self.ledger)
        if "password" in ledger:
            ledger["password"] = Env("LEDGER_PASSWORD")
        if ledger_port is not None:
            ledger["url"] = re.sub(r"(127\.0\.0\.1):\d+", rf"\1:{ledger_port}", ledger["url"])
        return write_project(
            self.site.folder / name,
            sources={"main": source},
            env={**secrets_of(self.box), "LEDGER_PASSWORD": PASSWORD},
            ledger=ledger,
            **self.sections,
        )

    async def start(self, project: Project, *options: str, is_ready: bool = True) -> Daemon:
        """Starts a daemon, which runs to the scenario's end if nothing ends it before."""
        running = await self._stack.enter_async_context(
            daemon(project, *options, is_ready=is_ready, within_s=self.site.patience_s)
        )
        self._lives.append(running)
        return running

    async def replicas(self, *names: str) -> list[Daemon]:
        """Starts daemons on one group and one ledger, all at the same time."""
        return await self.start_all([self.project(name) for name in names])

    async def start_all(self, projects: Sequence[Project]) -> list[Daemon]:
        """Starts a daemon on each project, all at the same time; they are ready."""
        started = [await self.start(project, is_ready=False) for project in projects]
        for running in started:
            await self.is_ready(running)
        return started

    async def is_ready(self, running: Daemon) -> None:
        """Waits until a daemon has joined its group, and its ledger is there."""
        await eventually(lambda: ready_or_ended(running), "ready", self.site.patience_s)

    async def stop(self, running: Daemon) -> None:
        """SIGTERM, and its end."""
        await self._note_counts()
        assert await running.stop(self.site.patience_s) == 0

    async def kill(self, running: Daemon) -> None:
        """SIGKILL; what it has counted so far is lost."""
        await running.kill()

    async def claimed_by(self, running: Daemon) -> frozenset[str]:
        """The keys that a daemon has claimed, by the ledger."""
        owned = re.compile(rf"-{running.process.pid}(-|$)")
        rows = await read_rows(self.ledger, state=State.CLAIMED)
        return frozenset(
            row.key.hex()
            for row in rows
            if (self.site.server is None or owned.search(row.owner or ""))
        )

    # Work ---------------------------------------------------------------------------------------

    async def publish(
        self,
        count: int,
        per_second: float | None = None,
        *,
        copies: int = 1,
        in_batches: bool = False,
    ) -> None:
        """Publishes so many more orders, over the partitions in turn; at once, or at a rate.

        Args:
            copies: How often each is published, the further times on the partitions next to it.
            in_batches: Many at a time, for thousands.
        """
        began, first = time.monotonic(), self._published
        self._published += count
        bootstrap = self.site.broker.bootstrap
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            sent: list[tuple[int, Any]] = []
            for number in range(first, first + count):
                if per_second is not None:
                    due = began + (number - first) / per_second
                    await anyio.sleep(max(0.0, due - time.monotonic()))
                self.times[f"o-{number}"] = time.time()
                for copy in range(copies):
                    place = (number + copy) % self.partitions
                    value = self.event(number)
                    sent.append((number, await producer.send(self.topic, value, partition=place)))
                if not in_batches or len(sent) >= _BATCH or number == first + count - 1:
                    self._note([(order, await future) for order, future in sent])
                    sent.clear()

    def _note(self, sent: Iterable[tuple[int, Any]]) -> None:
        """Where orders went."""
        for number, at in sent:
            place = TopicPartition(at.topic, at.partition)
            self._ends[place] = at.offset + 1
            self._places[f"o-{number}"] = Place(place, at.offset)

    async def arrivals(
        self, count: int, where: Callable[[Received], bool] = lambda _: True
    ) -> None:
        """Waits until the sandbox has accepted so many."""
        await eventually(
            lambda: sum(map(where, self.box.record)) >= count,
            f"{count} arrivals",
            self.site.patience_s,
        )

    def excuse(self, keys: Iterable[str], reason: str) -> None:
        """Says why these may come twice."""
        for key in keys:
            self.reasons.setdefault(key, reason)

    async def ledger_is_lost(self) -> None:
        """From here on another ledger is used, which knows nothing: what was committed is not its
        business, and the rest begins anew. Nothing runs meanwhile."""
        offsets = await self.committed()
        done = {order for order, at in self._places.items() if at.offset < offsets[at.place]}
        arrived = {order_of(entry) for entry in self.box.record}
        assert done <= arrived, f"{len(done - arrived)} were committed and never arrived"
        self.forget(done)
        self._bygone = len(self.box.record)
        again = len(arrived - done)
        self.details["ledger lost"] = f"{len(done)} were done; {again} may come again uncounted"

    def forget(self, orders: Iterable[str]) -> None:
        """Leaves these out of the books."""
        for name in list(orders):
            del self.times[name], self._places[name]

    def excuse_orders(self, orders: Iterable[str], reason: str) -> None:
        """The same, once they have arrived, for orders."""
        chosen = set(orders)
        entries = (entry for entry in self.box.record if order_of(entry) in chosen)
        self.excuse((entry.key for entry in entries if entry.key), reason)

    # The end ------------------------------------------------------------------------------------

    def fault_ends(self) -> None:
        """From now on it recovers."""
        self._fault_ended = time.monotonic()

    async def drained(self) -> None:
        """Waits until all is committed, and nothing is open in the ledger."""

        async def is_drained() -> bool:
            try:
                if await self.committed() != self._ends:
                    return False
                return all(state.is_final for state in await self.states())
            except (KafkaError, LedgerDown, OSError):
                return False

        await eventually(is_drained, "all is committed and nothing is open", self.site.patience_s)
        self._drained = time.monotonic()

    async def committed(self) -> dict[TopicPartition, int]:
        """The group's offsets, of partitions that were published to."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.site.broker.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(
                self.group, partitions=list(self._ends)
            )
        finally:
            await admin.close()
        return {at: found.offset for at, found in offsets.items()}

    async def rows(self, kind: Kind = Kind.DELIVERY) -> list[Row]:
        return await read_rows(self.ledger, kind)

    async def states(self) -> dict[State, int]:
        """How many deliveries are in each state."""
        return await count_rows(self.ledger)

    async def end(self, arrived: Sequence[str] | None = None) -> Report:
        """Stops every daemon that still runs, and does the books.

        Args:
            arrived: The key of each effect, where it is not the sandbox that has them.
        """
        await self._note_counts()
        for running in self._lives:
            if running.process.is_running:
                await self.stop(running)
        rows = await self.rows()
        if arrived is None:
            arrived = self._arrived(rows)
        books = balance(
            planned=len(self.times) * self.steps,
            rows=rows,
            letters=await self.rows(Kind.DEAD_LETTER),
            arrived=arrived,
            counted=int(sum(self._counted.values())),
            excused=self.reasons,
        )
        if books.repeats:
            repeated = {key for key, times in Counter(arrived).items() if times > 1}
            reasons = sorted({self.reasons.get(key, "no reason") for key in repeated})
            self.details["repeats"] = f"{', '.join(reasons)}; {books.counted} counted"
        recovery = (
            None
            if self._fault_ended is None or self._drained is None
            else self._drained - self._fault_ended
        )
        return Report(self._published, books, recovery, self.details)

    def _arrived(self, rows: Sequence[Row]) -> list[str]:
        """The key of each effect since the ledger was last lost."""
        keys = {row.position: row.key.hex() for row in rows}
        places = {order: str(at) for order, at in self._places.items()}
        entries = list(self.box.record)[self._bygone :]
        arrived = [
            entry.key or keys.get(places.get(order_of(entry), ""), order_of(entry))
            for entry in entries
        ]
        if self.pace.standstills:
            self.details["the harness stood still"] = f"for up to {self.pace.longest_s:.1f} s"
            times = zip(arrived, entries, strict=True)
            met = [key for key, entry in times if self.pace.may_have_met(entry.at)]
            self.excuse(met, "the harness stood still, and answered too late")
        return arrived

    async def _note_counts(self) -> None:
        """Second sends that each daemon has counted, as long as it can be asked."""
        for running in self._lives:
            if running.process.is_running:
                scrape = await running.scrape()
                if _REPEATS.removesuffix("_total") in scrape.families:
                    self._counted[running.process.pid] = scrape.total(_REPEATS)


@asynccontextmanager
async def trial(
    site: Site,
    *,
    partitions: int = 1,
    has_topic: bool = True,
    sink: Mapping[str, Any] | None = None,
    sections: Callable[[Sandbox], Mapping[str, Any]] | None = None,
    steps: int = 1,
    event: Callable[[int], bytes] = order,
) -> AsyncGenerator[Trial]:
    """A trial whose daemons call the sandbox's API once for each order.

    Args:
        has_topic: The topic is there from the beginning.
        sink: Options of that sink.
        sections: Sinks, routes and other sections of the configuration instead.
        steps: Deliveries that each event asks for.
        event: Makes the event of a number.
    """
    mark = uuid.uuid4().hex[:8]
    site.folder.mkdir(parents=True, exist_ok=True)
    topic, group = f"orders.{mark}", f"router.{mark}"
    if has_topic:
        await create_topic(site.broker, topic, partitions)
    async with sandbox() as box, anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        stack.callback(tasks.cancel_scope.cancel)
        chosen = {
            "sinks": {"api": api_sink(box, **(sink or {}))},
            "routes": {"paid": order_route()},
        }
        if sections is not None:
            chosen = dict(sections(box))
        begun = Trial(
            site,
            box,
            topic,
            group,
            partitions,
            steps,
            chosen,
            _ledger(site),
            event,
            _stack=stack,
        )
        tasks.start_soon(begun.pace.watch)
        yield begun


def _ledger(site: Site) -> Mapping[str, Any]:
    if site.server is None:
        path = str(site.folder / "ledger.db")
        return {"type": "sqlite", "path": path, "ephemeral": True}
    namespace = {_NAMESPACES[site.ledger]: fresh_name()}
    return {"type": site.ledger, "url": site.server.url, "password": PASSWORD, **namespace}
