"""Everything that the demo starts, in order, and ends again."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from router.clock import Clock, SystemClock
from router.config import Project, load_project
from router.daemon import Daemon, Options
from router.demo.mirror import mirrored
from router.demo.people import Whom, people_of
from router.demo.samples import samples_of
from router.events import Event
from router.kafka.admin import TopicSpec, ensure_topics
from router.kafka.connection import KafkaConnection
from router.kafka.producer import Producer, producer
from router.problems import ConfigError
from router.sandbox import Sandbox, embedded_broker, sandbox, variables_of
from router.sinks.kafka import KafkaSinkConfig
from router.sources.kafka import KafkaSourceConfig


class NoKafkaSource(Exception):
    """The project reads no topic that the demo could publish to; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """A demo under way.

    Attributes:
        people: Address to whom it reaches, for the samples' recipients.
    """

    project: Project
    daemon: Daemon
    box: Sandbox
    producer: Producer
    clock: Clock
    people: Mapping[str, Whom]

    @property
    def samples(self) -> list[Event]:
        """The events of every shipped sample, once each."""
        return samples_of(self.project)


@asynccontextmanager
async def running_demo(config: str, environment: str) -> AsyncGenerator[Running]:
    """Everything started and ready; all of it ends with the block.

    Raises:
        ConfigError: the configuration has mistakes.
        NoKafkaSource: nothing of the project reads from Kafka.
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
            if not any(isinstance(s, KafkaSourceConfig) for s in project.sources.values()):
                raise NoKafkaSource(
                    "the demo publishes the samples to Kafka, and no source of this project reads"
                    " from it; see it work with router dry-run, or with router run -e dev"
                )
            connection = KafkaConnection(bootstrap=(broker.bootstrap,))
            written = _written_topics(project, connection)
            topics = dict.fromkeys([*_read_topics(project), *written])
            await ensure_topics(connection, [TopicSpec(t, 2, 1) for t in topics])
            daemon = Daemon(
                project,
                lambda: load_project(config, environment, environ=variables),
                options=Options(watch_s=2.0),
                clock=clock,
            )
            async with (
                producer(connection) as opened,
                mirrored(connection, written, box.record, clock),
                anyio.create_task_group() as tasks,
            ):
                await tasks.start(daemon.run)
                with anyio.fail_after(30):
                    while not daemon.is_ready()[0]:
                        await clock.sleep(0.02)
                people = await people_of(project, clock)
                box.inbox.introduce(_names(people))
                try:
                    yield Running(project, daemon, box, opened, clock, people)
                finally:
                    with anyio.move_on_after(5, shield=True):
                        daemon.stop()
                        await daemon.stopped.wait()
                    tasks.cancel_scope.cancel()


def _names(people: Mapping[str, Whom]) -> dict[str, dict[str, str]]:
    """Addresses with names, as the inbox page wants them."""
    return {
        address: {"name": whom.name, "address": whom.address} for address, whom in people.items()
    }


def _variables(bootstrap: str, box: Sandbox, folder: Path) -> dict[str, str]:
    """What the shipped configuration reads from the environment; nothing else is read."""
    return variables_of(box) | {
        "KAFKA_BOOTSTRAP": bootstrap,
        "KAFKA_GROUP": "router-demo",
        "LEDGER_PATH": str(folder / "ledger.db"),
        "REPLIES_WINDOW": "1s",
        "ADMIN_LISTEN": "127.0.0.1:0",
        "PROBES_LISTEN": "127.0.0.1:0",
    }


def _read_topics(project: Project) -> list[str]:
    topics = [project.dead_letters.topic, project.dead_letters.replay_topic]
    for source in project.sources.values():
        if isinstance(source, KafkaSourceConfig):
            topics += source.topics
    return topics


def _written_topics(project: Project, broker: KafkaConnection) -> list[str]:
    """Where sinks publish on the demo's own broker."""
    return [
        sink.topic
        for sink in project.sinks.values()
        if isinstance(sink, KafkaSinkConfig) and sink.bootstrap == broker.bootstrap
    ]
