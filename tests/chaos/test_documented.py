"""The page on faults names every scenario, and no other."""

from __future__ import annotations

import re

from tests.brokers import ROOT
from tests.chaos.catalogue import SCENARIOS

_PAGE = ROOT / "docs" / "how-to" / "chaos.md"


def test_the_page_lists_the_scenarios() -> None:
    section = _PAGE.read_text("utf-8").partition("## Scenarios\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\S+)` \| (.+?) \|", section, re.MULTILINE)
    assert rows == [(scenario.name, scenario.fault) for scenario in SCENARIOS]
