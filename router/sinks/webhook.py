"""Webhook: requests signed by the Standard Webhooks specification (v1.0.0).

Secrets make symmetric ``v1`` signatures, Ed25519 keys asymmetric ``v1a`` ones.

``webhook-id`` is made of the delivery's key, so it stays the same over all attempts and receivers
can tell repeats; the timestamp is new on each attempt, and the exact bytes sent are signed.

With ``to_customers`` each recipient's own endpoints take the address's place. Their secrets come
with the parcel and go nowhere but into signatures, and what is wrong with one endpoint says
nothing of the others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

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
from router.sinks._contract import Sink, SinkConfig, SinkTools, SinkType
from router.sinks._http import QUIET_S, HttpSink, answer_text, expect, retry_after
from router.sinks._webhook_keys import sign, signing_key
from router.transport import HttpOptions, HttpRequest, HttpResponse, open_client
from router.values import Duration, FilePath, Secret

if TYPE_CHECKING:
    from router.sinks._webhook_keys import SigningKey

_THROTTLED_S = 5.0
_OWN_HEADERS = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature", "content-type"})


class WebhookConfig(SinkConfig):
    """Signed requests to one address or to customers' own, as Standard Webhooks describes them."""

    url: str | None = Field(
        None,
        description="Where to send; left out with `to_customers`.",
        examples=["https://partner.example/hooks/payments"],
    )
    to_customers: bool = Field(
        False,
        description="Send to each recipient's own `endpoints` that take the event's type, signed "
        "with their secrets.",
    )
    event_hosts: list[str] = Field(
        default=[],
        description="With `to_customers`: hosts that endpoints may have where an event brings "
        "them, `*.` stands for every host below. Without it only the directory's are used.",
        examples=[["hooks.acme.io", "*.acme.io"]],
    )
    secrets: list[Secret] = Field(
        default=[],
        description="Signing secrets, `whsec_` and base64, or Ed25519 keys, `whsk_` and base64. "
        "Each signs: to rotate, list the new one beside the old one until the receiver has "
        "changed over.",
        examples=[["!env PARTNER_WEBHOOK_SECRET"]],
    )
    unsigned: bool = Field(
        False, description="Send without a signature; `secrets` is then left out."
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's.",
        examples=["/etc/router/partner-ca.pem"],
    )
    proxy: str | None = Field(
        None, description="HTTP proxy to go through.", examples=["http://proxy.internal:3128"]
    )
    allow_http: bool = Field(False, description="Accept an `http:` address.")
    allow_private: bool = Field(
        False, description="Connect to addresses that are not public, whatever the host."
    )
    allow_hosts: list[str] = Field(
        default=[],
        description="Hosts that may have addresses that are not public.",
        examples=[["hooks.internal"]],
    )
    timeout: Duration = Field(
        20.0, gt=0, description="One attempt takes at most this long.", examples=["20s"]
    )

    @field_validator("secrets")
    @classmethod
    def _signing_secrets(cls, secrets: list[Secret]) -> list[Secret]:
        for secret in secrets:
            if secret.known:
                signing_key(secret)
        return secrets

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.to_customers:
            if self.url is not None or self.secrets:
                raise ValueError("to_customers: each endpoint has its own url and secrets")
            return self
        if self.event_hosts:
            raise ValueError("event_hosts are for endpoints of customers; set to_customers: true")
        if self.url is None:
            raise ValueError("url: write an https address, or set to_customers: true")
        if mistake := mistake_in_url(self.url, allow_http=self.allow_http):
            raise ValueError(f"url: {mistake}")
        if not self.secrets and not self.unsigned:
            raise ValueError("secrets: none given; add one, or set unsigned: true")
        if self.secrets and self.unsigned:
            raise ValueError("unsigned: true contradicts secrets; leave one of them out")
        return self

    @property
    def address_kind(self) -> str:
        """Customers' endpoints are addresses of recipients."""
        return "endpoint" if self.to_customers else "request"

    @property
    def is_signed(self) -> bool:
        return not self.unsigned


def mistake_in_url(url: str, *, allow_http: bool) -> str | None:
    """What keeps an address from being sent to, in words for the operator."""
    example = "write an https address, as in https://partner.example/hook"
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return example
    if not is_whole or parts.scheme not in ("http", "https"):
        return example
    if parts.scheme == "http" and not allow_http:
        return "http is not encrypted; write https, or set allow_http: true"
    if parts.username or parts.password:
        return "credentials don't belong in an address"
    return None


def webhook_id(key: bytes) -> str:
    """The message's id for receivers: the same for all attempts of a delivery."""
    return f"msg_{key.hex()}"


def request(
    config: WebhookConfig, keys: Sequence[SigningKey], now: float, parcel: Parcel
) -> HttpRequest | Outcome:
    """The call for a parcel at a time (seconds since the epoch), or why there can be none.

    Args:
        keys: Of the configuration; a customer's come with the parcel.
    """
    url = parcel.target.address if config.url is None else config.url
    if config.url is None:
        if mistake := mistake_in_url(url, allow_http=config.allow_http):
            return Rejected(Reason("endpoint_invalid", mistake))
        if not parcel.secrets and config.is_signed:
            return Rejected(Reason("endpoint_unsigned", "the endpoint has no secret"))
        try:
            keys = [signing_key(secret) for secret in parcel.secrets]
        except ValueError as error:
            return Rejected(Reason("endpoint_secret", str(error)))
    message = expect(parcel, Request)
    body = message.body if message.body is not None else b""
    headers = {k: v for k, v in message.headers if k.lower() not in _OWN_HEADERS}
    headers["Content-Type"] = message.content_type
    headers["webhook-id"] = message_id = webhook_id(parcel.key)
    headers["webhook-timestamp"] = str(int(now))
    if keys:
        headers["webhook-signature"] = sign(keys, message_id, int(now), body)
    if parcel.traceparent:
        headers["traceparent"] = parcel.traceparent
    if parcel.is_test:
        headers["x-router-test"] = "true"
    return HttpRequest("POST", url, headers, body, config.timeout)


@dataclass(frozen=True, slots=True)
class CustomerSink:
    """Webhooks to customers: an endpoint that must not be connected to is its own fault alone."""

    inner: HttpSink

    async def send(self, parcel: Parcel) -> Outcome:
        found = await self.inner.send(parcel)
        return Rejected(found.reason) if isinstance(found, Halt) else found


def outcome(response: HttpResponse, now: float) -> Outcome:
    """What the receiver's answer means. ``now`` is seconds since the epoch."""
    if 200 <= response.status < 300:
        return Delivered()
    asked = retry_after(response, now)
    text = answer_text(response)
    match response.status:
        case status if 300 <= status < 400:
            return Retry(Reason("redirected", f"{text}; redirects are not followed"))
        case 410:
            return Rejected(Reason("endpoint_gone", text), recipient_gone=True)
        case 429:
            after = QUIET_S if asked is None else asked
            return Retry(Reason("rate_limited", text), after, Scope.ENDPOINT)
        case 502 | 504:
            after = _THROTTLED_S if asked is None else asked
            return Retry(Reason("throttled", text), after, Scope.ENDPOINT)
        case 503:
            scope = Scope.MESSAGE if asked is None else Scope.ENDPOINT
            return Retry(Reason("unavailable", text), asked, scope)
        case _:
            return Retry(Reason("refused", text), asked)


@asynccontextmanager
async def _open(config: WebhookConfig, tools: SinkTools) -> AsyncGenerator[Sink]:
    keys = [signing_key(secret) for secret in config.secrets]
    options = HttpOptions(
        connections=config.concurrency,
        ca_file=config.ca_file,
        proxy=config.proxy,
        public_only=not config.allow_private,
        allow_hosts=frozenset(config.allow_hosts),
    )
    clock = tools.clock
    async with open_client(options) as client:
        sink = HttpSink(
            client,
            lambda parcel: request(config, keys, clock.now(), parcel),
            lambda response: outcome(response, clock.now()),
        )
        yield CustomerSink(sink) if config.to_customers else sink


def _channel(config: WebhookConfig) -> Channel:
    return Channel.REQUEST


SINK = SinkType("webhook", WebhookConfig, _channel, "request", _open)
