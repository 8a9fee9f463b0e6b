"""A web server that lives and ends with the task it runs in."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from router.config.addresses import Address
from router.problems import ConfigError, Problem

_GRACE_S: Final = 2
_MAX_CONNECTIONS: Final = 100
_MAX_HEADERS: Final = 16 * 1024


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
