"""Reads the lines of ``deliver:``: one for each sink, with ids that are theirs alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from router.config.analytics import ANALYTICS_KEYS
from router.config.components import NAME_RULE, is_name
from router.config.defaults import ELSEWHERE, ROUTE_POLICY_KEYS, STEP_POLICY_KEYS
from router.config.fields import Fields
from router.nodes import Entry, Node
from router.problems import Position, Problems

FALLBACK_KEYS = ("fallback_for", "causes", "after", "unless_event")
STEP_KEYS = (
    "id",
    "sink",
    "template",
    "with",
    "request",
    *ANALYTICS_KEYS,
    "to",
    "per",
    "devices",
    *FALLBACK_KEYS,
    "was",
    *STEP_POLICY_KEYS,
)


@dataclass(frozen=True, slots=True)
class Line:
    """A step as written, before its sink and its neighbours are known.

    Attributes:
        id: Its own with the sink's name after it (``id/sink``) where the step names several
            sinks, so that one more sink leaves the others' ids alone.
        was: Its earlier id, made in the same way.
        is_shared: The step names several sinks: this is one of them.
    """

    id: str
    was: str | None
    sink: str
    sink_at: Position
    node: Node
    fields: Fields
    has_own_id: bool
    is_shared: bool = False


def read_lines(deliver: Node, what: str, problems: Problems) -> list[Line]:
    """The steps of a ``deliver:`` list, with ids that are theirs alone."""
    lines = [line for node in deliver.nodes for line in _read_line(node, what, problems)]
    _require_ids(lines, problems)
    return lines


def _read_line(node: Node, what: str, problems: Problems) -> Iterator[Line]:
    if isinstance(node.value, str):
        fields = Fields(Node({}, node.at), what, problems)
        yield Line(node.value, None, node.value, node.at, node, fields, False)
        return
    if not node.is_mapping:
        problems.error("R203", "a step is a sink's name or a mapping with sink:", node.at)
        return
    fields = Fields(node, f"a step of {what}", problems)
    fields.allow(STEP_KEYS, _ELSEWHERE)
    sink = node.get("sink")
    own, was = fields.text("id"), fields.text("was")
    if own is not None and not is_name(own):
        problems.error("R205", f'a step can\'t be called "{own}"; {NAME_RULE}', node.locate(["id"]))
    if sink is None:
        problems.error("R202", f"a step of {what} needs sink:", node.at)
    elif not sink.is_sequence:
        name = fields.text("sink")
        if name is not None:
            yield Line(own or name, was, name, sink.at, node, fields, own is not None)
    else:
        for item in sink.nodes:
            name = Fields(Node({"sink": Entry(item.at, item)}, item.at), fields.what, problems)
            if (one := name.text("sink")) is not None:
                yield _one_of_several(one, item.at, own, was, fields)
        if not sink.nodes:
            problems.error("R203", "sink: must not be empty", sink.at)


def _one_of_several(
    sink: str, at: Position, own: str | None, was: str | None, fields: Fields
) -> Line:
    id = f"{own}/{sink}" if own else sink
    earlier = f"{was}/{sink}" if was else None
    return Line(id, earlier, sink, at, fields.node, fields, own is not None, is_shared=True)


_ELSEWHERE = {
    **ELSEWHERE,
    **dict.fromkeys(ROUTE_POLICY_KEYS, "under policy: of the route"),
    "policy": f"to the route; a step takes {', '.join(STEP_POLICY_KEYS)} themselves",
    "recipient": "to the route",
    "recipients": "to the route",
    "match": "to the route",
    "category": "to the route",
}


def _require_ids(lines: Sequence[Line], problems: Problems) -> None:
    first: dict[str, Line] = {}
    for line in lines:
        before = first.setdefault(line.id, line)
        if before is line:
            continue
        related = ((before.node.at, "the other step"),)
        if line.has_own_id and not line.is_shared:
            at = line.node.locate(["id"])
            problems.error("R207", f'two steps have the id "{line.id}"', at, related)
        elif line.is_shared and before.node is line.node:
            message = f'sink "{line.sink}" stands twice in one step'
            problems.error("R207", message, line.sink_at, ((before.sink_at, "first here"),))
        else:
            message = f'sink "{line.sink}" stands twice; give the steps an id each'
            problems.error("R207", message, line.sink_at, related)


def check_earlier_ids(lines: Sequence[Line], problems: Problems) -> None:
    taken = {line.id: line.node.at for line in lines}
    for line in lines:
        if line.was is None:
            continue
        at = line.node.locate(["was"])
        if line.was in taken:
            related = ((taken[line.was], "that step"),)
            message = f'was: "{line.was}" is also a step\'s id or earlier id here'
            problems.error("R215", message, at, related)
        taken.setdefault(line.was, at)
