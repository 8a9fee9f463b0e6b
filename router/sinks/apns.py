"""APNs: pushes to iPhones and iPads, over HTTP/2 connections that stay open.

APNs has no idempotency facility: a lost answer is in doubt. A ``collapse`` makes a repeat replace
the first copy on the device, and the delivery's key in the payload lets the app tell one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import anyio.to_thread
from pydantic import Field, model_validator

from router.clock import Clock
from router.messages import Channel, Outcome, Parcel, PushMessage
from router.sinks import _push as push
from router.sinks._apns.answers import TopicWatch, outcome, reason_of
from router.sinks._apns.messages import ApnsCall, apns_call
from router.sinks._apns.token import ProviderToken
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.sinks._http import exchange, expect
from router.transport import (
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    open_http2_client,
)
from router.values import FilePath, Secret

Environment = Literal["production", "sandbox"]

_ADDRESS = r"^https://[^\s/?#@]+$"
_APPLE_ID = r"^[A-Z0-9]{10}$"
_LEAST_S = 0.1
_TOPIC = re.compile(r"[A-Za-z0-9.\-]{1,255}")


class ApnsConfig(SinkConfig):
    """Pushes through the Apple Push Notification service."""

    platforms: ClassVar[tuple[str, ...]] = ("ios",)

    topic: str | None = Field(
        None,
        description="The app's bundle id; with a certificate for one app it may be left out.",
        examples=["com.acme.shop"],
    )
    key: Secret | None = Field(
        None,
        description="The .p8 key from Apple's developer site.",
        examples=["!file /run/secrets/AuthKey.p8"],
    )
    key_file: FilePath | None = Field(
        None,
        description="The file with the .p8 key, read when the sink opens.",
        examples=["secrets/AuthKey.p8"],
    )
    key_id: str | None = Field(
        None, pattern=_APPLE_ID, description="The key's id.", examples=["ABC123DEFG"]
    )
    team_id: str | None = Field(
        None, pattern=_APPLE_ID, description="The developer team's id.", examples=["DEF123GHIJ"]
    )
    cert_file: FilePath | None = Field(
        None,
        description="PEM file of a client certificate, instead of a key.",
        examples=["secrets/apns.pem"],
    )
    cert_key_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate's key, where it stands in a file of its own.",
        examples=["secrets/apns-key.pem"],
    )
    cert_password: Secret | None = Field(
        None,
        description="Opens an encrypted certificate key.",
        examples=["!env APNS_CERT_PASSWORD"],
    )
    environment: Environment = Field(
        "production",
        description="Whose tokens devices have that don't say: apps from the App Store and "
        "TestFlight have `production` ones, builds from Xcode `sandbox` ones.",
    )
    category: str | None = Field(
        None, description="The app's category for messages with actions.", examples=["order"]
    )
    production_url: str = Field(
        "https://api.push.apple.com",
        pattern=_ADDRESS,
        description="Address of the production environment.",
        examples=["https://api.push.apple.com"],
    )
    sandbox_url: str = Field(
        "https://api.sandbox.push.apple.com",
        pattern=_ADDRESS,
        description="Address of the sandbox environment.",
        examples=["https://api.sandbox.push.apple.com"],
    )
    connections: int = Field(
        2, ge=1, le=16, description="Connections to a host; each carries many sends at once."
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        push.need_extra("apns")
        given = [f for f in (self.key, self.key_file, self.cert_file) if f is not None]
        if len(given) != 1:
            raise ValueError("key: give one of key, key_file and cert_file")
        has_key = self.cert_file is None
        if has_key and not (self.key_id and self.team_id and self.topic):
            raise ValueError("key: a key needs key_id, team_id and topic as well")
        if not has_key and (self.key_id or self.team_id):
            raise ValueError("cert_file: with a certificate, leave out key_id and team_id")
        if has_key and (self.cert_key_file or self.cert_password):
            raise ValueError("cert_file: missing, though cert_key_file or cert_password is given")
        if self.topic is not None and not _TOPIC.fullmatch(self.topic):
            raise ValueError("topic: write the app's bundle id, as in com.acme.shop")
        return self


@dataclass(frozen=True, slots=True)
class Apns:
    """An open sink.

    Attributes:
        token: None with a client certificate.
    """

    client: HttpClient
    config: ApnsConfig
    token: ProviderToken | None
    clock: Clock
    watch: TopicWatch

    async def send(self, parcel: Parcel) -> Outcome:
        message = expect(parcel, PushMessage)
        topic, category = self.config.topic, self.config.category
        call = apns_call(parcel, message, topic, category, self.clock.now())
        if not isinstance(call, ApnsCall):
            return call
        environment = parcel.target.environment or self.config.environment
        is_sandbox = environment == "sandbox"
        host = self.config.sandbox_url if is_sandbox else self.config.production_url
        deadline = self.clock.monotonic() + self.config.timeout
        jwt = self._jwt()
        response = await self._post(host, call, jwt, self.config.timeout)
        if isinstance(response, HttpResponse) and self._has_newer(jwt, response):
            left = max(deadline - self.clock.monotonic(), _LEAST_S)
            response = await self._post(host, call, self._jwt(), left)
        if not isinstance(response, HttpResponse):
            return response
        result = outcome(parcel.target, environment, response, self.clock.now())
        return self.watch.judge(result)

    def _jwt(self) -> str | None:
        return None if self.token is None else self.token.current(self.clock.now())

    def _has_newer(self, jwt: str | None, response: HttpResponse) -> bool:
        """Whether the token is what Apple refused, and there is another one to try."""
        if self.token is None or jwt is None:
            return False
        match reason_of(response):
            case "ExpiredProviderToken":
                return self.token.expired(jwt, self.clock.now())
            case "TooManyProviderTokenUpdates":
                self.token.hold(self.clock.now())
                return False
            case _:
                return False

    async def _post(
        self, host: str, call: ApnsCall, jwt: str | None, timeout_s: float
    ) -> HttpResponse | Outcome:
        headers = dict(call.headers)
        if jwt is not None:
            headers["authorization"] = f"bearer {jwt}"
        url = f"{host}{call.path}"
        return await exchange(self.client, HttpRequest("POST", url, headers, call.body, timeout_s))


def _token(config: ApnsConfig) -> ProviderToken | None:
    """Raises:
    OSError: the key can't be read or used.
    """
    if config.cert_file is not None:
        return None
    assert config.key_id is not None
    assert config.team_id is not None
    try:
        return ProviderToken(_key(config), config.key_id, config.team_id)
    except ValueError as error:
        raise OSError(f"key: {error}") from None


def _key(config: ApnsConfig) -> Secret:
    if config.key is not None:
        return config.key
    assert config.key_file is not None
    with open(config.key_file, encoding="ascii") as file:
        return Secret(file.read())


@asynccontextmanager
async def _open(config: ApnsConfig, tools: SinkTools) -> AsyncGenerator[Apns]:
    token = await anyio.to_thread.run_sync(_token, config)
    options = HttpOptions(
        connections=config.connections,
        ca_file=config.ca_file,
        proxy=config.proxy,
        cert_file=config.cert_file,
        key_file=config.cert_key_file,
        key_password=config.cert_password,
    )
    async with open_http2_client(options) as client:
        yield Apns(client, config, token, tools.clock, TopicWatch())


def _channel(config: ApnsConfig) -> Channel:
    return Channel.PUSH


SINK = SinkType("apns", ApnsConfig, _channel, "device", _open)
