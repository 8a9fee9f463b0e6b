"""Conditions evaluated as written: the matcher's oracle, and what ``explain`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from router.problems import Position
from router.routing.conditions import AllOf, AnyOf, Condition, Elements, Not, Predicate, When
from router.routing.literals import literal_text, type_name
from router.routing.operators import holds
from router.routing.paths import MISSING, Path

_MOST_ELEMENTS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Trace:
    """Why a condition held or did not.

    Attributes:
        kind: ``predicate``, ``all``, ``any``, ``not``, ``when``, ``some``, ``every``, ``element``.
        text: The predicate as it could be written; ``all``, ``any``, ``not`` for combinators,
            the position in its list for an element.
        at: Where it is written.
        actual: The value found; a list of all of them for a path with ``[*]``; ``MISSING``; for
            ``when`` its result or the exception it raised.
        actual_type: ``text``, ``number``, ``true or false``, ``null``, ``list``, ``mapping``,
            ``missing``, ``failed``; empty for combinators.
        away: How many predicates would have to change at least for this to hold; 0 if it does.
        to_break: How many would have to change at least for this not to hold; 0 if it does not.
        children: Of a combinator; of ``some`` and ``every`` the first 20 elements.
    """

    kind: str
    text: str
    held: bool
    at: Position
    actual: Any = MISSING
    actual_type: str = ""
    away: int = 0
    to_break: int = 0
    children: tuple[Trace, ...] = ()


def evaluate(condition: Condition, event: Any, item: Any = MISSING) -> bool:
    """Whether the condition holds for an event, or for an element (``item``) of it."""
    match condition:
        case Predicate():
            return holds(condition.operator, condition.path.values(event, item), condition.operand)
        case AllOf():
            return all(evaluate(child, event, item) for child in condition.conditions)
        case AnyOf():
            return any(evaluate(child, event, item) for child in condition.conditions)
        case Not():
            return not evaluate(condition.condition, event, item)
        case Elements():
            quantifier = all if condition.every else any
            return any(
                type(value) is list
                and quantifier(evaluate(condition.condition, event, element) for element in value)
                for value in condition.path.values(event, item)
            )
        case When():
            return _result(condition, event)[0]
        case _:
            raise TypeError(f"not a condition: {condition!r}")


def explain(condition: Condition, event: Any, item: Any = MISSING) -> Trace:
    """The evaluation as a tree, with what each predicate found."""
    match condition:
        case Predicate():
            return _leaf("predicate", condition, evaluate(condition, event, item), event, item)
        case AllOf():
            return _all(condition, event, item)
        case AnyOf():
            return _any(condition, event, item)
        case Not():
            child = explain(condition.condition, event, item)
            return Trace(
                "not",
                "not",
                not child.held,
                condition.at,
                away=child.to_break,
                to_break=child.away,
                children=(child,),
            )
        case Elements():
            return _elements(condition, event, item)
        case When():
            held, actual, kind = _result(condition, event)
            return Trace(
                "when",
                condition.describe(),
                held,
                condition.at,
                actual,
                kind,
                away=int(not held),
                to_break=int(held),
            )
        case _:
            raise TypeError(f"not a condition: {condition!r}")


def _all(condition: AllOf, event: Any, item: Any) -> Trace:
    children = tuple(explain(child, event, item) for child in condition.conditions)
    return Trace(
        "all",
        "all",
        all(child.held for child in children),
        condition.at,
        away=sum(child.away for child in children),
        to_break=min((child.to_break for child in children), default=0),
        children=children,
    )


def _any(condition: AnyOf, event: Any, item: Any) -> Trace:
    children = tuple(explain(child, event, item) for child in condition.conditions)
    return Trace(
        "any",
        "any",
        any(child.held for child in children),
        condition.at,
        away=min((child.away for child in children), default=0),
        to_break=sum(child.to_break for child in children),
        children=children,
    )


def _leaf(
    kind: str,
    condition: Predicate | Elements,
    held: bool,
    event: Any,
    item: Any,
    children: tuple[Trace, ...] = (),
) -> Trace:
    actual, actual_type = _found(condition.path, event, item)
    return Trace(
        kind,
        condition.describe(),
        held,
        condition.at,
        actual,
        actual_type,
        away=int(not held),
        to_break=int(held),
        children=children,
    )


def _elements(condition: Elements, event: Any, item: Any) -> Trace:
    elements = [
        element
        for value in condition.path.values(event, item)
        if type(value) is list
        for element in value
    ]
    children: list[Trace] = []
    for index, element in enumerate(elements[:_MOST_ELEMENTS_SHOWN]):
        inner = explain(condition.condition, event, element)
        children.append(
            Trace(
                "element",
                str(index),
                inner.held,
                condition.at,
                element,
                type_name(element),
                inner.away,
                inner.to_break,
                (inner,),
            )
        )
    held = evaluate(condition, event, item)
    return _leaf(condition.operator, condition, held, event, item, tuple(children))


def _found(path: Path, event: Any, item: Any) -> tuple[Any, str]:
    if not path.has_wildcard:
        value = path.value(event, item)
        return value, type_name(value)
    values = path.values(event, item)
    return (values, "list") if values else (MISSING, "missing")


def _result(condition: When, event: Any) -> tuple[bool, Any, str]:
    try:
        value = condition.expression(event)
        return bool(value), value, type_name(value)
    except Exception as error:
        return False, error, "failed"


def actual_text(trace: Trace, most: int = 120) -> str:
    """What a predicate found, short and on one line: ``"paid" (text)``, ``missing``."""
    if trace.actual_type in ("", "missing", "null"):
        return trace.actual_type
    if trace.actual_type == "failed":
        return f"failed: {trace.actual}"[:most]
    shown = _shown(trace.actual)
    clipped = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return f"{clipped} ({trace.actual_type})"


def _shown(value: Any) -> str:
    try:
        return literal_text(value) if isinstance(value, str | int | float) else repr(value)
    except ValueError:
        return "a very long number"
