"""The example plugin: built and installed as its author would, then tested, checked and used."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
import orjson
import pytest

from router.testing import HttpProvider, http_provider, json_answer

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "examples" / "plugin"
ROOM = "!ops:acme.example"
ALLOWED = {"directories", "messages", "recipients", "sinks", "testing", "values"}
"""The rooms of the router that a plugin may import."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin's source in ``plugin`` and the installed package in ``site``."""
    folder = tmp_path_factory.mktemp("author")
    shutil.copytree(PLUGIN, folder / "plugin", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--no-index", "--no-deps", "--no-build-isolation", "--target", "site", "./plugin"]
    made = python(folder, ".", *install)
    assert made.returncode == 0, made.stderr
    overlay = folder / "plugin" / "example" / "config" / "env" / "test.yaml"
    overlay.write_text("admin: {enabled: false}\n")
    return folder


def python(
    folder: Path, where: str, *args: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Python with the installed plugin beside the router."""
    environ = {**os.environ, "PYTHONPATH": str(folder / "site"), "NO_COLOR": "1", **variables}
    environ.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, *args],
        cwd=folder / where,
        env=environ,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def router(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command on the example project."""
    command = "from router.cli import main; main(prog_name='router')"
    given = {"MATRIX_TOKEN": "syt_planted", **variables}
    return python(folder, "plugin/example", "-c", command, *args, **given)


def test_its_own_tests_pass(installed: Path) -> None:
    tests = python(installed, "plugin", "-m", "pytest", "-p", "no:cacheprovider")
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert " passed" in tests.stdout


def test_a_project_that_uses_it_is_sound(installed: Path) -> None:
    checked = router(installed, "check", "--strict")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 route, 1 sink, 1 template" in checked.stdout
    assert "prod  fine" in checked.stdout


def test_it_is_listed_as_a_plugin(installed: Path) -> None:
    listed = router(installed, "sinks", "--output", "json")
    found = {one["type"]: one for one in orjson.loads(listed.stdout)["sinks"]}
    assert found["matrix"]["plugin"] == "router-plugin-matrix 1.0.0"


def test_what_it_would_send_is_shown(installed: Path) -> None:
    shown = router(installed, "dry-run", "events.jsonl")
    assert shown.returncode == 0, shown.stderr
    assert "Incident 17: Payments are slow" in shown.stdout
    assert "https://matrix.to/#/@anna:acme.example" in shown.stdout


@asynccontextmanager
async def homeserver() -> AsyncGenerator[tuple[HttpProvider, str]]:
    async with http_provider(
        lambda call: json_answer(200, {"event_id": "$1"}), lambda url: {"url": url}
    ) as provider:
        yield provider, str(provider.options["url"])


async def test_the_daemon_delivers_through_it(installed: Path) -> None:
    async with homeserver() as (provider, url):
        ran = await anyio.to_thread.run_sync(
            lambda: router(installed, "run", "-e", "test", MATRIX_URL=url)
        )
    assert ran.returncode == 0, ran.stderr
    assert len(provider.calls) == 2
    first = orjson.loads(provider.calls[0].body)
    assert first["formatted_body"].startswith("<b>Incident 1")
    assert "syt_planted" not in ran.stderr + ran.stdout


async def test_a_test_message_goes_through_it(installed: Path) -> None:
    async with homeserver() as (provider, url):
        sent = await anyio.to_thread.run_sync(
            lambda: router(
                installed, "sinks", "test", "rooms", "--to", ROOM, "--yes", MATRIX_URL=url
            )
        )
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.startswith("rooms (matrix) → !ops:acme.example: delivered in ")
    assert orjson.loads(provider.calls[0].body)["body"].startswith("[test] ")


def test_it_imports_only_what_plugins_may() -> None:
    files = [*PLUGIN.glob("src/**/*.py"), *PLUGIN.glob("tests/*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("router."):
                room = (node.module or "").split(".")[1]
                assert room in ALLOWED, f"{path.name} imports {node.module}"
