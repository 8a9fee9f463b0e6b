"""``router silence``, against the admin server of a daemon."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
from anyio.to_thread import run_sync

from router.admin import admin_app
from router.clock import SystemClock
from router.delivery.readings import Readings
from router.delivery.silences import Silences
from router.delivery.watched import WatchedLedger
from router.ledger.memory import MemoryLedger
from router.telemetry import Metrics
from router.values import Secret
from tests.contract.admin.builders import Reloads, StatedHealth, overview, running
from tests.contract.authoring.builders import ROUTER, write_project
from tests.contract.authoring.cli import Ran, run

pytestmark = pytest.mark.anyio


@dataclass
class Daemon:
    config: Path
    url: str
    silences: Silences

    async def silence(self, *args: str) -> Ran:
        where = ("--config", self.config, "--admin", self.url)
        return await run_sync(lambda: run("silence", args[0], *args[1:], *where))


@asynccontextmanager
async def daemon(
    folder: Path, token: str | None = None, *, knows: bool = True
) -> AsyncIterator[Daemon]:
    text = dedent(ROUTER)
    if token is not None and knows:
        text += f"admin: {{token: !secret {token}}}\n"
    clock, metrics = SystemClock(), Metrics()
    ledger = WatchedLedger(MemoryLedger(owner="one", clock=clock), clock, metrics)
    silences = Silences(ledger, Readings(), clock, metrics)
    app = admin_app(
        StatedHealth(),
        lambda: b"",
        reload=Reloads(),
        overview=overview,
        token=Secret(token) if token else None,
        silences=silences,
    )
    async with running(app) as address:
        url = f"http://{address.host}:{address.port}"
        yield Daemon(write_project(folder, router=text), url, silences)


FOR_2H = ("--for", "2h", "--comment", "the bank is down", "--author", "ann")


async def test_a_silence_is_added_listed_and_expired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with daemon(tmp_path, "open-sesame") as asked:
        added = await asked.silence(
            "add", "--match", "type: order.paid", "--route", "paid", *FOR_2H
        )
        assert added.code == 0, added
        [silence] = asked.silences.active
        assert (silence.match, silence.route) == ({"type": "order.paid"}, "paid")
        assert (silence.author, silence.comment) == ("ann", "the bank is down")
        listed = await asked.silence("list")
        assert f"{silence.id}  type: order.paid, route paid  until " in listed.out
        assert "ann: the bank is down" in listed.out
        as_json = (await asked.silence("list", "--output", "json")).json
        assert [one["id"] for one in as_json["silences"]] == [silence.id]
        assert (await asked.silence("expire", silence.id)).out == f"{silence.id} has ended\n"
        assert not asked.silences.active
        assert (await asked.silence("expire", silence.id)).code == 2
        assert "nothing is silenced" in (await asked.silence("list")).out
    actions = [r.getMessage() for r in caplog.records if r.name == "router.audit"]
    assert actions == [f"silence.add {silence.id}", f"silence.expire {silence.id}"]


async def test_a_wrong_token_changes_nothing(tmp_path: Path) -> None:
    async with daemon(tmp_path, "open-sesame", knows=False) as asked:
        refused = await asked.silence("add", "--route", "paid", *FOR_2H)
        assert refused.code == 3
        assert "a bearer token is needed" in refused.err
        assert not asked.silences.active


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--route", "piad"), 'Did you mean "paid"?'),
        (("--match", "tipe: x"), "tipe"),
        (("--match", "when: 'true'"), "a silence has no when:"),
        ((), "say what is silenced"),
    ],
)
async def test_mistakes_are_told(tmp_path: Path, args: tuple[str, ...], says: str) -> None:
    async with daemon(tmp_path) as asked:
        ran = await asked.silence("add", *args, *FOR_2H)
        assert ran.code == 2
        assert says in ran.err
        assert not asked.silences.active


async def test_a_silence_has_an_end(tmp_path: Path) -> None:
    async with daemon(tmp_path) as asked:
        for end in ((), ("--for", "soon"), ("--until", "2020-01-01T00:00:00Z"), ("--until", "x")):
            ran = await asked.silence("add", "--route", "paid", "--comment", "c", *end)
            assert ran.code == 2, ran
        assert not asked.silences.active


async def test_a_daemon_that_does_not_answer_is_named(tmp_path: Path) -> None:
    config = write_project(tmp_path)
    ran = await run_sync(
        lambda: run("silence", "list", "--config", config, "--admin", "http://127.0.0.1:1")
    )
    assert ran.code == 3
    assert "the daemon can't be reached at http://127.0.0.1:1" in ran.err
    assert "start it, or name another's address with --admin" in ran.err
