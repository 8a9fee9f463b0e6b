"""Telegram: chat messages by the Bot API's ``sendMessage``.

Telegram has no idempotency facility: a lost answer is in doubt. Descriptions of errors are not a
contract, so only the known ones may end a chat. The bot's token is part of the URL's path, hence
nothing here quotes a URL.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
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
from router.sinks._http import (
    QUIET_S,
    REQUEST_ID,
    RETRY_AFTER_CAP_S,
    answer_text,
    exchange,
    expect,
    json_body,
    retry_after,
)
from router.sinks._limits import ChatLimits
from router.sinks._markup import render_html
from router.transport import HttpClient, HttpOptions, HttpRequest, HttpResponse, open_client
from router.values import Duration, FilePath, Rate, Secret

_MAX_UNITS = 4096
_DIALECT = {tag: tag for tag in ("b", "i", "u", "s", "code", "pre", "a", "blockquote")}
_SCHEMES = frozenset({"http", "https", "tg", "mailto", "tel"})
_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]+")
_CHAT_ID = re.compile(r"-?\d{1,19}")

_GONE_400 = ("chat not found", "user not found", "peer_id_invalid")
_NO_RIGHTS_400 = ("not enough rights", "have no rights", "chat_write_forbidden")
_GONE_403 = (
    "bot was blocked by the user",
    "user is deactivated",
    "bot was kicked",
    "bot is not a member",
    "bot can't initiate conversation",
)
_MALFORMED_400 = {
    "message is too long": "too_long",
    "message text is empty": "text_empty",
    "can't parse entities": "markup_invalid",
    "button_": "button_invalid",
}


class TelegramConfig(SinkConfig):
    """Chat messages through a Telegram bot."""

    token: Secret = Field(description="The bot's token.", examples=["!env TELEGRAM_TOKEN"])
    base_url: str = Field(
        "https://api.telegram.org",
        description="Address of the Bot API: Telegram's, or a self-hosted server's.",
        examples=["https://api.telegram.org"],
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's.",
        examples=["/etc/router/ca.pem"],
    )
    proxy: str | None = Field(
        None, description="HTTP proxy to go through.", examples=["http://proxy.internal:3128"]
    )
    protect_content: bool = Field(
        False, description="Receivers can't forward or save the message.", examples=[True]
    )
    concurrency: int = Field(30, ge=1, le=1000, description="Sends under way at once.")
    rate: Rate | None = Field(
        Rate(28, 1), description="Messages through this bot at most.", examples=["28/s"]
    )
    target_rate: Rate | None = Field(
        Rate(1, 1), description="Messages to one chat at most.", examples=["1/s"]
    )
    timeout: Duration = Field(
        20.0, gt=0, description="One attempt takes at most this long.", examples=["20s"]
    )

    @field_validator("base_url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
            raise ValueError("write an http or https address, as in https://api.telegram.org")
        return url.rstrip("/")

    @field_validator("token")
    @classmethod
    def _bot_token(cls, token: Secret) -> Secret:
        if token.known and not _TOKEN.fullmatch(token.reveal()):
            raise ValueError("not a bot token; BotFather gives one like 123456:AbC-dEf")
        return token


def request(config: TelegramConfig, parcel: Parcel) -> HttpRequest | Outcome:
    """The call for a parcel, or why Telegram would not take it."""
    message = expect(parcel, ChatMessage)
    rendered = render_html(message.html, _DIALECT, _SCHEMES)
    text = rendered.text.strip()
    if not text:
        return Rejected(Reason("text_empty", "the message has no text"))
    marker = "[test] " if parcel.is_test else ""
    units = len((marker + text).encode("utf-16-le")) // 2
    if units > _MAX_UNITS:
        return Rejected(Reason("too_long", f"{units} of {_MAX_UNITS} UTF-16 units"))
    fields: dict[str, Any] = {
        "chat_id": _chat_id(parcel.target.address),
        "text": marker + rendered.markup,
        "parse_mode": "HTML",
    }
    if message.silent:
        fields["disable_notification"] = True
    if not message.link_preview:
        fields["link_preview_options"] = {"is_disabled": True}
    if config.protect_content:
        fields["protect_content"] = True
    if message.buttons:
        rows = [[{"text": b.text, "url": b.url} for b in row] for row in message.buttons]
        fields["reply_markup"] = {"inline_keyboard": rows}
    return HttpRequest(
        "POST",
        f"{config.base_url}/bot{config.token.reveal()}/sendMessage",
        {"Content-Type": "application/json", REQUEST_ID: parcel.key.hex()},
        orjson.dumps(fields),
        config.timeout,
    )


def outcome(response: HttpResponse, now: float) -> Outcome:
    """What Telegram's answer means. ``now`` is seconds since the epoch."""
    body = json_body(response)
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    if response.status == 200:
        return _accepted(response, fields)
    description = str(fields.get("description", "")).lower()
    match response.status:
        case 429:
            return _limited(response, fields, now)
        case 400 | 403 if not fields and response.truncated:
            return Retry(Reason("answer_cut", answer_text(response)))
        case 400:
            return _bad_request(response, description)
        case 401:
            return Halt(Reason("token_refused", "Telegram refused the bot's token"))
        case 403:
            return _forbidden(response, description)
        case 404 | 405 | 415:
            return Halt(Reason("method_unknown", "the token or base_url is malformed"))
        case 413:
            return Rejected(Reason("too_large", answer_text(response)))
        case status if status >= 500 or status in (408, 409, 425):
            return Retry(
                Reason("provider_error", answer_text(response)), retry_after(response, now)
            )
        case status if 300 <= status < 400:
            return Halt(Reason("redirected", "base_url answers with a redirect"))
        case _:
            return Rejected(Reason("refused", answer_text(response)))


def moved_to(response: HttpResponse) -> int | None:
    """The chat's new id, where a group has become a supergroup."""
    body = json_body(response) if response.status == 400 else None
    match body:
        case {"parameters": {"migrate_to_chat_id": int(chat_id)}}:
            return chat_id
        case _:
            return None


def _chat_id(address: str) -> int | str:
    return int(address) if _CHAT_ID.fullmatch(address) else address


def _accepted(response: HttpResponse, fields: dict[str, Any]) -> Outcome:
    match fields:
        case {"ok": True, "result": {"message_id": int(message_id)}}:
            return Delivered(str(message_id))
        case {"ok": True}:
            return Delivered()
        case _ if response.body.lstrip().startswith(b'{"ok":true'):
            return Delivered()
        case _:
            return InDoubt(Reason("answer_unreadable", answer_text(response)))


def _limited(response: HttpResponse, fields: dict[str, Any], now: float) -> Outcome:
    reason = Reason("rate_limited", "Telegram asks to wait")
    match fields:
        case {"parameters": {"retry_after": int() | float() as seconds}}:
            return Retry(reason, min(max(seconds, 0.0), RETRY_AFTER_CAP_S), Scope.TARGET)
        case _:
            asked = retry_after(response, now)
            return Retry(reason, QUIET_S if asked is None else asked, Scope.SINK)


def _bad_request(response: HttpResponse, description: str) -> Outcome:
    if any(known in description for known in _GONE_400):
        return Rejected(Reason("chat_not_found", "no such chat"), recipient_gone=True)
    if any(known in description for known in _NO_RIGHTS_400):
        return Rejected(Reason("no_rights", "the bot may not write there"), recipient_gone=True)
    for known, code in _MALFORMED_400.items():
        if known in description:
            return Rejected(Reason(code, known.rstrip("_")))
    return Rejected(Reason("bad_request", answer_text(response)))


def _forbidden(response: HttpResponse, description: str) -> Outcome:
    for known in _GONE_403:
        if known in description:
            return Rejected(Reason("chat_closed", known), recipient_gone=True)
    return Retry(Reason("forbidden", answer_text(response)))


@dataclass(frozen=True, slots=True)
class _Telegram:
    client: HttpClient
    config: TelegramConfig
    tools: SinkTools
    limits: ChatLimits

    async def send(self, parcel: Parcel) -> Outcome:
        call = request(self.config, parcel)
        if not isinstance(call, HttpRequest):
            return call
        response = await exchange(self.client, call)
        if not isinstance(response, HttpResponse):
            return response
        new_id = moved_to(response)
        if new_id is not None:
            return await self._send_moved(parcel, new_id)
        result = outcome(response, self.tools.clock.now())
        return self.limits.widened(parcel.target.address, result, self.tools.clock.monotonic())

    async def _send_moved(self, parcel: Parcel, chat_id: int) -> Outcome:
        """Sends once more, at once: the first call was refused for the chat's old id alone."""
        target = replace(parcel.target, address=str(chat_id))
        call = request(self.config, replace(parcel, target=target))
        if not isinstance(call, HttpRequest):
            return call
        response = await exchange(self.client, call)
        if not isinstance(response, HttpResponse):
            return response
        result = outcome(response, self.tools.clock.now())
        if isinstance(result, Delivered):
            note = Reason("chat_migrated", f"the group is now {chat_id}: update its id")
            return replace(result, note=note)
        return result


@asynccontextmanager
async def _open(config: TelegramConfig, tools: SinkTools) -> AsyncGenerator[_Telegram]:
    options = HttpOptions(
        connections=config.concurrency, ca_file=config.ca_file, proxy=config.proxy
    )
    async with open_client(options) as client:
        yield _Telegram(client, config, tools, ChatLimits())


def _channel(config: TelegramConfig) -> Channel:
    return Channel.CHAT


SINK = SinkType("telegram", TelegramConfig, _channel, "telegram", _open)
