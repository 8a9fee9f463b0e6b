"""Templates, events and recipients with sensible defaults, from plain texts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from router.events import Event, Record
from router.nodes import Entry, Node
from router.problems import Position, Problem, Problems, Source
from router.recipients import Recipient
from router.templating import Limits, Template, TemplateFile, View, load_template

NOW = 1_780_000_000.0


def node_of(source: Source, text: str) -> Node:
    """YAML as nodes with places, typed as PyYAML types it."""
    loader = yaml.SafeLoader(text)
    tree = loader.get_single_node()

    def convert(node: yaml.Node) -> Node:
        mark, end = node.start_mark, node.end_mark
        at = Position(source, mark.line + 1, mark.column + 1, max(end.index - mark.index, 1))
        match node:
            case yaml.MappingNode():
                entries = {
                    str(key.value): Entry(convert(key).at, convert(value))
                    for key, value in node.value
                }
                return Node(entries, at)
            case yaml.SequenceNode():
                return Node(tuple(convert(child) for child in node.value), at)
            case _:
                return Node(loader.construct_object(node), at)

    assert tree is not None
    return convert(tree)


def file_of(path: str, text: str) -> TemplateFile:
    text = textwrap.dedent(text).lstrip("\n")
    source = Source.of(f"templates/x/{path}", text)
    return TemplateFile(source, text, node_of(source, text) if path.endswith(".yaml") else None)


SETTINGS = """
description: Something happened
owner: team
locales: {required: [en], default: en}
"""


def files(**texts: str) -> dict[str, TemplateFile]:
    """Files by name: ``template_yaml`` and ``texts__ru_txt`` are spelt as Python names."""
    texts.setdefault("template_yaml", SETTINGS)
    paths = {name.replace("__", "/").replace("_", "."): text for name, text in texts.items()}
    return {path: file_of(path, text) for path, text in paths.items()}


def load(limits: Limits | None = None, **texts: str) -> Template:
    """The template; its problems as an assertion error if it has errors."""
    problems = Problems()
    template = load_template("x", files(**texts), problems, limits or Limits())
    assert template is not None, "\n".join(p.render() for p in problems.found)
    return template


def problems_of(**texts: str) -> list[Problem]:
    problems = Problems()
    load_template("x", files(**texts), problems)
    return problems.found


def event(data: Any = None, **fields: Any) -> Event:
    record = Record("events", 0, 7, NOW, b"key", b"{}")
    made = Event(
        id="e-1",
        type="payment.failed",
        source="events",
        subject=None,
        time=NOW,
        data={} if data is None else data,
        headers={},
        identity="e-1",
        record=record,
    )
    return replace(made, **fields)


def view(data: Any = None, **fields: Any) -> View:
    """A view of an event with that data; ``variables`` and others by name."""
    recipient = fields.pop("recipient", Recipient(id="u-1", locale="en"))
    return View(event=event(data), recipient=recipient, now=NOW, **fields)


def render_text(
    text: str, data: Any = None, limits: Limits | None = None, locale: str = "en", **fields: Any
) -> str:
    """What a push's body shows."""
    template = load(limits, push_txt=f"---\ntitle: T\n---\n{text}\n", **_declare(locale))
    person = Recipient(id="u-1", locale=locale, timezone=fields.pop("timezone", None))
    return template.render("push", view(data, recipient=person, **fields)).body  # type: ignore[union-attr]


def _declare(locale: str) -> Mapping[str, str]:
    return {"template_yaml": f"locales: {{required: [{locale}], default: {locale}}}\n"}


def render_html(html: str, data: Any = None) -> str:
    """What a mail's HTML body shows."""
    template = load(email_html=f"---\nsubject: S\n---\n{html}\n")
    message = template.render("email", view(data))
    return message.html  # type: ignore[union-attr, return-value]


def render_json(text: str, data: Any = None) -> bytes:
    """A webhook's body."""
    message = load(webhook_json=text).render("webhook", view(data))
    return message.body  # type: ignore[union-attr, return-value]
