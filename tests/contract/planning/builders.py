"""Configuration text in, planned and rendered deliveries out: nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import orjson

from router.authoring.rehearsal import rehearse
from router.authoring.rehearsed import EventRehearsal, Rehearsed
from router.config import Project, load_project
from router.events import Record
from router.recipients import Found, Recipient, Unknown

NOW = 1_767_323_045.0
ROUTER = """\
include: [routes/*.yaml]
sources:
{sources}
ledger: {{type: memory}}
sinks:
{sinks}
"""


@dataclass(frozen=True, slots=True)
class People:
    """A directory that knows these people."""

    people: Mapping[str, Recipient] = field(default_factory=dict[str, Recipient])

    async def lookup(self, ids: Sequence[str], tenant: str = "") -> Sequence[Found]:
        return [self.people.get(id) or Unknown(id) for id in ids]


SOURCES = "main: {type: file, path: events.jsonl}"


def lay_out(
    root: Path, sinks: str, routes: str, files: Mapping[str, str] = {}, sources: str = SOURCES
) -> Path:
    """Writes a project; ``files`` are paths below its root."""
    written = {
        "config/router.yaml": ROUTER.format(sinks=_indented(sinks), sources=_indented(sources)),
        "config/routes/all.yaml": "routes:\n" + _indented(routes),
        **files,
    }
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")
    (root / "templates").mkdir(exist_ok=True)
    return root / "config"


def load(
    root: Path, sinks: str, routes: str, files: Mapping[str, str] = {}, sources: str = SOURCES
) -> Project:
    """The project of this text, which has no mistakes."""
    loaded = load_project(lay_out(root, sinks, routes, files, sources), environ={})
    assert loaded.project is not None, [problem.render() for problem in loaded.problems]
    return loaded.project


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in dedent(text).strip("\n").splitlines())


def record(
    type: str,
    data: Mapping[str, Any] = {},
    *,
    topic: str = "payments",
    at: float = NOW,
    offset: int = 0,
) -> Record:
    """A record of that type; ``at`` is its timestamp and so the event's time."""
    value = orjson.dumps({"id": f"{type}-1", "type": type, **data})
    return Record(topic, 0, offset, at, None, value)


def rehearsed(
    project: Project, *records: Record, people: Mapping[str, Recipient] = {}, now: float = NOW
) -> list[EventRehearsal]:
    decoding = project.sources["main"].decode
    return anyio.run(rehearse, project, records, decoding, People(people), now)


def lines_of(
    project: Project, event: Record, people: Mapping[str, Recipient] = {}
) -> list[Rehearsed]:
    """What would become of one event, over all routes."""
    (only,) = rehearsed(project, event, people=people)
    return [line for route in only.routes for line in route.lines]
