"""What is valid and hardly meant has its exact text: golden files in ``tests/config/bad/findings``.

A case is the only file of routes of the good project in ``tests/config/base``, which has a sample;
``NAME.router`` beside it, if any, stands at the end of its ``router.yaml``, and ``NAME.expected``
is what must be printed. With ``UPDATE_EXPECTED=1`` the files are written anew, for a diff to be
read.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from router.authoring.check import check_project

GROUND = Path(__file__).parents[2] / "config"
CASES = sorted(GROUND.glob("bad/findings/*.yaml"))
SHOWN = {"R304", "R305", "R306", "R308", "R311", "R312", "R313", "R314"}


def found(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(project)
    report = check_project("config")
    return [p.render() for p, _ in report.problems if p.code in SHOWN]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_finding_is_told_exactly(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GROUND / "base", tmp_path, dirs_exist_ok=True)
    (tmp_path / "config/routes/payments.yaml").write_bytes(case.read_bytes())
    more = case.with_suffix(".router")
    if more.exists():
        with (tmp_path / "config/router.yaml").open("a", encoding="utf-8") as router:
            router.write(more.read_text("utf-8"))
    shown = "\n".join(found(tmp_path, monkeypatch)) + "\n"
    assert shown.strip()
    expected = case.with_suffix(".expected")
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(shown, "utf-8")
    assert shown == expected.read_text("utf-8")


def test_in_the_project_below_all_cases_nothing_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GROUND / "base", tmp_path, dirs_exist_ok=True)
    assert found(tmp_path, monkeypatch) == []
