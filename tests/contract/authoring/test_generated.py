"""What is written from the code is current: `make docs` writes it anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from router.authoring.meanings import TABLES, meanings
from router.authoring.reference import PAGES
from router.authoring.schema import FILES, Kind, schema_text

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("name", "page"), PAGES.items(), ids=PAGES)
def test_reference_page_is_current(name: str, page: Callable[[], str]) -> None:
    assert (ROOT / "docs/reference" / name).read_text("utf-8") == page().rstrip("\n") + "\n"


@pytest.mark.parametrize(("kind", "name"), FILES.items(), ids=FILES)
def test_schema_is_current(kind: Kind, name: str) -> None:
    assert (ROOT / "schema" / name).read_text("utf-8") == schema_text(kind)


def test_every_modeline_points_at_a_schema() -> None:
    files = [*(ROOT / "config").rglob("*.yaml"), *(ROOT / "templates").rglob("*.yaml")]
    assert len(files) > 20
    for file in files:
        first = file.read_text("utf-8").partition("\n")[0]
        place = first.removeprefix("# yaml-language-server: $schema=")
        assert (file.parent / place).resolve().parent == ROOT / "schema", file
        assert (file.parent / place).resolve().name in FILES.values(), file


def test_every_code_has_one_meaning() -> None:
    assert sum(len(table) for table in TABLES) == len(meanings())
