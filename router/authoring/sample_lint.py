"""Findings that sample events bring to light: comparisons and reads that fit none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from router.authoring.route_lint import warning
from router.config import Project
from router.events import Event
from router.planning import Route, TemplateContent
from router.problems import Problem
from router.routing import (
    AllOf,
    AnyOf,
    Condition,
    Not,
    Operator,
    Predicate,
    literal_text,
    type_name,
)
from router.templating import Piece, Template, View

_EQUAL = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN})
_ORDER = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})
_TEXTUAL = frozenset(
    {Operator.PREFIX, Operator.SUFFIX, Operator.CONTAINS, Operator.GLOB, Operator.REGEX}
)
_OF_LISTS = frozenset({Operator.ANY_OF, Operator.ALL_OF, Operator.NONE_OF})
_KINDS = ("number", "text")


def sample_events(project: Project) -> list[Event]:
    """The events of all templates' samples; samples of variables alone have none."""
    return [
        sample.view.event
        for template in project.templates.values()
        for sample in template.samples
        if sample.view.event.type != "sample"
    ]


def lint_by_samples(project: Project) -> Iterator[Problem]:
    """What each route compares and each template reads, held against the samples."""
    events = sample_events(project)
    for route in project.routes.values():
        if route.is_on:
            about = [event for event in events if _may_concern(route.match, event)]
            for predicate in _predicates(route.match):
                yield from _compared(predicate, about)
    given = _given_by_routes(project)
    for template in project.templates.values():
        yield from _unseen(template, given.get(template.name, frozenset()))


# Comparisons -----------------------------------------------------------------------------------


def _may_concern(condition: Condition, event: Event) -> bool:
    types = condition.equalities().get("type")
    return types is None or event.type in types


def _predicates(condition: Condition) -> Iterator[Predicate]:
    match condition:
        case Predicate():
            yield condition
        case AllOf() | AnyOf():
            for child in condition.conditions:
                yield from _predicates(child)
        case Not():
            yield from _predicates(condition.condition)
        case _:
            return


def _compared(predicate: Predicate, events: Sequence[Event]) -> Iterator[Problem]:
    values = [value for event in events for value in predicate.path.values(event)]
    kinds = {type_name(value) for value in values} - {"null"}
    if len(kinds) != 1:
        return
    (kind,) = kinds
    path, shown = predicate.path.text, predicate.describe()
    if kind == "list" and predicate.operator in _EQUAL | _ORDER | _TEXTUAL:
        hint = f"write {path}: {{any_of: {_as_list(predicate)}}}"
        if predicate.operator not in _EQUAL:
            hint = f"write {path}[*] for any element"
        yield warning("R305", f"{path} is a list in every sample; {hint}", predicate.at)
    elif kind != "list" and predicate.operator in _OF_LISTS:
        message = f"{path} is {_a(kind)} in every sample, and {predicate.operator} is for lists"
        yield warning("R305", f"{message}; write {path}: {_as_list(predicate)}", predicate.at)
    elif (wanted := _operand_kind(predicate)) in _KINDS and kind in _KINDS and kind != wanted:
        example = literal_text(next(v for v in values if v is not None))
        message = f"{shown} compares with {_a(wanted)}, but {path} is {_a(kind)} in every sample"
        message += f", such as {example}: never equal"
        yield warning("R304", message, predicate.at)


def _a(kind: str) -> str:
    return "a number" if kind == "number" else kind


def _as_list(predicate: Predicate) -> str:
    operand: Any = predicate.operand
    values = operand if isinstance(operand, tuple) else (operand,)
    return f"[{', '.join(literal_text(value) for value in values)}]"


def _operand_kind(predicate: Predicate) -> str:
    if predicate.operator in _TEXTUAL:
        return "text"
    if predicate.operator not in _EQUAL | _ORDER:
        return ""
    operand: Any = predicate.operand
    values = operand if isinstance(operand, tuple) else (operand,)
    kinds = {type_name(value) for value in values}
    return kinds.pop() if len(kinds) == 1 else ""


# Reads -----------------------------------------------------------------------------------------


def _given_by_routes(project: Project) -> dict[str, frozenset[str]]:
    """By template, the variables that some route's ``with:`` gives it."""
    given: dict[str, frozenset[str]] = {}
    for content in _template_contents(project.routes.values()):
        before = given.get(content.template, frozenset[str]())
        given[content.template] = before | content.variables.keys()
    return given


def _template_contents(routes: Any) -> Iterator[TemplateContent]:
    for route in routes:
        assert isinstance(route, Route)
        for step in route.steps:
            if isinstance(step.content, TemplateContent):
                yield step.content


def _unseen(template: Template, given: frozenset[str]) -> Iterator[Problem]:
    views = [sample.view for sample in template.samples]
    if not views:
        return
    read = template.names.union(*(own.names for own in template.tenants.values()))
    for name, variable in template.variables.items():
        if name in read and not any(_has(view, name) for view in views):
            message = (
                f'no sample of "{template.name}" has {name}: what depends on it is never seen;'
                " add it to a sample"
            )
            yield warning("T202", message, variable.at)
    yield from _unseen_fields(template, views)


def _has(view: View, name: str) -> bool:
    if name in view.variables:
        return view.variables[name] is not None
    data = view.event.data
    return isinstance(data, dict) and data.get(name) is not None  # pyright: ignore[reportUnknownMemberType]


def _unseen_fields(template: Template, views: Sequence[View]) -> Iterator[Problem]:
    seen = {key for v in views if isinstance(v.event.data, dict) for key in v.event.data}
    for piece in dict.fromkeys(_layout_pieces(template)):
        for name, field, line in piece.uses.fields:
            if name == "data" and name in piece.names and field not in seen:
                message = f'no sample of "{template.name}" has data.{field}'
                yield warning("T202", message, piece.snippet.position(line, rf"\bdata\.{field}\b"))


def _layout_pieces(template: Template) -> Iterator[Piece]:
    """What its layouts are written as, those that tenants have of their own included."""
    for one in (template, *template.tenants.values()):
        for made in one.layouts.values():
            for layout in made.values():
                yield from layout.pieces()
