"""What every directory has to do, as tests that any directory can run.

Subclass :class:`DirectoryConformance` in a test module and give it a fixture ``scenario`` that is
a :class:`DirectoryScenario`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import pytest

from router.clock import ManualClock
from router.directories import (
    Directory,
    DirectoryConfig,
    DirectoryType,
    Found,
    Recipient,
    Unavailable,
    Unknown,
)
from router.testing.rules import mistakes_in

AT_MOST_S = 20.0
LATER_S = 3600.0
"""How far the clock moves where a directory may have kept what it knew."""
ODD_IDS = ("", " ", "../../etc/passwd", "a?b=c&d#e", "Ж\u202e", "x" * 5000)
"""What an event may hold where an id should stand."""


class People(Protocol):
    """Where the directory reads, under the suite's control; it holds the scenario's people."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The directory's options that reach it, without ``type``."""
        ...

    def fail(self) -> None:
        """From now on it gives no answer."""
        ...

    def recover(self) -> None:
        """It answers again."""
        ...


@dataclass(frozen=True, slots=True)
class DirectoryScenario:
    """One directory and the people in it.

    Attributes:
        kind: What the module exports as ``DIRECTORY``.
        known: People as the directory has to give them, two at least.
        people: Runs the place they come from, fresh, until the block ends.
        unknown: An id that nobody has; None where the directory knows everybody.
        can_fail: What it reads can be unreachable.
        secrets: Texts in the options that nobody may ever read.
    """

    kind: DirectoryType[Any]
    known: Sequence[Recipient]
    people: Callable[[], AbstractAsyncContextManager[People]]
    unknown: str | None = "nobody-has-this-id"
    can_fail: bool = True
    secrets: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Asked:
    """An open directory, the place it reads, and its clock."""

    directory: Directory
    people: People
    clock: ManualClock

    async def __call__(self, *ids: str) -> list[Found]:
        with anyio.fail_after(AT_MOST_S):
            found = list(await self.directory.lookup(list(ids)))
        assert len(found) == len(ids), f"{len(found)} answers to {len(ids)} ids"
        return found


@asynccontextmanager
async def opened(
    scenario: DirectoryScenario, people: People, clock: ManualClock | None = None
) -> AsyncGenerator[Asked]:
    """The directory, open until the block ends."""
    given = {"type": scenario.kind.name, **people.options}
    config = scenario.kind.config.model_validate(given)
    clock = clock or ManualClock()
    async with scenario.kind.open(config, clock=clock) as directory:
        yield Asked(directory, people, clock)


@asynccontextmanager
async def running(scenario: DirectoryScenario) -> AsyncGenerator[Asked]:
    async with scenario.people() as people, opened(scenario, people) as asked:
        yield asked


@pytest.mark.anyio
class DirectoryConformance:
    """The tests of every kind. It needs a fixture ``scenario``."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(autouse=True)
    def told(
        self, scenario: DirectoryScenario, caplog: pytest.LogCaptureFixture
    ) -> Generator[None]:
        """Nothing that is logged may hold a secret."""
        caplog.set_level(logging.DEBUG)
        yield
        said = [record.getMessage() for record in caplog.get_records("call")]
        for secret in scenario.secrets:
            assert not any(secret in text for text in said), "a secret was logged"

    def test_its_options_are_described_and_secrets_are_secret(
        self, scenario: DirectoryScenario
    ) -> None:
        config = scenario.kind.config
        assert issubclass(config, DirectoryConfig)
        assert mistakes_in(config, but=frozenset(DirectoryConfig.model_fields)) == []

    async def test_everybody_is_found_whole(self, scenario: DirectoryScenario) -> None:
        async with running(scenario) as ask:
            assert await ask(*(one.id for one in scenario.known)) == list(scenario.known)

    async def test_answers_come_in_the_order_asked(self, scenario: DirectoryScenario) -> None:
        first, second = scenario.known[:2]
        async with running(scenario) as ask:
            assert await ask(second.id, first.id, second.id) == [second, first, second]

    async def test_nobody_asked_is_nobody_found(self, scenario: DirectoryScenario) -> None:
        async with running(scenario) as ask:
            assert await ask() == []

    async def test_an_unknown_id_spoils_no_other(self, scenario: DirectoryScenario) -> None:
        if scenario.unknown is None:
            pytest.skip("the directory knows everybody")
        first, second = scenario.known[:2]
        async with running(scenario) as ask:
            found = await ask(first.id, scenario.unknown, second.id)
        assert found == [first, Unknown(scenario.unknown), second]

    @pytest.mark.parametrize("odd", ODD_IDS)
    async def test_an_odd_id_is_no_trouble(self, scenario: DirectoryScenario, odd: str) -> None:
        first = scenario.known[0]
        async with running(scenario) as ask:
            found = await ask(odd, first.id)
        assert isinstance(found[0], Unknown | Recipient), found[0]
        assert found[1] == first

    async def test_no_answer_is_not_unknown(self, scenario: DirectoryScenario) -> None:
        self._needs_failures(scenario)
        first = scenario.known[0]
        async with running(scenario) as ask:
            ask.people.fail()
            ids = [scenario.unknown or first.id, first.id]
            for found in await ask(*ids):
                assert isinstance(found, Unavailable), found
                assert first.id not in found.reason.text, "an id is personal data"
                for secret in scenario.secrets:
                    assert secret not in repr(found)

    async def test_it_recovers_by_itself(self, scenario: DirectoryScenario) -> None:
        self._needs_failures(scenario)
        first = scenario.known[0]
        async with running(scenario) as ask:
            ask.people.fail()
            await ask(first.id)
            ask.people.recover()
            ask.clock.advance(LATER_S)
            assert await ask(first.id) == [first]

    async def test_a_cancelled_look_up_leaves_it_usable(self, scenario: DirectoryScenario) -> None:
        first = scenario.known[0]
        async with running(scenario) as ask:
            for _ in range(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask, first.id)
                    await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
            assert await ask(first.id) == [first]

    async def test_look_ups_side_by_side(self, scenario: DirectoryScenario) -> None:
        found: list[Found] = []
        async with running(scenario) as ask:

            async def look_up(id: str) -> None:
                found.extend(await ask(id))

            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    for one in scenario.known:
                        tasks.start_soon(look_up, one.id)
        assert len(found) == 10 * len(scenario.known)
        assert all(found.count(one) == 10 for one in scenario.known)

    async def test_it_opens_again_after_it_was_closed(self, scenario: DirectoryScenario) -> None:
        first = scenario.known[0]
        async with scenario.people() as people:
            for _ in range(2):
                async with opened(scenario, people) as ask:
                    assert await ask(first.id) == [first]

    def _needs_failures(self, scenario: DirectoryScenario) -> None:
        if not scenario.can_fail:
            pytest.skip("what it reads is always there")
