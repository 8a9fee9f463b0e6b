"""Links who receives: ``recipient:`` for one, ``recipients:`` for each of a list."""

from __future__ import annotations

from router.config.compiling import compile_expression
from router.config.fields import Fields, read_path
from router.nodes import Node
from router.planning import Selection
from router.routing import EVENT_ROOTS, ITEM, Path, parse_condition

PERSON_KEYS = (
    "id",
    "email",
    "name",
    "locale",
    "timezone",
    "telegram",
    "max",
    "devices",
    "endpoints",
    "preferences",
    "attributes",
)
_LIST_KEYS = ("each", "except", "where")
_WITH_ITEM = (*EVENT_ROOTS, ITEM)


def link_selection(route: Fields) -> Selection | None:
    """How a route finds its recipients; None if it has none (or after a problem)."""
    one, several = route.mapping("recipient", "id"), route.mapping("recipients")
    if one is not None and several is not None:
        message = f"{route.what} has recipient: and recipients:; keep one"
        related = ((route.node.key_at("recipient"), "the other"),)
        route.problems.error("R214", message, route.node.key_at("recipients"), related)
        return None
    if one is not None:
        return _one(Fields(one, f"recipient of {route.what}", route.problems))
    if several is not None:
        return _several(Fields(several, f"recipients of {route.what}", route.problems))
    return None


def _one(values: Fields) -> Selection:
    values.allow(PERSON_KEYS, dict.fromkeys(_LIST_KEYS, "under recipients:"))
    return Selection(_paths(values, EVENT_ROOTS))


def _several(values: Fields) -> Selection:
    values.allow((*PERSON_KEYS, *_LIST_KEYS))
    problems = values.problems
    if values.node.get("each") is None:
        message = f"{values.what} needs each: the list in the event"
        problems.error("R202", message, values.node.at)
    where = values.node.get("where")
    condition = None
    if where is not None:
        condition = parse_condition(
            where, problems, compile_expression=compile_expression, roots=_WITH_ITEM
        )
    # A number is the most recipients, text the path of an address in the MAX messenger.
    limit = values.node.get("max")
    is_limit = limit is not None and not isinstance(limit.value, str)
    maximum = values.whole("max") if is_limit else None
    return Selection(
        _paths(values, _WITH_ITEM, skip="max" if is_limit else None),
        each=values.path("each", EVENT_ROOTS),
        excluded=values.path("except", EVENT_ROOTS),
        where=condition,
        maximum=maximum or Selection.__dataclass_fields__["maximum"].default,
    )


def _paths(values: Fields, roots: tuple[str, ...], skip: str | None = None) -> dict[str, Path]:
    if values.node.get("id") is None:
        message = f"{values.what} needs id: the path of the person's id"
        values.problems.error("R202", message, values.node.at)
    found: dict[str, Path] = {}
    for key, node in _person_entries(values):
        if key == skip:
            continue
        path = read_path(node, key, roots, values.problems)
        if path is not None:
            found[key] = path
    return found


def _person_entries(values: Fields) -> list[tuple[str, Node]]:
    entries = [(k, n) for k, n in values.node.items() if k in PERSON_KEYS and k != "attributes"]
    attributes = values.mapping("attributes")
    return entries + (list(attributes.items()) if attributes else [])
