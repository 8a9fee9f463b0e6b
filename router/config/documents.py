"""YAML text to nodes that know their places: the profile of YAML that configuration is written in.

libyaml composes, nothing is ever constructed. What a value means is decided here: see
:func:`router.config.scalars.read_plain` for scalars, and the module's errors for the rest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from router.config.complaints import explain_syntax_error
from router.config.scalars import Raw, read_plain
from router.nodes import Entry, Node, Scalar
from router.problems import Position, Problems, Source

MAX_DEPTH = 100
"""Deeper nesting is refused."""

ALIAS_BUDGET = 100_000
"""Nodes that aliases may add to a document."""

_SCALAR_TAGS = ("!env", "!file", "!secret")
_TAGS = (*_SCALAR_TAGS, "!new", "!include")

Include = Callable[[str, Position], "Node | None"]
"""Reads the document at a path for the place that includes it; None after a problem."""


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file.

    Attributes:
        node: Its value; an empty mapping for an empty file.
        is_raw: Some value has still to be resolved (see ``substitution``), or is marked ``!new``.
    """

    node: Node
    is_raw: bool


class _Loader(yaml.CSafeLoader):
    """Composes with every implicit tag empty, so that explicit tags stand out."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


def read_document(
    source: Source,
    text: str,
    problems: Problems,
    *,
    include: Include | None = None,
    literal: bool = False,
) -> Document:
    """The text's value with places; every mistake is added to ``problems``.

    Args:
        include: Serves ``!include``; without it the tag is an error.
        literal: ``$`` and tags mean nothing (samples, template descriptions).
    """
    top = Position(source, 1, 1)
    empty = Document(Node({}, top), False)
    loader = _Loader(text)
    try:
        composed = loader.get_single_node()
    except yaml.YAMLError as error:
        problems.found.append(explain_syntax_error(error, source))
        return empty
    finally:
        loader.dispose()
    if composed is None:
        return empty
    starts = [0]
    for line in source.lines:
        starts.append(starts[-1] + len(line) + 1)
    reader = _Reader(source, text, starts, problems, include, literal)
    try:
        node = reader.read(composed, 0)
    except _TooDeep as error:
        problems.error("Y014", f"nested deeper than {MAX_DEPTH} levels", error.at)
        return empty
    return Document(node, reader.is_raw)


class _TooDeep(Exception):
    def __init__(self, at: Position) -> None:
        self.at = at


@dataclass(slots=True)
class _Reader:
    """The walk over one composed document.

    Attributes:
        starts: The index at which each line starts.
        made: Nodes by identity of their composed ones, for aliases; None while under way.
        sizes: How many nodes each stands for with all aliases expanded.
    """

    source: Source
    text: str
    starts: list[int]
    problems: Problems
    include: Include | None
    literal: bool
    is_raw: bool = False
    is_bomb: bool = False
    made: dict[int, Node | None] = field(default_factory=dict[int, "Node | None"])
    sizes: dict[int, int] = field(default_factory=dict[int, int])

    def place(self, composed: Any) -> Position:
        start = composed.start_mark.index
        line = bisect_right(self.starts, start) - 1
        end = min(composed.end_mark.index, self.starts[line + 1] - 1)
        return Position(self.source, line + 1, start - self.starts[line] + 1, max(1, end - start))

    def read(self, composed: Any, depth: int) -> Node:
        me = id(composed)
        if me in self.made:
            node = self.made[me]
            if node is not None:
                return node
            at = self.place(composed)
            self.problems.error("Y010", "this value contains an alias of itself", at)
            return Node(None, at)
        at = self.place(composed)
        if depth > MAX_DEPTH:
            raise _TooDeep(at)
        self.made[me] = None
        if isinstance(composed, yaml.ScalarNode):
            self.sizes[me] = 1
            node = self._scalar(composed, at)
        elif isinstance(composed, yaml.MappingNode):
            node = self._mapping(composed, at, depth)
            self._measure(composed, at, (n for pair in composed.value for n in pair))
        else:
            node = Node(tuple(self._item(item, depth + 1) for item in composed.value), at)
            self._measure(composed, at, composed.value)
        if composed.tag and not isinstance(composed, yaml.ScalarNode):
            node = self._tagged_collection(composed.tag, node)
        self.made[me] = node
        return node

    def _measure(self, composed: Any, at: Position, children: Any) -> None:
        size = self.sizes[id(composed)] = 1 + sum(self.sizes.get(id(c), 1) for c in children)
        if size > len(self.text) + ALIAS_BUDGET and not self.is_bomb:
            self.is_bomb = True
            self.problems.error("Y009", f"aliases expand this to over {ALIAS_BUDGET} values", at)

    def _item(self, composed: Any, depth: int) -> Node:
        node = self.read(composed, depth)
        if _is_empty(composed):
            self.problems.error("Y005", "this list item has no value; write one, or null", node.at)
        return node

    def _mapping(self, composed: Any, at: Position, depth: int) -> Node:
        if self._is_expression(composed):
            text = self.text[composed.start_mark.index : composed.end_mark.index]
            self.problems.error("Y007", unquoted_expression(text), at)
            return Node(text, at)
        entries: dict[str, Entry] = {}
        merged: list[Node] = []
        for key_node, value_node in composed.value:
            key_at = self.place(key_node)
            if _is_merge(key_node):
                merged += self._merge_sources(value_node, depth + 1)
                continue
            key = self._key(key_node, key_at)
            value = self.read(value_node, depth + 1)
            if key is None:
                continue
            if _is_empty(value_node):
                self.problems.error("Y005", f'"{key}" has no value; write one, or null', key_at)
            if key in entries:
                first = entries[key].key_at
                self.problems.error(
                    "Y002", f'"{key}" is written twice', key_at, ((first, "first here"),)
                )
                continue
            entries[key] = Entry(key_at, value)
        for node in merged:
            for key, entry in node.entries.items():
                entries.setdefault(key, entry)
        return Node(entries, at)

    def _is_expression(self, composed: Any) -> bool:
        """``{{ x }}`` without quotes reads as a mapping whose only key is a mapping."""
        if not composed.flow_style or not composed.value:
            return False
        key = composed.value[0][0]
        return isinstance(key, yaml.MappingNode) and bool(key.flow_style)

    def _key(self, composed: Any, at: Position) -> str | None:
        if not isinstance(composed, yaml.ScalarNode):
            self.problems.error("Y006", "a key must be text, not a list or mapping", at)
            return None
        if composed.tag:
            self.problems.error("Y006", f"a key takes no tag; remove {composed.tag}", at)
            return None
        if composed.value == "" and not composed.style:
            self.problems.error("Y006", "a key is missing before the colon", at)
        elif "\0" in composed.value:
            self.problems.error("Y001", "text can't hold the character U+0000", at)
        elif composed.style or isinstance(read_plain(composed.value), str):
            return composed.value
        else:
            text = composed.value
            self.problems.error("Y006", f'the key {text} is not text; write "{text}"', at)
        return None

    def _merge_sources(self, composed: Any, depth: int) -> list[Node]:
        node = self.read(composed, depth)
        found = list(node.nodes) if node.is_sequence else [node]
        for one in found:
            if not one.is_mapping:
                self.problems.error(
                    "Y012", "<< takes an alias of a mapping, or a list of them", one.at
                )
        return [one for one in found if one.is_mapping]

    def _scalar(self, composed: Any, at: Position) -> Node:
        text: str = composed.value
        tag: str = composed.tag
        is_plain = not composed.style
        if "\0" in text:
            self.problems.error("Y001", "text can't hold the character U+0000", at)
            text = text.replace("\0", "")
        if tag and not self.literal:
            return self._tagged_scalar(tag, text, is_plain, at)
        if "$" in text and not self.literal and ("${" in text or "$$" in text):
            self.is_raw = True
            return Node(Raw.of(text, "", is_plain), at)
        if tag:
            self._unknown_tag(tag, at)
        return Node(read_plain(text) if is_plain else text, at)

    def _tagged_scalar(self, tag: str, text: str, is_plain: bool, at: Position) -> Node:
        if tag in _SCALAR_TAGS:
            self.is_raw = True
            return Node(Raw.of(text, tag, is_plain), at)
        if tag == "!new":
            self.is_raw = True
            value: Scalar = read_plain(text) if is_plain else text
            if "$" in text:
                value = Raw.of(text, "", is_plain)
            return Node(value, at, is_new=True)
        if tag == "!include" and self.include is not None:
            self.is_raw = True
            return self.include(text, at) or Node(Raw.of("", tag, True), at)
        self._unknown_tag(tag, at)
        return Node(text, at)

    def _tagged_collection(self, tag: str, node: Node) -> Node:
        if tag == "!new" and not self.literal:
            self.is_raw = True
            return Node(node.value, node.at, is_new=True)
        if tag in _TAGS and not self.literal:
            self.problems.error("Y011", f"{tag} takes text, not a {node.kind()}", node.at)
        else:
            self._unknown_tag(tag, node.at)
        return node

    def _unknown_tag(self, tag: str, at: Position) -> None:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        if self.literal:
            message = f"tag {shown} has no meaning in this file; quote the value"
        elif shown == "!include":
            message = "!include has no meaning in this file"
        elif shown.startswith("!!"):
            message = f"tag {shown} is not used; quotes make text, no quotes a number"
        else:
            tags = ", ".join(_TAGS)
            message = f"unknown tag {shown}. Tags: {tags}; text that starts with ! needs quotes"

        self.problems.error("Y011", message, at)


def unquoted_expression(text: str) -> str:
    """The message for ``{{ … }}`` without quotes, with the right spelling."""
    one_line = " ".join(text.split())
    quote = "'" if '"' in one_line else '"'
    return f"{{{{ }}}} needs quotes; write {quote}{one_line}{quote}"


def _is_merge(key: Any) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style and not key.tag


def _is_empty(composed: Any) -> bool:
    return isinstance(composed, yaml.ScalarNode) and not composed.value and not composed.style
