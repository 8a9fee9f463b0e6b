"""The sandbox templates run in: data and a chosen set of filters, nothing of Python.

An attribute is an item of a mapping and nothing else; only macros, texts and the functions
offered here can be called; loops, concatenations and operators are counted and bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from types import MethodType
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context, LoopContext, Macro, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing
from markupsafe import Markup, escape

from router.problems import did_you_mean
from router.templating import bounded, builtins, filters
from router.templating.added import FindFilter, added, no_filter
from router.templating.codes import RenderError
from router.templating.limits import Meter
from router.templating.names import TemplateFunction, TemplateNames, known_names
from router.templating.rendering import STATE, Rendering, state_of

COUNTED = "counted loop"
JOINED = "joined text"
WEIGHED = "weighed list"
JSON_VALUE = "json value"
JSON_TEXT = "json text"
"""Filters that compiled templates use and authors can't write: their names have a space."""

_LOOP_FIELDS = frozenset(
    [
        "index",
        "index0",
        "revindex",
        "revindex0",
        "first",
        "last",
        "length",
        "previtem",
        "nextitem",
        "depth",
        "depth0",
        "cycle",
        "changed",
    ]
)
_MAPPING_METHODS = frozenset({"items", "keys", "values"})
_ESCAPED = re.compile("[&<>'\"]")
_LOOP_METHODS = frozenset({"cycle", "changed"})


class Missing(StrictUndefined):
    """A value that isn't there; using it says what is."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        name, parent = self._undefined_name, self._undefined_obj
        if parent is missing:
            return f'"{name}" is not defined'
        if isinstance(parent, TemplateNames | Mapping):
            if name in _MAPPING_METHODS:
                return f'there is no "{name}" here; to loop over a mapping write |items'
            hint = did_you_mean(str(name), known_names(parent), "Here are")
            return f'there is no "{name}" here.{hint}'
        what = bounded.kind(parent)
        if isinstance(parent, str) and name in builtins.FILTERS:
            return f'{what} has no ".{name}"; write |{name}'
        return f'{what} has no ".{name}"'


class Environment(ImmutableSandboxedEnvironment):
    """One shared instance for each way of escaping.

    Filters that are not built in are asked for by name, once each.
    """

    intercepted_binops = bounded.OPERATORS

    def __init__(self, *, autoescape: bool, find_filter: FindFilter = no_filter) -> None:
        super().__init__(
            autoescape=autoescape,
            undefined=Missing,
            finalize=_show_escaped if autoescape else _show,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
            optimized=False,
        )
        if autoescape:
            self.code_generator_class = _HtmlCodeGenerator
        self.globals = {}
        escaping = builtins.ESCAPING if autoescape else {}
        self.filters = {**builtins.FILTERS, **escaping, **filters.FILTERS}
        self.filters[COUNTED] = _count_turns
        self.filters[WEIGHED] = _weigh
        self.filters[JSON_VALUE] = _write_json
        self.filters[JSON_TEXT] = _write_json_text
        self.filters[JOINED] = _join_markup if autoescape else _join_text
        self._find_filter = find_filter

    def has_filter(self, name: str) -> bool:
        """Whether templates may use it; one that is found is kept.

        Raises:
            ImportError: a filter of that name was added and can't be used.
        """
        if name not in self.filters and (function := self._find_filter(name)):
            self.filters[name] = added(name, function)
        return name in self.filters

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An item of a mapping; never a Python attribute."""
        if type(obj) is dict or isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except KeyError:
                return Missing(obj=obj, name=attribute)
        if isinstance(obj, TemplateNames):
            found = obj.find(attribute)
            return Missing(obj=obj, name=attribute) if found is None else found
        if isinstance(obj, LoopContext) and attribute in _LOOP_FIELDS:
            return getattr(obj, attribute)
        if isinstance(obj, Namespace) and not attribute.startswith("_"):
            return obj._Namespace__attrs.get(attribute, Missing(obj={}, name=attribute))  # pyright: ignore
        if isinstance(obj, Undefined):
            return getattr(obj, attribute)
        return Missing(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item of a mapping or a list; never a Python attribute."""
        if isinstance(obj, Mapping | list | tuple | str | Undefined):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                return Missing(f"{bounded.kind(obj)} has no such item")
        return Missing(f"{bounded.kind(obj)} has no items")

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a macro, a text, ``loop`` or an offered function.

        Raises:
            RenderError: anything else, or calls nested too deep.
        """
        rendering = state_of(__context)
        kwargs.pop("_loop_vars", None)
        rendering.meter.enter()
        try:
            if isinstance(__obj, TemplateFunction):
                return __obj.invoke(rendering, args, kwargs)
            if isinstance(__obj, LoopContext) and len(args) == 1:
                return __obj(_count_turns(__context, args[0], 0))
            if isinstance(__obj, Macro):
                result = __context.call(__obj, *args, **kwargs)
                rendering.meter.produce(len(result))
                return result
            if isinstance(__obj, MethodType) and isinstance(__obj.__self__, LoopContext):
                if __obj.__name__ in _LOOP_METHODS:
                    return __obj(*args)
            elif isinstance(__obj, Undefined):
                return __obj()
        finally:
            rendering.meter.leave()
        raise RenderError("T170", f"{bounded.kind(__obj)} can't be called in a template")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        result = bounded.apply(operator, left, right)
        if isinstance(result, list | tuple):
            state_of(context).meter.weigh(result)
        return result

    def call_filter(
        self,
        name: str,
        value: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        context: Context | None = None,
        eval_ctx: nodes.EvalContext | None = None,
    ) -> Any:
        if context is not None:
            state_of(context).meter.step()
        return super().call_filter(name, value, args, kwargs, context, eval_ctx)

    def call_test(
        self,
        name: str,
        value: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        context: Context | None = None,
        eval_ctx: nodes.EvalContext | None = None,
    ) -> Any:
        if context is not None:
            state_of(context).meter.step()
        return super().call_test(name, value, args, kwargs, context, eval_ctx)


@pass_context
def _show(context: Context, value: Any) -> str:
    text = value if isinstance(value, str) else bounded.shown(value)
    rendering: Rendering = context.parent[STATE]
    rendering.meter.produce(len(text))
    return text


@pass_context
def _show_escaped(context: Context, value: Any) -> str:
    text = value if isinstance(value, str) else bounded.shown(value)
    rendering: Rendering = context.parent[STATE]
    rendering.meter.produce(len(text))
    if isinstance(text, Markup) or not _ESCAPED.search(text):
        return text
    return str(escape(text))


class _HtmlCodeGenerator(CodeGenerator):
    """Leaves escaping to what shows values: most need none, and become no object of their own."""

    def _output_child_pre(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(f"({finalize.src}")


class _Counted:
    """An iterable whose turns are counted; each writes ``weight`` characters of fixed text."""

    __slots__ = ("_items", "_meter", "_weight")

    def __init__(self, items: Iterable[Any], meter: Meter, weight: int) -> None:
        self._items = items
        self._meter = meter
        self._weight = weight

    def __iter__(self) -> Iterator[Any]:
        step, weight = self._meter.step, self._weight
        for item in self._items:
            step(weight)
            yield item


class _CountedSized(_Counted):
    __slots__ = ()

    def __len__(self) -> int:
        return len(self._items)  # pyright: ignore[reportArgumentType]


@pass_context
def _count_turns(context: Context, items: Any, weight: int) -> Iterable[Any]:
    if not isinstance(items, Iterable):
        raise RenderError("T164", f"a loop needs a list, not {bounded.kind(items)}")
    cls = _CountedSized if isinstance(items, Sized) else _Counted
    return cls(items, state_of(context).meter, weight)


@pass_context
def _join_text(context: Context, values: Sequence[Any]) -> str:
    text = bounded.concatenate(values, str_join)
    state_of(context).meter.produce(len(text))
    return text


@pass_context
def _join_markup(context: Context, values: Sequence[Any]) -> str:
    text = bounded.concatenate(values, markup_join)
    state_of(context).meter.produce(len(text))
    return text


@pass_context
def _weigh(context: Context, value: Any) -> Any:
    return state_of(context).meter.weigh(value)


@pass_context
def _write_json(context: Context, value: Any) -> str:
    text = builtins.to_json(value)
    state_of(context).meter.produce(len(text))
    return text


@pass_context
def _write_json_text(context: Context, value: Any) -> str:
    text = builtins.to_json(bounded.shown(value))[1:-1]
    state_of(context).meter.produce(len(text))
    return text


@dataclass(frozen=True, slots=True)
class Environments:
    """The two ways of escaping, with the same filters.

    Attributes:
        text: For ``.txt`` and ``.json`` files, texts, front matter and strings of routes.
        html: For ``.html`` and ``.mjml`` files.
    """

    text: Environment
    html: Environment

    @classmethod
    def offering(cls, find_filter: FindFilter) -> Environments:
        """Environments with further filters, each looked for when a template names it."""
        return cls(
            Environment(autoescape=False, find_filter=find_filter),
            Environment(autoescape=True, find_filter=find_filter),
        )


BUILT_IN = Environments.offering(no_filter)
"""With the filters of this package alone."""
