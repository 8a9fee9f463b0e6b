"""Every mistake has its exact text: golden files in ``tests/config/bad``.

A case is one file that is laid over the good project in ``tests/config/base``: in ``router/`` it
is router.yaml, in ``routes/`` the only file of routes, in ``env/`` the overlay, in ``tenants/`` one
tenant's file; a folder in ``project/`` is laid over the whole. Cases of tenants, and those that are
called after them or a brand, have ``tests/config/tenants`` between. ``NAME.expected`` beside a case
is what must be printed. With ``UPDATE_EXPECTED=1`` the files are written anew, for a diff to be
read.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from router.config import codes, load_project
from router.routing import CODES as ROUTING_CODES

GROUND = Path(__file__).parents[2] / "config"
BAD = GROUND / "bad"
FILES = ("router", "routes", "env", "tenants")
CASES = sorted(
    [
        *(path for kind in FILES for path in BAD.glob(f"{kind}/*.yaml")),
        *(path for path in BAD.glob("project/*") if path.is_dir()),
    ],
    key=lambda path: path.as_posix(),
)
ENVIRON = {
    "BOT_TOKEN": "123456:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "PARTNER_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
NOT_SHOWN = {"E004"}
"""No file is to blame for these."""


def lay_out(case: Path, target: Path) -> str | None:
    """The project of a case; returns the environment to load."""
    shutil.copytree(GROUND / "base", target, dirs_exist_ok=True)
    if any(word in f"{case.parent.name}/{case.name}" for word in ("tenant", "brand")):
        shutil.copytree(GROUND / "tenants", target, dirs_exist_ok=True)
    kind = case.parent.name
    if kind == "project":
        shutil.copytree(case, target, dirs_exist_ok=True)
        return "dev" if (target / "config/env/dev.yaml").exists() else None
    if kind == "routes":
        (target / "config/routes/payments.yaml").write_bytes(case.read_bytes())
    elif kind == "tenants":
        (target / "config/tenants/acme.yaml").write_bytes(case.read_bytes())
    elif kind == "env":
        (target / "config/env/dev.yaml").write_bytes(case.read_bytes())
        return "dev"
    else:
        (target / "config/router.yaml").write_bytes(case.read_bytes())
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.stem}")
def test_mistake_is_told_exactly(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = lay_out(case, tmp_path)
    monkeypatch.chdir(tmp_path)
    loaded = load_project("config", environment, environ=ENVIRON)
    shown = "\n".join(problem.render() for problem in loaded.problems) + "\n"
    expected = case.with_suffix(".expected")
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(shown, "utf-8")
    assert loaded.project is None
    assert shown == expected.read_text("utf-8")


@pytest.mark.parametrize("grounds", [("base",), ("base", "tenants")])
def test_the_project_below_all_cases_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grounds: tuple[str, ...]
) -> None:
    for ground in grounds:
        shutil.copytree(GROUND / ground, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for environment in (None, "prod"):
        loaded = load_project("config", environment, environ=ENVIRON)
        assert [problem.render() for problem in loaded.problems] == []
        assert loaded.project is not None


def test_every_code_has_a_case() -> None:
    shown = {
        code
        for case in CASES
        for code in re.findall(
            r"^(?:\S+: )?error (\w\d{3}):", case.with_suffix(".expected").read_text("utf-8"), re.M
        )
    }
    assert shown - codes.CODES.keys() - ROUTING_CODES.keys() <= {
        "T107",
        "T108",
        "T115",
        "T116",
        "T117",
        "T120",
        "T121",
        "T125",
        "T130",
    }
    assert codes.CODES.keys() - shown == NOT_SHOWN
