"""Where a value stands in HTML or JSON, and whether escaping protects it there.

HTML escaping protects text and quoted attribute values; it does not protect an unquoted
attribute, a tag's name, a script or a style sheet. In JSON a value in quotes is written as part
of that text, any other as JSON of its own. Both are read from the template's fixed text, so
branches have to agree: what one opens, each opens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jinja2 import nodes

_TAG_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9:-]*)?")
_RAW = frozenset({"script", "style"})
_TEXT = "text"

Complain = Callable[[str, int, str], None]
"""Called with a code, a template line and a message."""

Visit = Callable[[nodes.Expr, str], nodes.Expr]
"""Called with a written value and the state it stands in; returns what to put in its place."""


@dataclass(frozen=True, slots=True)
class Language:
    """How one file type is scanned.

    Attributes:
        start: The state a file starts and ends in.
        scan: The state after some fixed text.
        mistake: What is wrong with a value in a state, or None.
    """

    start: str
    scan: Callable[[str, str], str]
    mistake: Callable[[str], str | None]


def scan_html(state: str, text: str) -> str:
    """The state after the text: ``text``, ``comment``, ``tag:NAME``, ``"NAME``, ``raw:NAME``."""
    at = 0
    while at < len(text):
        kind, name = _split(state)
        match kind:
            case "text":
                state, at = _scan_text(text, at)
            case "comment":
                state, at = _skip_to(text, at, "-->", state, _TEXT)
            case "raw":
                end = text.lower().find(f"</{name}", at)
                state, at = (state, len(text)) if end < 0 else (_TEXT, end)
            case "tag":
                state, at = _scan_tag(text, at, name)
            case _:
                state, at = _skip_to(text, at, kind, state, f"tag:{name}")
    return state


def _split(state: str) -> tuple[str, str]:
    if state[0] in "\"'":
        return state[0], state[1:]
    kind, _, name = state.partition(":")
    return kind, name


def _scan_text(text: str, at: int) -> tuple[str, int]:
    opening = text.find("<", at)
    if opening < 0:
        return _TEXT, len(text)
    if text.startswith("<!--", opening):
        return "comment", opening + 4
    following = text[opening + 1 : opening + 2]
    if following and not (following.isalpha() or following in "/!?"):
        return _TEXT, opening + 1
    name = _TAG_NAME.match(text, opening + 1)
    assert name is not None
    closing = text.startswith("/", opening + 1)
    return f"tag:{'' if closing else (name[1] or '').lower()}", name.end()


def _scan_tag(text: str, at: int, name: str) -> tuple[str, int]:
    found = re.compile("[\"'>]").search(text, at)
    if found is None:
        return f"tag:{name}", len(text)
    if found[0] == ">":
        return (f"raw:{name}" if name in _RAW else _TEXT), found.end()
    return found[0] + name, found.end()


def _skip_to(text: str, at: int, mark: str, state: str, after: str) -> tuple[str, int]:
    end = text.find(mark, at)
    return (state, len(text)) if end < 0 else (after, end + len(mark))


def _html_mistake(state: str) -> str | None:
    match _split(state)[0]:
        case "tag":
            return 'a value stands in a tag outside quotes; write attribute="{{ … }}"'
        case "raw":
            return "a value stands in a script or style sheet, where HTML escaping has no effect"
        case _:
            return None


def scan_json(state: str, text: str) -> str:
    """The state after the text: ``outside``, ``inside`` quotes, or ``escape`` after a backslash."""
    for char in text:
        if state == "outside":
            state = "inside" if char == '"' else "outside"
        elif state == "escape":
            state = "inside"
        elif char == "\\":
            state = "escape"
        elif char == '"':
            state = "outside"
    return state


def _json_mistake(state: str) -> str | None:
    return "a value stands right after a backslash" if state == "escape" else None


HTML = Language(_TEXT, scan_html, _html_mistake)
JSON = Language("outside", scan_json, _json_mistake)


class Walker:
    """Follows the state of a language through a template's tree."""

    def __init__(
        self,
        language: Language,
        complain: Complain,
        visit: Visit | None = None,
    ) -> None:
        self._language = language
        self._complain = complain
        self._visit = visit

    def check(self, tree: nodes.Template) -> None:
        """Walks the whole template."""
        end = self._walk(tree.body, self._language.start)
        if end != self._language.start:
            self._complain("T128", 10**9, "a tag, comment or quote is not closed at the file's end")

    def _walk(self, body: Sequence[nodes.Node], state: str) -> str:
        for node in body:
            state = self._step(node, state)
        return state

    def _step(self, node: nodes.Node, state: str) -> str:
        match node:
            case nodes.Output():
                return self._output(node, state)
            case nodes.If():
                ends = [self._walk(node.body, state)]
                ends += [self._walk(branch.body, state) for branch in node.elif_]
                ends.append(self._walk(node.else_, state))
                return self._agree(ends, node)
            case nodes.For():
                ends = [state, self._walk(node.body, state)]
                if node.else_:
                    ends.append(self._walk(node.else_, state))
                return self._agree(ends, node)
            case nodes.With():
                return self._walk(node.body, state)
            case nodes.Macro() | nodes.AssignBlock() | nodes.CallBlock() | nodes.FilterBlock():
                start = self._language.start
                self._agree([start, self._walk(node.body, start)], node)
                return state
            case _:
                return state

    def _output(self, node: nodes.Output, state: str) -> str:
        for index, child in enumerate(node.nodes):
            if isinstance(child, nodes.TemplateData):
                state = self._language.scan(state, child.data)
                continue
            if mistake := self._language.mistake(state):
                self._complain("T127", child.lineno, mistake)
            if self._visit:
                node.nodes[index] = self._visit(child, state)
        return state

    def _agree(self, ends: Sequence[str], node: nodes.Node) -> str:
        if len(set(ends)) > 1:
            self._complain(
                "T128",
                node.lineno,
                "a tag, comment or quote is opened or closed in one branch only",
            )
        return ends[0]
