"""What templates may use, checked on the syntax tree, and the tree made safe to run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from router.problems import did_you_mean
from router.templating.environment import COUNTED, JOINED, WEIGHED, Environment

Complain = Callable[[str, int, str, str], None]
"""Called with a code, a template line, a pattern to find in it, and a message."""

MAX_OPERANDS = 200
RESERVED = frozenset(
    {"brand", "event", "data", "recipient", "route", "locale", "t", "now", "unsubscribe_url"}
)
"""Names that loops and ``set`` may not shadow."""
_FORBIDDEN: Mapping[type[nodes.Node], str] = {
    nodes.Extends: "extends",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Block: "block",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.EvalContextModifier: "autoescape",
}
_LIST_MAKERS = frozenset({"batch", "dictsort", "groupby", "list", "slice", "sort"})
_CAPTURING = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)
_EXPLAINED = {
    "safe": "every value is escaped where it is written; put markup into the layout",
    "attr": "write a.b or a[b]",
}


@dataclass(slots=True)
class Uses:
    """What a template reads.

    Attributes:
        texts: Calls of ``t``: key, positional arguments, named ones, line.
        fields: ``name.field`` reads of undeclared names: name, field, line.
    """

    texts: list[tuple[str, int, tuple[str, ...], int]] = field(
        default_factory=list[tuple[str, int, tuple[str, ...], int]]
    )
    fields: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])


def check(tree: nodes.Template, env: Environment, complain: Complain, *, json: bool) -> bool:
    """Whether the tree uses only what templates may use."""
    clean = True

    def reject(code: str, line: int, needle: str, message: str) -> None:
        nonlocal clean
        clean = False
        complain(code, line, needle, message)

    for node in _nodes(tree):
        if tag := _FORBIDDEN.get(type(node)):
            reject("T124", node.lineno, tag, f'"{tag}" is not available in templates')
        elif json and isinstance(node, _CAPTURING):
            reject(
                "T124",
                node.lineno,
                r"macro|call|filter|set",
                "a .json template has no macros and no blocks that hold text",
            )
        elif isinstance(node, nodes.Filter) and (wrong := _no_filter(node, env)):
            reject("T123", node.lineno, rf"\|\s*{re.escape(node.name)}\b", wrong)
        elif isinstance(node, nodes.Test) and node.name not in env.tests:
            guess = did_you_mean(node.name, list(env.tests), "Tests")
            reject("T123", node.lineno, node.name, f'unknown test "{node.name}".{guess}')
        elif isinstance(node, nodes.Name) and node.ctx != "load" and node.name in RESERVED:
            reject("T124", node.lineno, node.name, f'"{node.name}" can\'t be set: it is taken')
        elif isinstance(node, nodes.Name) and node.name in {"self", "super"}:
            reject("T124", node.lineno, node.name, f'"{node.name}" is not available in templates')
        elif isinstance(node, nodes.Concat) and len(node.nodes) > MAX_OPERANDS:
            reject("T124", node.lineno, "~", f'over {MAX_OPERANDS} texts joined by "~"')
        elif isinstance(node, nodes.Getitem) and _is_t(node.node):
            reject("T124", node.lineno, r"t\[", "write t.key: a text's key is fixed")
    return clean


def _nodes(tree: nodes.Node) -> list[nodes.Node]:
    found: list[nodes.Node] = []
    queue = [tree]
    while queue:
        node = queue.pop()
        found.append(node)
        queue.extend(node.iter_child_nodes())
    return sorted(found, key=lambda n: n.lineno or 0)


def _no_filter(node: nodes.Filter, env: Environment) -> str | None:
    """What is wrong with the name of a filter, or None."""
    try:
        if env.has_filter(node.name):
            return None
    except ImportError as error:
        return f'filter "{node.name}" can\'t be loaded: {error}'
    if reason := _EXPLAINED.get(node.name):
        return f'there is no filter "{node.name}": {reason}'
    names = [name for name in env.filters if " " not in name]
    return f'unknown filter "{node.name}".{did_you_mean(node.name, names, "Filters")}'


def _is_t(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "t"


class Guarding(NodeTransformer):
    """Counts loops, joins by a bounded filter, calls texts, and notes what is read."""

    def __init__(self) -> None:
        self.uses = Uses()

    def visit_For(self, node: nodes.For, *args: Any, **kwargs: Any) -> nodes.For:
        weight = sum(_fixed_size(child) for child in node.body)
        self.generic_visit(node)
        node.iter = _filter(node.iter, COUNTED, nodes.Const(weight, lineno=node.lineno))
        return node

    def visit_List(self, node: nodes.List, *args: Any, **kwargs: Any) -> nodes.Filter:
        return self._weighed(node)

    def visit_Tuple(self, node: nodes.Tuple, *args: Any, **kwargs: Any) -> nodes.Expr:
        return node if node.ctx == "store" else self._weighed(node)

    def visit_Dict(self, node: nodes.Dict, *args: Any, **kwargs: Any) -> nodes.Filter:
        return self._weighed(node)

    def visit_Filter(self, node: nodes.Filter, *args: Any, **kwargs: Any) -> nodes.Filter:
        if node.name in _LIST_MAKERS:
            return self._weighed(node)
        self.generic_visit(node)
        return node

    def _weighed(self, node: nodes.Expr) -> nodes.Filter:
        self.generic_visit(node)
        return _filter(node, WEIGHED)

    def visit_Concat(self, node: nodes.Concat, *args: Any, **kwargs: Any) -> nodes.Filter:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), JOINED)

    def visit_Call(self, node: nodes.Call, *args: Any, **kwargs: Any) -> nodes.Call:
        target = node.node
        if not (isinstance(target, nodes.Getattr) and _is_t(target.node)):
            self.generic_visit(node)
            return node
        keywords = tuple(keyword.key for keyword in node.kwargs)
        self.uses.texts.append((target.attr, len(node.args), keywords, node.lineno))
        node.node = nodes.Const(None, lineno=node.lineno)
        self.generic_visit(node)
        node.node = target
        return node

    def visit_Getattr(self, node: nodes.Getattr, *args: Any, **kwargs: Any) -> nodes.Expr:
        if _is_t(node.node):
            self.uses.texts.append((node.attr, 0, (), node.lineno))
            return nodes.Call(node, [], [], None, None, lineno=node.lineno)
        if isinstance(node.node, nodes.Name):
            self.uses.fields.append((node.node.name, node.attr, node.lineno))
        self.generic_visit(node)
        return node


def _filter(value: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    assert isinstance(value, nodes.Expr)
    return nodes.Filter(value, name, list(args), [], None, None, lineno=value.lineno)


def _fixed_size(node: nodes.Node) -> int:
    if isinstance(node, nodes.TemplateData):
        return len(node.data)
    if isinstance(node, nodes.For):
        return 0
    return sum(_fixed_size(child) for child in node.iter_child_nodes())
