"""What is written from the code is current: `make docs` writes it anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from router.authoring.meanings import TABLES, meanings
from router.authoring.reference import EVERY_SINK, PAGES, with_options
from router.authoring.schema import FILES, Kind, schema_text
from router.sinks import KINDS

ROOT = Path(__file__).parents[3]
SINKS = sorted((ROOT / "docs/sinks").glob("*.md"))


@pytest.mark.parametrize(("name", "page"), PAGES.items(), ids=PAGES)
def test_reference_page_is_current(name: str, page: Callable[[], str]) -> None:
    assert (ROOT / "docs/reference" / name).read_text("utf-8") == page().rstrip("\n") + "\n"


@pytest.mark.parametrize("page", SINKS, ids=lambda path: path.stem)
def test_options_in_the_page_of_a_sink_are_current(page: Path) -> None:
    text = page.read_text("utf-8")
    kind = EVERY_SINK if page.stem == "README" else page.stem
    assert f"<!-- options: {kind} -->" in text
    assert text == with_options(text)


def test_every_sink_has_a_page() -> None:
    assert [path.stem for path in SINKS if path.stem != "README"] == sorted(KINDS.names())


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
