"""Every built-in directory passes the suite that plugins' authors run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from router.directories import KINDS
from router.recipients import Recipient
from router.testing.directories import DirectoryConformance, DirectoryScenario, People

PEOPLE = """\
- id: anna
  email: anna@example.ru
  locale: ru
  attributes: {city: Omsk}
- id: "42"
  telegram: 100500
"""


class _Nothing:
    options: Mapping[str, Any] = {}

    def fail(self) -> None: ...
    def recover(self) -> None: ...


@asynccontextmanager
async def _nothing() -> AsyncGenerator[People]:
    yield _Nothing()


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.options: Mapping[str, Any] = {"path": str(path)}
        self.recover()

    def fail(self) -> None:
        self._path.unlink()

    def recover(self) -> None:
        self._path.write_text(PEOPLE, "utf-8")


@asynccontextmanager
async def _file() -> AsyncGenerator[People]:
    with TemporaryDirectory() as folder:
        yield _File(Path(folder, "people.yaml"))


SCENARIOS = {
    "event": DirectoryScenario(
        KINDS.load("event"),
        [Recipient("anna"), Recipient("42")],
        _nothing,
        unknown=None,
        can_fail=False,
    ),
    "file": DirectoryScenario(
        KINDS.load("file"),
        [
            Recipient("anna", email="anna@example.ru", locale="ru", attributes={"city": "Omsk"}),
            Recipient("42", telegram="100500"),
        ],
        _file,
    ),
}


class TestBuiltInDirectories(DirectoryConformance):
    @pytest.fixture(params=SCENARIOS.values(), ids=SCENARIOS)
    def scenario(self, request: pytest.FixtureRequest) -> DirectoryScenario:
        return request.param


def test_every_built_in_directory_has_a_scenario() -> None:
    assert set(KINDS.names()) == set(SCENARIOS)
