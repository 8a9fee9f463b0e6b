"""Mixpanel: events by ``/import`` and profiles by ``/engage``, in batches.

Mixpanel takes an event that comes twice for one where its name, time, ``distinct_id`` and
``$insert_id`` are the same. Time and ``$insert_id`` are made of the event and the delivery's key,
so every attempt sends the same bytes and a lost answer is simply tried again. Additions to
profiles have no such identity: they go in requests of their own and are in doubt.
"""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import anyio
from pydantic import BaseModel, ConfigDict, Field, field_validator

from router.messages import Channel, InDoubt, Outcome, Parcel, Reason, Rejected, Retry
from router.sinks._contract import Backoff, SinkConfig, SinkTools, SinkType
from router.sinks._http import exchange
from router.sinks._mixpanel.answers import Refused, engage_answer, import_answer
from router.sinks._mixpanel.records import Call, Item, Kind, calls, item
from router.transport import HttpClient, HttpOptions, HttpRequest, HttpResponse, open_client
from router.values import Duration, FilePath, Secret

_HOSTS = {
    "us": "https://api.mixpanel.com",
    "eu": "https://api-eu.mixpanel.com",
    "in": "https://api-in.mixpanel.com",
}
_MOST_SPLITS = 40
_LONGEST_ANSWER = 4 * 1024**2
_SHORTEST_S = 0.5


class ServiceAccount(BaseModel):
    """A service account of the project."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: str = Field(
        min_length=1, pattern=r"^[^:\s]+$", description="User name.", examples=["router.1a2b3c.mp"]
    )
    secret: Secret = Field(description="Its secret.", examples=["!env MIXPANEL_SECRET"])
    project_id: int = Field(gt=0, description="Number of the project.", examples=[2195193])


class MixpanelConfig(SinkConfig):
    """Events and profiles of people in a Mixpanel project."""

    token: Secret = Field(description="The project's token.", examples=["!env MIXPANEL_TOKEN"])
    service_account: ServiceAccount | None = Field(
        None,
        description="Who imports events; by default the token alone lets them in.",
    )
    residency: Literal["us", "eu", "in"] = Field(
        "us", description="Where the project's data lives.", examples=["eu"]
    )
    base_url: str | None = Field(
        None,
        description="Address of the API, in place of that of `residency`.",
        examples=["https://api-eu.mixpanel.com"],
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's.",
        examples=["/etc/router/ca.pem"],
    )
    proxy: str | None = Field(
        None, description="HTTP proxy to go through.", examples=["http://proxy.internal:3128"]
    )
    concurrency: int = Field(10, ge=1, le=100, description="Requests under way at once.")
    timeout: Duration = Field(
        30.0, gt=0, description="A batch takes at most this long.", examples=["30s"]
    )
    retry: Backoff = Field(
        Backoff.model_validate({"first": "2s", "cap": "60s"}),
        description="Waiting between attempts.",
    )

    @field_validator("base_url")
    @classmethod
    def _http_url(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
            raise ValueError("write an http or https address, as in https://api.mixpanel.com")
        return url.rstrip("/") if url is not None else None

    @field_validator("token")
    @classmethod
    def _project_token(cls, token: Secret) -> Secret:
        if token.known and not re.fullmatch(r"[A-Za-z0-9_-]+", token.reveal()):
            raise ValueError("not a project token: it has letters and digits only")
        return token

    @property
    def address(self) -> str:
        """Where the API is."""
        return self.base_url or _HOSTS[self.residency]


def request(config: MixpanelConfig, call: Call, timeout_s: float) -> HttpRequest:
    """The HTTP request of a call. The same items always give the same bytes."""
    if call.kind is not Kind.EVENTS:
        headers = {"Content-Type": "application/json"}
        return HttpRequest(
            "POST", f"{config.address}/engage?verbose=1", headers, call.body, timeout_s
        )
    account = config.service_account
    if account is None:
        pair, query = f"{config.token.reveal()}:", "strict=1"
    else:
        pair = f"{account.username}:{account.secret.reveal()}"
        query = f"strict=1&project_id={account.project_id}"
    headers = {
        "Authorization": f"Basic {b64encode(pair.encode()).decode()}",
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
    }
    body = gzip.compress(call.body, compresslevel=1, mtime=0)
    return HttpRequest("POST", f"{config.address}/import?{query}", headers, body, timeout_s)


def answered(call: Call, response: HttpResponse, now: float) -> Sequence[Outcome] | Refused:
    """One outcome for each item of a call, or that Mixpanel refused it as a whole."""
    if call.kind is Kind.EVENTS:
        return import_answer(call.items, response, now)
    return engage_answer(call, response, now)


def unanswered(call: Call, result: Outcome) -> Outcome:
    """The outcome of each item where no answer came: what is safe to repeat is tried again."""
    if isinstance(result, InDoubt) and call.kind is not Kind.ADDITIONS:
        return Retry(result.reason)
    return result


class _Batch:
    """One batch on its way: its outcomes so far, its deadline, how many more calls may be split."""

    def __init__(self, client: HttpClient, config: MixpanelConfig, tools: SinkTools) -> None:
        self._client = client
        self._config = config
        self._clock = tools.clock
        self._deadline = tools.clock.monotonic() + config.timeout
        self._limiter = anyio.CapacityLimiter(config.concurrency)
        self._splits_left = _MOST_SPLITS
        self.outcomes: dict[int, Outcome] = {}

    async def run(self, items: Sequence[Item]) -> None:
        async with anyio.create_task_group() as tasks:
            for call in calls(items):
                tasks.start_soon(self._send, call)

    async def _send(self, call: Call) -> None:
        async with self._limiter:
            result = await self._ask(call)
        if not isinstance(result, Refused):
            for entry, outcome in zip(call.items, result, strict=True):
                self.outcomes[entry.place] = outcome
        elif len(call.items) == 1:
            self.outcomes[call.items[0].place] = Rejected(result.reason)
        elif self._splits_left <= 0:
            text = "refused with others, and too many had to be tried alone"
            self._settle(call, Retry(Reason("not_tried", text)))
        else:
            self._splits_left -= 1
            for half in call.halves():
                await self._send(half)

    async def _ask(self, call: Call) -> Sequence[Outcome] | Refused:
        left = self._deadline - self._clock.monotonic()
        if left < min(_SHORTEST_S, self._config.timeout / 2):
            return [Retry(Reason("not_tried", "the batch took too long"))] * len(call.items)
        response = await exchange(self._client, request(self._config, call, left))
        if isinstance(response, HttpResponse):
            return answered(call, response, self._clock.now())
        return [unanswered(call, response)] * len(call.items)

    def _settle(self, call: Call, outcome: Outcome) -> None:
        for entry in call.items:
            self.outcomes[entry.place] = outcome


class _Mixpanel:
    def __init__(self, client: HttpClient, config: MixpanelConfig, tools: SinkTools) -> None:
        self._client = client
        self._config = config
        self._tools = tools

    async def send_batch(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        token = self._config.token.reveal()
        built = [item(place, parcel, token) for place, parcel in enumerate(parcels)]
        batch = _Batch(self._client, self._config, self._tools)
        await batch.run([entry for entry in built if isinstance(entry, Item)])
        return [
            batch.outcomes[entry.place] if isinstance(entry, Item) else entry for entry in built
        ]


@asynccontextmanager
async def _open(config: MixpanelConfig, tools: SinkTools) -> AsyncGenerator[_Mixpanel]:
    options = HttpOptions(
        connections=config.concurrency,
        ca_file=config.ca_file,
        proxy=config.proxy,
        max_body=_LONGEST_ANSWER,
    )
    async with open_client(options) as client:
        yield _Mixpanel(client, config, tools)


def _channel(config: MixpanelConfig) -> Channel:
    return Channel.ANALYTICS


SINK = SinkType("mixpanel", MixpanelConfig, _channel, "request", _open)
