"""HTTP: calls to an API that configuration alone describes."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlencode

from pydantic import Field, field_validator

from router.messages import (
    Channel,
    Delivered,
    Halt,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Request,
    Retry,
    Scope,
)
from router.sinks._answers import AnswerRule, Answers, read_path
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.sinks._credentials import Auth, signed, with_token
from router.sinks._http import QUIET_S, REQUEST_ID, answer_text, exchange, expect, retry_after
from router.sinks._oauth2 import OAuth2Auth, TokenSource
from router.transport import HttpClient, HttpOptions, HttpRequest, HttpResponse, open_client
from router.values import FilePath

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_UNSAFE_PATH = re.compile(r"[\x00-\x20\x7f#\\]")
_RESERVED = frozenset(
    {"authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"}
)


class HttpConfig(SinkConfig):
    """Calls to an HTTP API; each step says what to call in its `request`."""

    base_url: str = Field(
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="What every request's path is appended to.",
        examples=["https://crm.example/api/v2"],
    )
    auth: Auth | None = Field(
        None,
        description="Credentials.",
        examples=[{"type": "bearer", "token": "!env CRM_TOKEN"}],
    )
    headers: dict[str, str] = Field(
        default={},
        description="Headers of every request; credentials belong in `auth`.",
        examples=[{"X-Source": "router"}],
    )
    answers: list[AnswerRule] = Field(
        default=[],
        description="What answers mean, first match wins. What none matches: 2xx delivered, 408, "
        "425, 429 and 5xx retry, 401 and 403 halt, everything else rejected.",
        examples=[[{"match": {"status": 409}, "outcome": "delivered"}]],
    )
    message_id: str | None = Field(
        None,
        description="Path in the answer of the API's own id of what it took.",
        examples=["body.id", "headers.location"],
    )
    idempotency_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        description="Header that carries the delivery's key, for an API that recognises repeats.",
        examples=["Idempotency-Key"],
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's.",
        examples=["/etc/router/crm-ca.pem"],
    )
    proxy: str | None = Field(
        None, description="HTTP proxy to go through.", examples=["http://proxy.internal:3128"]
    )
    public_only: bool = Field(
        False, description="Refuse to connect to addresses that are not public."
    )

    @field_validator("message_id")
    @classmethod
    def _readable_path(cls, text: str | None) -> str | None:
        if text is not None:
            read_path(text)
        return text

    @field_validator("headers")
    @classmethod
    def _sound_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _NAME.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
                raise ValueError(f"not a header: {name}")
            if name.lower() == "authorization":
                raise ValueError("credentials belong in auth")
        return headers


def request(config: HttpConfig, parcel: Parcel) -> HttpRequest | Rejected:
    """The call for a parcel, without credentials."""
    message = expect(parcel, Request)
    url = _join(config.base_url, message.path, message.query)
    if url is None:
        return Rejected(Reason("path_unsafe", "the path would leave base_url"))
    headers = dict(config.headers)
    if message.body is not None:
        headers["Content-Type"] = message.content_type
    headers |= {k: v for k, v in message.headers if k.lower() not in _RESERVED}
    headers[REQUEST_ID] = parcel.key.hex()
    if config.idempotency_header is not None:
        headers[config.idempotency_header] = parcel.key.hex()
    if parcel.traceparent:
        headers["traceparent"] = parcel.traceparent
    if parcel.is_test:
        headers["X-Router-Test"] = "true"
    return HttpRequest(message.method, url, headers, message.body, config.timeout)


def outcome(answers: Answers, response: HttpResponse, now: float) -> Outcome:
    """What the API's answer means: the first rule that matches, else by its status."""
    matched = answers.first_match(response, now)
    if matched is not None:
        return matched
    if 200 <= response.status < 300:
        return Delivered(answers.message_id(response))
    text = answer_text(response)
    asked = retry_after(response, now)
    match response.status:
        case 401:
            return Halt(Reason("credentials_refused", text))
        case 403:
            return Halt(Reason("forbidden", text))
        case 429:
            after = QUIET_S if asked is None else asked
            return Retry(Reason("rate_limited", text), after, Scope.ENDPOINT)
        case status if status >= 500 or status in (408, 425):
            scope = Scope.MESSAGE if asked is None else Scope.ENDPOINT
            return Retry(Reason("provider_error", text), asked, scope)
        case status if 300 <= status < 400:
            return Rejected(Reason("redirected", f"{text}; redirects are not followed"))
        case _:
            return Rejected(Reason("refused", text))


def _join(base_url: str, path: str, query: Sequence[tuple[str, str]]) -> str | None:
    """The URL, or None where the path would lead elsewhere than below the base."""
    if _UNSAFE_PATH.search(path):
        return None
    plain, mark, inline = path.partition("?")
    if any(unquote(segment) in (".", "..") for segment in plain.split("/")):
        return None
    url = base_url.rstrip("/") + ("/" if plain and not plain.startswith("/") else "") + plain
    parts = [part for part in (inline if mark else "", urlencode(query)) if part]
    return f"{url}?{'&'.join(parts)}" if parts else url


class _Http:
    def __init__(self, config: HttpConfig, tools: SinkTools, client: HttpClient) -> None:
        self._config = config
        self._clock = tools.clock
        self._client = client
        self._answers = Answers.of(config.answers, config.message_id)
        self._tokens: TokenSource | None = None
        self._auth = None
        if isinstance(config.auth, OAuth2Auth):
            self._tokens = TokenSource(config.auth, client, tools.clock, config.timeout)
        else:
            self._auth = config.auth

    async def send(self, parcel: Parcel) -> Outcome:
        call = request(self._config, parcel)
        if not isinstance(call, HttpRequest):
            return call
        if self._tokens is None:
            return await self._call(signed(call, self._auth, self._config.base_url))
        result = await self._call_with_token(call, self._tokens)
        if _is_refused(result):
            # Nothing was accepted: the token may have ended early, so once more with a new one.
            result = await self._call_with_token(call, self._tokens)
        return result

    async def _call_with_token(self, call: HttpRequest, tokens: TokenSource) -> Outcome:
        token = await tokens.token()
        if not isinstance(token, str):
            return token
        result = await self._call(with_token(call, token))
        if _is_refused(result):
            tokens.refuse(token)
        return result

    async def _call(self, call: HttpRequest) -> Outcome:
        response = await exchange(self._client, call)
        if not isinstance(response, HttpResponse):
            return response
        return outcome(self._answers, response, self._clock.now())


def _is_refused(result: Outcome) -> bool:
    return isinstance(result, Halt) and result.reason.code == "credentials_refused"


@asynccontextmanager
async def _open(config: HttpConfig, tools: SinkTools) -> AsyncGenerator[_Http]:
    options = HttpOptions(
        connections=config.concurrency,
        ca_file=config.ca_file,
        proxy=config.proxy,
        public_only=config.public_only,
    )
    async with open_client(options) as client:
        yield _Http(config, tools, client)


def _channel(config: HttpConfig) -> Channel:
    return Channel.REQUEST


SINK = SinkType("http", HttpConfig, _channel, "request", _open)
