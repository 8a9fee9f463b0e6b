"""The pages hang together: links lead somewhere, named files exist, no page is lost."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.contract.docs.markdown import (
    PAGES,
    ROOT,
    anchors_of,
    blocks_of,
    links_of,
    name_of,
)

FORBIDDEN = re.compile(r"/work/|/root/|/tmp/|pypi\.org|files\.pythonhosted|registry\.npmjs")
NAMED_PATH = re.compile(r"`((?:tests|router|benchmarks|examples|config|templates|docs)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    broken: list[str] = []
    for line, link in links_of(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        if not target.exists():
            broken.append(f"{name_of(page)}:{line}: {link} is not there")
        elif target.suffix == ".md" and parts.fragment not in {"", *anchors_of(target)}:
            broken.append(f"{name_of(page)}:{line}: {link} has no such heading")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_files_exist(page: Path) -> None:
    own = {block.file for block in blocks_of(page)}
    named = {path for path in NAMED_PATH.findall(page.read_text("utf-8")) if "NAME" not in path}
    missing = [path for path in sorted(named - own) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_tells_of_the_machine_it_was_written_on(page: Path) -> None:
    assert not FORBIDDEN.findall(page.read_text("utf-8"))


def test_every_page_can_be_found() -> None:
    linked = {
        (page.parent / urlsplit(link).path).resolve()
        for page in PAGES
        for _, link in links_of(page)
        if not urlsplit(link).scheme
    }
    lost = [name_of(p) for p in PAGES if p not in linked and p.name != "README.md"]
    assert not lost
