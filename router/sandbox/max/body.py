"""The body of a new message: text, format, keyboard, checked against the schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from router.messages import Button
from router.sandbox.http import Call
from router.sandbox.max.html import parse_html
from router.sandbox.max.markdown import parse_markdown
from router.sandbox.max.markup import Formatted, MarkupError, units

_TEXT_LIMIT = 4000
_MOST_ATTACHMENTS = 12
_MOST_ROWS = 30
_ROW = 7
_ROW_OF_LINKS = 3
_WIDE = frozenset({"link", "open_app", "request_contact", "request_geo_location"})
_BUTTONS = _WIDE | {"callback", "message", "clipboard"}
_URL = re.compile(r"(?:https?|max)://[^\s]{1,2040}", re.IGNORECASE)


class Refusal(Exception):
    """An error answer: HTTP status and code; the text is its message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message as the person sees it."""

    formatted: Formatted
    buttons: tuple[tuple[Button, ...], ...]
    attachments: list[Any]
    notifies: bool


def read_message(call: Call) -> NewMessage:
    """The message in a call.

    Raises:
        Refusal: it breaks the schema or a limit.
    """
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "unsupported.media.type", "Content-Type must be application/json")
    try:
        fields: object = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise _payload("body: must be a JSON object")
    notify = fields.get("notify")
    if notify is not None and not isinstance(notify, bool):
        raise _payload("notify: must be boolean")
    formatted = _formatted(fields)
    attachments = fields.get("attachments") or []
    if not isinstance(attachments, list) or len(attachments) > _MOST_ATTACHMENTS:
        raise _payload(f"attachments: size must be between 0 and {_MOST_ATTACHMENTS}")
    buttons = _buttons(attachments)
    if not formatted.text.strip() and not attachments:
        raise _payload("text or attachments: must not be empty")
    return NewMessage(formatted, buttons, attachments, notify is not False)


def _payload(message: str) -> Refusal:
    return Refusal(400, "proto.payload", message)


def _formatted(fields: Mapping[str, Any]) -> Formatted:
    text = fields.get("text")
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise _payload("text: must be string")
    if units(text) > _TEXT_LIMIT:
        raise _payload(f"text: size must be between 0 and {_TEXT_LIMIT}")
    parse = _parser(fields.get("format"))
    try:
        return parse(text)
    except MarkupError as error:
        raise _payload(f"text: {error}") from None


def _parser(name: object) -> Callable[[str], Formatted]:
    match name:
        case None:
            return Formatted
        case "html":
            return parse_html
        case "markdown":
            return parse_markdown
        case _:
            raise _payload("format: must be one of html, markdown")


def _buttons(attachments: list[Any]) -> tuple[tuple[Button, ...], ...]:
    keyboards = [a for a in attachments if isinstance(a, dict) and a.get("type")]
    if len(keyboards) != len(attachments):
        raise _payload("attachments: each needs a type")
    keyboards = [a for a in keyboards if a["type"] == "inline_keyboard"]
    if len(keyboards) > 1:
        raise _payload("attachments: only one inline_keyboard is allowed")
    if not keyboards:
        return ()
    match keyboards[0]:
        case {"payload": {"buttons": [*rows]}} if 1 <= len(rows) <= _MOST_ROWS:
            return tuple(_row(row) for row in rows)
        case _:
            raise _payload(f"buttons: size must be between 1 and {_MOST_ROWS}")


def _row(row: object) -> tuple[Button, ...]:
    if not isinstance(row, list) or not all(isinstance(b, dict) for b in row):
        raise _payload("buttons: must be a list of lists of buttons")
    limit = _ROW_OF_LINKS if any(b.get("type") in _WIDE for b in row) else _ROW
    if not 1 <= len(row) <= limit:
        raise _payload(f"buttons: a row must have between 1 and {limit} buttons")
    return tuple(_button(button) for button in row)


def _button(button: Mapping[str, Any]) -> Button:
    kind, text, url = button.get("type"), button.get("text"), button.get("url")
    if kind not in _BUTTONS:
        raise _payload("buttons: unknown type")
    if not isinstance(text, str) or not 1 <= units(text) <= 128:
        raise _payload("buttons: text: size must be between 1 and 128")
    if kind == "link" and (not isinstance(url, str) or not _URL.fullmatch(url)):
        raise _payload("buttons: url: must be a valid URL")
    return Button(text, url if isinstance(url, str) else "")
