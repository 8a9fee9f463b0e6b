"""The sinks that stay on this machine: console and file."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from router.messages import ChatMessage, Delivered
from tests.contract.sinks.harness import opened, parcel

pytestmark = pytest.mark.anyio


async def test_the_console_shows_each_message(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened("console") as sink:
        assert isinstance(await sink.send(ChatMessage("Hi <b>you</b>"), "42"), Delivered)
    shown = capsys.readouterr().out
    assert "Hi you" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("fsync", [True, False])
async def test_a_file_is_appended_to(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "new" / "messages.jsonl"
    for start in (0, 3):
        async with opened("file", path=str(path), fsync=fsync) as sink:
            batch = [parcel(ChatMessage(f"m{n}"), "42", n) for n in range(start, start + 3)]
            assert await sink.send_batch(batch) == [Delivered()] * 3
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["message"]["html"] for line in lines] == [f"m{n}" for n in range(6)]
    assert [line["key"] for line in lines] == [f"{n:032x}" for n in range(6)]
