"""Child processes that never outlive us, with their output kept aside for failures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import Process

from router.clock import SystemClock

# Runs between fork and exec in an interpreter of its own, so that nothing has to run in a forked
# copy of a process with threads: asks the kernel to end it with its parent (prctl 1 is
# PR_SET_PDEATHSIG), looks whether the parent is gone already, and becomes the program.
_TIED_TO_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
_POLL_S = 0.05
_CLOCK = SystemClock()


class StartFailed(RuntimeError):
    """A child process ended, or was not ready in time; the text ends with its last output."""


@dataclass(frozen=True, slots=True)
class OwnedProcess:
    """A running child. ``log`` is the file with what it printed."""

    pid: int
    log: Path
    _process: Process

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    def send_signal(self, number: signal.Signals) -> None:
        """Signals the child itself, if it still runs."""
        if self.is_running:
            self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit status, once it has ended."""
        return await self._process.wait()

    def output(self, lines: int = 40) -> str:
        """The last lines it printed."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


@asynccontextmanager
async def owned_process(
    argv: Sequence[str | Path],
    *,
    log: Path,
    ready: Callable[[], Awaitable[bool]],
    start_timeout_s: float = 30.0,
    stop_timeout_s: float = 2.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> AsyncGenerator[OwnedProcess]:
    """Runs a program in a session of its own until the block ends.

    It is asked to end with SIGTERM and killed ``stop_timeout_s`` later; on Linux the kernel kills
    it too when this process dies in whatever way.

    Raises:
        StartFailed: it ended or ``ready`` stayed false for ``start_timeout_s``.
    """
    command = [sys.executable, "-S", "-E", "-c", _TIED_TO_PARENT, str(os.getpid())]
    with log.open("wb") as output:
        process = await anyio.open_process(
            [*command, *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=env,
            cwd=cwd,
        )
    child = OwnedProcess(process.pid, log, process)
    try:
        await _await_ready(child, ready, start_timeout_s, Path(argv[0]).name)
        yield child
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(child, stop_timeout_s)


async def _await_ready(
    child: OwnedProcess, ready: Callable[[], Awaitable[bool]], timeout_s: float, name: str
) -> None:
    with anyio.move_on_after(timeout_s):
        while child.is_running:
            if await ready():
                return
            await _CLOCK.sleep(_POLL_S)
    what = f"was not ready within {timeout_s:g} s" if child.is_running else "ended at once"
    raise StartFailed(f"{name} {what}; its last output:\n{child.output()}")


async def _stop(child: OwnedProcess, timeout_s: float) -> None:
    child.send_signal(signal.SIGTERM)
    with anyio.move_on_after(timeout_s):
        await child.wait()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens there."""
    try:
        stream = await anyio.connect_tcp(host, port)
    except OSError:
        return False
    await stream.aclose()
    return True
