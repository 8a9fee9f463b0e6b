"""From the YAML of a ``match:`` to a condition, with every mistake at its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from router.nodes import Node
from router.problems import Position, Problems, nearest
from router.routing.conditions import (
    AllOf,
    AnyOf,
    Condition,
    Elements,
    Expression,
    Not,
    Predicate,
    When,
)
from router.routing.literals import Literal, literal_text, unique
from router.routing.operators import EVERY, OPERATOR_NAMES, SOME, Operand, Operator
from router.routing.paths import EVENT_ROOTS, Path, parse_element_path, parse_path
from router.routing.patterns import Networks, Pattern, parse_network

CompileExpression: TypeAlias = Callable[[str, Position, Problems], Expression | None]

_COMBINATORS: Final = ("any", "all", "not", "when")
_DEEPEST: Final = 12
_SPELLINGS: Final[Mapping[str, str]] = {
    "=": "eq",
    "==": "eq",
    "equals": "eq",
    "is": "eq",
    "!=": "ne",
    "<>": "ne",
    "not": "ne",
    "neq": "ne",
    ">": "gt",
    ">=": "gte",
    "ge": "gte",
    "min": "gte",
    "<": "lt",
    "<=": "lte",
    "le": "lte",
    "max": "lte",
    "nin": "not_in",
    "starts_with": "prefix",
    "startswith": "prefix",
    "begins_with": "prefix",
    "ends_with": "suffix",
    "endswith": "suffix",
    "includes": "contains",
    "like": "glob",
    "wildcard": "glob",
    "match": "regex",
    "matches": "regex",
    "pattern": "regex",
    "re": "regex",
    "present": "exists",
    "ip": "cidr",
    "iequals": "ignore_case",
    "has": "any_of",
    "any": "any_of or some",
    "all": "all_of or every",
    "none": "none_of",
    "between": "gte and lte",
}
"""What people write instead of an operator's name."""


def parse_condition(
    node: Node,
    problems: Problems,
    *,
    compile_expression: CompileExpression,
    roots: Sequence[str] = EVENT_ROOTS,
) -> Condition | None:
    """The condition that a mapping describes, or None after collecting what is wrong with it.

    Args:
        compile_expression: Makes the expression of a ``when:``; it reports its own problems.
        roots: Where paths may start; a condition on recipients adds ``item``.
    """
    parser = _Parser(problems, compile_expression, tuple(roots))
    already = len(problems.found)
    condition = parser.mapping(node, depth=0)
    return condition if len(problems.found) == already else None


@dataclass(frozen=True, slots=True)
class _Parser:
    problems: Problems
    compile_expression: CompileExpression
    roots: tuple[str, ...]
    in_element: bool = False

    def mapping(self, node: Node, depth: int) -> Condition | None:
        if not node.is_mapping:
            self.problems.error(
                "R126", f"a condition is a mapping of paths to values, not {_a(node)}", node.at
            )
            return None
        if depth > _DEEPEST:
            self.problems.error("R128", f"conditions are nested more than {_DEEPEST} deep", node.at)
            return None
        if not node.entries:
            field = "item" if self.in_element else "type"
            self.problems.error(
                "R122",
                f"an empty condition; for one that always holds write {field}: {{exists: true}}",
                node.at,
            )
            return None
        found = [
            self.entry(key, entry.key_at, entry.node, depth) for key, entry in node.entries.items()
        ]
        return _conjunction([c for c in found if c is not None], node.at)

    def entry(self, key: str, at: Position, node: Node, depth: int) -> Condition | None:
        match key:
            case "any" | "all":
                return self.combined(key, at, node, depth)
            case "not":
                condition = self.mapping(node, depth + 1)
                return Not(condition, at) if condition else None
            case "when":
                return self.when(at, node)
            case _:
                path = self.path(key, at)
                if path is None and nearest(key, _COMBINATORS):
                    return None
                condition = self.value(path or _UNREADABLE, key, at, node, depth)
                return condition if path else None

    def path(self, key: str, at: Position) -> Path | None:
        try:
            return parse_element_path(key) if self.in_element else parse_path(key, self.roots)
        except ValueError as error:
            message = str(error)
            if guess := nearest(key, _COMBINATORS):
                message += f'. To combine conditions write "{guess}"'
            self.problems.error("R120", message, at)
            return None

    def combined(self, key: str, at: Position, node: Node, depth: int) -> Condition | None:
        if not node.is_sequence:
            self.problems.error(
                "R126",
                f'"{key}" takes a list of conditions, not {_a(node)}{self._quoting(key)}',
                node.at,
            )
            return None
        if not node.nodes:
            self.problems.error("R122", f'"{key}" has an empty list of conditions', node.at)
            return None
        found = [self.mapping(child, depth + 1) for child in node.nodes]
        conditions = tuple(c for c in found if c is not None)
        return AnyOf(conditions, at) if key == "any" else AllOf(conditions, at)

    def when(self, at: Position, node: Node) -> Condition | None:
        if self.in_element:
            self.problems.error(
                "R127",
                '"when" reads the whole event and can\'t stand inside some or every'
                + self._quoting("when"),
                at,
            )
            return None
        if not isinstance(node.value, str) or not node.value.strip():
            self.problems.error(
                "R127",
                f'"when" takes an expression such as data.a > data.b, not {_a(node)}',
                node.at,
            )
            return None
        expression = self.compile_expression(node.value, node.at, self.problems)
        return When(expression, node.value, at) if expression else None

    def value(self, path: Path, key: str, at: Position, node: Node, depth: int) -> Condition | None:
        if node.is_sequence:
            return self.predicate(path, Operator.IN, at, node)
        if node.is_scalar:
            return self.predicate(path, Operator.EQ, at, node)
        if not node.entries:
            self.problems.error(
                "R122", f"no operator here; write one such as {key}: {{exists: true}}", node.at
            )
            return None
        found = [
            self.operator(path, key, name, entry.key_at, entry.node, depth)
            for name, entry in node.entries.items()
        ]
        return _conjunction([c for c in found if c is not None], at)

    def operator(
        self, path: Path, key: str, name: str, at: Position, node: Node, depth: int
    ) -> Condition | None:
        if name in (SOME, EVERY):
            inner = replace(self, in_element=True).mapping(node, depth + 1)
            return Elements(path, name == EVERY, inner, at) if inner else None
        if name not in OPERATOR_NAMES:
            self.problems.error("R121", _unknown_operator(key, name), at)
            return None
        return self.predicate(path, Operator(name), at, node)

    def predicate(
        self, path: Path, operator: Operator, at: Position, node: Node
    ) -> Predicate | None:
        reader = _Operand(operator, self.problems)
        operand = reader.read(node)
        return None if reader.failed else Predicate(path, operator, operand, at)

    def _quoting(self, key: str) -> str:
        return f'. For a field of that name write "{key}" in quotes' if self.in_element else ""


_UNREADABLE: Final = Path("data")


@dataclass(slots=True)
class _Operand:
    """Reads what stands behind an operator."""

    operator: Operator
    problems: Problems
    failed: bool = False

    def read(self, node: Node) -> Operand:
        match self.operator:
            case Operator.EQ | Operator.NE:
                return self.literal(node)
            case (
                Operator.IN | Operator.NOT_IN | Operator.ANY_OF | Operator.ALL_OF | Operator.NONE_OF
            ):
                return unique(self.literal(child) for child in self.items(node))
            case Operator.GT | Operator.GTE | Operator.LT | Operator.LTE:
                return self.ordered(node)
            case Operator.PREFIX | Operator.SUFFIX | Operator.CONTAINS:
                return self.text(node)
            case Operator.GLOB | Operator.REGEX:
                return self.pattern(node)
            case Operator.EXISTS:
                if isinstance(node.value, bool):
                    return node.value
                return self.wrong(node, "true or false")
            case Operator.CIDR:
                blocks = [self.network(child) for child in self.one_or_more(node)]
                return Networks(tuple(block for block in blocks if block is not None))
            case Operator.IGNORE_CASE:
                return unique(self.text(child).casefold() for child in self.one_or_more(node))

    def items(self, node: Node) -> Sequence[Node]:
        if not node.is_sequence:
            self.wrong(node, "a list")
        elif not node.nodes:
            self.fail("R122", f'"{self.operator}" has an empty list', node.at)
        return node.nodes

    def one_or_more(self, node: Node) -> Sequence[Node]:
        return self.items(node) if node.is_sequence else (node,)

    def literal(self, node: Node) -> Literal:
        value = node.value
        if isinstance(value, float) and math.isnan(value):
            self.fail("R123", "NaN equals nothing", node.at)
            return None
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int | float) or value is None:
            return value
        what = "one value"
        if node.is_sequence and self.operator in (Operator.EQ, Operator.NE):
            listed = "in" if self.operator is Operator.EQ else "not_in"
            what = f"one value (for several write {listed})"
        elif node.is_sequence or node.is_mapping:
            what = "single values" if self.operator is not Operator.EQ else what
        self.wrong(node, what)
        return None

    def ordered(self, node: Node) -> Literal:
        value = node.value
        if isinstance(value, float) and math.isnan(value):
            self.fail("R123", "NaN compares with nothing", node.at)
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            self.wrong(node, "a number or text")
        elif value == "":
            self.fail("R122", f'"{self.operator}" has an empty text', node.at)
        else:
            return str(value) if isinstance(value, str) else value
        return None

    def text(self, node: Node) -> str:
        value = node.value
        if isinstance(value, str) and value:
            return str(value)
        if value == "":
            self.fail("R122", f'"{self.operator}" has an empty text', node.at)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self.wrong(node, f'text; write it in quotes, "{value}"')
        else:
            self.wrong(node, "text")
        return ""

    def pattern(self, node: Node) -> Pattern | None:
        text = self.text(node)
        if not text:
            return None
        try:
            return Pattern.glob(text) if self.operator is Operator.GLOB else Pattern.regex(text)
        except ValueError as error:
            kind = "glob" if self.operator is Operator.GLOB else "regular expression"
            self.fail("R124", f"this {kind} can't be used: {error}", node.at)
            return None

    def network(self, node: Node):
        text = self.text(node)
        if not text:
            return None
        try:
            return parse_network(text)
        except ValueError as error:
            self.fail("R125", str(error), node.at)
            return None

    def wrong(self, node: Node, wanted: str) -> None:
        self.fail("R123", f'"{self.operator}" takes {wanted}, not {_a(node)}', node.at)

    def fail(self, code: str, message: str, at: Position) -> None:
        self.failed = True
        self.problems.error(code, message, at)


def _conjunction(conditions: list[Condition], at: Position) -> Condition | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    flat = [
        part
        for condition in conditions
        for part in (condition.conditions if isinstance(condition, AllOf) else (condition,))
    ]
    return AllOf(tuple(flat), at)


def _unknown_operator(key: str, name: str) -> str:
    if spelled := _SPELLINGS.get(name.lower()):
        return f'unknown operator "{name}". Did you mean "{spelled}"?'
    guess = nearest(name, OPERATOR_NAMES)
    hint = f'Did you mean "{guess}"?' if guess else f"For that field write {key}.{name}."
    return f'unknown operator "{name}". {hint} Operators: {", ".join(sorted(OPERATOR_NAMES))}'


def _a(node: Node) -> str:
    """The node's kind with its article, and what it says if that is short."""
    kind = node.kind()
    if kind == "number" and isinstance(node.value, int | float):
        return f"the number {literal_text(node.value)}"
    return f"a {kind}" if kind in ("list", "mapping", "secret") else kind
