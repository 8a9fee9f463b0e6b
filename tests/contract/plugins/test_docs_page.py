"""The plugin that the documentation builds passes the suite that it shows."""

from __future__ import annotations

from typing import Any

from tests.contract.docs.markdown import ROOT, blocks_of


def _page() -> dict[str, Any]:
    page = ROOT / "docs" / "how-to" / "sink-plugin.md"
    source = "\n".join(b.text for b in blocks_of(page) if b.language == "python")
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, str(page), "exec"), names)  # the page's own code
    return names


class TestPage(_page()["TestSms"]):  # type: ignore[misc]
    pass
