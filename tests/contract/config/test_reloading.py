"""What a reload refuses, though the new configuration has no mistakes by itself."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from router.config import Project
from router.reloading import refusals
from tests.contract.planning.builders import ROUTER, SOURCES, load

SMTP = "{type: smtp, host: h.example, from: a@b.example, security: starttls}"
FILE = "{type: file, path: out.jsonl, channel: email}"
CONSOLE = "{type: console, channel: push}"
KEY = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
HOOK = f"hook: {{type: webhook, url: https://h.example, secrets: [{KEY}]}}"
ROUTES = """
plain:
  match: {type: order.paid}
  deliver: [hook]
"""


def project(root: Path, sinks: str, extra: str = "") -> Project:
    written = ROUTER.format(sinks=indent(f"{HOOK}\n{sinks}", "  "), sources=f"  {SOURCES}")
    return load(root, sinks, ROUTES, {"config/router.yaml": f"{written}\n{extra}\n"})


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (FILE, ['what waits for "old" is for smtp, and "kept" is file']),
        (CONSOLE, ['what waits for "old" is email, and "kept" sends push']),
        (SMTP, []),
    ],
)
def test_what_waits_for_a_removed_sink_moves_to_one_of_its_type_only(
    tmp_path: Path, kept: str, said: list[str]
) -> None:
    before = project(tmp_path / "before", f"old: {SMTP}\nkept: {kept}")
    after = project(tmp_path / "after", f"kept: {kept}", "removed: {old: {move: kept}}")
    assert [problem.message for problem in refusals(before, after)] == said
