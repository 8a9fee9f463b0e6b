"""``router sinks test``: what it needs of the configuration around the sink."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.authoring.builders import ROUTER, replaced, write_project
from tests.contract.authoring.cli import run

TWO_SINKS = replaced(
    ROUTER,
    (
        "sinks:",
        """sinks:
      bot:
        type: telegram
        token: !env BOT_TOKEN""",
    ),
)


@pytest.fixture(autouse=True)
def without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOT_TOKEN", raising=False)


def test_secrets_of_other_sinks_need_not_be_set(tmp_path: Path) -> None:
    config = write_project(tmp_path, router=TWO_SINKS)
    tested = run("sinks", "test", "mail", "--to", "me@example.com", "-c", config)
    assert (tested.code, tested.err) == (0, "")
    assert "mail (console) → me@example.com: delivered" in tested.out


def test_its_own_have_to_be_set(tmp_path: Path) -> None:
    config = write_project(tmp_path, router=TWO_SINKS)
    tested = run("sinks", "test", "bot", "--to", "100", "-c", config)
    assert tested.code == 1
    assert "BOT_TOKEN is not set" in tested.err


def test_other_mistakes_are_told(tmp_path: Path) -> None:
    config = write_project(tmp_path, router=replaced(TWO_SINKS, ("token:", "tokken:")))
    tested = run("sinks", "test", "mail", "--to", "me@example.com", "-c", config)
    assert tested.code == 1
    assert "unknown key" in tested.err
