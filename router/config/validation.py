"""Validates a node with the one pydantic model that its place calls for.

pydantic finds what is wrong, this module says it at its place and in the operator's words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from router.config.fields import a_kind
from router.config.models import keys_of, models_at
from router.config.scalars import Raw
from router.nodes import Node
from router.problems import Position, Problems, did_you_mean
from router.values import Secret

ModelT = TypeVar("ModelT", bound=BaseModel)

_PLACEHOLDERS = ("1", "1s", "1/s", "true", "https://unset.invalid", "unset.invalid:1")
"""Stand in for variables that are not known: one of them suits any field."""

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_WANTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
}


def validate(
    model: type[ModelT], node: Node, what: str, problems: Problems, root: str
) -> ModelT | None:
    """The model of a node, or None after its problems were added.

    Args:
        what: How an operator would call it, such as ``sink "mail"``.
        root: The folder of ``router.yaml``, where relative paths start.
    """
    if not node.is_mapping:
        problems.error("S004", f"{what} must be a mapping, not {a_kind(node)}", node.at)
        return None
    values: dict[str, Any] = node.plain()
    tried = 0
    while True:
        try:
            return model.model_validate(values, context={"root": root})
        except ValidationError as error:
            errors = error.errors(include_url=False)
        extensions = [e for e in errors if _is_extension(e)]
        unknown = [e for e in errors if isinstance(_follow(node, e["loc"])[0].value, Raw)]
        if extensions:
            for found in extensions:
                _remove(values, found["loc"])
        elif unknown and tried < len(_PLACEHOLDERS):
            for found in unknown:
                _replace(values, found["loc"], _PLACEHOLDERS[tried])
            tried += 1
        else:
            _report(model, node, what, errors, problems)
            return None


def _is_extension(error: Any) -> bool:
    """A key that starts with ``x-`` holds anchors and means nothing."""
    return error["type"] == "extra_forbidden" and str(error["loc"][-1]).startswith("x-")


def _remove(values: Any, path: Sequence[str | int]) -> None:
    holder = _descend(values, path[:-1])
    if isinstance(holder, dict):
        holder.pop(path[-1], None)


def _replace(values: Any, path: Sequence[str | int], value: str) -> None:
    for end in range(len(path) - 1, -1, -1):
        holder: Any = _descend(values, path[:end])
        if _has(holder, path[end]):
            holder[path[end]] = value
            return


def _descend(values: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        if _has(values, step):
            values = values[step]
    return values


def _has(holder: Any, step: str | int) -> bool:
    if isinstance(holder, list):
        return isinstance(step, int) and step < len(holder)  # pyright: ignore[reportUnknownArgumentType]
    return isinstance(holder, dict) and step in holder


def _follow(node: Node, path: Sequence[str | int]) -> tuple[Node, Position, tuple[str | int, ...]]:
    """The node at a path, where its key stands, and the path that exists.

    Steps that lead nowhere (what unions and validators add to a path) are passed over.
    """
    key_at, found = node.at, list[str | int]()
    for step in path:
        if isinstance(step, str) and step in node.entries:
            entry = node.entries[step]
            node, key_at = entry.node, entry.key_at
        elif isinstance(step, int) and 0 <= step < len(node.nodes):
            node = node.nodes[step]
            key_at = node.at
        else:
            continue
        found.append(step)
    return node, key_at, tuple(found)


def _report(
    model: type[BaseModel], node: Node, what: str, errors: Sequence[Any], problems: Problems
) -> None:
    seen: set[tuple[Any, ...]] = set()
    for error in errors:
        path: tuple[str | int, ...] = error["loc"]
        value, key_at, found = _follow(node, path)
        missing = path[-1] if error["type"] == "missing" and path else None
        if isinstance(value.value, Raw) or (found, missing) in seen:
            continue
        seen.add((found, missing))
        name = ".".join(str(step) for step in found)
        if missing is not None:
            within = f"{name} of {what}" if name else what
            problems.error("S003", f'{within} needs "{missing}"', key_at if found else node.at)
        elif error["type"] == "extra_forbidden":
            problems.error("S002", _unknown_key(model, found, what), key_at)
        elif isinstance(value.value, Secret):
            message = f"{name} of {what} is not secret; write ${{NAME}} instead of a tag"
            problems.error("S005", message, value.at)
        else:
            message = _describe(error, name or what, _example(model, found))
            problems.error("S004", message, value.at if found else key_at)


def _unknown_key(model: type[BaseModel], path: Sequence[str | int], what: str) -> str:
    *parents, key = path
    within = ".".join(str(step) for step in parents)
    where = f"{within} of {what}" if within else what
    keys = sorted({k for one in models_at(model, parents) for k in keys_of(one)})
    return f'unknown key "{key}" in {where}.{did_you_mean(str(key), keys, "Keys")}'


def _example(model: type[BaseModel], path: Sequence[str | int]) -> Any:
    """How the field at a path may look, if its model says so."""
    *parents, key = path or ("",)
    infos = (keys_of(one).get(str(key)) for one in models_at(model, parents))
    return next((info.examples[0] for info in infos if info and info.examples), None)


def _describe(error: Any, name: str, example: Any = None) -> str:
    kind: str = error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    given = error["input"]
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{name} must be {words} {context[key]:g}"
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(context["expected"]))
        return f'{name} can\'t be "{given}".{did_you_mean(str(given), choices, "Choices")}'
    if kind == "union_tag_invalid":
        choices = re.findall(r"'([^']*)'", str(context["expected_tags"]))
        tag = str(context["tag"])
        return f'{name} can\'t be "{tag}".{did_you_mean(tag, choices, "Choices")}'
    if kind == "union_tag_not_found":
        return f"{name} needs {str(context['discriminator']).strip(chr(39))}"
    if kind == "value_error":
        return f"{name}: {context['error']}"
    if kind == "string_pattern_mismatch":
        hint = "" if example is None else f"; write one such as {example}"
        return f"{name} has the wrong form{hint}"
    if kind in ("too_short", "string_too_short"):
        return f"{name} must not be empty"
    wanted = _WANTED.get(kind.split("_")[0])
    if wanted and not kind.endswith("too_long"):
        quotes = f'; write "{given}"' if wanted == "text" and _is_number(given) else ""
        return f"{name} must be {wanted}{quotes}"
    message = str(error["msg"])
    return f"{name}: {message[:1].lower()}{message[1:]}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
