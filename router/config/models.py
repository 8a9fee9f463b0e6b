"""Walks pydantic models by the paths of configuration: which keys exist, which hold secrets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from router.nodes import Node
from router.values import Secret

Model = type[BaseModel]


def keys_of(model: Model) -> dict[str, FieldInfo]:
    """A model's fields by the key that is written in configuration."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def models_at(model: Model, path: Sequence[str | int]) -> list[Model]:
    """The models that may stand at a path below a model.

    Steps that are no field (list indexes, names, the marks that unions leave) change nothing.
    """
    current = [model]
    for step in path:
        below: list[Model] = []
        for one in current:
            if isinstance(step, str) and (info := keys_of(one).get(step)):
                below += models_in(info.annotation)
        current = below or current
    return current


def models_in(annotation: Any) -> list[Model]:
    """The models that an annotation mentions, in order, each once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = (model for arg in get_args(annotation) for model in models_in(arg))
    return list(dict.fromkeys(found))


def mentions_secret(annotation: Any) -> bool:
    """Whether a value of this annotation may be a secret."""
    return annotation is Secret or any(mentions_secret(arg) for arg in get_args(annotation))


def secret_nodes(model: Model, node: Node) -> Iterator[Node]:
    """The scalars below a node that belong to secret-typed fields, or were meant to."""
    fields = keys_of(model)
    secret = [key for key, info in fields.items() if mentions_secret(info.annotation)]
    for key, value in node.items():
        info = fields.get(key)
        if info is None:
            if get_close_matches(key, secret, 1):
                yield from scalars(value)
            continue
        if mentions_secret(info.annotation):
            yield from scalars(value)
        for inner in models_in(info.annotation):
            yield from secret_nodes(inner, value)
            for item in (*value.nodes, *(child for _, child in value.items())):
                yield from secret_nodes(inner, item)


def scalars(node: Node) -> Iterator[Node]:
    """Every scalar at and below a node."""
    if node.is_scalar:
        yield node
    for item in (*node.nodes, *(child for _, child in node.items())):
        yield from scalars(item)
