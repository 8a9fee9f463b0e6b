"""A homeserver of the tests' own: as strict as the specification, and one account."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from json import loads
from typing import Any
from urllib.parse import unquote

from router.testing import (
    REFUSALS,
    Answer,
    Call,
    HttpProvider,
    Situation,
    http_provider,
    json_answer,
)

TOKEN = "syt_planted_token"
ROOM = "!ops:acme.example"

_SEND = re.compile(r"/_matrix/client/v3/rooms/([^/]+)/send/m\.room\.message/([^/]+)")
_TAGS = re.compile(r"</?([a-z0-9]+)")
_ALLOWED = frozenset({"a", "b", "blockquote", "br", "code", "del", "i", "pre", "u"})

REFUSED = {
    **REFUSALS,
    Situation.UNAUTHORIZED: json_answer(401, {"errcode": "M_UNKNOWN_TOKEN", "error": "no"}),
    Situation.LIMITED: json_answer(429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 7000}),
}


class Homeserver:
    """Rooms that the account is in, and what was said there."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self._events: dict[str, str] = {}

    def answer(self, call: Call) -> Answer:
        match = _SEND.fullmatch(call.path)
        if match is None or call.method != "PUT":
            return _refuse(404, "M_UNRECOGNIZED")
        if call.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _refuse(401, "M_UNKNOWN_TOKEN")
        room, transaction = unquote(match[1]), match[2]
        if room != ROOM:
            return _refuse(403, "M_FORBIDDEN")
        try:
            content = loads(call.body)
        except ValueError:
            return _refuse(400, "M_NOT_JSON")
        if problem := _problem(content):
            return _refuse(400, problem)
        if len(call.body) > 65_536:
            return _refuse(413, "M_TOO_LARGE")
        if transaction not in self._events:
            self._events[transaction] = f"$event{len(self._events)}"
            self.said.append((room, content))
        return json_answer(200, {"event_id": self._events[transaction]})


def _problem(content: Any) -> str | None:
    match content:
        case {"msgtype": "m.text" | "m.notice", "body": str(), "formatted_body": str(html)}:
            return None if set(_TAGS.findall(html)) <= _ALLOWED else "M_INVALID_PARAM"
        case _:
            return "M_BAD_JSON"


def _refuse(status: int, code: str) -> Answer:
    return json_answer(status, {"errcode": code, "error": "a text for people"})


def transaction_of(call: Call) -> str | None:
    match = _SEND.fullmatch(call.path)
    return match[2] if match else None


@asynccontextmanager
async def running(
    answer: Callable[[Call], Answer] | None = None,
) -> AsyncGenerator[HttpProvider]:
    """A homeserver on loopback until the block ends."""
    async with http_provider(
        answer or Homeserver().answer,
        lambda url: {"homeserver": url, "token": TOKEN},
        key=transaction_of,
        refusals=REFUSED,
    ) as provider:
        yield provider
