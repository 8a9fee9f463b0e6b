"""Strings of routes: literal unless they hold ``{{ }}``, and bare expressions for ``when:``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from router.events import Event
from router.nodes import Node
from router.problems import Position, Problems
from router.templating.environment import BUILT_IN, Environments
from router.templating.limits import LIMITS, Limits, Meter
from router.templating.locales import cldr_locale, time_zone
from router.templating.names import GLOBALS
from router.templating.pieces import Piece, check_names, compile_native
from router.templating.rendering import Rendering
from router.templating.snippets import Snippet
from router.templating.view import EVENT_FIELDS, FIELDS, VIEW_NAMES, View, context_of, event_mapping

_UTC = time_zone(None)
_ENGLISH = cldr_locale("en")


@dataclass(frozen=True, slots=True)
class Value:
    """A value of configuration: a literal, an expression, or lists and mappings of them.

    Attributes:
        is_literal: Nothing in it is evaluated.
        literal: The value as written, with the text of expressions.
    """

    at: Position
    literal: Any
    is_literal: bool = True
    names: frozenset[str] = frozenset()
    _piece: Piece | None = None
    _items: Mapping[str, Value] | tuple[Value, ...] | None = None
    _limits: Limits = LIMITS

    def evaluate(self, view: View) -> Any:
        """The value for one delivery; exactly one ``{{ … }}`` keeps its own type.

        Raises:
            RenderError: something it reads does not exist or does not fit.
        """
        if self.is_literal:
            return self.literal
        return self._evaluate(_rendering(view, self.names, self._limits))

    def _evaluate(self, rendering: Rendering) -> Any:
        if self.is_literal:
            return self.literal
        if self._piece is not None:
            native = self._piece.is_native
            return self._piece.evaluate(rendering) if native else self._piece.render(rendering)
        if isinstance(self._items, tuple):
            return [item._evaluate(rendering) for item in self._items]
        assert self._items is not None
        return {key: item._evaluate(rendering) for key, item in self._items.items()}


def _rendering(view: View, names: frozenset[str], limits: Limits) -> Rendering:
    recipient = view.recipient
    try:
        locale = cldr_locale(recipient.locale or "en") if recipient else _ENGLISH
    except ValueError:
        locale = _ENGLISH
    zone = time_zone(recipient.timezone) if recipient else _UTC
    context = {**GLOBALS, **context_of(view, names)}
    return Rendering(Meter(limits), locale, zone, view.now, context)


def compile_value(
    text_or_plain: Any,
    at: Position,
    problems: Problems,
    names: frozenset[str] = VIEW_NAMES,
    limits: Limits = LIMITS,
    environments: Environments = BUILT_IN,
) -> Value:
    """A value of a route, compiled.

    Args:
        text_or_plain: A scalar, list or mapping, or a node (whose places are then exact).
        at: Where it stands.
        problems: Takes every mistake; the value is a literal then.
        names: Names that expressions may read, besides ``link`` and ``range``.
        environments: Those with further filters, if there are any.
    """
    compiler = _Compiler(problems, names, limits, environments)
    if isinstance(text_or_plain, Node):
        return compiler.node(text_or_plain)
    return compiler.plain(text_or_plain, at)


@dataclass(frozen=True, slots=True)
class _Compiler:
    problems: Problems
    names: frozenset[str]
    limits: Limits
    environments: Environments

    def plain(self, value: Any, at: Position) -> Value:
        match value:
            case str() if "{{" in value:
                return self._string(value, at)
            case Mapping():
                entries = {str(key): self.plain(one, at) for key, one in value.items()}
                return self._composed(entries, at)
            case list() | tuple():
                return self._composed(tuple(self.plain(one, at) for one in value), at)
            case _:
                return Value(at, value)

    def node(self, node: Node) -> Value:
        if node.is_mapping:
            entries = {key: self.node(child) for key, child in node.items()}
            return self._composed(entries, node.at)
        if node.is_sequence:
            return self._composed(tuple(self.node(child) for child in node.nodes), node.at)
        return self.plain(node.value, node.at)

    def _composed(self, items: Mapping[str, Value] | tuple[Value, ...], at: Position) -> Value:
        if isinstance(items, tuple):
            parts, literal = list(items), [item.literal for item in items]
        else:
            parts, literal = list(items.values()), {key: v.literal for key, v in items.items()}
        if all(part.is_literal for part in parts):
            return Value(at, literal)
        names = frozenset[str]().union(*(part.names for part in parts))
        return Value(at, literal, False, names, None, items, self.limits)

    def _string(self, text: str, at: Position) -> Value:
        piece = compile_native(Snippet.at(text, at), self.problems, self.environments)
        if piece is None:
            return Value(at, text)
        check_names(piece, self.names | GLOBALS.keys(), FIELDS, self.problems)
        return Value(at, text, False, piece.names, piece, None, self.limits)


def compile_expression(
    text: str,
    at: Position,
    problems: Problems,
    limits: Limits = LIMITS,
    environments: Environments = BUILT_IN,
) -> Callable[[Event], Any] | None:
    """A bare expression over an event, as in ``when: data.total > 2 * data.limit``.

    The names are the event's fields. The function raises :class:`RenderError` where the
    expression reads what isn't there or mixes kinds; that counts as false.
    """
    if "{{" in text:
        problems.error("T120", "write the bare expression, without {{ }}", at)
        return None
    piece = compile_native(Snippet.at(text, at), problems, environments, bare=True)
    if piece is None:
        return None
    known = frozenset({"event", *EVENT_FIELDS})
    before = len(problems.found)
    check_names(piece, known | GLOBALS.keys(), {"event": EVENT_FIELDS}, problems)
    if len(problems.found) > before:
        return None
    fields = piece.names & frozenset(EVENT_FIELDS)
    whole = "event" in piece.names

    def evaluate(event: Event) -> Any:
        context: dict[str, Any] = {**GLOBALS}
        for name in fields:
            context[name] = getattr(event, name)
        if whole:
            context["event"] = event_mapping(event)
        rendering = Rendering(Meter(limits), _ENGLISH, _UTC, event.time, context)
        return piece.evaluate(rendering)

    return evaluate
