"""The compiled matcher: all routes against one event, in time that does not grow with the routes.

An index on equality (see ``index``) leads to the few routes that can match; what is left of
their conditions is generated Python (see ``emitter``). It agrees with ``naive.evaluate`` always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias

from router.events import Event
from router.routing.conditions import Condition, Expression
from router.routing.emitter import FunctionSource
from router.routing.index import Entry, Node, plan
from router.routing.literals import NUMBERS, is_decimal, literal_key
from router.routing.paths import MISSING, descend, take
from router.routing.wanted import Glimpse, seen_through

Collect: TypeAlias = Callable[[Any, list[int]], None]
"""Appends the numbers of the routes that match."""

_MOST_SHAPES: Final = 100
"""Shapes of routes in one generated function; more make another function."""
_BUILTINS: Final = {"all": all, "any": any, "dict": dict, "list": list, "map": map}
_NAMES: Final[dict[str, Any]] = {
    "MISSING": MISSING,
    "NUMBERS": NUMBERS,
    "descend": descend,
    "is_decimal": is_decimal,
    "literal_key": literal_key,
    "take": take,
    "__builtins__": {**_BUILTINS, "str": str, "type": type},
}


@dataclass(slots=True)
class _Compiler:
    """Makes functions from plans; sources that are equal are compiled once."""

    expression_errors: Counter[int] = field(default_factory=Counter[int])
    factories: dict[str, Callable[..., Collect]] = field(
        default_factory=dict[str, Callable[..., Collect]]
    )

    def compile(self, conditions: Iterable[Condition]) -> Collect:
        """A function over conditions; it collects their positions."""
        return self._node(plan(conditions), {})

    def _node(self, node: Node, done: dict[Node, Collect]) -> Collect:
        """The function of a node, after those of the nodes below it."""
        if node in done:
            return done[node]
        function = FunctionSource()
        for table in node.tables:
            below = {key: self._node(child, done) for key, child in table.nodes.items()}
            function.add_table(table.path, below)
        functions: list[Collect] = []
        for entry in sorted(node.entries, key=_shape):
            function.add_route(entry.number, entry.condition)
            if len(function.loops) >= _MOST_SHAPES:
                functions.append(self._function(function))
                function = FunctionSource()
        functions.append(self._function(function))
        collect = functions[0] if len(functions) == 1 else _one_after_another(tuple(functions))
        done[node] = collect
        return collect

    def _function(self, function: FunctionSource) -> Collect:
        source = "\n".join(function.lines())
        factory = self.factories.get(source)
        if factory is None:
            namespace: dict[str, Any] = {**_NAMES, "run": self._run}
            exec(compile(source, "<routes>", "exec"), namespace)
            factory = self.factories[source] = namespace["make"]
        return factory(*function.constants.values)

    def _run(self, numbered: tuple[int, Expression], event: Any) -> bool:
        number, expression = numbered
        try:
            return bool(expression(event))
        except Exception:
            self.expression_errors[number] += 1
            return False


class Matcher:
    """Which routes an event matches; built once for a set of routes."""

    __slots__ = ("_collect", "_compiler", "_ids", "_wanted_by_topic", "_wanted_by_type")

    def __init__(
        self,
        ids: tuple[Hashable, ...],
        collect: Collect,
        compiler: _Compiler,
        wanted_by_type: Collect | None,
        wanted_by_topic: Collect | None,
    ) -> None:
        self._ids = ids
        self._collect = collect
        self._compiler = compiler
        self._wanted_by_type = wanted_by_type
        self._wanted_by_topic = wanted_by_topic

    @classmethod
    def build(cls, routes: Iterable[tuple[Hashable, Condition]]) -> Self:
        """A matcher over ids and their conditions, which may be equal."""
        pairs = tuple(routes)
        conditions = [condition for _, condition in pairs]
        compiler = _Compiler()
        return cls(
            tuple(route_id for route_id, _ in pairs),
            compiler.compile(conditions),
            compiler,
            _glimpse_matcher(conditions, compiler, frozenset({"topic", "type"})),
            _glimpse_matcher(conditions, compiler, frozenset({"topic"})),
        )

    def match(self, event: Event) -> list[Hashable]:
        """Ids of the routes that match, in the order they were given."""
        found: list[int] = []
        self._collect(event, found)
        if len(found) > 1:
            found.sort()
        ids = self._ids
        return [ids[number] for number in found]

    def wants(self, topic: str, type: str | None) -> bool:
        """False only if no route can match an event of this topic and type, whatever is in it.

        A type of None is one that is not known yet.
        """
        collect = self._wanted_by_topic if type is None else self._wanted_by_type
        if collect is None:
            return True
        found: list[int] = []
        collect(Glimpse(topic, type or ""), found)
        return bool(found)

    @property
    def expression_errors(self) -> int:
        """How many evaluations of a ``when:`` raised, and so counted as false."""
        return self._compiler.expression_errors.total()

    @property
    def expression_errors_by_route(self) -> dict[Hashable, int]:
        """The same by id, for routes that have any."""
        return {
            self._ids[number]: count for number, count in self._compiler.expression_errors.items()
        }

    @property
    def sources(self) -> tuple[str, ...]:
        """The generated code, each shape once."""
        return tuple(self._compiler.factories)


def _glimpse_matcher(
    conditions: Iterable[Condition], compiler: _Compiler, known: frozenset[str]
) -> Collect | None:
    """Over what the conditions demand of topic and type; None if some demand nothing of them."""
    demands: dict[str, Condition] = {}
    for condition in conditions:
        demand = seen_through(condition, known)
        if demand is None:
            return None
        demands[demand.canonical] = demand
    return compiler.compile(demands.values())


def _one_after_another(functions: tuple[Collect, ...]) -> Collect:
    def match(event: Any, out: list[int]) -> None:
        for function in functions:
            function(event, out)

    return match


def _shape(entry: Entry) -> tuple[Any, ...]:
    """Sorts routes that differ only in literals next to each other, whatever is in them."""
    if entry.condition is None:
        return ()
    paths = tuple(entry.condition.paths())
    return (
        tuple((path.root, len(path.steps), path.has_wildcard) for path in paths),
        tuple(path.text for path in paths),
    )
