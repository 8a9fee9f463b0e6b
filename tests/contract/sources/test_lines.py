"""Sources of JSON lines: a file, standard input."""

# ruff: noqa: ASYNC240

import os
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from io import BufferedWriter, TextIOWrapper
from pathlib import Path
from typing import Any

import anyio
import pytest

from router.clock import SystemClock
from router.events import DecodeConfig, Event, Poison, TopicPartition, decode
from router.ledger.memory import MemoryLedger
from router.problems import ConfigError
from router.sources import KINDS, CommitFailed, Source
from tests.contract.sources.builders import Hearing, a_ledger

pytestmark = pytest.mark.anyio

PLACE = TopicPartition("events.jsonl", 0)


@asynccontextmanager
async def a_file_source(
    path: Path, ledger: MemoryLedger | None = None, hearing: Hearing | None = None, **config: Any
) -> AsyncGenerator[Source]:
    kind = KINDS.load("file")
    async with kind.open(
        kind.config.model_validate({"type": "file", "path": str(path)} | config),
        name="main",
        listener=hearing or Hearing(),
        ledger=ledger or a_ledger(),
        clock=SystemClock(),
    ) as source:
        yield source


async def all_of(source: Source) -> list[tuple[int, bytes | None]]:
    found: list[tuple[int, bytes | None]] = []
    with anyio.fail_after(10):
        while not source.has_ended:
            found += [(r.offset, r.value) for r in await source.read(2, 0.1)]
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


async def test_each_line_is_a_record_with_its_number(path: Path):
    path.write_bytes(b'{"a":1}\r\n\n{"a":2}\n  \n{"a":3}')
    hearing = Hearing()
    async with a_file_source(path, hearing=hearing) as source:
        assert hearing.heard == [("assigned", (PLACE,))]
        assert await all_of(source) == [(0, b'{"a":1}'), (2, b'{"a":2}'), (4, b'{"a":3}')]
        assert source.position(PLACE) == 5
        assert source.is_joined


async def test_an_empty_file_ends_at_once(path: Path):
    path.touch()
    async with a_file_source(path) as source:
        assert await all_of(source) == []


async def test_a_restart_resumes_at_the_committed_line(path: Path):
    path.write_text("".join(f'{{"n":{n}}}\n' for n in range(5)))
    ledger = a_ledger()
    async with a_file_source(path, ledger) as source:
        assert len(await all_of(source)) == 5
        await source.commit({PLACE: 3})
    async with a_file_source(path, ledger) as source:
        assert source.position(PLACE) == 3
        assert [offset for offset, _ in await all_of(source)] == [3, 4]
        await source.commit({PLACE: 5})
    async with a_file_source(path, ledger) as source:
        assert await all_of(source) == []


async def test_lines_without_ids_keep_their_identity_over_a_restart(path: Path):
    path.write_text('{"type":"a"}\n')

    async def identity() -> str:
        async with a_file_source(path) as source:
            [record] = await source.read(10, 1)
        event = decode(record, DecodeConfig())
        assert isinstance(event, Event)
        return event.identity

    assert await identity() == await identity()


async def test_a_line_that_is_too_long_is_poison_and_the_next_is_read(path: Path):
    path.write_bytes(b'{"type":"' + b"x" * 700_000 + b'"}\n{"type":"a"}\n')
    async with a_file_source(path, decode={"max_size": "1KiB"}) as source:
        records = []
        with anyio.fail_after(5):
            while not source.has_ended:
                records += await source.read(10, 0.1)
    long, fine = records
    poison = decode(long, DecodeConfig.model_validate({"max_size": "1KiB"}))
    assert isinstance(poison, Poison)
    assert poison.reason.code == "oversize"
    assert len(long.value) < 2000
    assert (fine.offset, fine.value) == (1, b'{"type":"a"}')


async def test_following_waits_for_whole_lines(path: Path):
    path.write_text('{"n":0}\n{"n"')
    async with a_file_source(path, follow=True) as source:
        assert [r.value for r in await source.read(10, 0.1)] == [b'{"n":0}']
        assert await source.read(10, 0.1) == []
        assert not source.has_ended
        with path.open("a") as file:
            file.write(":1}\n")
        records: list[Any] = []
        with anyio.fail_after(5):
            while not records:
                records += await source.read(10, 0.1)
        assert [(r.offset, r.value) for r in records] == [(1, b'{"n":1}')]


async def test_paused_it_gives_nothing(path: Path):
    path.write_text('{"n":0}\n')
    async with a_file_source(path) as source:
        source.pause([PLACE])
        assert await source.read(10, 0.05) == []
        assert not source.has_ended
        source.pause([PLACE])
        source.resume([PLACE])
        assert len(await source.read(10, 0.05)) == 1


async def test_a_commit_of_elsewhere_is_refused(path: Path):
    path.touch()
    async with a_file_source(path) as source:
        with pytest.raises(CommitFailed):
            await source.commit({TopicPartition("other", 0): 1})


async def test_a_missing_file_is_a_mistake_in_the_configuration(path: Path):
    with pytest.raises(ConfigError, match=r"source main: .*: No such file or directory") as raised:
        async with a_file_source(path):
            pass
    assert raised.value.problems[0].code == "E307"


# Standard input ------------------------------------------------------------------------------


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Generator[BufferedWriter]:
    """The writing end of a pipe whose reading end is standard input."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin:
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(stdin))
        with os.fdopen(writing, "wb") as writer:
            yield writer


@asynccontextmanager
async def a_stdin_source() -> AsyncGenerator[Source]:
    kind = KINDS.load("stdin")
    async with kind.open(
        kind.config.model_validate({"type": "stdin"}),
        name="pipe",
        listener=Hearing(),
        ledger=a_ledger(),
        clock=SystemClock(),
    ) as source:
        yield source


async def test_standard_input_is_read_as_it_comes_and_to_its_end(pipe: BufferedWriter):
    async with a_stdin_source() as source:
        assert await source.read(10, 0.05) == []
        pipe.write(b'{"n":0}\n{"n"')
        pipe.flush()
        with anyio.fail_after(5):
            [first] = await source.read(10, 2)
        assert (first.topic, first.offset, first.value) == ("stdin", 0, b'{"n":0}')
        pipe.write(b":1}")
        pipe.close()
        assert await all_of(source) == [(1, b'{"n":1}')]
        await source.commit({TopicPartition("stdin", 0): 2})


async def test_closing_does_not_wait_for_input(pipe: BufferedWriter):
    with anyio.fail_after(5):
        async with a_stdin_source() as source:
            assert await source.read(10, 0.05) == []
    assert not pipe.closed
