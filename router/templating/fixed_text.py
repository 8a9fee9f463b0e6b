"""The fixed text of a template's HTML: its elements, and whether they nest as they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2 import nodes

VALUE = "\ue000"
"""Stands for a value in the fixed text."""

PLACE = f"<{VALUE}>"
"""In a frame's fixed text, the place of its content: no value is written like this."""

BLOCK = re.compile("[\ue001\ue002\ue003]")
_OPEN, _NEXT, _CLOSE = "\ue001", "\ue002", "\ue003"
"""The start, the further branches and the end of what is written on a condition or repeatedly."""

_MARKS = re.compile("[\ue000-\ue003]")
_TOKEN = re.compile(
    rf"<!--.*?-->|<![^>]*>|<(?P<end>/?)(?P<name>[A-Za-z][A-Za-z0-9:-]*)"
    rf"(?P<attributes>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*?)(?P<empty>/?)>|(?P<block>{BLOCK.pattern})",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"\s([A-Za-z:_-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|[^\s\"'>]+)")
_PLAIN_STYLE = re.compile(r"(?:\s+type=[\"']?text/css[\"']?)?\s*", re.IGNORECASE)
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "wbr")
)
_TEXT_ONLY = frozenset(("style", "script", "title", "textarea"))
_UNSURE = frozenset(("svg", "math", "template", "noscript", "select", "frameset", "iframe"))
_WITHIN = {
    "table": frozenset(("caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr")),
    "thead": frozenset(("tr",)),
    "tbody": frozenset(("tr",)),
    "tfoot": frozenset(("tr",)),
    "tr": frozenset(("td", "th")),
}
"""What may stand right in parts of a table; anything else is moved by those who read HTML."""

_PHRASES = frozenset(
    {"a", "abbr", "b", "br", "code", "del", "em", "font", "i", "img", "ins", "mark", "q", "s"}
    | {"small", "span", "strike", "strong", "sub", "sup", "time", "u", "var", "wbr"}
)
"""What a paragraph may hold; other elements end it."""

_NOT_IN_THEMSELVES = frozenset(("a", "button", "form", "nobr"))
_NOT_SIDE_BY_SIDE = (
    frozenset(("li",)),
    frozenset(("dd", "dt")),
    frozenset(("h1", "h2", "h3", "h4", "h5", "h6")),
)
"""The second, right in the first, ends it."""


class Unsure(Exception):
    """What an element stands in can't be told from the fixed text."""


@dataclass(slots=True)
class FixedText:
    """The fixed text of a template, with marks where values and conditions stand.

    Attributes:
        content: What stands at ``PLACE``.
        parts: Text and marks, in the order in which they are written.
        data, starts: Each node of text, and where in the whole it starts.
    """

    content: Sequence[nodes.Node]
    parts: list[str] = field(default_factory=list[str])
    data: list[nodes.TemplateData] = field(default_factory=list[nodes.TemplateData])
    starts: list[int] = field(default_factory=list[int])
    _size: int = 0

    def read(self, body: Sequence[nodes.Node]) -> None:
        """Adds what is written by these nodes.

        Raises:
            Unsure: something else than conditions, loops and values writes.
        """
        for node in body:
            match node:
                case nodes.Output():
                    self._output(node)
                case nodes.If():
                    self._branches([node.body, *(one.body for one in node.elif_), node.else_])
                case nodes.For() if not node.recursive:
                    self._branches([node.body, node.else_])
                case nodes.With():
                    self._branches([node.body])
                case nodes.Assign():
                    pass
                case _:
                    raise Unsure

    def _branches(self, branches: Sequence[Sequence[nodes.Node]]) -> None:
        for number, branch in enumerate(branches):
            self._add(_NEXT if number else _OPEN)
            self.read(branch)
        self._add(_CLOSE)

    def _output(self, node: nodes.Output) -> None:
        for child in node.nodes:
            if not isinstance(child, nodes.TemplateData):
                self._add(VALUE)
            elif child.data == PLACE:
                self.read(self.content)
            elif _MARKS.search(child.data):
                raise Unsure
            else:
                self.starts.append(self._size)
                self.data.append(child)
                self._add(child.data)

    def _add(self, text: str) -> None:
        self.parts.append(text)
        self._size += len(text)


@dataclass(frozen=True, slots=True)
class Element:
    """A start tag.

    Attributes:
        end: Where its last attribute ends.
        style: From where to where its own style stands, quotes included; None without one.
        is_styled_by_value: A value stands in that.
    """

    end: int
    style: tuple[int, int] | None
    is_styled_by_value: bool


def read_elements(text: str) -> tuple[list[Element], list[tuple[int, int]]]:
    """Every start tag, and where style sheets stand.

    Raises:
        Unsure: an element or a condition isn't closed where it was opened, or is out of place.
    """
    elements: list[Element] = []
    sheets: list[tuple[int, int]] = []
    open_: list[str] = []
    at = 0
    while token := _TOKEN.search(text, at):
        at = token.end()
        name = (token["name"] or "").lower()
        if token["block"]:
            _block(token["block"], open_)
        elif BLOCK.search(token[0]) or name in _UNSURE:
            raise Unsure
        elif not name:
            continue
        elif token["end"]:
            if not open_ or open_.pop() != name:
                raise Unsure
        elif name in _TEXT_ONLY:
            at = _end_of_text(text, name, at)
            if name == "style":
                sheets.append(_sheet(token, at, open_))
        else:
            _check_place(name, open_)
            elements.append(_element(token))
            if name not in _VOID:
                open_.append(name)
                if token["empty"]:
                    raise Unsure
    if open_:
        raise Unsure
    return elements, sheets


def _block(mark: str, open_: list[str]) -> None:
    if mark == _OPEN:
        open_.append(_OPEN)
    elif not open_ or open_[-1] != _OPEN:
        raise Unsure
    elif mark == _CLOSE:
        open_.pop()


def _end_of_text(text: str, name: str, at: int) -> int:
    end = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, at)
    if end is None or BLOCK.search(text, at, end.end()):
        raise Unsure
    return end.end()


def _sheet(token: re.Match[str], end: int, open_: Sequence[str]) -> tuple[int, int]:
    if _OPEN in open_ or not _PLAIN_STYLE.fullmatch(token["attributes"]):
        raise Unsure
    return token.start(), end


def _check_place(name: str, open_: Sequence[str]) -> None:
    """Whether those who read HTML leave the element where it is written."""
    around = [one for one in open_ if one != _OPEN]
    parent = around[-1] if around else ""
    cells = [i for i, one in enumerate(around) if one in ("td", "th")]
    near = around[cells[-1] :] if cells else around
    if (
        name not in _WITHIN.get(parent, (name,))
        or any(name in some and parent in some for some in _NOT_SIDE_BY_SIDE)
        or ("p" in near and name not in _PHRASES)
        or (name in _NOT_IN_THEMSELVES and name in around)
    ):
        raise Unsure


def _element(token: re.Match[str]) -> Element:
    style: tuple[int, int] | None = None
    by_value = False
    for attribute in _ATTRIBUTE.finditer(token[0]):
        name, quoted = attribute[1].lower(), attribute[2] or attribute[3] or ""
        if name == "data-css-inline" or (name in ("class", "id") and VALUE in quoted):
            raise Unsure
        if name == "style":
            start = max(attribute.start(2), attribute.start(3)) - 1
            if start < 0 or style:
                raise Unsure
            start += token.start()
            style, by_value = (start, start + len(quoted) + 2), VALUE in quoted
            if by_value and attribute[3]:
                raise Unsure
    return Element(token.end("attributes"), style, by_value)
