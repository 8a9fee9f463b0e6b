"""Installs small distributions beside the router, as pip would leave them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest

_NUMBERS = count()


class Site:
    """A folder on the import path that distributions are put into.

    Attributes:
        filter: A filter's name that no other test uses: a process keeps the filters it has found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.filter = f"shout{next(_NUMBERS)}"

    def install(self, name: str, points: Mapping[str, Mapping[str, str]], **modules: str) -> None:
        """One distribution: its entry points by group, and its modules' texts by name."""
        about = self.folder / f"{name.replace('-', '_')}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines: list[str] = []
        for group, values in points.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in values.items())]
        (about / "entry_points.txt").write_text("\n".join(lines))
        for module, text in modules.items():
            sys.modules.pop(module, None)
            (self.folder / f"{module}.py").write_text(textwrap.dedent(text))


def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty site of this test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return Site(folder)


PAGER = '''
    from contextlib import asynccontextmanager

    from pydantic import Field

    from router.sinks import Channel, Delivered, SinkConfig, SinkType


    class PagerConfig(SinkConfig):
        """Pages through the company's pager."""

        region: str = Field(description="Where the pager is.", examples=["eu"])


    class Pager:
        async def send(self, parcel):
            return Delivered()


    @asynccontextmanager
    async def _open(config, tools):
        yield Pager()


    def _channel(config):
        return Channel.CHAT


    SINK = SinkType("pager", PagerConfig, _channel, "pager", _open)
'''
