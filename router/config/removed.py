"""The section ``removed``: what becomes of deliveries that wait for sinks which are no more."""

from __future__ import annotations

from collections.abc import Mapping

from router.config.fields import a_kind
from router.nodes import Entry, Node
from router.planning import Removal, SinkFacts
from router.problems import Problems, did_you_mean

_KEY = "removed"
_DEAD_LETTER = "dead_letter"
_CHOICES = f"{_DEAD_LETTER} or {{move: SINK}}"


def read_removed(
    document: Node, sinks: Mapping[str, SinkFacts], names: list[str], problems: Problems
) -> dict[str, Removal]:
    """What is written of each removed sink.

    Args:
        sinks: Those that are configured, tenants' own included.
        names: Of all sinks, those with mistakes included.
    """
    node = document.get(_KEY)
    if node is None:
        return {}
    if not node.is_mapping:
        message = f"{_KEY} must be a mapping of sinks that are no more, not {a_kind(node)}"
        problems.error("S004", message, node.at)
        return {}
    found: dict[str, Removal] = {}
    for name, entry in node.entries.items():
        if name.startswith("x-"):
            continue
        if name in sinks or name in names:
            message = f'sink "{name}" is still configured; take it out there, or out of {_KEY}'
            problems.error("S014", message, entry.key_at)
        elif removal := _removal(name, entry, sinks, names, problems):
            found[name] = removal
    return found


def _removal(
    name: str,
    entry: Entry,
    sinks: Mapping[str, SinkFacts],
    names: list[str],
    problems: Problems,
) -> Removal | None:
    node = entry.node
    if node.value == _DEAD_LETTER:
        return Removal()
    if not node.is_mapping:
        given = f'"{node.value}"' if isinstance(node.value, str) else a_kind(node)
        hint = ""
        if isinstance(node.value, str) and node.value in sinks:
            hint = f"; write {{move: {node.value}}}"
        problems.error("S004", f"{_KEY}.{name} must be {_CHOICES}, not {given}{hint}", node.at)
        return None
    for key, inner in node.entries.items():
        if key != "move":
            hint = did_you_mean(key, ["move"], "Keys")
            message = f'unknown key "{key}" in {_KEY}.{name}.{hint}'
            problems.error("S002", message, inner.key_at)
    to = node.get("move")
    if to is None:
        problems.error("S003", f'{_KEY}.{name} needs "move"', entry.key_at)
        return None
    return _move(name, to, sinks, names, problems)


def _move(
    name: str, to: Node, sinks: Mapping[str, SinkFacts], names: list[str], problems: Problems
) -> Removal | None:
    if not isinstance(to.value, str):
        problems.error("S004", f"move of {_KEY}.{name} takes a sink, not {a_kind(to)}", to.at)
        return None
    other = sinks.get(to.value)
    shared = sinks.get(name.partition("@")[0])
    if other is None:
        if to.value not in names:
            hint = did_you_mean(to.value, list(sinks), "Sinks")
            problems.error("S014", f'unknown sink "{to.value}".{hint}', to.at)
        return None
    if other.is_group:
        problems.error("S014", f'"{to.value}" is a group; name a sink of it', to.at)
        return None
    if (tenant := _tenant_of(other.name)) and tenant != _tenant_of(name):
        message = f'what waits for "{name}" is not of "{tenant}", whose own "{other.name}" is'
        problems.error("S014", message, to.at)
        return None
    if shared is not None and (mistake := unfit(name, shared, other)):
        problems.error("S014", mistake, to.at)
        return None
    return Removal(other)


def _tenant_of(sink: str) -> str:
    """Whose own a sink is; empty for one that tenants share."""
    return sink.partition("@")[2]


def unfit(name: str, removed: SinkFacts, other: SinkFacts) -> str | None:
    """Why what waits for a removed sink can't go through another one, or None.

    Args:
        name: The removed sink's.
        removed: What is known of it, or of the one that it was a tenant's own of.
    """
    if other.channel != removed.channel:
        return (
            f'what waits for "{name}" is {removed.channel}, and "{other.name}" sends'
            f" {other.channel}"
        )
    if other.type != removed.type:
        return f'what waits for "{name}" is for {removed.type}, and "{other.name}" is {other.type}'
    return None
