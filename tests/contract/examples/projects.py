"""The example projects: copies of them, pointed at a look-alike, run by the daemon or by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from router.clock import SystemClock
from router.config import load_project
from router.messages import Outcome, Parcel, Request, Target
from router.sinks import KINDS, Sink, SinkTools
from router.testing import http_provider
from tests.contract.examples.services import Service

EXAMPLES = Path(__file__).parents[3] / "examples" / "http"
_OVERLAY = """
production: false
ledger: {type: memory}
admin: {enabled: false}
"""


@dataclass(frozen=True, slots=True)
class Example:
    """A copy of an example, and the service that it calls.

    Attributes:
        variables: The environment that its configuration reads.
    """

    folder: Path
    service: Service
    variables: Mapping[str, str]

    async def run(self) -> subprocess.CompletedProcess[str]:
        """The daemon, to the end of the events."""
        return await self.router("run", "-e", "test")

    async def router(self, *args: str) -> subprocess.CompletedProcess[str]:
        """A command on the project, while the service goes on answering."""
        code = "from router.cli import main; main(prog_name='router')"
        return await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [sys.executable, "-c", code, *args],
                cwd=self.folder,
                env={**os.environ, **self.variables, "NO_COLOR": "1"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        )

    async def send(self, request: Request, key: int = 1) -> Outcome:
        """One attempt through the project's one sink."""
        loaded = load_project(self.folder, environ={**self.variables})
        assert loaded.project is not None, [p.headline() for p in loaded.problems]
        [(name, config)] = loaded.project.sinks.items()
        parcel = Parcel(key.to_bytes(16, "big"), request, Target("", "request"))
        async with KINDS.load(config.type).open(config, SinkTools(name, SystemClock())) as sink:
            assert isinstance(sink, Sink)
            return await sink.send(parcel)


@asynccontextmanager
async def example(
    name: str, folder: Path, service: Service, variables: Mapping[str, str]
) -> AsyncGenerator[Example]:
    """A copy of the example, and its service, running until the block ends.

    Args:
        variables: With ``{url}`` where the service's address belongs.
    """
    shutil.copytree(EXAMPLES / name, folder / name)
    overlays = folder / name / "config" / "env"
    overlays.mkdir()
    (overlays / "test.yaml").write_text(_OVERLAY)
    async with http_provider(service.answer, lambda url: {"url": url}) as provider:
        url = str(provider.options["url"])
        filled = {key: value.replace("{url}", url) for key, value in variables.items()}
        yield Example(folder / name, service, filled)
