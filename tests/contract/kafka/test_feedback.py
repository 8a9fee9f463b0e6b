"""Feedback on a broker: what a project's ``feedback`` section opens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from router.config import load_project
from router.events import DecodeConfig, Event, Feedback, decode
from router.publishing import open_feedback
from tests.brokers import Broker, create_topic
from tests.contract.planning.builders import lay_out
from tests.contract.sources.builders import a_source, read_some

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

SINKS = "ops: {type: console}"
ROUTES = """\
any:
  match: {type: {exists: true}}
  template: any
  deliver: [{sink: ops, to: {chat: "1"}}]
"""
FILES = {
    "templates/any/template.yaml": "description: Any\n",
    "templates/any/chat.html": "any\n",
}
FEEDBACK = Feedback("0a" * 16, "dead", 1_767_323_045.25, "u1", {"route": "any"})


async def test_feedback_goes_to_its_topic(
    tmp_path: Path, broker: Broker, unique: Callable[[str], str]
) -> None:
    topic = unique("feedback")
    await create_topic(broker, topic)
    source = f"main: {{type: kafka, bootstrap: '{broker.bootstrap}', topics: [a], group: g}}"
    folder = lay_out(tmp_path, SINKS, ROUTES, FILES, source)
    with (folder / "router.yaml").open("a") as file:
        file.write(f"feedback: {{topic: {topic}, events: [dead], max_waiting: 5}}\n")
    project = load_project(folder, environ={}).project
    assert project is not None

    async with open_feedback(project) as reporting:
        assert reporting is not None
        assert (list(reporting.events), reporting.max_waiting) == (["dead"], 5)
        await reporting.publisher.publish([FEEDBACK])

    async with a_source(broker.bootstrap, topic, unique("g")) as opened:
        [record] = await read_some(opened, 1)
    event = decode(record, DecodeConfig())
    assert isinstance(event, Event)
    assert (event.id, event.type, event.key) == (FEEDBACK.id, "router.dead", "u1")


async def test_without_kafka_it_goes_to_a_file(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, SINKS, ROUTES, FILES)
    with (folder / "router.yaml").open("a") as file:
        file.write("feedback: {file: out/feedback.jsonl}\n")
    project = load_project(folder, environ={}).project
    assert project is not None

    async with open_feedback(project) as reporting:
        assert reporting is not None
        await reporting.publisher.publish([FEEDBACK])
        await reporting.publisher.publish([FEEDBACK])

    lines = (folder / "out/feedback.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["type"] for line in lines] == ["router.dead", "router.dead"]


async def test_without_the_section_nobody_is_told(tmp_path: Path) -> None:
    project = load_project(lay_out(tmp_path, SINKS, ROUTES, FILES), environ={}).project
    assert project is not None
    async with open_feedback(project) as reporting:
        assert reporting is None
