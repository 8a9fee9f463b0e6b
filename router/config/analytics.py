"""Links what an analytics step sends: one event, a table of them, or a change of a profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from router.config.compiling import compile_value
from router.config.fields import Fields, a_kind, read_path
from router.nodes import Node
from router.planning import ProfileContent, ProfileOperation, TableContent, TrackContent
from router.problems import Position
from router.routing import EVENT_ROOTS, ITEM, Path, parse_path
from router.templating import Value

ANALYTICS_KEYS = ("track", "profile", "map", "distinct_id", "properties")
KINDS = ("track", "profile", "map")
ENTRY_KEYS = ("track", "distinct_id", "properties", "rename")
_OPERATIONS: tuple[ProfileOperation, ...] = get_args(ProfileOperation)
PROFILE_KEYS: tuple[str, ...] = (*_OPERATIONS, "unset")


def link_analytics(
    fields: Fields, at: Position, *, per_recipient: bool
) -> TrackContent | TableContent | ProfileContent | None:
    """The content of a step that has one of ``track``, ``profile`` and ``map``.

    Args:
        fields: The step's.
        at: Where the step stands.
        per_recipient: The recipient's id serves where no ``distinct_id`` is named.
    """
    node, problems = fields.node, fields.problems
    given = [key for key in KINDS if node.get(key) is not None]
    if len(given) > 1:
        related = ((node.key_at(given[0]), "the other"),)
        message = f"a step has {given[0]}: or {given[1]}:, not both"
        problems.error("R220", message, node.key_at(given[1]), related)
        return None
    roots = (*EVENT_ROOTS, ITEM) if per_recipient else EVENT_ROOTS
    distinct_id = fields.path("distinct_id", roots)
    if given != ["track"] and node.get("properties") is not None:
        where = "in the table's entries" if given == ["map"] else "under profile.set:"
        message = f"properties: belongs to track:; here they stand {where}"
        problems.error("R220", message, node.key_at("properties"))
    is_missing = node.get("distinct_id") is None and not per_recipient
    if given == ["map"]:
        return _table(fields, distinct_id, roots, is_missing=is_missing)
    if is_missing:
        message = f"{fields.what} needs distinct_id: the path of the person's id"
        problems.error("R202", message, at)
    if given == ["profile"]:
        return _profile(fields, distinct_id)
    name = _name(fields)
    properties = fields.mapping("properties")
    values = _values(properties, fields) if properties else {}
    return None if name is None else TrackContent(name, distinct_id, values)


def _values(node: Node, fields: Fields) -> dict[str, Value]:
    return {
        name: compile_value(value, value.at, fields.problems)
        for name, value in node.items()
        if not name.startswith("x-")
    }


def _name(fields: Fields) -> Value | None:
    text = fields.text("track")
    node = fields.node.get("track")
    if text is None or node is None:
        return None
    return compile_value(text, node.at, fields.problems)


# Profiles --------------------------------------------------------------------------------------


def _profile(fields: Fields, distinct_id: Path | None) -> ProfileContent | None:
    node = fields.mapping("profile")
    if node is None:
        return None
    values = Fields(node, "profile", fields.problems)
    values.allow(PROFILE_KEYS)
    operations: dict[ProfileOperation, dict[str, Value]] = {
        key: _values(found, fields)
        for key in _OPERATIONS
        if (found := values.mapping(key)) is not None
    }
    unset = tuple(_names(values, "unset"))
    if not any(operations.values()) and not unset and not values.node.get("unset"):
        keys = ", ".join(PROFILE_KEYS)
        fields.problems.error("R202", f"profile changes nothing; write one of {keys}", node.at)
    return ProfileContent(distinct_id, operations, unset)


def _names(values: Fields, key: str) -> Iterator[str]:
    node = values.sequence(key)
    for item in node.nodes if node else ():
        if isinstance(item.value, str) and item.value:
            yield item.value
        else:
            values.wrong(key, item, "a list of property names")


# Tables ----------------------------------------------------------------------------------------


def _table(
    fields: Fields, distinct_id: Path | None, roots: Sequence[str], *, is_missing: bool
) -> TableContent | None:
    node = fields.mapping("map")
    if node is None:
        return None
    entries: dict[str, TrackContent] = {}
    for event_type, entry in node.entries.items():
        if event_type.startswith("x-"):
            continue
        what = f'"{event_type}" of the table'
        if not entry.node.is_mapping:
            message = f"{what} must be a mapping with track:, not {a_kind(entry.node)}"
            fields.problems.error("R203", message, entry.node.at)
            continue
        values = Fields(entry.node, what, fields.problems)
        found = _entry(values, entry.key_at, distinct_id, roots, is_missing=is_missing)
        if found is not None:
            entries[event_type] = found
    if not node.entries:
        fields.problems.error("R203", "map: has no event types", node.at)
    return TableContent(entries)


def _entry(
    values: Fields,
    at: Position,
    distinct_id: Path | None,
    roots: Sequence[str],
    *,
    is_missing: bool,
) -> TrackContent | None:
    values.allow(ENTRY_KEYS)
    own = values.path("distinct_id", roots)
    if is_missing and values.node.get("distinct_id") is None:
        message = f"{values.what} needs distinct_id:, or the step beside map:"
        values.problems.error("R202", message, at)
    if values.node.get("track") is None:
        values.problems.error("R202", f"{values.what} needs track: the event's name there", at)
    name = _name(values)
    properties = _table_properties(values, roots)
    return None if name is None else TrackContent(name, own or distinct_id, properties)


def _table_properties(values: Fields, roots: Sequence[str]) -> dict[str, Path]:
    """Fields of ``data`` under their own names, and any path under a name of its own."""
    found: dict[str, Path] = {}
    listed = values.sequence("properties")
    for item in listed.nodes if listed else ():
        path = _field_of_data(item, values)
        if path is None:
            continue
        name = str(path.steps[-1])
        if name in found:
            message = f'properties: has two called "{name}"; give one another name under rename:'
            values.problems.error("R220", message, item.at)
        found[name] = path
    renamed = values.mapping("rename")
    for name, entry in (renamed.entries if renamed else {}).items():
        if name.startswith("x-"):
            continue
        path = read_path(entry.node, f"rename.{name}", roots, values.problems)
        if name in found:
            message = f'"{name}" stands under properties: and rename:; keep one'
            values.problems.error("R220", message, entry.key_at)
        if path is not None:
            found[name] = path
    return found


def _field_of_data(item: Node, values: Fields) -> Path | None:
    """``amount`` and ``data.amount`` are the same field."""
    if not isinstance(item.value, str):
        values.wrong("properties", item, "a list of fields of data, such as amount")
        return None
    text = item.value if item.value.startswith("data.") else f"data.{item.value}"
    try:
        path = parse_path(text)
    except ValueError as error:
        values.problems.error("R120", str(error), item.at)
        return None
    if not isinstance(path.steps[-1], str):
        message = f"{path.text} has no name of its own; give it one under rename:"
        values.problems.error("R220", message, item.at)
        return None
    return path
