"""Python source for conditions: one generated function evaluates the routes of one index node.

The source is built from the syntax tree alone. Names of fields and literals never stand in it:
they are bound to ``k0``, ``k1`` … (constants of the function) and ``c0``, ``c1`` … (constants of
a route), so nodes of one shape share one code object, and routes of one shape one loop::

    def make(k0, g1, r2):
        def match(event, out):
            v0 = event.type
            node = g1(v0) if type(v0) is str else None
            if node is not None:
                node(event, out)
            v1 = event.data
            v2 = v1.get(k0, MISSING) if type(v1) is dict else MISSING
            if (type(v2) in NUMBERS or is_decimal(v2)):
                for n, c0 in r2:
                    if v2 >= c0:
                        out.append(n)
        return match
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from router.routing.conditions import AllOf, AnyOf, Condition, Elements, Not, Predicate, When
from router.routing.literals import literal_key
from router.routing.operators import NEGATED, Operator
from router.routing.paths import EACH, EVENT_ROOTS, HEADERS, ITEM, OPTIONAL_ROOTS, Path, Step

_IS_NUMBER: Final = "(type({v}) in NUMBERS or is_decimal({v}))"
_IS_TEXT: Final = "type({v}) is str"
_IS_LIST: Final = "type({v}) is list"
_ORDER: Final[Mapping[Operator, str]] = {
    Operator.GT: "{v} > {c}",
    Operator.GTE: "{v} >= {c}",
    Operator.LT: "{v} < {c}",
    Operator.LTE: "{v} <= {c}",
}
_ON_TEXT: Final[Mapping[Operator, tuple[str, int]]] = {
    Operator.PREFIX: ("{v}.startswith({c})", 2),
    Operator.SUFFIX: ("{v}.endswith({c})", 2),
    Operator.CONTAINS: ("{c} in {v}", 3),
    Operator.IGNORE_CASE: ("{v}.casefold() in {c}", 4),
    Operator.REGEX: ("{c}({v})", 20),
    Operator.GLOB: ("{c}({v})", 20),
    Operator.CIDR: ("{c}({v})", 40),
}
_LOOP_COST: Final = 10
_EXPRESSION_COST: Final = 1000


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a conjunction.

    Attributes:
        text: Python that binds tighter than ``and``.
        varies: It reads constants of the route, so it can't be tested once for many routes.
        cost: Roughly, in comparisons; a guard never costs more than what it guards.
    """

    text: str
    varies: bool
    cost: int = 1


@dataclass(slots=True)
class Constants:
    """Values bound to the parameters of the generated factory."""

    names: list[str] = field(default_factory=list[str])
    values: list[Any] = field(default_factory=list[Any])
    steps: dict[tuple[Step, ...], str] = field(default_factory=dict[tuple[Step, ...], str])

    def step(self, *steps: Step) -> str:
        """The name of one step, or of several as a tuple; the same for the same steps."""
        if steps not in self.steps:
            self.steps[steps] = self.bind("k", steps if EACH in steps else steps[0])
        return self.steps[steps]

    def bind(self, prefix: str, value: Any) -> str:
        name = f"{prefix}{len(self.names)}"
        self.names.append(name)
        self.values.append(value)
        return name


@dataclass(slots=True)
class Scope:
    """The loads of one function: each path, and each part that paths share, once.

    Attributes:
        item: Where paths into an element start; outside a function for elements nowhere.
    """

    constants: Constants
    item: str = "MISSING"
    lines: list[str] = field(default_factory=list[str])
    loaded: dict[Path, str] = field(default_factory=dict[Path, str])

    def load(self, path: Path) -> str:
        """The variable with the path's value, or with the list of its values for ``[*]``."""
        if path.root == ITEM and not path.steps:
            return self.item
        variable = self.loaded.get(path)
        if variable is None:
            source = self._source(path)
            variable = self.loaded[path] = f"v{len(self.loaded)}"
            self.lines.append(f"{variable} = {source}")
        return variable

    def _source(self, path: Path) -> str:
        if not path.steps:
            return _root_source(path.root)
        if path.has_wildcard:
            first = path.steps.index(EACH)
            parent = self.load(Path(path.root, path.steps[:first]))
            return f"[*descend({parent}, {self.constants.step(*path.steps[first:])})]"
        parent = self.load(Path(path.root, path.steps[:-1]))
        return self._step(path, parent, path.steps[-1])

    def _step(self, path: Path, parent: str, step: Step) -> str:
        name = self.constants.step(step)
        if path.root == HEADERS:
            return f"{parent}.get({name}, MISSING)"
        if type(step) is int:
            return f"take({parent}, {name})"
        return f"{parent}.get({name}, MISSING) if type({parent}) is dict else MISSING"


def _root_source(root: str) -> str:
    if root not in EVENT_ROOTS:
        raise ValueError(f"an event has no {root}")
    source = f"event.{root}"
    return f"MISSING if {source} is None else {source}" if root in OPTIONAL_ROOTS else source


@dataclass(slots=True)
class Emitter:
    """Turns the conditions of one route into terms.

    Attributes:
        number: The route's, for what its expressions report.
        scope: Of the function in which the terms will stand.
        row: The route's constants so far; shared with functions for elements.
        functions: Functions for elements, body to name; shared by the whole factory.
        used: Names of the row's constants that this scope reads.
    """

    number: int
    scope: Scope
    functions: dict[tuple[str, ...], str]
    row: list[Any] = field(default_factory=list[Any])
    used: list[str] = field(default_factory=list[str])

    def terms(self, condition: Condition) -> list[Term]:
        match condition:
            case Predicate():
                return self._predicate(condition)
            case AllOf():
                return [term for child in condition.conditions for term in self.terms(child)]
            case AnyOf():
                parts = [self.terms(child) for child in condition.conditions]
                text = " or ".join(conjunction(part) for part in parts) or "False"
                return [_combined(f"({text})", [term for part in parts for term in part])]
            case Not():
                inner = self.terms(condition.condition)
                return [_combined(f"not {conjunction(inner)}", inner)]
            case Elements():
                return self._elements(condition)
            case When():
                expression = self._bind((self.number, condition.expression))
                return [Term(f"run({expression}, event)", True, _EXPRESSION_COST)]
            case _:
                raise TypeError(f"not a condition: {condition!r}")

    def _predicate(self, predicate: Predicate) -> list[Term]:
        variable = self.scope.load(predicate.path)
        wildcard = predicate.path.has_wildcard
        if predicate.operator is Operator.EXISTS:
            found = variable if wildcard else f"{variable} is not MISSING"
            return [Term(found if predicate.operand else f"not ({found})", False)]
        operator = NEGATED.get(predicate.operator, predicate.operator)
        terms = self._test("x" if wildcard else variable, operator, predicate.operand)
        if wildcard:
            terms = [_loop(conjunction(terms), "x", variable, terms)]
        if operator is not predicate.operator:
            terms = [_combined(f"not {conjunction(terms)}", terms)]
        return terms

    def _test(self, v: str, operator: Operator, operand: Any) -> list[Term]:
        """Terms that say whether one value passes."""
        match operator:
            case Operator.EQ:
                return self._equal(v, operand)
            case Operator.IN if all(type(literal) is str for literal in operand):
                return [_guard(_IS_TEXT, v), Term(f"{v} in {self._bind(frozenset(operand))}", True)]
            case Operator.IN:
                return [Term(f"literal_key({v}) in {self._bind(_keys(operand))}", True, 3)]
            case Operator.ANY_OF:
                keys = self._bind(_keys(operand))
                test = f"not {keys}.isdisjoint(map(literal_key, {v}))"
                return [_guard(_IS_LIST, v), Term(test, True, _LOOP_COST)]
            case Operator.ALL_OF:
                keys = self._bind(_keys(operand))
                test = f"{keys}.issubset(map(literal_key, {v}))"
                return [_guard(_IS_LIST, v), Term(test, True, _LOOP_COST)]
            case _ if operator in _ORDER:
                guard = _IS_TEXT if type(operand) is str else _IS_NUMBER
                test = _ORDER[operator].format(v=v, c=self._bind(operand))
                return [_guard(guard, v), Term(test, True)]
            case _:
                test, cost = _ON_TEXT[operator]
                return [
                    _guard(_IS_TEXT, v),
                    Term(test.format(v=v, c=self._bind(_bound(operator, operand))), True, cost),
                ]

    def _equal(self, v: str, literal: Any) -> list[Term]:
        if literal is None:
            return [Term(f"{v} is None", False)]
        if type(literal) is bool:
            return [Term(f"{v} is {self._bind(literal)}", True)]
        test = Term(f"{v} == {self._bind(literal)}", True)
        return [test] if type(literal) is str else [_guard(_IS_NUMBER, v), test]

    def _elements(self, condition: Elements) -> list[Term]:
        variable = self.scope.load(condition.path)
        inner = Emitter(self.number, Scope(self.scope.constants, "item"), self.functions, self.row)
        terms = inner.terms(condition.condition)
        for name in inner.used:
            if name not in self.used:
                self.used.append(name)
        parameters = ", ".join(["event", "item", *inner.used])
        body = (
            f"({parameters}):",
            *_indent(inner.scope.lines),
            f"    return {conjunction(terms)}",
        )
        name = self.functions.setdefault(body, f"s{len(self.functions)}")
        quantifier = "all" if condition.every else "any"
        arguments = ", ".join(["event", "e", *inner.used])
        v = "x" if condition.path.has_wildcard else variable
        loop = _loop(f"{name}({arguments})", "e", v, terms, quantifier)
        parts = [_guard(_IS_LIST, v), loop]
        if condition.path.has_wildcard:
            return [_loop(conjunction(parts), "x", variable, parts)]
        return parts

    def _bind(self, value: Any) -> str:
        name = f"c{len(self.row)}"
        self.row.append(value)
        self.used.append(name)
        return name


@dataclass(slots=True)
class FunctionSource:
    """Gathers what one generated function does: look-ups in tables, then routes by shape."""

    constants: Constants = field(default_factory=Constants)
    functions: dict[tuple[str, ...], str] = field(default_factory=dict[tuple[str, ...], str])
    tables: list[list[str]] = field(default_factory=list[list[str]])
    loops: dict[tuple[str, str, int], list[Any]] = field(
        default_factory=dict[tuple[str, str, int], list[Any]]
    )
    scope: Scope = field(init=False)

    def __post_init__(self) -> None:
        self.scope = Scope(self.constants)

    def add_table(self, path: Path, nodes: Mapping[Any, Any]) -> None:
        """Go on with the function under the value at the path."""
        v = self.scope.load(path)
        find = self.constants.bind("g", nodes.get)
        if all(type(key) is str for key in nodes):
            lookup = f"node = {find}({v}) if type({v}) is str else None"
        else:
            lookup = f"node = {find}(literal_key({v}))"
        self.tables.append([lookup, "if node is not None:", "    node(event, out)"])

    def add_route(self, number: int, condition: Condition | None) -> None:
        """Put the number out if the condition holds."""
        emitter = Emitter(number, self.scope, self.functions)
        terms = emitter.terms(condition) if condition is not None else []
        guards = conjunction((term for term in terms if not term.varies), empty="")
        tests = conjunction((term for term in terms if term.varies), empty="")
        rows = self.loops.setdefault((guards, tests, len(emitter.row)), [])
        rows.append((number, *emitter.row) if emitter.row else number)

    def lines(self) -> list[str]:
        """The source of the factory; call it with the constants' values."""
        loops = [
            line
            for (guards, tests, width), rows in self.loops.items()
            for line in self._loop(guards, tests, width, rows)
        ]
        tables = [line for table in self.tables for line in table]
        body = [*self.scope.lines, *tables, *loops] or ["pass"]
        functions = [
            line
            for (head, *body), name in self.functions.items()
            for line in (f"def {name}{head}", *body)
        ]
        return [
            f"def make({', '.join(self.constants.names)}):",
            *_indent(functions),
            "    def match(event, out):",
            *_indent(_indent(body)),
            "    return match",
        ]

    def _loop(self, guards: str, tests: str, width: int, rows: list[Any]) -> list[str]:
        name = self.constants.bind("r", tuple(rows))
        if not tests:
            lines = [f"out += {name}"]
        else:
            targets = ", ".join(["n", *(f"c{index}" for index in range(width))])
            lines = [f"for {targets} in {name}:", f"    if {tests}:", "        out.append(n)"]
        return [f"if {guards}:", *_indent(lines)] if guards else lines


def conjunction(terms: Iterable[Term], empty: str = "True") -> str:
    """The terms joined, cheap ones first."""
    texts = dict.fromkeys(term.text for term in sorted(terms, key=lambda term: term.cost))
    if len(texts) < 2:
        return next(iter(texts), empty)
    return f"({' and '.join(texts)})"


def _combined(text: str, terms: list[Term]) -> Term:
    varies = any(term.varies for term in terms)
    return Term(text, varies, sum(term.cost for term in terms) + 1)


def _loop(test: str, name: str, over: str, terms: list[Term], quantifier: str = "any") -> Term:
    combined = _combined(f"{quantifier}({test} for {name} in {over})", terms)
    return Term(combined.text, combined.varies, combined.cost + _LOOP_COST)


def _guard(guard: str, v: str) -> Term:
    return Term(guard.format(v=v), False)


def _keys(literals: Iterable[Any]) -> frozenset[Any]:
    return frozenset(map(literal_key, literals))


def _bound(operator: Operator, operand: Any) -> Any:
    """What the test needs of an operand."""
    match operator:
        case Operator.REGEX | Operator.GLOB:
            return operand.found_in
        case Operator.CIDR:
            return operand.contain
        case Operator.IGNORE_CASE:
            return frozenset(operand)
        case _:
            return operand


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
