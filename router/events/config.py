"""How bytes become events: what an operator writes under ``decode:``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema, core_schema

from router.events.secret_fields import SecretField
from router.values import Size

_PATH_PART = re.compile(r'"([^"]+)"|([^."\s\[\]]+)')


@final
@dataclass(frozen=True, slots=True)
class Selector:
    """Where one attribute of an event stands: in a header, or at a path in the payload.

    Attributes:
        text: As written: ``header:NAME`` or ``meta.type``; a part with dots is quoted.
        header: The header's name, or None for a path.
        path: The path's parts; empty for a header.
    """

    text: str
    header: str | None
    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: object) -> Selector:
        """A selector from its text.

        Raises:
            ValueError: the text is no selector; the message says what to write.
        """
        if isinstance(text, Selector):
            return text
        if not isinstance(text, str) or not text.strip():
            raise ValueError("not a selector; write header:NAME or a path such as meta.type")
        text = text.strip()
        if text.startswith("header:"):
            name = text.removeprefix("header:").strip()
            if not name:
                raise ValueError("the header has no name; write header:NAME")
            return cls(text, name, ())
        return cls(text, None, _parse_path(text))

    def find(self, payload: object) -> Any:
        """The value at the path, or None where the payload has none (or a null) there."""
        value: Any = payload
        for part in self.path:
            if isinstance(value, dict):
                value = value.get(part)  # pyright: ignore[reportUnknownMemberType]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):  # pyright: ignore[reportUnknownArgumentType]
                value = value[int(part)]
            else:
                return None
        return value

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
        return {"type": "string", "examples": ["header:event-type", "meta.type"]}


def _parse_path(text: str) -> tuple[str, ...]:
    parts: list[str] = []
    at = 0
    while True:
        match = _PATH_PART.match(text, at)
        if match is None:
            break
        parts.append(match[1] or match[2])
        at = match.end()
        if at == len(text):
            return tuple(parts)
        if text[at] != ".":
            break
        at += 1
    raise ValueError(f'not a path: "{text}"; write parts with dots between, as in meta.type')


def _only_path(selector: Selector) -> Selector:
    if selector.header is not None:
        raise ValueError("data is read from the payload; write a path such as payload")
    return selector


class DecodeConfig(BaseModel):
    """How records become events."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["auto", "json", "cloudevents"] = Field(
        default="auto",
        description=(
            "`auto` reads CloudEvents 1.0 where headers say so (`ce_*`, or content type "
            "`application/cloudevents+json`) and plain JSON otherwise."
        ),
    )
    id: Selector = Field(
        default=Selector.parse("id"),
        description="Plain JSON: where the event's id stands; without one its position serves.",
        examples=["header:event-id", "meta.id"],
    )
    type: Selector = Field(
        default=Selector.parse("type"),
        description="Plain JSON: where the event's type stands.",
        examples=["header:event-type", "meta.type"],
    )
    require_type: bool = Field(
        default=True,
        description="Plain JSON: no type, no event; `false` leaves the type empty instead.",
    )
    time: Selector = Field(
        default=Selector.parse("time"),
        description=(
            "Plain JSON: where the event's time stands, RFC 3339 text (UTC where it names no "
            "offset) or seconds or milliseconds since 1970; by default the record's timestamp."
        ),
        examples=["meta.created_at"],
    )
    subject: Selector = Field(
        default=Selector.parse("subject"),
        description="Plain JSON: where it stands what the event is about.",
        examples=["user.id"],
    )
    source: Selector | None = Field(
        default=None,
        description="Plain JSON: where the event's source stands; by default it is the topic.",
        examples=["header:service"],
    )
    data: Annotated[Selector, AfterValidator(_only_path)] | None = Field(
        default=None,
        description="Plain JSON: the part of the payload that is `data`; by default all of it.",
        examples=["payload"],
    )
    max_size: Size = Field(
        default=1024**2, ge=1, description="A larger payload is a dead letter.", examples=["1MiB"]
    )
    secret_fields: tuple[SecretField, ...] = Field(
        default=(),
        description="Where events carry secrets: they are shown nowhere, and read only by what "
        "needs them.",
        examples=[["data.endpoints[*].secrets"]],
    )
