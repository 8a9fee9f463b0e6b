"""Puts one environment's overlay over the configuration.

Maps merge, lists and scalars replace, ``null`` removes, a new name needs ``!new``. A component
whose ``type`` the overlay changes is replaced whole: the old type's options mean nothing to it.
"""

from __future__ import annotations

from router.config.fields import a_kind
from router.nodes import Entry, Node
from router.problems import Position, Problems, did_you_mean

NAMED = frozenset({"sinks", "sources", "categories"})
"""Sections whose keys are names that an operator chose."""

_ORIGIN = "router.yaml"


def merge(base: Node, overlay: Node, problems: Problems) -> Node:
    """The configuration as the overlay leaves it; values keep the places they were written at."""
    entries = dict(base.entries)
    for section, entry in overlay.entries.items():
        if section in NAMED and entry.node.is_mapping:
            old = base.get(section) or Node({}, entry.key_at)
            merged = _merge_names(section, old, entry.node, problems)
            at = base.key_at(section) if section in entries else entry.key_at
            entries[section] = Entry(at, merged)
        else:
            _put(entries, section, entry, section, problems)
    return Node(entries, base.at)


def _merge_names(section: str, base: Node, overlay: Node, problems: Problems) -> Node:
    entries = dict(base.entries)
    for name, entry in overlay.entries.items():
        path = f"{section}.{name}"
        if name.startswith("x-"):
            continue
        if name in entries:
            if entry.node.is_new:
                related = ((entries[name].key_at, "defined here"),)
                problems.error(
                    "E006",
                    f"{path} exists already; remove !new",
                    entry.node.at,
                    related,
                )
            _put(entries, name, entry, path, problems)
        elif entry.node.is_new:
            entries[name] = entry
        elif entry.node.value is None:
            _nothing_to_remove(path, name, entry.key_at, base, problems)
        else:
            hint = did_you_mean(name, list(base.entries), section.capitalize())
            problems.error(
                "E005", f"{path} is not in router.yaml; a new name needs !new.{hint}", entry.key_at
            )
    return Node(entries, base.at if base.entries else overlay.at)


def _put(
    entries: dict[str, Entry],
    key: str,
    entry: Entry,
    path: str,
    problems: Problems,
    origin: str = _ORIGIN,
) -> None:
    old = entries.get(key)
    new = entry.node
    if new.value is None:
        if old is None:
            base = Node(entries, entry.key_at)
            _nothing_to_remove(path, key, entry.key_at, base, problems, origin)
        entries.pop(key, None)
        return
    if old is None:
        entries[key] = entry
        return
    if old.node.is_mapping and new.is_mapping:
        if _changes_type(old.node, new):
            entries[key] = entry
        else:
            merged = merge_maps(old.node, new, path, problems, origin=origin)
            entries[key] = Entry(entry.key_at, merged)
        return
    if (old.node.is_mapping or old.node.is_sequence) and new.kind() != old.node.kind():
        problems.error(
            "E008",
            f"{path} is {a_kind(old.node)} in {origin}, here it is {a_kind(new)}",
            new.at,
            ((old.key_at, "defined here"),),
        )
        return
    entries[key] = entry


def merge_maps(
    base: Node, over: Node, path: str, problems: Problems, *, origin: str = _ORIGIN
) -> Node:
    """A mapping with another one's values over it.

    Args:
        path: What it is called, such as ``sinks.mail``; empty for a whole file.
        origin: The file that the base is in, for messages.
    """
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        _put(entries, key, entry, f"{path}.{key}" if path else key, problems, origin)
    return Node(entries, base.at)


def _changes_type(base: Node, overlay: Node) -> bool:
    old, new = base.get("type"), overlay.get("type")
    return old is not None and new is not None and old.value != new.value


def _nothing_to_remove(
    path: str, key: str, at: Position, base: Node, problems: Problems, origin: str = _ORIGIN
) -> None:
    hint = did_you_mean(key, list(base.entries), "Keys")
    problems.error("E007", f"null removes, but {origin} has no {path}.{hint}", at)


def refuse_new(node: Node, problems: Problems) -> None:
    """``!new`` has no meaning outside of overlays."""
    if node.is_new:
        problems.error("E006", "!new belongs in overlays, env/NAME.yaml; remove it", node.at)
    for item in node.nodes:
        refuse_new(item, problems)
    for _, value in node.items():
        refuse_new(value, problems)
