"""How a process is called in the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.config import load_project
from router.daemon import Daemon, Options

pytestmark = pytest.mark.anyio

_CONFIG = """\
sources:
  events: {type: file, path: events.jsonl}
sinks:
  terminal: {type: console}
ledger: {type: memory}
admin: {enabled: false}
"""


async def test_lives_of_one_process_number_have_owners_of_their_own(tmp_path: Path) -> None:
    config = tmp_path / "router.yaml"
    config.write_text(_CONFIG)
    (tmp_path / "events.jsonl").touch()

    async def owner_of_a_life() -> str:
        loaded = load_project(str(config), environ={})
        assert loaded.project is not None, loaded.problems
        daemon = Daemon(loaded.project, lambda: loaded, options=Options(watch_s=None))
        await daemon.run()
        return daemon.ledger.owner

    assert await owner_of_a_life() != await owner_of_a_life()
