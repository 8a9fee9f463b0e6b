"""The demo: broker, providers, daemon and generator on this machine, from empty, and away again."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, final

import anyio
import orjson

from router.authoring.rehearsal import rehearse
from router.clock import Clock, SystemClock
from router.config import Project, load_project
from router.daemon import Daemon, Options
from router.directories import KINDS as DIRECTORIES
from router.events import Event, Record
from router.kafka.admin import TopicSpec, ensure_topics
from router.kafka.connection import KafkaConnection
from router.kafka.producer import Producer, producer
from router.ledger import Kind, Ledger, Row, State
from router.planning import select
from router.problems import ConfigError
from router.recipients import Recipient
from router.sandbox import Received, Sandbox, embedded_broker, sandbox
from router.sources.kafka import KafkaSourceConfig

_SETTLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """A demo under way.

    Attributes:
        people: Address to the name of whom it reaches, for the samples' recipients.
    """

    project: Project
    daemon: Daemon
    box: Sandbox
    producer: Producer
    clock: Clock
    people: Mapping[str, str]

    @property
    def samples(self) -> list[Event]:
        """The events of every shipped sample, once each."""
        return _samples(self.project)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message in the sandbox's record, and where it came from."""

    sink: str
    channel: str
    recipient: str
    title: str
    text: str
    event_id: str
    route: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``--once`` came to; deliveries by how they ended.

    Attributes:
        missing: Delivered keys that the sandbox's record does not have.
    """

    events: int
    planned: int
    delivered: int
    scheduled: int
    suppressed: int
    dead: int
    repeats: int
    inbox: tuple[Arrival, ...] = field(default=())
    missing: int = 0

    @property
    def is_fine(self) -> bool:
        """Nothing is dead or open, and everything delivered did arrive."""
        return self.dead == 0 and self.scheduled == 0 and self.missing == 0

    def as_dict(self) -> dict[str, Any]:
        names = [n for n in self.__slots__ if n not in ("inbox", "missing")]
        arrivals = [{n: getattr(a, n) for n in a.__slots__} for a in self.inbox]
        return {n: getattr(self, n) for n in names} | {"inbox": arrivals}


@asynccontextmanager
async def running_demo(config: str, environment: str) -> AsyncGenerator[Running]:
    """Everything started and ready; all of it ends with the block.

    Raises:
        ConfigError: the configuration has mistakes.
        BrokerMissing, CryptographyMissing: the ``demo`` extra is not installed.
    """
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="router-demo-") as folder:
        async with embedded_broker() as broker, sandbox() as box:
            variables = _variables(broker.bootstrap, box, Path(folder))
            loaded = load_project(config, environment, environ=variables)
            if loaded.project is None:
                raise ConfigError(loaded.problems)
            project = loaded.project
            connection = KafkaConnection(bootstrap=(broker.bootstrap,))
            await ensure_topics(connection, [TopicSpec(t, 2, 1) for t in _topics(project)])
            daemon = Daemon(
                project,
                lambda: load_project(config, environment, environ=variables),
                options=Options(watch_s=2.0),
                clock=clock,
            )
            async with producer(connection) as opened, anyio.create_task_group() as tasks:
                await tasks.start(daemon.run)
                with anyio.fail_after(30):
                    while not daemon.is_ready()[0]:
                        await clock.sleep(0.02)
                people = await _people(project, clock)
                try:
                    yield Running(project, daemon, box, opened, clock, people)
                finally:
                    with anyio.move_on_after(5, shield=True):
                        daemon.stop()
                        await daemon.stopped.wait()
                    tasks.cancel_scope.cancel()


def _variables(bootstrap: str, box: Sandbox, folder: Path) -> dict[str, str]:
    """What the shipped configuration reads from the environment; nothing else is read."""
    smtp = box.addresses["smtp"].removeprefix("smtp://")
    host, _, port = smtp.rpartition(":")
    return {
        "KAFKA_BOOTSTRAP": bootstrap,
        "KAFKA_GROUP": "router-demo",
        "LEDGER_PATH": str(folder / "ledger.db"),
        "SMTP_HOST": host,
        "SMTP_PORT": port,
        "SMTP_PASSWORD": box.credentials["smtp_password"],
        "TELEGRAM_URL": box.addresses["telegram"],
        "TELEGRAM_TOKEN": box.credentials["telegram_token"],
        "ACCOUNTING_URL": box.addresses["webhook"] + "/invoices",
        "ACCOUNTING_SECRET": box.credentials["webhook_secret"],
        "CRM_URL": box.addresses["http"],
        "CRM_TOKEN": box.credentials["http_bearer"],
        "ADMIN_LISTEN": "127.0.0.1:0",
        "PROBES_LISTEN": "127.0.0.1:0",
    }


def _topics(project: Project) -> list[str]:
    topics = [project.dead_letters.topic, project.dead_letters.replay_topic]
    for source in project.sources.values():
        if isinstance(source, KafkaSourceConfig):
            topics += source.topics
    return list(dict.fromkeys(topics))


# Events --------------------------------------------------------------------------------------


def _samples(project: Project) -> list[Event]:
    found: dict[str, Event] = {}
    for template in project.templates.values():
        for sample in template.samples:
            if sample.view.event.record.value is not None:
                found.setdefault(sample.view.event.id, sample.view.event)
    return list(found.values())


async def _people(project: Project, clock: Clock) -> dict[str, str]:
    """Who is behind each address that the samples reach."""
    ids: set[str] = set()
    for sample in _samples(project):
        for route in project.routes.values():
            ids |= {draft.id for draft in select(route, sample).drafts}
    wanted = sorted(ids)
    opening = DIRECTORIES.load(project.directory.type).open(project.directory, clock=clock)
    async with opening as directory:
        found = await directory.lookup(wanted)
    return {
        address: person.name or person.id
        for person in found
        if isinstance(person, Recipient)
        for address in (person.email, person.telegram, person.max)
        if address
    }


def stamped(sample: Event, now: float) -> Record:
    """A sample as a record of its own: a CloudEvent in binary mode, with a new id and time."""
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_type": sample.type,
        "ce_source": f"/kolibri/{sample.topic}",
        "ce_time": moment.replace("+00:00", "Z"),
        "content-type": "application/json",
    }
    if sample.subject is not None:
        attributes["ce_subject"] = sample.subject
    headers = tuple((name, value.encode()) for name, value in attributes.items())
    value = orjson.dumps(sample.data)
    return Record(sample.topic, 0, 0, now, sample.record.key, value, headers)


async def publish(demo: Running, records: Sequence[Record]) -> None:
    """Publishes records to their topics."""
    for record in records:
        outgoing = [(record.key, record.value, record.headers)]
        await demo.producer.publish(record.topic, outgoing)


async def keep_publishing(demo: Running, random: Random, pause_s: float = 1.5) -> None:
    """Publishes a sample now and then, for ever."""
    samples = demo.samples
    while True:
        await publish(demo, [stamped(random.choice(samples), demo.clock.now())])
        await demo.clock.sleep(pause_s * (0.5 + random.random()))


# Once ----------------------------------------------------------------------------------------


async def run_once(demo: Running) -> Summary:
    """Publishes every sample once and waits until nothing is open, for a minute at most."""
    now = demo.clock.now()
    records = [stamped(sample, now) for sample in demo.samples]
    origins = await _origins(demo.project, records, now)
    await publish(demo, records)
    with anyio.move_on_after(_SETTLE_S):
        while demo.daemon.records_read < len(records) or not await _is_settled(demo.daemon):
            await demo.clock.sleep(0.1)
    return await _summary(demo, len(records), origins)


async def _is_settled(daemon: Daemon) -> bool:
    if not daemon.is_idle:
        return False
    await daemon.settler.flush()
    stats = await daemon.look_at_ledger()
    return not any(count for (_, state), count in stats.rows.items() if not state.is_final)


@dataclass(frozen=True, slots=True)
class _Origin:
    event_id: str
    route: str
    sink: str


async def _origins(
    project: Project, records: Sequence[Record], now: float
) -> Mapping[str, _Origin]:
    """Where each delivery key comes from, as a rehearsal says."""
    source = next(iter(project.sources.values()))
    opening = DIRECTORIES.load(project.directory.type).open(project.directory, clock=SystemClock())
    async with opening as directory:
        rehearsed = await rehearse(project, records, source.decode, directory, now)
    return {
        line.key: _Origin(event.event.id, route.route.id, line.sink)
        for event in rehearsed
        if isinstance(event.event, Event)
        for route in event.routes
        for line in route.lines
        if line.key
    }


async def _summary(demo: Running, events: int, origins: Mapping[str, _Origin]) -> Summary:
    stats = await demo.daemon.look_at_ledger()
    counts = {
        state: sum(n for (kind, s), n in stats.rows.items() if s is state and kind in _COUNTED)
        for state in State
    }
    witness = Witness(demo.box)
    keys = [row.key.hex() for row in await _delivered(demo.daemon.ledger)]
    return Summary(
        events=events,
        planned=sum(counts.values()),
        delivered=counts[State.DELIVERED],
        scheduled=counts[State.SCHEDULED] + counts[State.WAITING] + counts[State.CLAIMED],
        suppressed=counts[State.SUPPRESSED],
        dead=counts[State.DEAD],
        repeats=sum(n - 1 for n in demo.box.record.repeats().values()),
        inbox=tuple(_arrival(entry, witness.key_of(entry), origins) for entry in demo.box.record),
        missing=sum(not witness.has(key) for key in keys),
    )


_COUNTED = frozenset({Kind.DELIVERY})


async def _delivered(ledger: Ledger) -> list[Row]:
    rows: list[Row] = []
    while page := await ledger.rows(
        state=State.DELIVERED, after=rows[-1].key if rows else None, limit=500
    ):
        rows += page
    return rows


def _arrival(entry: Received, key: str, origins: Mapping[str, _Origin]) -> Arrival:
    origin = origins.get(key, _Origin("", "", entry.provider))
    return Arrival(
        sink=origin.sink,
        channel=entry.channel,
        recipient=entry.recipient,
        title=entry.title,
        text=entry.text,
        event_id=origin.event_id,
        route=origin.route,
    )


@final
class Witness:
    """Finds delivery keys in what providers saw of them on the wire."""

    def __init__(self, box: Sandbox) -> None:
        self._seen = {self.key_of(entry) for entry in box.record}

    def has(self, key: str) -> bool:
        return key in self._seen

    @staticmethod
    def key_of(entry: Received) -> str:
        """The delivery key inside a ``Message-ID``, ``webhook-id`` or request id."""
        text = (entry.key or "").removeprefix("<").removeprefix("msg_")
        return text.partition("@")[0]
