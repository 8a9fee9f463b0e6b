"""Events and conditions for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from router import nodes
from router.events import Event, Record
from router.nodes import Entry, Node
from router.problems import Position, Problems, Source
from router.routing import EVENT_ROOTS, Condition, Expression, parse_condition


def event(
    data: Any = None,
    *,
    type: str = "payment.failed",
    topic: str = "events",
    key: bytes | None = None,
    subject: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Event:
    return Event(
        id="e-1",
        type=type,
        source=topic,
        subject=subject,
        time=1_700_000_000.0,
        data=data,
        headers=headers or {},
        identity="e-1",
        record=Record(topic, 0, 42, 1_700_000_000.0, key, b""),
    )


def node(text: str) -> Node:
    """The YAML as nodes with places, typed as YAML 1.2 does."""
    source = Source.of("routes.yaml", text)
    composed = yaml.compose(text, Loader=yaml.SafeLoader)
    assert composed is not None
    return _convert(composed, source)


def _convert(composed: yaml.Node, source: Source) -> Node:
    mark = composed.start_mark
    length = max(1, composed.end_mark.index - mark.index)
    at = Position(source, mark.line + 1, mark.column + 1, length)
    match composed:
        case yaml.MappingNode():
            entries = {
                key.value: Entry(_convert(key, source).at, _convert(value, source))
                for key, value in composed.value
            }
            return Node(entries, at)
        case yaml.SequenceNode():
            return Node(tuple(_convert(child, source) for child in composed.value), at)
        case _:
            scalar: Any = yaml.SafeLoader("").construct_object(composed)
            return Node(scalar, at)


def plain_node(value: Any) -> Node:
    """Python values as nodes without useful places."""
    return nodes.plain_node(value, Position(Source.of("x", ""), 1, 1))


def python_expression(text: str, at: Position, problems: Problems) -> Expression | None:
    """An expression in Python over ``data``: stands in for the template language."""
    code = compile(text, "<when>", "eval")

    def evaluate(event: Event) -> Any:
        return eval(code, {"data": event.data, "type": event.type})

    return evaluate


def condition(value: str | Mapping[str, Any], *, with_item: bool = False) -> Condition:
    """The condition of a YAML text or of Python values; it must be right."""
    problems = Problems()
    parsed = parse_condition(
        node(value) if isinstance(value, str) else plain_node(value),
        problems,
        compile_expression=python_expression,
        roots=(*EVENT_ROOTS, "item") if with_item else EVENT_ROOTS,
    )
    problems.raise_if_errors()
    assert parsed is not None
    return parsed


def complaints(text: str) -> list[str]:
    """What is wrong with the YAML of a condition, as ``line:column code message``."""
    problems = Problems()
    parsed = parse_condition(node(text), problems, compile_expression=python_expression)
    assert (parsed is None) == problems.has_errors
    return [
        f"{p.at.line}:{p.at.column} {p.code} {p.message}"
        for p in problems.found
        if p.at is not None
    ]
