"""Reads brand values: what templates know as ``brand``."""

from __future__ import annotations

from router.config.fields import a_kind
from router.config.scalars import Raw
from router.nodes import Node
from router.planning import BrandValue
from router.problems import Problems


def read_brand(node: Node, what: str, problems: Problems) -> dict[str, BrandValue]:
    """The values by name; every mistake is added to the problems.

    Args:
        what: How an operator would call it, such as ``brand of tenant "acme"``.
    """
    if not node.is_mapping:
        if not isinstance(node.value, Raw):
            message = f"{what} must be a mapping of names to values, not {a_kind(node)}"
            problems.error("S004", message, node.at)
        return {}
    found: dict[str, BrandValue] = {}
    for name, entry in node.entries.items():
        value = entry.node.value
        if name.startswith("x-") or isinstance(value, Raw):
            continue
        if not name.isidentifier():
            message = f'a value of {what} can\'t be called "{name}"; templates write brand.NAME'
            problems.error("S006", message, entry.key_at)
        elif isinstance(value, str | int | float | bool):
            found[name] = value
        else:
            message = (
                f"{name} of {what} must be text, a number, or true or false,"
                f" not {a_kind(entry.node)}"
            )
            problems.error("S004", message, entry.node.at)
    return found
