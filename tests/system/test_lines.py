"""Daemons that read a file or standard input: they end by themselves, and repeat nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from router.ledger import State
from router.sandbox import Sandbox, sandbox
from tests.system.place import orders_of
from tests.system.processes import (
    arrivals,
    count_states,
    daemon,
    ledger_rows,
    run_to_its_end,
)
from tests.system.projects import Project, api_sink, order_route, secrets_of, write_project
from tests.system.topics import order

pytestmark = pytest.mark.anyio


def _project(folder: Path, box: Sandbox, source: Mapping[str, Any], **sections: Any) -> Project:
    return write_project(
        folder,
        sources={"lines": source},
        sinks={"api": api_sink(box)},
        routes={"paid": order_route()},
        env=secrets_of(box),
        **sections,
    )


def _lines(*numbers: int) -> bytes:
    return b"".join(order(n) + b"\n" for n in numbers)


async def test_a_file_is_worked_off_and_a_restart_sends_only_what_is_new(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    async with sandbox() as box:
        project = _project(tmp_path, box, {"type": "file", "path": events.name})
        events.write_bytes(_lines(*range(100)) + b"no JSON\n")
        for _ in range(2):
            done = await run_to_its_end(project)
            assert done.returncode == 0, done.stdout.decode()
            assert len(box.record) == 100
        with events.open("ab") as file:
            file.write(_lines(100))
        assert (await run_to_its_end(project)).returncode == 0
        assert sorted(orders_of(list(box.record))) == sorted(f"o-{n}" for n in range(101))
    assert count_states(await ledger_rows(project)) == {State.DELIVERED: 101}
    (letter,) = (tmp_path / "dead-letters.jsonl").read_bytes().splitlines()
    assert orjson.loads(letter)["reason"] == "invalid_json"
    assert orjson.loads(letter)["value"] == "no JSON"


async def test_a_followed_file_goes_on_until_told_to_stop(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_bytes(_lines(1))
    async with sandbox() as box:
        project = _project(tmp_path, box, {"type": "file", "path": events.name, "follow": True})
        async with daemon(project) as running:
            await arrivals(box)
            with events.open("ab") as file:
                file.write(_lines(2, 3))
            await arrivals(box, 3)
            assert await running.stop() == 0
        assert orders_of(list(box.record)) == ["o-1", "o-2", "o-3"]


async def test_a_kill_amid_a_file_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(_lines(*range(50)))
    async with sandbox() as box:
        project = _project(tmp_path, box, {"type": "file", "path": "events.jsonl"})
        killed = await run_to_its_end(project, "--fault-point", "sent:20")
        assert killed.returncode == -9
        in_doubt = {r.key.hex() for r in await ledger_rows(project) if r.state is State.CLAIMED}
        assert (await run_to_its_end(project)).returncode == 0
        assert {e.recipient for e in box.record} == {f"/orders/o-{n}" for n in range(50)}
        assert set(box.record.repeats()) <= in_doubt
    assert count_states(await ledger_rows(project)) == {State.DELIVERED: 50}


async def test_standard_input_is_read_to_its_end(tmp_path: Path) -> None:
    async with sandbox() as box:
        project = _project(tmp_path, box, {"type": "stdin"}, ledger={"type": "memory"})
        done = await run_to_its_end(project, stdin=_lines(*range(20)))
        assert done.returncode == 0, done.stdout.decode()
        assert orders_of(list(box.record)).count("o-19") == 1
        assert len(box.record) == 20


async def test_a_line_that_keeps_killing_the_daemon_is_set_aside(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_bytes(_lines(1))
    async with sandbox() as box:
        project = _project(tmp_path, box, {"type": "file", "path": events.name})
        exits = [
            (await run_to_its_end(project, "--fault-point", "decoded:1")).returncode
            for _ in range(5)
        ]
        # The first death is of a batch: no single line is suspected yet.
        assert exits == [-9, -9, -9, -9, 0]
        with events.open("ab") as file:
            file.write(_lines(2))
        assert (await run_to_its_end(project)).returncode == 0
        assert orders_of(list(box.record)) == ["o-2"]
    (letter,) = (tmp_path / "dead-letters.jsonl").read_bytes().splitlines()
    assert orjson.loads(letter)["reason"] == "crashed"
    assert orjson.loads(letter)["value"].encode() == order(1)
