"""The parts that are chosen by ``type``: sinks, sources, ledger, directory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from pydantic import BaseModel

from router.config.models import scalars, secret_nodes
from router.config.validation import validate
from router.kinds import Kinds, UnknownKind
from router.messages import Channel
from router.nodes import Entry, Node
from router.problems import Position, Problems, did_you_mean
from router.sinks import SinkType

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9])?", re.ASCII)


def is_name(text: str) -> bool:
    """Whether a sink, route, step … may be called so: it becomes part of keys and metrics."""
    return _NAME.fullmatch(text) is not None


NAME_RULE = "names are letters, digits, and - _ . between them"


def named(section: Node, noun: str, problems: Problems) -> dict[str, Entry]:
    """The entries of a section of names, without ``x-`` keys and names that can't be used."""
    if not section.is_mapping:
        problems.error("S004", f"{noun}s must be a mapping of names", section.at)
        return {}
    found: dict[str, Entry] = {}
    for name, entry in section.entries.items():
        if name.startswith("x-"):
            continue
        if is_name(name):
            found[name] = entry
        else:
            problems.error("S006", f'{noun} can\'t be called "{name}"; {NAME_RULE}', entry.key_at)
    return found


def link_component(
    kinds: Kinds, node: Node, key_at: Position, what: str, problems: Problems, root: str
) -> tuple[Any, Any] | None:
    """The component's type and its validated configuration, or None after problems.

    The type is chosen first, then its one model validates all keys.
    """
    if not node.is_mapping:
        problems.error("S004", f"{what} must be a mapping with a type", node.at)
        return None
    kind = node.get("type")
    if kind is None:
        types = ", ".join(kinds.names())
        problems.error("S003", f'{what} needs "type". Types: {types}', key_at)
        return None
    if not isinstance(kind.value, str):
        problems.error("S004", "type must be text", kind.at)
        return None
    try:
        found = kinds.load(kind.value)
    except UnknownKind:
        hint = did_you_mean(kind.value, kinds.all_names(), "Types")
        problems.error("S001", f'unknown type "{kind.value}" of {what}.{hint}', kind.at)
        return None
    except ImportError as error:
        problems.error("S001", f'type "{kind.value}" can\'t be loaded: {error}', kind.at)
        return None
    try:
        config = validate(found.config, node, what, problems, root)
        if config is not None and isinstance(found, SinkType):
            _try_channel(found, config)
    except Exception as error:
        if kinds.is_built_in(kind.value):
            raise
        # What a plugin's validator raised may quote a secret: its type alone is told.
        message = f'type "{kind.value}": its plugin failed on these options'
        problems.error("S001", f"{message} ({type(error).__name__})", kind.at)
        return None
    return None if config is None else (found, config)


def _try_channel(kind: SinkType[Any], config: Any) -> None:
    """Raises:
    TypeError: a plugin's channel is none.
    """
    if not isinstance(cast("object", kind.channel(config)), Channel):
        raise TypeError("the channel is not a Channel")


def component_secrets(kinds: Kinds, node: Node, merged: Node | None) -> Iterator[Node]:
    """The secret-typed scalars of a component.

    Of one whose type can't be told, whatever may be one: all but its type.
    """
    kind = node.get("type") or (merged.get("type") if merged else None)
    try:
        if kind is None or not isinstance(kind.value, str):
            raise UnknownKind
        model: type[BaseModel] = kinds.load(kind.value).config
    except (UnknownKind, ImportError):
        for key, value in node.items():
            if key != "type":
                yield from scalars(value)
        return
    yield from secret_nodes(model, node)
