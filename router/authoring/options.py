"""The options of a component, read from its model: what ``router sinks`` and the docs list."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from router.config.models import keys_of, models_in
from router.values import Rate, Secret, format_duration

_BY_VALIDATOR = {"parse_duration": "duration", "parse_size": "size", "_rooted": "path"}
_PLAIN: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Secret: "secret",
    Rate: "rate",
    type(None): "null",
    Any: "anything",
}
_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


@dataclass(frozen=True, slots=True)
class Option:
    """One key that a component's mapping may have.

    Attributes:
        name: With dots into mappings, and ``[]`` for the items of a list.
        type: In an operator's words.
        default: As it would be written; None where there is none.
        is_required: Has to be written.
        example: As it would be written, or None.
    """

    name: str
    type: str
    default: str | None
    is_required: bool
    description: str
    example: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "required": self.is_required,
            "default": self.default,
            "description": self.description,
            "example": self.example,
        }


def summary_of(model: type[BaseModel]) -> str:
    """The first sentence or so of a model's docstring: what the component is."""
    text = (model.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(text.split())


def options_of(model: type[BaseModel], *, but: frozenset[str] = frozenset()) -> list[Option]:
    """Every option, those within options after them; compulsory ones first.

    What a model keeps out of its schema can't be written and is left out.

    Args:
        but: Further keys to leave out.
    """
    hidden = keys_of(model).keys() - model.model_json_schema()["properties"].keys()
    options = list(_options(model, "", "", but | hidden, None))
    return sorted(options, key=lambda option: not option.is_required)


def _options(
    model: type[BaseModel], prefix: str, note: str, but: frozenset[str], given: BaseModel | None
) -> Iterator[Option]:
    """``given`` is the default of the whole, where the field above has one of its own."""
    names = {info.alias or name: name for name, info in model.model_fields.items()}
    for key, info in keys_of(model).items():
        if key in but:
            continue
        own = getattr(given, names[key]) if isinstance(given, model) else info.default
        name = f"{prefix}{key}"
        inner = models_in(info.annotation)
        is_required = info.is_required() and not prefix
        yield Option(
            name=name,
            type=_field_type(info),
            default=_default(info, own),
            is_required=is_required,
            description=f"{note}{_sentence(info, is_nested=bool(prefix))}",
            example=_example(info),
        )
        below = f"{name}[]." if _is_list(info.annotation) else f"{name}."
        for one in inner:
            only = f"With `type: {_kind_of(one)}`: " if len(inner) > 1 else ""
            whole = own if isinstance(own, BaseModel) else None
            left_out = frozenset({"type"} if only else ())
            yield from _options(one, below, only or note, left_out, whole)


def _sentence(info: FieldInfo, *, is_nested: bool) -> str:
    text = info.description or ""
    needed = " Compulsory here." if is_nested and info.is_required() else ""
    return f"{text}{needed}"


def _kind_of(model: type[BaseModel]) -> str:
    info = model.model_fields.get("type")
    (kind,) = get_args(info.annotation) if info else ("",)
    return str(kind)


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) in (list, tuple):
        return True
    return any(_is_list(inner) for inner in get_args(annotation))


# Types -----------------------------------------------------------------------------------------


def _field_type(info: FieldInfo) -> str:
    found = _named_by(info.metadata) or _type(info.annotation)
    return found + _bounds(info.metadata)


def _type(annotation: Any) -> str:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _named_by(arguments[1:]) or _type(arguments[0])
    if origin is Literal:
        return _alternatives([f"`{value}`" for value in arguments])
    if origin in (Union, types.UnionType):
        kinds = [_type(one) for one in arguments if one is not type(None)]
        return _alternatives(list(dict.fromkeys(kinds)))
    if origin in (list, tuple):
        items = dict.fromkeys(_type(one) for one in arguments if one is not Ellipsis)
        return f"list of {_alternatives(list(items))}".replace("mapping", "mappings")
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type):
        return "mapping" if issubclass(annotation, BaseModel) else _class_name(annotation)
    return "anything"


def _class_name(cls: type[Any]) -> str:
    return "path or header" if cls.__name__ == "Selector" else cls.__name__.lower()


def _named_by(metadata: Any) -> str | None:
    for one in metadata:
        name = getattr(getattr(one, "func", None), "__name__", "")
        if name in _BY_VALIDATOR:
            return _BY_VALIDATOR[name]
    return None


def _alternatives(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _bounds(metadata: Any) -> str:
    """Numbers that a value must keep to; durations and sizes say theirs in their description."""
    if _named_by(metadata):
        return ""
    bounds: list[str] = []
    for one in metadata:
        match one:
            case Ge(ge=low):
                bounds.append(f"at least {low}")
            case Gt(gt=low):
                bounds.append(f"above {low}")
            case Le(le=high):
                bounds.append(f"at most {high}")
            case Lt(lt=high):
                bounds.append(f"below {high}")
            case _:
                pass
    return f", {', '.join(bounds)}" if bounds else ""


# Values ----------------------------------------------------------------------------------------


def _default(info: FieldInfo, value: Any) -> str | None:
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel):
        return None
    if isinstance(value, float) and _is_duration(info):
        return format_duration(value)
    if isinstance(value, int) and _is_size(info):
        return _size(value)
    return written(value)


def _is_duration(info: FieldInfo) -> bool:
    return "duration" in _field_type(info)


def _is_size(info: FieldInfo) -> bool:
    return "size" in _field_type(info)


def _size(value: int) -> str:
    for unit, name in _UNITS:
        if value and value % unit == 0:
            return f"{value // unit}{name}"
    return str(value)


def _example(info: FieldInfo) -> str | None:
    return written(info.examples[0]) if info.examples else None


def written(value: Any) -> str:
    """A plain value in YAML's flow style."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict():
            inner = ", ".join(f"{key}: {written(one)}" for key, one in value.items())  # pyright: ignore[reportUnknownVariableType]
            return f"{{{inner}}}"
        case list() | tuple():
            return f"[{', '.join(written(one) for one in value)}]"  # pyright: ignore[reportUnknownVariableType]
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)
