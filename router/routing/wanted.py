"""What a condition demands of an event of which only some attributes are known yet."""

from __future__ import annotations

from dataclasses import dataclass

from router.routing.conditions import AllOf, AnyOf, Condition, Not, Predicate


@dataclass(frozen=True, slots=True)
class Glimpse:
    """An event before it is decoded."""

    topic: str
    type: str


def seen_through(condition: Condition, known: frozenset[str]) -> Condition | None:
    """A condition over the known attributes that holds wherever the given one can.

    Args:
        known: Starts of the paths that it may read.

    Returns:
        None where nothing is demanded of them.
    """
    if _is_decidable(condition, known):
        return condition
    match condition:
        case AllOf():
            demands = [seen_through(child, known) for child in condition.conditions]
            some = tuple(demand for demand in demands if demand is not None)
            return AllOf(some, condition.at) if some else None
        case AnyOf():
            demands = [seen_through(child, known) for child in condition.conditions]
            every = tuple(demand for demand in demands if demand is not None)
            return AnyOf(every, condition.at) if len(every) == len(demands) else None
        case _:
            return None


def _is_decidable(condition: Condition, known: frozenset[str]) -> bool:
    match condition:
        case Predicate():
            return condition.path.root in known
        case AllOf() | AnyOf():
            return all(_is_decidable(child, known) for child in condition.conditions)
        case Not():
            return _is_decidable(condition.condition, known)
        case _:
            return False
