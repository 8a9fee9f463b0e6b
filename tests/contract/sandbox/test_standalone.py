"""A sandbox started by hand tells where everything stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import anyio
import pytest

from router.config import load_project
from router.sandbox import DEFAULT_PORTS, run_sandbox
from router.sandbox.process import free_port
from tests.contract.sandbox.builders import call

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).parents[3] / "config"


async def test_prints_addresses_and_serves_until_cancelled(tmp_path: Path) -> None:
    ports = {name: free_port() for name in DEFAULT_PORTS}
    said: list[str] = []
    complete = anyio.Event()

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("variables"):
            complete.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run_sandbox, say, ports, tmp_path / "var")
        with anyio.fail_after(5):
            await complete.wait()
        for port in ports.values():
            assert any(line.endswith(f":{port}") for line in said)
        assert (await call("GET", f"http://127.0.0.1:{ports['control']}/record")).status == 200
        names = {path.name for path in (tmp_path / "var").iterdir()}
        assert {"ca.pem", "fcm-service-account.json", "apns-key.p8"} <= names
        group.cancel_scope.cancel()


async def test_the_shipped_configuration_runs_with_the_variables_of_its_file(
    tmp_path: Path,
) -> None:
    complete = anyio.Event()

    def say(line: str) -> None:
        if line.startswith("variables"):
            complete.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run_sandbox, say, {}, tmp_path)
        with anyio.fail_after(5):
            await complete.wait()
        words = shlex.split((tmp_path / "env").read_text())
        variables = dict(word.split("=", 1) for word in words if word != "export")
        loaded = load_project(CONFIG, "dev", environ=variables)
        assert [problem.headline() for problem in loaded.problems] == []
        assert loaded.project is not None
        group.cancel_scope.cancel()
