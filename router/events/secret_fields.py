"""Secrets that events bring, such as the signing keys of customers' endpoints.

Fields that are declared become :class:`~router.values.Secret` right after decoding, so nothing that
reads the event (templates, logs, rehearsals, previews) can show them. The record's own bytes stay
as they are: they are what is kept for a retry, and what a dead letter holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from router.values import Secret

_PART = re.compile(r'\.(?:"([^"]+)"|([^."\s\[\]*]+))|(\[\*\])')
_EACH = None


@final
@dataclass(frozen=True, slots=True)
class SecretField:
    """Where in an event's data secrets stand; everything below is one.

    Attributes:
        text: As written: ``data.endpoints[*].secrets``.
        steps: From ``data`` on; None is every element of a list.
    """

    text: str
    steps: tuple[str | None, ...]

    @classmethod
    def parse(cls, text: object) -> SecretField:
        """A field from its path.

        Raises:
            ValueError: the text is no path into data; the message says what to write.
        """
        if isinstance(text, SecretField):
            return text
        steps: list[str | None] = []
        if isinstance(text, str) and text.startswith("data"):
            at = len("data")
            while part := _PART.match(text, at):
                steps.append(_EACH if part[3] else part[1] or part[2])
                at = part.end()
            if at == len(text) and steps:
                return cls(text, tuple(steps))
        raise ValueError(f'not a path: "{text}"; write one such as data.endpoints[*].secrets')

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "examples": ["data.endpoints[*].secrets"]}


def hide(data: Any, fields: Iterable[SecretField]) -> Any:
    """The data with secrets in place of the texts that stand at and below the fields."""
    for field in fields:
        data = _hide(data, field.steps)
    return data


def _hide(value: Any, steps: Sequence[str | None]) -> Any:
    if not steps:
        return _hidden(value)
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict) and step in value:
        fields = cast("dict[str | None, Any]", value)
        return {**fields, step: _hide(fields[step], rest)}
    if isinstance(value, list):
        items = enumerate(cast("list[Any]", value))
        return [_hide(x, rest) if step is _EACH or step == str(i) else x for i, x in items]
    return value


def _hidden(value: Any) -> Any:
    match value:
        case str():
            return Secret(value)
        case int() | float() if not isinstance(value, bool):
            return Secret(str(value))
        case list():
            return [_hidden(item) for item in cast("list[Any]", value)]
        case dict():
            return {key: _hidden(item) for key, item in cast("dict[str, Any]", value).items()}
        case _:
            return value
