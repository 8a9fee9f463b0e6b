"""The filters of Jinja that templates may use, those that can grow with bounds on them.

Left out on purpose: ``safe`` and ``attr`` (escaping and the sandbox have no back door),
``random`` (a message renders the same twice), ``xmlattr``, ``urlize``, ``wordwrap``,
``filesizeformat`` and ``pprint``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from html import unescape
from typing import Any

from jinja2 import Undefined, pass_environment, pass_eval_context
from jinja2 import filters as jinja
from jinja2.nodes import EvalContext

from router.templating import bounded
from router.templating.bounded import MAX_ITEMS, check_text, check_width, kind
from router.templating.codes import RenderError

_KEPT = [
    "abs",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
]


def _plain(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError


_ENCODE = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False, default=_plain
).encode


def to_json(value: Any) -> str:
    """A value as compact JSON.

    Raises:
        RenderError: JSON has no such value.
    """
    try:
        return _ENCODE(value)
    except (TypeError, ValueError, RecursionError):
        raise RenderError("T163", f"{kind(value)} with a value that JSON has not") from None


def _center(value: Any, width: int = 80) -> str:
    check_width(width, "center")
    return jinja.do_center(value, width)


def _indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    if isinstance(width, str):
        size = len(width)
    else:
        check_width(width, "indent")
        size = width
    check_text(len(value) + (value.count("\n") + 1) * size, "an indented text")
    return jinja.do_indent(value, width, first, blank)


@pass_eval_context
def _join(
    eval_ctx: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None
) -> str:
    items: Iterable[Any] = value
    if attribute is not None:
        items = map(jinja.make_attrgetter(eval_ctx.environment, attribute), items)
    texts = [bounded.shown(item) for item in items]
    check_text(sum(map(len, texts)) + len(d) * len(texts), "a joined text")
    return jinja.sync_do_join(eval_ctx, texts, d)


@pass_eval_context
def _replace(
    eval_ctx: EvalContext, value: Any, old: Any, new: Any, count: int | None = None
) -> str:
    text, old, new = str(value), str(old), str(new)
    times = text.count(old) if count is None else min(text.count(old), count)
    check_text(len(text) + times * len(new), "a text")
    return jinja.do_replace(eval_ctx, value, old, new, count)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    check_width(precision, "round", 20)
    return jinja.do_round(value, precision, method)


def _batch(value: Iterable[Any], linecount: int) -> Any:
    check_width(linecount, "batch")
    return list(jinja.do_batch(value, linecount))  # pyright: ignore[reportArgumentType]


def _slice(value: Iterable[Any], slices: int) -> Any:
    check_width(slices, "slice")
    return list(jinja.sync_do_slice(value, slices))  # pyright: ignore


@pass_environment
def _sum(
    environment: Any, iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0
) -> Any:
    items: Iterable[Any] = iterable
    if attribute is not None:
        items = map(jinja.make_attrgetter(environment, attribute), items)
    numbers = list(items)
    for number in (start, *numbers):
        if not isinstance(number, int | float):
            raise RenderError("T164", f"sum adds numbers, not {kind(number)}")
    return sum(numbers, start)


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    if args and kwargs:
        raise RenderError("T164", "format takes positional or named values, not both")
    return bounded.format_text(value, kwargs or args)


def _strip_tags(value: Any) -> str:
    """Text without tags and comments, in time linear in its length (Jinja's is not)."""
    text = str(value)
    kept: list[str] = []
    at = 0
    while (start := text.find("<", at)) >= 0:
        mark = "-->" if text.startswith("<!--", start) else ">"
        end = text.find(mark, start)
        if end < 0:
            break
        kept.append(text[at:start])
        at = end + len(mark)
    kept.append(text[at:])
    return unescape(" ".join("".join(kept).split()))


def _list(value: Iterable[Any]) -> list[Any]:
    items = list(value)
    if len(items) > bounded.MAX_TEXT:
        raise RenderError("T165", f"a list has over {MAX_ITEMS} items")
    return items


_OWN: Mapping[str, Callable[..., Any]] = {
    "batch": _batch,
    "center": _center,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "list": _list,
    "replace": _replace,
    "round": _round,
    "slice": _slice,
    "sum": _sum,
    "string": bounded.shown,
    "striptags": _strip_tags,
    "tojson": to_json,
}

_TEXT_FILTERS = frozenset(
    [
        "capitalize",
        "center",
        "indent",
        "lower",
        "replace",
        "striptags",
        "title",
        "trim",
        "truncate",
        "upper",
        "urlencode",
        "wordcount",
        "e",
        "escape",
        "forceescape",
    ]
)


def _guarded(name: str) -> Callable[..., Any]:
    """The filter; one for texts refuses null and lists, which Jinja would write as Python does."""
    function = _OWN.get(name, jinja.FILTERS[name])
    if name not in _TEXT_FILTERS:
        return function
    value_index = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        value = args[value_index]
        if value is None:
            raise RenderError("T164", f'|{name} got null; write (… or "…")|{name}')
        if not isinstance(value, str | int | float | Undefined):
            raise RenderError("T164", f"|{name} can't take {kind(value)}")
        return function(*args, **kwargs)

    return checked


FILTERS: Mapping[str, Callable[..., Any]] = {name: _guarded(name) for name in _KEPT}
ESCAPING: Mapping[str, Callable[..., Any]] = {
    name: _guarded(name) for name in ("e", "escape", "forceescape")
}
"""Only where the file is HTML; elsewhere nothing is to be escaped."""
