"""Paths into an event, such as ``data.items[*].sku``.

A path is a start (``type``, ``data``, ``headers`` …) and steps. ``.name`` reads an item of a
mapping, ``.0`` an element of a list (or the item "0" of a mapping), ``[*]`` every element, and
``."a.b"`` an item whose name has dots, brackets, quotes or spaces; inside the quotes a backslash
keeps the next character.

Payloads are what decoders make: exactly ``dict``, ``list``, ``str``, ``int``, ``float``,
``Decimal``, ``bool`` and ``None``. Anything else is an opaque value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from router.problems import nearest


class _Marker(Enum):
    MISSING = "missing"
    EACH = "[*]"

    def __repr__(self) -> str:
        return self.name


MISSING: Final = _Marker.MISSING
"""What a path yields where the event has nothing; null is a value."""
EACH: Final = _Marker.EACH
"""The step ``[*]``."""

Step: TypeAlias = str | int | Literal[_Marker.EACH]

EVENT_ROOTS: Final[tuple[str, ...]] = (
    "id",
    "type",
    "source",
    "subject",
    "time",
    "topic",
    "partition",
    "offset",
    "key",
    "headers",
    "data",
)
"""Where a path into an event starts; each is an attribute of :class:`router.events.Event`."""
ITEM: Final = "item"
"""Start of a path into one element of a list."""
HEADERS: Final = "headers"
ROOTS: Final[tuple[str, ...]] = (*EVENT_ROOTS, ITEM)
OPTIONAL_ROOTS: Final[frozenset[str]] = frozenset({"subject", "key"})
"""Starts whose attribute None means that the event has none, not null."""

_PLAIN_NAME = re.compile(r'[^\s.\[\]"{}*]+')
_INDEX = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_TOKEN = re.compile(
    r'(?P<each>\[\*\])|\.(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s.\[\]"{}*]+))', re.DOTALL
)
_FIRST = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s.\[\]"{}*]+)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value stands in an event or in an element.

    Attributes:
        root: ``data``, ``type``, ``item`` …
        steps: From the root on.
        text: The one spelling of this path.
        has_wildcard: It has ``[*]`` and so may yield many values.
    """

    root: str
    steps: tuple[Step, ...] = ()
    text: str = field(init=False, compare=False)
    has_wildcard: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.root + "".join(map(_step_text, self.steps)))
        object.__setattr__(self, "has_wildcard", EACH in self.steps)

    def __str__(self) -> str:
        return self.text

    def value(self, event: Any, item: Any = MISSING) -> Any:
        """The value, the first of several, or ``MISSING``."""
        return next(self._walk(event, item), MISSING)

    def values(self, event: Any, item: Any = MISSING) -> list[Any]:
        """Every value, in order; empty where there is none."""
        return list(self._walk(event, item))

    def _walk(self, event: Any, item: Any) -> Iterator[Any]:
        if self.root == ITEM:
            return descend(item, self.steps)
        if self.root == HEADERS and self.steps:
            return descend(event.headers.get(self.steps[0], MISSING), self.steps[1:])
        return descend(root_value(event, self.root), self.steps)


def root_value(event: Any, root: str) -> Any:
    """The event's attribute, or ``MISSING`` for a subject or key that it does not have."""
    value = getattr(event, root)
    return MISSING if value is None and root in OPTIONAL_ROOTS else value


def descend(value: Any, steps: Sequence[Step]) -> Iterator[Any]:
    """Every value that the steps lead to from this one."""
    for depth, step in enumerate(steps):
        if step is EACH:
            if type(value) is list:
                for element in value:
                    yield from descend(element, steps[depth + 1 :])
            return
        value = take(value, step)
    if value is not MISSING:
        yield value


def take(value: Any, step: str | int) -> Any:
    """One step down: the item, the element, or ``MISSING``."""
    if type(value) is dict:
        return value.get(str(step) if type(step) is int else step, MISSING)
    if type(value) is list:
        return value[step] if type(step) is int and step < len(value) else MISSING
    return MISSING


def parse_path(text: str, roots: Sequence[str] = ROOTS) -> Path:
    """A path from its text.

    Raises:
        ValueError: it can't be read; the message says what to write.
    """
    first = _FIRST.match(text)
    if first is None or first["plain"] is None:
        raise ValueError(f'not a path: "{text}"; write one such as data.user_id')
    root = first["plain"]
    if root not in roots:
        raise ValueError(_unknown_root(text, root, roots))
    steps = _parse_steps(text, first.end())
    _check_steps(text, root, steps)
    if root == HEADERS:
        steps = tuple(str(step) for step in steps)
    return Path(root, steps)


def parse_element_path(text: str) -> Path:
    """A path within an element: ``sku`` and ``item.sku`` are the same, ``item`` is the element.

    A field that is itself called ``item`` is written ``item.item`` or in quotes.

    Raises:
        ValueError: it can't be read; the message says what to write.
    """
    first = _FIRST.match(text)
    if first is None:
        raise ValueError(f'not a path: "{text}"; write a field of the element, such as sku')
    steps = _parse_steps(text, first.end())
    if first["plain"] == ITEM:
        return Path(ITEM, steps)
    return Path(ITEM, (_first_step(first), *steps))


def _parse_steps(text: str, start: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    at = start
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f'not a path: "{text}"; {_advice(text, at)}')
        steps.append(EACH if token["each"] else _first_step(token))
        at = token.end()
    return tuple(steps)


def _first_step(token: re.Match[str]) -> str | int:
    plain = token["plain"]
    if plain is None:
        return re.sub(r"\\(.)", r"\1", token["quoted"], flags=re.DOTALL)
    return int(plain) if _INDEX.fullmatch(plain) else plain


def _advice(text: str, at: int) -> str:
    rest = text[at:]
    if index := re.match(r"\[(\d+)\]", rest):
        return f"write .{index[1]} for one element"
    if rest.startswith((".*", "[]", "*")):
        return "write [*] for any element"
    if rest.startswith("["):
        return 'write [*] for any element, .0 for the first, ."name" for a name with brackets'
    if rest in (".", "..") or rest.startswith(".."):
        return "a name is missing after the dot"
    if '"' in rest:
        return 'a quoted name starts after a dot and ends with a quote, as in data."a.b"'
    return 'a name with spaces, braces or * is written in quotes, as in data."a b"'


def _unknown_root(text: str, root: str, roots: Sequence[str]) -> str:
    if root == ITEM:
        return f'not a path here: "{text}"; only a list of recipients, some and every have items'
    bare = text.removeprefix("$.")
    guess: str | None = None
    if close := nearest(root, roots):
        guess = f"{close}{text[len(root) :]}"
    elif bare.startswith(tuple(f"{start}." for start in roots)):
        guess = bare
    elif root.isidentifier() and "data" in roots:
        guess = f"data.{text}"
    hint = f' Did you mean "{guess}"?' if guess else ""
    return f'not a path: "{text}".{hint} Paths start with: {", ".join(roots)}'


def _check_steps(text: str, root: str, steps: tuple[Step, ...]) -> None:
    if len(steps) == 0 or root in ("data", ITEM) or root not in EVENT_ROOTS:
        return
    if root != HEADERS:
        raise ValueError(f'not a path: "{text}"; {root} has no parts, write {root} alone')
    if len(steps) > 1 or steps[0] is EACH:
        name = ".".join(str(step) for step in steps if step is not EACH)
        raise ValueError(
            f'not a path: "{text}"; a header is text and has no parts. '
            f'For the header of that name write headers."{name}"'
        )


def _step_text(step: Step) -> str:
    if step is EACH:
        return "[*]"
    if type(step) is int:
        return f".{step}"
    name = str(step)
    if _PLAIN_NAME.fullmatch(name) and not _INDEX.fullmatch(name):
        return f".{name}"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'."{escaped}"'
