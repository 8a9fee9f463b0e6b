"""Whether a condition can hold for any event at all. Errs on the side of yes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from router.routing import AllOf, AnyOf, Condition, Elements, Not, Operator, Path, Predicate

_MOST_WAYS = 64
_LOWER = frozenset({Operator.GT, Operator.GTE})
_UPPER = frozenset({Operator.LT, Operator.LTE})
_TRUE_OF_NOTHING = frozenset({Operator.NE, Operator.NOT_IN, Operator.NONE_OF})
_OF_TEXT = frozenset(
    {
        Operator.PREFIX,
        Operator.SUFFIX,
        Operator.CONTAINS,
        Operator.GLOB,
        Operator.REGEX,
        Operator.CIDR,
        Operator.IGNORE_CASE,
    }
)
_OF_LISTS = frozenset({Operator.ANY_OF, Operator.ALL_OF})


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two demands that nothing meets.

    Attributes:
        text: What they are, in the operator's words.
        conditions: Which: the later one last.
    """

    text: str
    conditions: tuple[Condition, ...]


def contradiction(condition: Condition) -> Contradiction | None:
    """Why a condition can never hold, or None where it may."""
    first: Contradiction | None = None
    for way in _ways(condition):
        found = _in_one_way(way)
        if found is None:
            return None
        first = first or found
    return first


def _ways(condition: Condition) -> Iterator[Sequence[Condition]]:
    """The conjunctions one of which has to hold; at most so many, then the whole as it is."""
    parts = list(_parts(condition))
    choices = [
        [tuple(_parts(child)) for child in part.conditions]
        if isinstance(part, AnyOf)
        else [(part,)]
        for part in parts
    ]
    count = 1
    for choice in choices:
        count *= max(1, len(choice))
    if count > _MOST_WAYS:
        yield [part for part in parts if not isinstance(part, AnyOf)]
        return
    for way in product(*choices):
        yield [part for group in way for part in group]


def _parts(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, AllOf):
        for child in condition.conditions:
            yield from _parts(child)
    else:
        yield condition


def _in_one_way(conditions: Sequence[Condition]) -> Contradiction | None:
    return (
        _denied(conditions)
        or _impossible_element(conditions)
        or _no_common_value(conditions)
        or _on_one_path(conditions)
        or _below_nothing(conditions)
    )


def _denied(conditions: Sequence[Condition]) -> Contradiction | None:
    demanded = {condition.canonical: condition for condition in conditions}
    for condition in conditions:
        if isinstance(condition, Not):
            other = demanded.get(condition.condition.canonical)
            if other is not None:
                text = f"{other.describe()} is demanded and denied"
                return Contradiction(text, (other, condition))
    return None


def _impossible_element(conditions: Sequence[Condition]) -> Contradiction | None:
    for condition in conditions:
        if isinstance(condition, Elements) and not condition.every:
            found = contradiction(condition.condition)
            if found is not None:
                return Contradiction(f"in {condition.path}: {found.text}", found.conditions)
    return None


def _no_common_value(conditions: Sequence[Condition]) -> Contradiction | None:
    if not conditions:
        return None
    whole = AllOf(tuple(conditions), conditions[0].at)
    for path, values in whole.equalities().items():
        if not values:
            about = [p for p in _predicates(conditions) if p.path.text == path]
            said = " and ".join(dict.fromkeys(p.describe() for p in about))
            return Contradiction(f"nothing is {said}", tuple(about))
    return None


def _predicates(conditions: Iterable[Condition]) -> list[Predicate]:
    return [c for c in conditions if isinstance(c, Predicate)]


def _on_one_path(conditions: Sequence[Condition]) -> Contradiction | None:
    by_path: dict[Path, list[Predicate]] = {}
    for predicate in _predicates(conditions):
        if not predicate.path.has_wildcard:
            by_path.setdefault(predicate.path, []).append(predicate)
    for predicates in by_path.values():
        for index, later in enumerate(predicates):
            for earlier in predicates[:index]:
                if _exclude(earlier, later):
                    text = f"nothing is {earlier.describe()} and {later.describe()}"
                    return Contradiction(text, (earlier, later))
    return None


def _exclude(one: Predicate, other: Predicate) -> bool:
    """No value meets both."""
    for first, second in ((one, other), (other, one)):
        if _is_absence(first) and _needs_value(second):
            return True
        if first.operator in _LOWER and second.operator in _UPPER and _is_empty(first, second):
            return True
    kinds = _kind(one), _kind(other)
    if None not in kinds and kinds[0] != kinds[1]:
        return True
    if one.operator is other.operator is Operator.PREFIX:
        return not _starts(one.operand, other.operand) and not _starts(other.operand, one.operand)
    if one.operator is other.operator is Operator.SUFFIX:
        return not _ends(one.operand, other.operand) and not _ends(other.operand, one.operand)
    return False


def _is_absence(predicate: Predicate) -> bool:
    return predicate.operator is Operator.EXISTS and predicate.operand is False


def _needs_value(predicate: Predicate) -> bool:
    if predicate.operator is Operator.EXISTS:
        return predicate.operand is True
    return predicate.operator not in _TRUE_OF_NOTHING


def _is_empty(lower: Predicate, upper: Predicate) -> bool:
    low, high = lower.operand, upper.operand
    both_inclusive = lower.operator is Operator.GTE and upper.operator is Operator.LTE
    if isinstance(low, str) and isinstance(high, str):
        return low > high or (low == high and not both_inclusive)
    if isinstance(low, int | float) and isinstance(high, int | float):
        return low > high or (low == high and not both_inclusive)
    return False


def _kind(predicate: Predicate) -> str | None:
    """``text``, ``number`` or ``list`` where only such values can meet it."""
    if predicate.operator in _OF_TEXT:
        return "text"
    if predicate.operator in _OF_LISTS:
        return "list"
    if predicate.operator in _LOWER | _UPPER:
        return "text" if isinstance(predicate.operand, str) else "number"
    return None


def _starts(text: object, start: object) -> bool:
    return isinstance(text, str) and isinstance(start, str) and text.startswith(start)


def _ends(text: object, end: object) -> bool:
    return isinstance(text, str) and isinstance(end, str) and text.endswith(end)


def _below_nothing(conditions: Sequence[Condition]) -> Contradiction | None:
    """Something is demanded below a path that must not exist."""
    predicates = _predicates(conditions)
    for absent in predicates:
        if not _is_absence(absent) or absent.path.has_wildcard:
            continue
        depth = len(absent.path.steps)
        for other in predicates:
            inside = other.path.root == absent.path.root and (
                other.path.steps[:depth] == absent.path.steps and len(other.path.steps) > depth
            )
            if inside and _needs_value(other):
                text = f"{absent.path} must not exist, but {other.describe()} is demanded"
                return Contradiction(text, (absent, other))
    return None
