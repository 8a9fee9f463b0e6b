"""FCM: pushes to Android, browsers and, by Firebase's own APNs key, iOS; HTTP v1.

FCM has no idempotency facility: a lost answer is in doubt. A ``collapse`` makes a repeat replace
the first copy on the device, and the delivery's key in the data lets the app tell one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Self

import anyio.to_thread
import orjson
from pydantic import Field, field_validator, model_validator

from router.clock import Clock
from router.messages import Channel, Outcome, Parcel, PushMessage, Reason, Rejected, Retry
from router.sinks import _push as push
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.sinks._fcm.answers import is_token_refused, outcome
from router.sinks._fcm.messages import Look, fcm_message
from router.sinks._google_token import AccessTokens, ServiceAccount, Signer
from router.sinks._http import exchange, expect
from router.transport import (
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    open_client,
    open_http2_client,
)
from router.values import FilePath, Secret

Platform = Literal["android", "web", "ios"]


class FcmConfig(SinkConfig):
    """Pushes through Firebase Cloud Messaging."""

    credentials: Secret | None = Field(
        None,
        description="The service account's JSON key.",
        examples=["!file /run/secrets/firebase.json"],
    )
    credentials_file: FilePath | None = Field(
        None,
        description="The file with the service account's JSON key, read when the sink opens.",
        examples=["secrets/firebase.json"],
    )
    project_id: str | None = Field(
        None,
        pattern=r"^[a-z0-9:.\-]+$",
        description="The Firebase project; without it, the service account's.",
        examples=["acme-shop"],
    )
    platforms: tuple[Platform, ...] = Field(
        ("android", "web"),
        min_length=1,
        description="Which devices this sink takes. `ios` means tokens that Firebase gave the "
        "app, sent on with the APNs key stored in the Firebase project.",
        examples=[["android", "web"]],
    )
    android_channel: str | None = Field(
        None, description="Id of the app's notification channel.", examples=["orders"]
    )
    android_package: str | None = Field(
        None,
        description="Only this Android app may receive the message.",
        examples=["com.acme.shop"],
    )
    ios_category: str | None = Field(
        None, description="The iOS app's category for messages with actions.", examples=["order"]
    )
    analytics_label: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9\-_.~%]{1,50}$",
        description="Label in Firebase's own statistics.",
        examples=["router"],
    )
    base_url: str = Field(
        "https://fcm.googleapis.com",
        pattern=r"^https://[^\s/?#@]+$",
        description="Address of the API.",
        examples=["https://fcm.googleapis.com"],
    )
    http2: bool = Field(
        True,
        description="Speak HTTP/2. `false` is for proxies that carry HTTP/1.1 alone, at twice "
        "the cost.",
    )
    connections: int = Field(
        2, ge=1, le=16, description="HTTP/2 connections; each carries many sends at once."
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's.",
        examples=["/etc/router/ca.pem"],
    )
    proxy: str | None = Field(
        None, description="HTTP proxy to go through.", examples=["http://proxy.internal:3128"]
    )
    concurrency: int = Field(100, ge=1, le=1000, description="Sends under way at once.")

    @field_validator("credentials")
    @classmethod
    def _readable(cls, credentials: Secret | None) -> Secret | None:
        if credentials is not None and credentials.known:
            ServiceAccount.parse(credentials.reveal())
        return credentials

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        push.need_extra("fcm")
        if (self.credentials is None) == (self.credentials_file is None):
            raise ValueError("credentials: give either credentials or credentials_file")
        return self


def look(config: FcmConfig) -> Look:
    """What all of the sink's messages have in common."""
    return Look(
        config.platforms,
        config.android_channel,
        config.android_package,
        config.ios_category,
        config.analytics_label,
    )


@dataclass(frozen=True, slots=True)
class Fcm:
    """An open sink.

    Attributes:
        url: Where messages of the project go.
        timeout_s: For an attempt as a whole, access token included.
    """

    client: HttpClient
    url: str
    look: Look
    tokens: AccessTokens
    clock: Clock
    timeout_s: float

    async def send(self, parcel: Parcel) -> Outcome:
        deadline = self.clock.monotonic() + self.timeout_s
        body = self.body(parcel)
        if not isinstance(body, bytes):
            return body
        token = await self.tokens.current(self.timeout_s / 3)
        if not isinstance(token, str):
            return token
        response = await self._call(body, token, deadline)
        if isinstance(response, HttpResponse) and is_token_refused(response):
            self.tokens.refuse(token)
            token = await self.tokens.current(self.timeout_s / 3)
            if not isinstance(token, str):
                return token
            response = await self._call(body, token, deadline)
        if isinstance(response, HttpResponse):
            return outcome(self.look.platforms, parcel.target, response, self.clock.now())
        return response

    def body(self, parcel: Parcel) -> bytes | Outcome:
        """What is posted for a parcel; of a test send, something that FCM checks and drops."""
        fields = fcm_message(self.look, parcel, expect(parcel, PushMessage), self.clock.now())
        if isinstance(fields, Rejected):
            return fields
        call = {"validate_only": True, "message": fields} if parcel.is_test else {"message": fields}
        return orjson.dumps(call)

    async def _call(self, body: bytes, token: str, deadline: float) -> HttpResponse | Outcome:
        """One call, in what is left of the attempt's time."""
        left = deadline - self.clock.monotonic()
        if left <= 0:
            return Retry(Reason("token_unavailable", "the access token took all of the time"))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return await exchange(self.client, HttpRequest("POST", self.url, headers, body, left))


def _account(config: FcmConfig) -> ServiceAccount:
    if config.credentials is not None:
        return ServiceAccount.parse(config.credentials.reveal())
    assert config.credentials_file is not None
    with open(config.credentials_file, encoding="utf-8") as file:
        return ServiceAccount.parse(file.read())


def _prepared(config: FcmConfig) -> tuple[ServiceAccount, Signer, str]:
    """Raises:
    OSError: the credentials can't be read or used.
    """
    try:
        account = _account(config)
        signer = Signer(account)
    except ValueError as error:
        raise OSError(f"credentials: {error}") from None
    project = config.project_id or account.project_id
    if not project:
        raise OSError("credentials: they name no project; set project_id")
    return account, signer, project


@asynccontextmanager
async def _open(config: FcmConfig, tools: SinkTools) -> AsyncGenerator[Fcm]:
    account, signer, project = await anyio.to_thread.run_sync(_prepared, config)
    options = HttpOptions(
        connections=config.connections if config.http2 else config.concurrency,
        ca_file=config.ca_file,
        proxy=config.proxy,
    )
    async with (open_http2_client if config.http2 else open_client)(options) as client:
        yield Fcm(
            client,
            f"{config.base_url}/v1/projects/{project}/messages:send",
            look(config),
            AccessTokens(account, signer, client, tools.clock),
            tools.clock,
            config.timeout,
        )


def _channel(config: FcmConfig) -> Channel:
    return Channel.PUSH


SINK = SinkType("fcm", FcmConfig, _channel, "device", _open, audiences=("topic", "condition"))
