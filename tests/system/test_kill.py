"""SIGKILL at every stage of a batch's life, and a restart: nothing is lost, repeats are counted.

One daemon for each stage, all at the same time on one broker and one sandbox. Each passes its
stage once undisturbed, and is killed while it works on a second wave of records.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from router.delivery.stages import Stage
from router.ledger import Kind, Row, State
from router.sandbox import Received, Sandbox, answer, sandbox
from tests.brokers import Broker, create_topic
from tests.system.processes import (
    Scrape,
    arrivals,
    count_states,
    daemon,
    eventually,
    ledger_rows,
)
from tests.system.projects import (
    api_sink,
    dead_letter_topics,
    kafka_source,
    order_route,
    secrets_of,
    write_project,
)
from tests.system.topics import committed, order, publish, read_all

pytestmark = pytest.mark.kill

_WAVE = 20
_PARTITIONS = 2
_REFUSED = "refused"
_SIGKILL = -9
_IMPATIENT = {"session_timeout": "2s"}
"""The group waits no longer for its dead member."""

_POINTS: Mapping[Stage, int] = {
    Stage.READ: 2,
    Stage.DECODED: 8,
    Stage.LOOKED_UP: 2,
    Stage.RENDERED: 8,
    Stage.CLAIMED: 2,
    Stage.SENT: 8,
    Stage.CONCLUDED: 8,
    Stage.SETTLED: 2,
    Stage.PUBLISHED: 1,
    Stage.COMMITTED: 2,
}
"""The how manieth time; decoded, rendered, sent and concluded come once for each record."""


@dataclass(slots=True)
class Aftermath:
    """What was found when a killed daemon's successor had finished.

    Attributes:
        sent: What the provider accepted, in both lives.
        in_doubt: Keys that were claimed when the process died.
        rows: Deliveries in the ledger at the end.
        letters: Records of the dead-letter topic.
    """

    exit_code: int = 0
    in_doubt: frozenset[str] = frozenset()
    sent: Sequence[Received] = ()
    rows: Sequence[Row] = ()
    letters: Sequence[Any] = ()
    scrape: Scrape = field(default_factory=Scrape)

    @property
    def repeated(self) -> set[str]:
        keys = [entry.key or "" for entry in self.sent]
        return {key for key in keys if keys.count(key) > 1}


@dataclass(frozen=True, slots=True)
class Site:
    """Where the tests of one run take place."""

    bootstrap: str
    box: Sandbox
    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])


async def _kill_and_restart(site: Site, name: str, point: str, **step: str) -> Aftermath:
    group, topic = f"router.{name}.{site.mark}", f"orders.{name}.{site.mark}"
    project = write_project(
        site.folder / name,
        sources={"main": kafka_source(site.bootstrap, [topic], group) | _IMPATIENT},
        # A lease far longer than the test: the restarted daemon must not wait for its end.
        sinks={"api": api_sink(site.box, concurrency=4, timeout="60s")},
        routes={"paid": order_route(f"/{name}", **step)},
        env=secrets_of(site.box),
    )
    site.box.http.faults.plan(f"/{name}/o-{_REFUSED}", always=answer(400))
    await create_topic(Broker("", site.bootstrap), topic, _PARTITIONS)
    after = Aftermath()
    async with daemon(project, "--fault-point", point) as first:
        await publish(site.bootstrap, topic, [order("first")])
        await arrivals(site.box, 1, lambda e: e.recipient.startswith(f"/{name}/"))

        async def is_committed() -> bool:
            return await committed(site.bootstrap, group, topic) == 1

        await eventually(is_committed, f"{name}: the first is committed")
        wave = [*map(order, range(_WAVE)), order(_REFUSED)]
        await publish(site.bootstrap, topic, wave, _PARTITIONS)
        after.exit_code = await first.ends()
    rows = await ledger_rows(project)
    after.in_doubt = frozenset(row.key.hex() for row in rows if row.state is State.CLAIMED)

    async with daemon(project) as second:
        ends = [1 + (len(wave) + 1) // 2, len(wave) // 2]

        async def offsets() -> list[int | None]:
            return [
                await committed(site.bootstrap, group, topic, partition)
                for partition in range(_PARTITIONS)
            ]

        async def is_finished() -> bool:
            letters = await ledger_rows(project, Kind.DEAD_LETTER)
            return (
                len(letters) >= 1
                and all(row.state is State.DELIVERED for row in letters)
                and await offsets() == ends
            )

        await eventually(is_finished, f"{name}: finished")
        after.scrape = await second.scrape()
        assert await second.stop() == 0
    after.rows = await ledger_rows(project)
    after.sent = [e for e in site.box.record if e.recipient.startswith(f"/{name}/")]
    letters = len(await ledger_rows(project, Kind.DEAD_LETTER))
    topic = dead_letter_topics(group)["topic"]
    after.letters = await read_all(site.bootstrap, topic, letters + 1, within_s=2)
    return after


async def _kill_everywhere(bootstrap: str, folder: Path) -> dict[str, Aftermath | Exception]:
    found: dict[str, Aftermath | Exception] = {}

    async def one(site: Site, name: str, point: str, **step: str) -> None:
        try:
            found[name] = await _kill_and_restart(site, name, point, **step)
        except Exception as error:
            found[name] = error

    async with sandbox() as box, anyio.create_task_group() as tasks:
        site = Site(bootstrap, box, folder)
        for stage, times in _POINTS.items():
            tasks.start_soon(one, site, str(stage), f"{stage}:{times}")
        tasks.start_soon(
            lambda: one(site, "at_most_once", f"{Stage.SENT}:8", in_doubt="dead_letter")
        )
    return found


@pytest.fixture(scope="module")
def aftermaths(
    evicting_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Aftermath | Exception]:
    """What became of each killed daemon."""
    return anyio.run(_kill_everywhere, evicting_broker.bootstrap, tmp_path_factory.mktemp("kill"))


def _get(aftermaths: Mapping[str, Aftermath | Exception], name: str) -> Aftermath:
    found = aftermaths[name]
    if isinstance(found, Exception):
        raise found
    return found


@pytest.mark.parametrize("stage", list(Stage))
def test_a_kill_at_any_stage_loses_nothing(
    aftermaths: Mapping[str, Aftermath | Exception], stage: Stage
) -> None:
    after = _get(aftermaths, stage)
    assert after.exit_code == _SIGKILL
    wanted = {f"/{stage}/o-{n}" for n in ("first", *range(_WAVE))}
    assert {entry.recipient for entry in after.sent} == wanted
    assert count_states(after.rows) == {State.DELIVERED: _WAVE + 1, State.DEAD: 1}
    delivered = {row.key.hex() for row in after.rows if row.state is State.DELIVERED}
    assert {entry.key for entry in after.sent} == delivered
    assert after.scrape.total("router_deliveries_open", state="in_flight") == 0


@pytest.mark.parametrize("stage", list(Stage))
def test_only_what_was_claimed_at_the_kill_is_repeated_and_that_is_counted(
    aftermaths: Mapping[str, Aftermath | Exception], stage: Stage
) -> None:
    after = _get(aftermaths, stage)
    assert after.repeated <= after.in_doubt
    assert after.scrape.total("router_in_doubt_total") == len(after.in_doubt)
    assert after.scrape.total("router_repeats_total") == len(after.in_doubt)
    if stage in (Stage.SENT, Stage.CONCLUDED):
        assert after.repeated


@pytest.mark.parametrize("stage", list(Stage))
def test_a_dead_letter_survives_the_kill(
    aftermaths: Mapping[str, Aftermath | Exception], stage: Stage
) -> None:
    letters = _get(aftermaths, stage).letters
    assert {letter.value for letter in letters} == {order(_REFUSED)}
    # Published and killed before the ledger knew of it, it is published again.
    assert len(letters) in ((2,) if stage is Stage.PUBLISHED else (1, 2))


def test_what_is_in_doubt_becomes_a_dead_letter_where_the_route_says_so(
    aftermaths: Mapping[str, Aftermath | Exception],
) -> None:
    after = _get(aftermaths, "at_most_once")
    assert after.exit_code == _SIGKILL
    assert after.in_doubt
    assert after.repeated == set()
    dead = {row.key.hex(): row for row in after.rows if row.state is State.DEAD}
    assert after.in_doubt <= dead.keys()
    assert all(dead[key].reason.code == "in_doubt" for key in after.in_doubt)  # type: ignore[union-attr]
    assert len(after.rows) == _WAVE + 2
    values = {letter.value for letter in after.letters}
    assert len(values) == len(after.letters) == len(dead)
