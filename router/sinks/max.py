"""MAX: chat messages by the Bot API's ``POST /messages``.

A recipient's ``max`` address is a user id, which is written to as a private dialog; a negative
number is the id of a group chat or channel. The two are namespaces of their own, and MAX finds no
dialog by its chat id.

MAX has no idempotency facility: a lost answer is in doubt. Answers are judged by their string
``code`` first, since the same refusal comes with different statuses.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import Field, field_validator

from router.messages import (
    Channel,
    ChatMessage,
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Retry,
    Scope,
)
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.sinks._http import REQUEST_ID, answer_text, exchange, expect, json_body, retry_after
from router.sinks._limits import ChatLimits
from router.sinks._markup import render_html
from router.transport import HttpClient, HttpOptions, HttpRequest, HttpResponse, open_client
from router.values import Duration, FilePath, Rate, Secret

_MAX_UNITS = 4000
_MOST_ROWS = 30
_ROW_OF_LINKS = 3
_BUTTON_UNITS = 128
_DIALECT = {tag: tag for tag in ("b", "i", "u", "s", "code", "pre", "a")}
_SCHEMES = frozenset({"http", "https", "max"})
_ADDRESS = re.compile(r"-?\d{1,20}", re.ASCII)
_LIMITED_S = 1.0
_ALL_DENIED = 10

_GONE = {
    "chat.denied": "chat_closed",
    "access.denied": "no_rights",
    "chat.not.found": "chat_not_found",
    "dialog.not.found": "chat_not_found",
}
_GONE_IN_MESSAGE = {
    "error.dialog.suspended": "chat_closed",
    "error.dialog.notfound": "chat_not_found",
}


class MaxConfig(SinkConfig):
    """Chat messages through a bot of the MAX messenger: to people by their user id, to groups
    and channels by their chat id, which is negative."""

    token: Secret = Field(description="The bot's token.", examples=["!env MAX_TOKEN"])
    base_url: str = Field(
        "https://platform-api2.max.ru",
        description="Address of the Bot API.",
        examples=["https://platform-api2.max.ru"],
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's. "
        "MAX is certified by the Russian Trusted Root CA, which most systems don't know.",
        examples=["/etc/router/russian-trusted-root-ca.pem"],
    )
    proxy: str | None = Field(
        None, description="HTTP proxy to go through.", examples=["http://proxy.internal:3128"]
    )
    concurrency: int = Field(25, ge=1, le=1000, description="Sends under way at once.")
    rate: Rate | None = Field(
        Rate(30, 1), description="Messages through this bot at most.", examples=["30/s"]
    )
    target_rate: Rate | None = Field(
        Rate(2, 1), description="Messages to one chat at most.", examples=["2/s"]
    )
    timeout: Duration = Field(
        20.0, gt=0, description="One attempt takes at most this long.", examples=["20s"]
    )

    @field_validator("base_url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
            raise ValueError("write an http or https address, as in https://platform-api2.max.ru")
        return url.rstrip("/")

    @field_validator("token")
    @classmethod
    def _raw_token(cls, token: Secret) -> Secret:
        if token.known and not re.fullmatch(r"[\x21-\x7e]+", token.reveal()):
            raise ValueError("not a bot token: it has no spaces, and no Bearer before it")
        return token


def request(config: MaxConfig, parcel: Parcel) -> HttpRequest | Outcome:
    """The call for a parcel, or why MAX would not take it."""
    message = expect(parcel, ChatMessage)
    address = parcel.target.address
    if not _ADDRESS.fullmatch(address):
        return Rejected(Reason("address_invalid", "a MAX address is a number"))
    rendered = render_html(message.html, _DIALECT, _SCHEMES)
    if not rendered.text.strip():
        return Rejected(Reason("text_empty", "the message has no text"))
    text = ("[test] " if parcel.is_test else "") + rendered.markup
    if (units := _units(text)) > _MAX_UNITS:
        return Rejected(Reason("too_long", f"{units} of {_MAX_UNITS} UTF-16 units with markup"))
    fields: dict[str, Any] = {"text": text, "format": "html"}
    if message.silent:
        fields["notify"] = False
    if message.buttons:
        keyboard = _keyboard(message)
        if isinstance(keyboard, Rejected):
            return keyboard
        fields["attachments"] = [keyboard]
    query = f"{'chat_id' if address.startswith('-') else 'user_id'}={address}"
    if not message.link_preview:
        query += "&disable_link_preview=true"
    headers = {
        "Authorization": config.token.reveal(),
        "Content-Type": "application/json",
        REQUEST_ID: parcel.key.hex(),
    }
    url = f"{config.base_url}/messages?{query}"
    return HttpRequest("POST", url, headers, orjson.dumps(fields), config.timeout)


def _keyboard(message: ChatMessage) -> dict[str, Any] | Rejected:
    """The buttons, in rows no longer than MAX allows for links."""
    rows: list[list[dict[str, str]]] = []
    for row in message.buttons:
        for button in row:
            if not 1 <= _units(button.text) <= _BUTTON_UNITS:
                text = f"a button's text has 1 to {_BUTTON_UNITS} characters"
                return Rejected(Reason("button_invalid", text))
        links = [{"type": "link", "text": b.text, "url": b.url} for b in row]
        rows += [links[at : at + _ROW_OF_LINKS] for at in range(0, len(links), _ROW_OF_LINKS)]
    if len(rows) > _MOST_ROWS:
        return Rejected(Reason("too_many_buttons", f"{len(rows)} of {_MOST_ROWS} rows"))
    return {"type": "inline_keyboard", "payload": {"buttons": rows}}


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def outcome(response: HttpResponse, now: float) -> Outcome:
    """What MAX's answer means. ``now`` is seconds since the epoch."""
    body = json_body(response)
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    if response.status == 200 and fields.get("success") is not False:
        return _accepted(response, fields)
    by_code = _by_code(response, fields, now)
    return by_code or _by_status(response, fields, now)


def _accepted(response: HttpResponse, fields: dict[str, Any]) -> Outcome:
    match fields:
        case {"message": {"body": {"mid": str(mid)}}}:
            return Delivered(mid)
        case {"message": dict()}:
            return Delivered()
        case _ if response.body.lstrip().startswith(b'{"message":'):
            return Delivered()
        case _:
            return InDoubt(Reason("answer_unreadable", answer_text(response)))


def _by_code(response: HttpResponse, fields: dict[str, Any], now: float) -> Outcome | None:
    """What the answer's code says, or None where it is none that is known."""
    code, message = str(fields.get("code", "")), str(fields.get("message", "")).lower()
    if code == "verify.token":
        return Halt(Reason("token_refused", "MAX refused the bot's token"))
    if code == "attachment.not.ready" or ".not.processed" in message:
        return Retry(Reason("attachment_not_ready", "MAX is still processing an attachment"))
    for known, name in _GONE_IN_MESSAGE.items():
        if known in message:
            return Rejected(Reason(name, known), recipient_gone=True)
    if code in _GONE:
        return Rejected(Reason(_GONE[code], code), recipient_gone=True)
    if code == "too.many.requests":
        return _limited(response, now)
    if "size must be between" in message:
        return Rejected(Reason("too_long", f"HTTP {response.status}: the text's size"))
    if code == "proto.payload":
        return Rejected(Reason("bad_request", answer_text(response)))
    return None


def _by_status(response: HttpResponse, fields: dict[str, Any], now: float) -> Outcome:
    text = answer_text(response)
    match response.status:
        case 401:
            return Halt(Reason("token_refused", "MAX refused the bot's token"))
        case 404 | 405 | 415:
            return Halt(Reason("method_unknown", f"{text}; base_url may be wrong"))
        case 400 if not fields and response.truncated:
            return Retry(Reason("answer_cut", text))
        case 403:
            return Retry(Reason("forbidden", text))
        case 413:
            return Rejected(Reason("too_large", text))
        case 429:
            return _limited(response, now)
        case status if status >= 500 or status in (408, 425):
            return Retry(Reason("provider_error", text), retry_after(response, now))
        case status if 300 <= status < 400:
            return Halt(Reason("redirected", "base_url answers with a redirect"))
        case 400:
            return Rejected(Reason("bad_request", text))
        case _:
            return Rejected(Reason("refused", text))


def _limited(response: HttpResponse, now: float) -> Outcome:
    asked = retry_after(response, now)
    reason = Reason("rate_limited", "MAX asks to wait")
    return Retry(reason, _LIMITED_S if asked is None else asked, Scope.TARGET)


@dataclass(slots=True)
class Denials:
    """Tells a bot that no chat may get anything from apart from people who left.

    MAX gives the same answer for a person who stopped the bot and, to everybody, for a bot that
    is not moderated. Where so many chats in a row are closed and nothing gets through between
    them, the bot is to blame: it halts, and the chats are not given up.
    """

    chats: set[str] = field(default_factory=set[str])

    def judged(self, chat: str, outcome: Outcome) -> Outcome:
        """The outcome, or a halt in its place."""
        match outcome:
            case Rejected(reason=Reason(code="chat_closed")):
                self.chats.add(chat)
            case Delivered():
                self.chats.clear()
                return outcome
            case _:
                return outcome
        if len(self.chats) < _ALL_DENIED:
            return outcome
        text = f"MAX refused {len(self.chats)} chats in a row: is the bot moderated?"
        return Halt(Reason("every_chat_closed", text))


@dataclass(frozen=True, slots=True)
class _Max:
    client: HttpClient
    config: MaxConfig
    tools: SinkTools
    limits: ChatLimits
    denials: Denials

    async def send(self, parcel: Parcel) -> Outcome:
        call = request(self.config, parcel)
        if not isinstance(call, HttpRequest):
            return call
        response = await exchange(self.client, call)
        if not isinstance(response, HttpResponse):
            return response
        chat = parcel.target.address
        result = self.denials.judged(chat, outcome(response, self.tools.clock.now()))
        return self.limits.widened(chat, result, self.tools.clock.monotonic())


@asynccontextmanager
async def _open(config: MaxConfig, tools: SinkTools) -> AsyncGenerator[_Max]:
    options = HttpOptions(
        connections=config.concurrency, ca_file=config.ca_file, proxy=config.proxy
    )
    async with open_client(options) as client:
        yield _Max(client, config, tools, ChatLimits(), Denials())


def _channel(config: MaxConfig) -> Channel:
    return Channel.CHAT


SINK = SinkType("max", MaxConfig, _channel, "max", _open)
