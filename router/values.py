"""Small value types that configuration and code share: durations, rates, sizes, secrets.

Each parses from the text an operator writes and says in its error what to write instead.
"""

from __future__ import annotations

import hmac
import posixpath
import re
from dataclasses import dataclass
from typing import Annotated, Any, final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST_S = 100 * 365.25 * 86400
_LARGEST = 2**60
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_RATE = re.compile(
    r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)?\s*(ms|s|sec|m|min|h|hour|d|day)", re.ASCII
)
_RATE_UNITS = _DURATION_UNITS | {"sec": 1.0, "min": 60.0, "hour": 3600.0, "day": 86400.0}
_SIZE_UNITS = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?", re.ASCII)


def parse_duration(text: object) -> float:
    """Seconds from text such as ``250ms``, ``10m`` or ``1h30m``.

    Raises:
        ValueError: the text is not a duration; the message says what to write.
    """
    if isinstance(text, float | int) and not isinstance(text, bool):
        if text == 0:
            return 0.0
        if not abs(text) < _LONGEST_S:
            raise ValueError("not a duration; write a number and a unit, as in 10m")
        raise ValueError(f"not a duration: {text:g} has no unit; write {text:g}s or {text:g}m")
    if not isinstance(text, str):
        raise ValueError("not a duration; write a number and a unit, as in 10m")
    rest = text.strip()
    if rest == "0":
        return 0.0
    total, end = 0.0, 0
    while part := _DURATION_PART.match(rest, end):
        total += float(part[1]) * _DURATION_UNITS[part[2]]
        end = part.end()
    if not rest or end != len(rest):
        raise ValueError(f'not a duration: "{text}"; units are ms, s, m, h, d and w, as in 10m')
    if total > _LONGEST_S:
        raise ValueError("longer than 100 years")
    return total


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` reads back as this many seconds."""
    if seconds == 0:
        return "0s"
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    parts: list[str] = []
    for unit in ("d", "h", "m"):
        count, seconds = divmod(seconds, _DURATION_UNITS[unit])
        if count:
            parts.append(f"{count:g}{unit}")
    if seconds:
        parts.append(f"{seconds:g}s")
    return "".join(parts)


def parse_size(text: object) -> int:
    """Bytes from text such as ``64KiB`` or ``1MB``, or from a plain number of bytes.

    Raises:
        ValueError: the text is not a size; the message says what to write.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'not a size: "{text}"; write 64KiB, 1MiB or a number of bytes')
    size = float(match[1]) * _SIZE_UNITS[match[2] or ""]
    if size > _LARGEST:
        raise ValueError("larger than any memory")
    return int(size)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(0|(\d+(\.\d+)?(ms|s|m|h|d|w))+)$",
            "examples": ["250ms", "10m", "1h30m"],
        }
    ),
]
"""Seconds; written as ``10m`` in configuration."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["64KiB", "1MiB"]}),
]
"""Bytes; written as ``1MiB`` in configuration."""


def _rooted(path: str, info: ValidationInfo) -> str:
    root = info.context.get("root") if info.context else None
    return posixpath.join(root, path) if root else path


FilePath = Annotated[str, AfterValidator(_rooted)]
"""A path in configuration: relative ones start at the folder of ``router.yaml``.

The loader gives that folder as ``root`` in the validation context.
"""


@final
@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages in so many seconds; written ``30/s``, ``1000/min`` or ``5/10s``."""

    count: float
    per_s: float

    @classmethod
    def parse(cls, text: object) -> Rate:
        """A rate from its text.

        Raises:
            ValueError: the text is not a rate; the message says what to write.
        """
        if isinstance(text, Rate):
            return text
        match = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
        count, per_s = 0.0, 0.0
        if match is not None:
            count, per_s = float(match[1]), float(match[2] or 1) * _RATE_UNITS[match[3]]
        if not (0 < count <= _LARGEST and 0 < per_s <= _LONGEST_S):
            raise ValueError(f'not a rate: "{text}"; write 30/s or 1000/min')
        return cls(count, per_s)

    @property
    def per_second(self) -> float:
        return self.count / self.per_s

    def __str__(self) -> str:
        return f"{self.count:g}/{format_duration(self.per_s).removeprefix('1')}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "examples": ["30/s", "1000/min"]}


@final
class Secret:
    """Text that never shows itself: not in ``repr``, ``str``, logs, errors or dumps.

    ``known`` is False for a secret whose value was deliberately not read (``router check``
    without an environment); revealing it is a bug.
    """

    __slots__ = ("_value", "known")

    def __init__(self, value: str | None) -> None:
        self._value = value
        self.known = value is not None

    def reveal(self) -> str:
        """The text itself; call it only where it is put on the wire."""
        if self._value is None:
            raise LookupError("this secret was not read")
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        if self._value is None or other._value is None:
            return self._value is other._value
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not serialised")

    @classmethod
    def _parse(cls, value: object) -> Secret:
        if isinstance(value, Secret):
            return value
        if isinstance(value, str):
            return cls(value)
        raise ValueError("write a secret as !env NAME, !file path or !secret text")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "description": "A secret: !env NAME, !file path or !secret text"}
