"""Two spellings of a log record: ECS JSON for machines, one coloured line for people."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast, final

import orjson

from router.telemetry.redaction import Redactor

ECS_VERSION: Final = "8.11"

_COLOURS: Final[Mapping[int, str]] = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[36m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"


class Format(Protocol):
    """Makes one line, without its end, of a record."""

    def __call__(self, record: logging.LogRecord) -> bytes: ...


def router_fields(record: logging.LogRecord) -> Mapping[str, Any]:
    """What was given as ``extra={"router": {...}}``."""
    given = getattr(record, "router", None)
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}


@final
class EcsJson:
    """JSON with the field names of the Elastic Common Schema; own fields start with ``router.``."""

    def __init__(self, redactor: Redactor, service_version: str = "") -> None:
        self._redactor = redactor
        self._service = {"service.name": "router", "ecs.version": ECS_VERSION}
        if service_version:
            self._service["service.version"] = service_version

    def __call__(self, record: logging.LogRecord) -> bytes:
        line: dict[str, Any] = {
            "@timestamp": _timestamp(record.created),
            "log.level": record.levelname.lower(),
            "message": self._redactor.text(record.getMessage()),
            "log.logger": record.name,
        }
        for name, value in self._redactor.fields(router_fields(record)).items():
            line[name if name.startswith("event.") else f"router.{name}"] = value
        if record.exc_info and (error := record.exc_info[1]):
            line["error.type"] = type(error).__qualname__
            line["error.message"] = self._redactor.text(str(error))
            line["error.stack_trace"] = self._redactor.text(
                "".join(traceback.format_exception(error))
            )
        return orjson.dumps(line | self._service, default=str)


@final
class Console:
    """``12:03:04.123 WARNING sink halted  sink=mail reason=unauthorized``, in colour if asked."""

    def __init__(self, redactor: Redactor, *, colour: bool) -> None:
        self._redactor = redactor
        self._colour = colour

    def __call__(self, record: logging.LogRecord) -> bytes:
        clock = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")
        fields = " ".join(
            f"{name}={_short(value)}"
            for name, value in self._redactor.fields(router_fields(record)).items()
            if not name.startswith("event.")
        )
        parts = [
            self._paint(_DIM, clock[:-3]),
            self._paint(_COLOURS.get(record.levelno, ""), f"{record.levelname:<7}"),
            _one_line(self._redactor.text(record.getMessage())),
        ]
        if fields:
            parts.append(" " + self._paint(_DIM, fields))
        line = " ".join(parts)
        if record.exc_info and (error := record.exc_info[1]):
            trace = "".join(traceback.format_exception(error)).rstrip()
            line += "\n" + self._redactor.text(trace)
        return line.encode("utf-8", "backslashreplace")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour and colour else text


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return _one_line(text if text and " " not in text else f'"{text}"')


def _one_line(text: str) -> str:
    """Line breaks and control characters made visible: a message can't forge a second line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
