"""What templates can read and call besides data: ``t``, ``link``, ``range``, ``namespace``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from jinja2.utils import Namespace

from router.templating.bounded import MAX_ITEMS, kind
from router.templating.codes import RenderError
from router.templating.rendering import Rendering

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,40}")
_SPACE_OR_CONTROL = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}]")
_DEAD_SCHEMES = re.compile(r"(?:javascript|vbscript|data|file|blob|about)\s*:", re.IGNORECASE)
_BROWSER_IGNORES = re.compile(r"[\x00-\x20\x7f]+")
LINK_SCHEMES = ("https", "http", "mailto")


class TemplateFunction:
    """Something a template may call."""

    __slots__ = ()

    def invoke(self, rendering: Rendering, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The result of the call.

        Raises:
            RenderError: wrong arguments.
        """
        raise NotImplementedError


class TemplateNames:
    """Something whose fields a template may read, though it isn't data."""

    __slots__ = ()

    def find(self, name: str) -> TemplateFunction | None:
        raise NotImplementedError

    def names(self) -> list[str]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Function(TemplateFunction):
    """A plain function under its name."""

    name: str
    function: Callable[..., Any]

    def invoke(self, rendering: Rendering, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        try:
            return self.function(*args, **kwargs)
        except TypeError:
            raise RenderError("T164", f"{self.name}() got arguments it can't use") from None


def known_names(parent: TemplateNames | Mapping[Any, Any]) -> list[str]:
    """Names to show in an error: of mappings only keys that look like field names."""
    if isinstance(parent, TemplateNames):
        return parent.names()
    return [k for k in parent if isinstance(k, str) and _FIELD_NAME.fullmatch(k)][:20]


def link(base: Any, *path: str | int, **params: str | int | float | bool | None) -> str:
    """An address: base, then path segments, then query parameters, percent-encoded.

    A parameter that is null is left out.

    Raises:
        RenderError: the base has a scheme other than https, http and mailto, or characters
            no address has; a segment is ``.`` or ``..``.
    """
    if not isinstance(base, str):
        raise RenderError("T164", f"link() needs a text as its base, not {kind(base)}")
    parts = urlsplit(base) if not _SPACE_OR_CONTROL.search(base) else None
    if parts is None or parts.scheme.lower() not in LINK_SCHEMES:
        raise RenderError("T168", "link() takes addresses of https, http and mailto only")
    address, _, fragment = base.partition("#")
    address, _, query = address.partition("?")
    for segment in path:
        address = f"{address.rstrip('/')}/{_segment(segment)}"
    given = {name: _parameter(value) for name, value in params.items() if value is not None}
    query = "&".join(filter(None, (query, urlencode(given, quote_via=quote))))
    return address + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")


def _segment(value: object) -> str:
    text = _parameter(value)
    if text in {"", ".", ".."}:
        raise RenderError("T168", 'a path segment of link() is empty, "." or ".."')
    return quote(text, safe="")


def _parameter(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise RenderError("T164", f"link() can't take {kind(value)}")


def bounded_range(*bounds: int) -> range:
    """``range`` of at most 100,000 numbers.

    Raises:
        RenderError: more.
    """
    numbers = range(*bounds)
    try:
        size = len(numbers)
    except OverflowError:
        size = MAX_ITEMS + 1
    if size > MAX_ITEMS:
        raise RenderError("T165", f"range() makes at most {MAX_ITEMS} numbers")
    return numbers


def is_dangerous(address: str) -> bool:
    """Whether a browser could run the address instead of opening it."""
    return bool(_DEAD_SCHEMES.match(_BROWSER_IGNORES.sub("", address)))


GLOBALS: Mapping[str, Any] = {
    "link": Function("link", link),
    "range": Function("range", bounded_range),
    "namespace": Function("namespace", Namespace),
}
"""In every context."""
