"""PostgreSQL and Redis for tests: processes of our own on loopback, in temporary folders.

Each is started when first asked for and kept for the session. A test that asks for one is skipped,
with the reason, where its programs are not installed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from router.sandbox.certificates import Certificates, make_certificates
from router.sandbox.process import OwnedProcess, accepts_connections, free_port, owned_process

USER, PASSWORD = "router", "router-secret"
"""Who may log in to either server."""

_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        url: Where it is, without password.
        tls: Its certificates, where it speaks TLS.
    """

    port: int
    url: str
    process: OwnedProcess
    tls: Certificates | None = None


def program(name: str) -> Path:
    """The program of that name; skips the test where there is none."""
    places = [*os.get_exec_path(), "/usr/local/bin", *map(str, _INSTALLED)]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return Path(found)


# PostgreSQL ------------------------------------------------------------------------------------


@asynccontextmanager
async def postgres(folder: Path, port: int | None = None) -> AsyncGenerator[Server]:
    """PostgreSQL as it comes, with TLS offered; ``folder`` keeps its data from run to run."""
    port = port or free_port()
    data = folder / "data"
    if not data.exists():
        await anyio.to_thread.run_sync(_init_database, folder)
    tls = make_certificates(folder)
    _give_to_server(folder)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": folder,
        "ssl": "on",
        "ssl_cert_file": tls.server_file,
        "ssl_key_file": tls.server_file,
        # Every replica of every case that runs at the same time may open all of its connections.
        "max_connections": 300,
    }
    settings = [f"--{name}={value}" for name, value in options.items()]
    command = [*_as_server(), program("postgres"), "-D", data, *settings]
    async with owned_process(
        command,
        log=folder / "server.log",
        ready=lambda: _accepts_queries(port),
        stop_timeout_s=0.5,
        cwd=folder,
    ) as process:
        try:
            yield Server(port, f"postgresql://{USER}@127.0.0.1:{port}/postgres", process, tls)
        finally:
            # Fast shutdown: SIGTERM would wait for clients, SIGKILL leave shared memory behind.
            with anyio.move_on_after(5, shield=True):
                process.send_signal(signal.SIGINT)
                await process.wait()


@asynccontextmanager
async def postgres_standby(folder: Path, primary: Server) -> AsyncGenerator[Server]:
    """A replica that follows another server, which from now on waits for it with every commit."""
    import asyncpg

    _give_to_server(folder)
    command = [*_as_server(), str(program("pg_basebackup")), "-D", str(folder / "data")]
    command += ["-h", "127.0.0.1", "-p", str(primary.port), "-U", USER]
    command += ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
    with anyio.fail_after(60):
        await anyio.run_process(command, cwd=folder, env={"PGPASSWORD": PASSWORD})
    async with postgres(folder) as standby:
        connection = await asyncpg.connect(primary.url, password=PASSWORD)
        try:
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()
        yield standby


def _init_database(folder: Path) -> None:
    _give_to_server(folder)
    password = folder / "password"
    password.write_text(PASSWORD)
    _give_to_server(folder)
    command = [*_as_server(), program("initdb"), "-D", folder / "data", "-U", USER]
    command += ["--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")


def _server_user() -> pwd.struct_passwd | None:
    """Who runs PostgreSQL, which refuses to run as root; None: whoever we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no other user")


def _as_server() -> list[str]:
    """What a command starts with to run as that user."""
    user = _server_user()
    if user is None:
        return []
    who = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [str(program("setpriv")), *who, "--pdeathsig=KILL"]


def _give_to_server(folder: Path) -> None:
    user = _server_user()
    if user is None:
        return
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)


async def _accepts_queries(port: int) -> bool:
    import asyncpg

    try:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user=USER, password=PASSWORD, database="postgres"
        )
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
        return False
    await connection.close()
    return True


# Redis -----------------------------------------------------------------------------------------


@asynccontextmanager
async def redis(
    folder: Path,
    port: int | None = None,
    *,
    durable: bool = True,
    cluster: bool = False,
    tls: bool = False,
) -> AsyncGenerator[Server]:
    """Redis; durable ones write every command to disk and evict nothing."""
    port = port or free_port()
    plain, certificates = port, None
    options = {"bind": "127.0.0.1", "dir": str(folder), "requirepass": PASSWORD, "save": ""}
    options |= {"pidfile": str(folder / "redis.pid")}
    if durable:
        options |= {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    else:
        options |= {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}
    if cluster:
        options |= {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    if tls:
        certificates = make_certificates(folder)
        plain = free_port()
        options |= {"tls-port": str(port), "tls-auth-clients": "no"}
        options |= {"tls-cert-file": str(certificates.server_file)}
        options |= {"tls-key-file": str(certificates.server_file)}
        options |= {"tls-ca-cert-file": str(certificates.ca_file)}
    options["port"] = str(plain)
    settings = [text for name, value in options.items() for text in (f"--{name}", value)]
    async with owned_process(
        [program("redis-server"), *settings],
        log=folder / "server.log",
        ready=lambda: _answers_ping(plain, cluster=cluster),
        stop_timeout_s=0.5,
        cwd=folder,
    ) as process:
        yield Server(port, f"redis://127.0.0.1:{port}/0", process, certificates)


async def _answers_ping(port: int, *, cluster: bool) -> bool:
    from redis.asyncio import Redis
    from redis.exceptions import BusyLoadingError, ConnectionError, ResponseError

    if not await accepts_connections(port):
        return False
    client = Redis(port=port, host="127.0.0.1", password=PASSWORD)
    try:
        await client.ping()
        if cluster:
            try:
                await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            except ResponseError:  # they are its own already
                info = await client.execute_command("CLUSTER", "INFO")
                return "cluster_state:ok" in str(info) or "'cluster_state': 'ok'" in str(info)
            return False
    except (ConnectionError, BusyLoadingError):
        return False
    finally:
        await client.aclose()
    return True


# Fixtures --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def servers() -> Generator[Callable[[str], Server]]:
    """Gives the server of a kind, started when first asked for and kept for the session."""
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        running: dict[str, Server] = {}
        starters: dict[str, Callable[[Path], AbstractAsyncContextManager[Server]]] = {
            "postgres": postgres,
            "redis": redis,
        }

        def server_of(kind: str) -> Server:
            if kind not in running:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix=f"router-{kind}-")))
                starter = portal.wrap_async_context_manager(starters[kind](folder))
                running[kind] = stack.enter_context(starter)
            return running[kind]

        yield server_of


@pytest.fixture(scope="session")
def postgres_server(servers: Callable[[str], Server]) -> Server:
    return servers("postgres")


@pytest.fixture(scope="session")
def redis_server(servers: Callable[[str], Server]) -> Server:
    return servers("redis")


def fresh_name() -> str:
    """A name that nobody else has: a schema's or a prefix's."""
    return f"t{uuid.uuid4().hex[:12]}"
