"""What a route asks of an event: paths, conditions, their evaluation and the compiled matcher."""

from router.routing.codes import CODES
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
from router.routing.literals import Literal, literal_text, type_name
from router.routing.matcher import Matcher
from router.routing.naive import Trace, actual_text, evaluate, explain
from router.routing.operators import OPERATOR_NAMES, Operator
from router.routing.parser import CompileExpression, parse_condition
from router.routing.paths import EACH, EVENT_ROOTS, ITEM, MISSING, ROOTS, Path, parse_path

__all__ = [
    "CODES",
    "EACH",
    "EVENT_ROOTS",
    "ITEM",
    "MISSING",
    "OPERATOR_NAMES",
    "ROOTS",
    "AllOf",
    "AnyOf",
    "CompileExpression",
    "Condition",
    "Elements",
    "Expression",
    "Literal",
    "Matcher",
    "Not",
    "Operator",
    "Path",
    "Predicate",
    "Trace",
    "When",
    "actual_text",
    "evaluate",
    "explain",
    "literal_text",
    "parse_condition",
    "parse_path",
    "type_name",
]
