"""``router demo``: from empty to all arrived, and away again without a trace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
import anyio.abc
import orjson
import pytest

from router.messages import Channel
from tests.brokers import ROOT
from tests.system.processes import ROUTER, eventually

pytestmark = pytest.mark.anyio

_KEYS = ["events", "planned", "delivered", "scheduled", "suppressed", "dead", "repeats", "inbox"]
_ARRIVAL_KEYS = ["sink", "channel", "recipient", "title", "text", "event_id", "route"]


def _command(*options: str) -> list[str]:
    return [str(ROUTER), "demo", "-c", str(ROOT / "config" / "router.yaml"), *options]


def _environment(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": str(folder)}


def _left_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


async def test_once_delivers_every_sample_and_leaves_nothing_two_at_a_time(tmp_path: Path) -> None:
    summaries: list[dict[str, object]] = []

    async def once(folder: Path) -> None:
        with anyio.fail_after(60):
            done = await anyio.run_process(
                _command("--once", "--output", "json"),
                env=_environment(folder),
                cwd=folder,
                check=False,
                stderr=subprocess.PIPE,
            )
        assert done.returncode == 0, done.stderr.decode()
        summaries.append(orjson.loads(done.stdout))
        assert _left_in(folder) == []

    async with anyio.create_task_group() as tasks:
        for name in ("one", "two"):
            tasks.start_soon(once, tmp_path / name)

    for summary in summaries:
        assert list(summary) == _KEYS
        counts = {name: summary[name] for name in _KEYS[:-1]}
        assert all(isinstance(count, int) for count in counts.values())
        ends = ("delivered", "scheduled", "suppressed", "dead")
        assert counts["planned"] == sum(counts[end] for end in ends)  # type: ignore[misc]
        assert (counts["scheduled"], counts["dead"], counts["repeats"]) == (0, 0, 0)
        inbox = summary["inbox"]
        assert isinstance(inbox, list)
        assert len(inbox) == counts["delivered"]
        for arrival in inbox:
            assert list(arrival) == _ARRIVAL_KEYS
            assert all(isinstance(value, str) for value in arrival.values())
            assert arrival["sink"]
            assert arrival["event_id"]
            assert arrival["route"]
        assert {arrival["channel"] for arrival in inbox} == set(Channel)
    assert summaries[0] != summaries[1]


@dataclass(slots=True)
class LiveDemo:
    """A demo that goes on, with what it started."""

    process: anyio.abc.Process
    folder: Path
    output: Path

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def children(self) -> set[int]:
        """Processes that it started, their children included."""
        parents = dict(_parents())
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}


def _parents() -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _status(int(entry.name))):
            found.append((int(entry.name), int(fields[1])))
    return found


def _status(pid: int) -> list[str] | None:
    """State and parent first; None where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _is_running(pid: int) -> bool:
    fields = _status(pid)
    return fields is not None and fields[0] != "Z"


@asynccontextmanager
async def _live_demo(tmp_path: Path) -> AsyncGenerator[LiveDemo]:
    """A demo in which a first message has arrived."""
    folder, output = tmp_path / "tmp", tmp_path / "output.txt"
    with output.open("wb") as file:
        process = await anyio.open_process(
            _command(), env=_environment(folder), cwd=tmp_path, stdout=file, stderr=file
        )
    demo = LiveDemo(process, folder, output)
    try:
        await eventually(lambda: "email" in demo.text() or "chat" in demo.text(), "a message")
        yield demo
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()


async def test_ctrl_c_ends_the_live_demo_and_everything_it_started(tmp_path: Path) -> None:
    async with _live_demo(tmp_path) as demo:
        children = demo.children()
        assert children
        assert _left_in(demo.folder)
        demo.process.send_signal(signal.SIGINT)
        with anyio.fail_after(5):
            assert await demo.process.wait() == 0
        assert not any(map(_is_running, children))
        assert _left_in(demo.folder) == []
        assert "Traceback" not in demo.text()


async def _fails(config: Path) -> tuple[int, str]:
    done = await anyio.run_process(
        [str(ROUTER), "demo", "--once", "-c", str(config)], check=False, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.decode()


async def test_a_project_that_can_not_be_shown_is_told_so_plainly(tmp_path: Path) -> None:
    config = tmp_path / "router.yaml"
    config.write_text("sinks: {}\n")
    (tmp_path / "env").mkdir()
    (tmp_path / "env/dev.yaml").write_text("{}\n")
    code, output = await _fails(config)
    assert code == 78
    assert 'error S003: router.yaml needs "sources"' in output
    config.write_text("sources: {a: {type: stdin}}\nsinks: {}\nledger: {type: memory}\n")
    code, output = await _fails(config)
    assert code == 3
    assert "no source of this project reads from it" in output
    assert "Traceback" not in output


async def test_the_inbox_page_knows_the_people_by_name(tmp_path: Path) -> None:
    async with _live_demo(tmp_path) as demo:
        address = re.search(r"inbox +(http://\S+)", demo.text())
        assert address
        async with aiohttp.ClientSession() as session:

            async def shows_a_name() -> bool:
                page = await (await session.get(address[1])).text()
                return any(name in page for name in ("Анна", "Тимур", "Emma", "Дмитрий", "Sofía"))

            await eventually(shows_a_name, "somebody's name")


async def test_a_killed_demo_leaves_no_broker_behind(tmp_path: Path) -> None:
    async with _live_demo(tmp_path) as demo:
        children = demo.children()
        assert children
        demo.process.send_signal(signal.SIGKILL)
        await demo.process.wait()
        await eventually(lambda: not any(map(_is_running, children)), "its children are gone", 5)
