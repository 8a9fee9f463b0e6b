"""Without the libraries that a shared kind needs, a configuration that names it says what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import router.ledger
from router.authoring.schema import schema_text
from router.config import load_project

LIBRARIES = ("asyncpg", "msgpack", "redis")
ROUTER = """
sources: {lines: {type: stdin}}
ledger:
  type: %s
  url: somewhere
sinks: {out: {type: console}}
"""


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment where none of the extras is installed."""
    for name in list(sys.modules):
        parts = name.split(".")
        is_kind = name.startswith(("router.ledger.postgres", "router.ledger._postgres"))
        is_kind |= name.startswith(("router.ledger.redis", "router.ledger._redis"))
        if parts[0] in LIBRARIES or is_kind:
            monkeypatch.delitem(sys.modules, name)
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("postgres", "redis", "_postgres", "_redis"):
        monkeypatch.delattr(router.ledger, name, raising=False)


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_a_missing_library_names_the_extra(tmp_path: Path, kind: str) -> None:
    (tmp_path / "router.yaml").write_text(ROUTER % kind)

    problems = load_project(tmp_path, environ={}).problems

    (problem,) = [p for p in problems if "extra" in p.message]
    assert problem.code == "S001"
    assert problem.message == (
        f"type \"{kind}\" can't be loaded: it needs an extra: pip install 'router[{kind}]'"
    )
    assert problem.at is not None
    assert (problem.at.line, problem.at.column) == (4, 9)


@pytest.mark.usefixtures("without_extras")
def test_schemas_leave_out_what_is_not_installed() -> None:
    text = schema_text("router")
    assert "ledger.sqlite" in text
    assert "ledger.postgres" not in text
