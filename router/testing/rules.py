"""What is true of every configuration model, so that schema, docs and lint can be made of it."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from router.values import Secret

_SECRET = re.compile(r"(^|_)(password|passphrase|secrets?|token|api_?key|private_key)$", re.I)
_PLAIN = (bool, int, float, type(None))


def mistakes_in(model: type[BaseModel], *, but: frozenset[str] = frozenset()) -> list[str]:
    """What a configuration model lacks, one line each; empty for a sound one.

    Args:
        but: Fields that are somebody else's, such as those of a base class.
    """
    return list(dict.fromkeys(_mistakes(model, but)))


def _mistakes(model: type[BaseModel], but: frozenset[str]) -> Iterator[str]:
    name = model.__name__
    if not (model.__doc__ or "").strip():
        yield f"{name} has no docstring: say what it is in a sentence"
    if model.model_config.get("extra") != "forbid":
        yield f'{name} takes unknown keys: keep extra="forbid"'
    for key, info in model.model_fields.items():
        if key in but:
            continue
        if not info.description:
            yield f"{name}.{key} has no description"
        if _needs_example(info) and not info.examples:
            yield f"{name}.{key} has no examples"
        if _SECRET.search(key) and not _holds(info.annotation, Secret):
            yield f"{name}.{key} looks like a secret and is not typed Secret"
        for inner in _models_in(info.annotation):
            yield from _mistakes(inner, frozenset())


def _needs_example(info: FieldInfo) -> bool:
    """Text and lists can be written in many ways; numbers, switches and choices can't, and a
    default is an example by itself."""
    if isinstance(info.default, str) and info.default:
        return False
    return not all(
        get_origin(one) is Literal
        or (isinstance(one, type) and issubclass(one, (*_PLAIN, BaseModel)))
        for one in _alternatives(info.annotation)
    )


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _alternatives(one)
    else:
        yield annotation


def _holds(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(_holds(one, wanted) for one in get_args(annotation))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for one in get_args(annotation):
        yield from _models_in(one)
