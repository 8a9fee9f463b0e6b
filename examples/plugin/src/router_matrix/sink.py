"""Matrix: messages to rooms through a homeserver (client-server API v3)."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from html import escape
from json import dumps
from typing import Any
from urllib.parse import quote

from pydantic import Field

from router.messages import ChatMessage
from router.sinks import (
    Channel,
    Delivered,
    Halt,
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    HttpSink,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Retry,
    Scope,
    SinkConfig,
    SinkTools,
    SinkType,
    answer_text,
    expect,
    json_body,
    open_client,
    render_html,
    retry_after,
)
from router.values import FilePath, Secret

MAX_BYTES = 60_000
"""Of a message: a homeserver refuses events of more than 65,536 bytes, signatures included."""

_ROOM = re.compile(r"![^\s:]{1,200}(:[^\s]{1,200})?")
_TAGS = {tag: tag for tag in ("b", "i", "u", "code", "pre", "a", "blockquote")} | {"s": "del"}
_SCHEMES = frozenset({"http", "https", "mailto"})
_PRE = re.compile(r"(<pre>.*?</pre>)", re.DOTALL)


class MatrixConfig(SinkConfig):
    """Messages to Matrix rooms; a recipient's room id is its attribute `matrix`."""

    homeserver: str = Field(
        pattern=r"^https?://[^\s/?#@]+$",
        description="Address of the homeserver's client API.",
        examples=["https://matrix.acme.example"],
    )
    token: Secret = Field(
        description="Access token of the bot's account.", examples=["!env MATRIX_TOKEN"]
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's.",
        examples=["/etc/router/matrix-ca.pem"],
    )


def request(config: MatrixConfig, parcel: Parcel) -> HttpRequest | Outcome:
    """The call for a parcel, or why no homeserver would take it."""
    message = expect(parcel, ChatMessage)
    room = parcel.target.address
    if not _ROOM.fullmatch(room):
        reason = Reason("address_invalid", "a room id is like !abc:acme.example")
        return Rejected(reason, recipient_gone=True)
    body = dumps(content(message, is_test=parcel.is_test), ensure_ascii=False).encode()
    if len(body) > MAX_BYTES:
        return Rejected(Reason("too_large", f"{len(body)} of {MAX_BYTES} bytes"))
    # The delivery's key is the transaction id: the homeserver knows a repeat by it.
    path = f"/_matrix/client/v3/rooms/{quote(room, safe='')}/send/m.room.message/{parcel.key.hex()}"
    headers = {
        "Authorization": f"Bearer {config.token.reveal()}",
        "Content-Type": "application/json",
    }
    return HttpRequest("PUT", config.homeserver + path, headers, body, config.timeout)


def content(message: ChatMessage, *, is_test: bool = False) -> dict[str, Any]:
    """The content of an ``m.room.message`` event. A silent message is a notice."""
    rendered = render_html(message.html, _TAGS, _SCHEMES)
    mark = "[test] " if is_test else ""
    text = mark + rendered.text
    html = mark + _with_breaks(rendered.markup)
    for button in (button for row in message.buttons for button in row):
        text += f"\n{button.text}: {button.url}"
        html += f'<br>\n<a href="{escape(button.url)}">{escape(button.text)}</a>'
    return {
        "msgtype": "m.notice" if message.silent else "m.text",
        "body": text,
        "format": "org.matrix.custom.html",
        "formatted_body": html,
    }


def outcome(response: HttpResponse, now: float) -> Outcome:
    """What the homeserver's answer means. ``now`` is seconds since the epoch."""
    body = json_body(response)
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    text = answer_text(response)
    match response.status, fields.get("errcode"):
        case 200, _:
            event_id = fields.get("event_id")
            return Delivered(event_id if isinstance(event_id, str) else None)
        case 429, _:
            return Retry(Reason("rate_limited", text), _asked(response, fields, now), Scope.SINK)
        case 401, _:
            return Halt(Reason("token_refused", text))
        case 403, "M_FORBIDDEN":
            return Rejected(Reason("not_in_room", text), recipient_gone=True)
        case 403, _:
            return Halt(Reason("account_refused", text))
        case ((404 | 405), _):
            return Halt(Reason("homeserver_wrong", f"{text}; is this a homeserver's address?"))
        case 413, _:
            return Rejected(Reason("too_large", text))
        case status, _ if status >= 500:
            return Retry(Reason("provider_error", text), retry_after(response, now))
        case status, _ if 300 <= status < 400:
            return Halt(Reason("redirected", text))
        case _:
            return Rejected(Reason("refused", text))


def _asked(response: HttpResponse, fields: dict[str, Any], now: float) -> float:
    """Seconds to wait: the header since version 1.10 of the specification, the field before."""
    asked = retry_after(response, now)
    if asked is not None:
        return asked
    milliseconds = fields.get("retry_after_ms")
    return milliseconds / 1000 if isinstance(milliseconds, int) and milliseconds > 0 else 60.0


def _with_breaks(html: str) -> str:
    """Line ends as HTML shows them; inside ``pre`` they are shown as they are."""
    parts = _PRE.split(html)
    return "".join(p if p.startswith("<pre>") else p.replace("\n", "<br>\n") for p in parts)


class Matrix:
    """An open sink: one attempt for each parcel, and nothing else."""

    def __init__(self, config: MatrixConfig, tools: SinkTools, client: HttpClient) -> None:
        self._http = HttpSink(
            client,
            lambda parcel: request(config, parcel),
            lambda response: outcome(response, tools.clock.now()),
        )

    async def send(self, parcel: Parcel) -> Outcome:
        result = await self._http.send(parcel)
        # A lost answer is no doubt here: with the same transaction id it is sent again safely.
        return Retry(result.reason) if isinstance(result, InDoubt) else result


@asynccontextmanager
async def _open(config: MatrixConfig, tools: SinkTools) -> AsyncGenerator[Matrix]:
    options = HttpOptions(connections=config.concurrency, ca_file=config.ca_file)
    async with open_client(options) as client:
        yield Matrix(config, tools, client)


def _channel(config: MatrixConfig) -> Channel:
    return Channel.CHAT


SINK = SinkType("matrix", MatrixConfig, _channel, "matrix", _open)
