"""Listening addresses, and a web server that lives and ends with the task it runs in."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from router.config.settings import AdminSettings
from router.problems import ConfigError, Problem

_GRACE_S: Final = 2
_MAX_CONNECTIONS: Final = 100
_MAX_HEADERS: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, written ``127.0.0.1:9090`` or ``[::1]:9090``; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that a text names.

        Raises:
            ValueError: it is not ``host:port``; the message says what to write.
        """
        host, colon, port = text.strip().rpartition(":")
        is_bracketed = host.startswith("[") and host.endswith("]")
        if (
            not colon
            or not host
            or (":" in host and not is_bracketed)
            or not (port.isascii() and port.isdigit() and int(port) < 65536)
        ):
            raise ValueError(f'not an address: "{text}"; write host:port, as in 127.0.0.1:9090')
        return cls(host[1:-1] if is_bracketed else host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Reachable from this machine alone."""
        return is_loopback_host(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback_host(host: str) -> bool:
    """``localhost`` or a loopback address, without looking any name up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_admin(settings: AdminSettings) -> list[Problem]:
    """What is wrong with the listening addresses, and with going without a token."""
    problems: list[Problem] = []
    for name in ("listen", "probes"):
        try:
            address = Address.parse(getattr(settings, name))
        except ValueError as error:
            problems.append(Problem("S301", f"admin.{name}: {error}"))
            continue
        if name == "listen" and settings.token is None and not address.is_loopback:
            message = (
                f"admin.listen {address} is reachable from outside and there is no admin.token; "
                "set a token (!env ADMIN_TOKEN) or listen on 127.0.0.1"
            )
            problems.append(Problem("S302", message))
    return problems


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leaves the process's signal handlers alone: they are the daemon's."""
        yield


async def serve(
    app: ASGIApp,
    listen: str,
    *,
    task_status: TaskStatus[Address] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled, then lets requests under way finish, for two seconds at most.

    Reports the actual address when it listens: ``address = await tg.start(serve, app, listen)``.

    Raises:
        ConfigError: the address is wrong, or can't be listened on.
    """
    listening = _listen(listen)
    host, port = listening.getsockname()[:2]
    config = uvicorn.Config(
        app,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=_MAX_HEADERS,
    )
    server = _Server(config)

    async def run() -> None:
        with anyio.CancelScope(shield=True):
            await server.serve([listening])

    with listening:
        async with anyio.create_task_group() as tg:
            tg.start_soon(run)
            task_status.started(Address(str(host), int(port)))
            try:
                await anyio.sleep_forever()
            finally:
                server.should_exit = True


def _listen(text: str) -> socket.socket:
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise ConfigError([Problem("S301", str(error))]) from error
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        message = f"can't listen on {address}: {error.strerror or error}"
        raise ConfigError([Problem("E301", message)]) from error
    listening.setblocking(False)
    return listening
