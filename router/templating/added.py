"""Filters that others add: plain functions of data, held to what a template can stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

from router.templating.bounded import kind
from router.templating.codes import RenderError
from router.templating.rendering import state_of

Filter: TypeAlias = Callable[..., Any]
FindFilter: TypeAlias = Callable[[str], Filter | None]
"""The function that was added under a name, or None. It raises ImportError for one that is there
and can't be used."""


def no_filter(name: str) -> Filter | None:
    """Nothing was added."""
    return None


def mistake_in_filter(name: str, export: object) -> str | None:
    """What keeps an export from being used as the filter of that name, or None."""
    if not name.isidentifier():
        return f'adds a filter called "{name}", which a template can\'t write'
    if not callable(export):
        return f"exports {type(export).__name__}, not a function"
    if hasattr(export, "jinja_pass_arg"):
        return "exports a filter that asks for the template's context; filters get values alone"
    if iscoroutinefunction(export):
        return "exports an async function; filters are plain ones"
    return None


def added(name: str, function: Filter) -> Filter:
    """The function as templates call it.

    What it gives is data: its text is escaped like any other, its lists are counted. What it
    raises ends the rendering without telling the value.
    """

    @pass_context
    @wraps(function)
    def call(context: Context, *args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Undefined):
                str(value)
        try:
            result = function(*args, **kwargs)
        except RecursionError:
            raise
        except Exception as error:
            message = f"|{name} failed ({type(error).__name__})"
            raise RenderError("T164", message) from error
        return _data(name, state_of(context).meter.weigh(result))

    return call


def _data(name: str, value: Any) -> Any:
    """The value as plain data: above all, text that claims to be escaped already is text."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str.__str__(value)
        case Mapping():
            return {_data(name, key): _data(name, one) for key, one in value.items()}
        case list() | tuple():
            return [_data(name, one) for one in value]
        case _:
            raise RenderError("T163", f"|{name} gave {kind(value)}, which is not data")
