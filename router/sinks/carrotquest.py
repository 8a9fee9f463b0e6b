"""Carrot quest: events and properties of people, by its web API.

Parameters are form fields; arrays and objects are JSON inside a field. People are named by the
company's own ids (``by_user_id``) and created where they are unknown. There is no idempotency
facility: an event or an addition whose answer was lost is in doubt, while setting properties once
more changes nothing and is simply tried again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from pydantic import Field, field_validator

from router.messages import (
    AnalyticsEvent,
    Channel,
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Parcel,
    ProfileUpdate,
    Reason,
    Rejected,
    Retry,
    Scope,
)
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.sinks._http import REQUEST_ID, answer_text, exchange, json_body, retry_after
from router.transport import HttpClient, HttpOptions, HttpRequest, HttpResponse, open_client
from router.values import Duration, FilePath, Rate, Secret

_MOST_OPERATIONS = 250
_NAME_LENGTH = 255


class CarrotquestConfig(SinkConfig):
    """Events and properties of people in Carrot quest."""

    token: Secret = Field(
        description="Token of the app, with the right to write people.",
        examples=["!env CARROTQUEST_TOKEN"],
    )
    base_url: str = Field(
        "https://api.carrotquest.io",
        description="Address of the web API.",
        examples=["https://api.carrotquest.io"],
    )
    by_user_id: bool = Field(
        True,
        description="`distinct_id` is your own id of a person, who is created where unknown; "
        "`false`: it is Carrot quest's own.",
    )
    send_created: bool = Field(
        False,
        description="Tell when an event happened. Carrot quest then starts no automatic messages "
        "for it: for filling in the past, not for live events.",
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's.",
        examples=["/etc/router/ca.pem"],
    )
    proxy: str | None = Field(
        None, description="HTTP proxy to go through.", examples=["http://proxy.internal:3128"]
    )
    concurrency: int = Field(8, ge=1, le=1000, description="Sends under way at once.")
    rate: Rate | None = Field(
        Rate(10, 1), description="Requests at most; the vendor states no limit.", examples=["10/s"]
    )
    timeout: Duration = Field(
        15.0, gt=0, description="One attempt takes at most this long.", examples=["15s"]
    )

    @field_validator("base_url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
            raise ValueError("write an http or https address, as in https://api.carrotquest.io")
        return url.rstrip("/")

    @field_validator("token")
    @classmethod
    def _header_safe(cls, token: Secret) -> Secret:
        if token.known and not re.fullmatch(r"[\x21-\x7e]+", token.reveal()):
            raise ValueError("not a token: it has no spaces")
        return token


def request(config: CarrotquestConfig, parcel: Parcel) -> HttpRequest | Outcome:
    """The call for a parcel, or why Carrot quest would not take it."""
    match parcel.message:
        case AnalyticsEvent() as event:
            method, fields = "events", _event_fields(config, parcel, event)
        case ProfileUpdate() as update:
            method, fields = "props", _update_fields(update)
        case message:
            kind = type(message).__name__
            raise TypeError(f"expected AnalyticsEvent or ProfileUpdate, not {kind}")
    if isinstance(fields, Rejected):
        return fields
    person = quote(parcel.message.distinct_id, safe="")
    if person in ("", ".", ".."):
        return Rejected(Reason("person_missing", "distinct_id names no person"))
    fields |= {"by_user_id": "true" if config.by_user_id else "false", "id_as_string": "true"}
    headers = {
        "Authorization": f"Bearer {config.token.reveal()}",
        "Content-Type": "application/x-www-form-urlencoded",
        REQUEST_ID: parcel.key.hex(),
    }
    url = f"{config.base_url}/users/{person}/{method}"
    return HttpRequest("POST", url, headers, urlencode(fields).encode(), config.timeout)


def _event_fields(
    config: CarrotquestConfig, parcel: Parcel, event: AnalyticsEvent
) -> dict[str, str] | Rejected:
    if not 1 <= len(event.name) <= _NAME_LENGTH:
        text = f"an event's name has 1 to {_NAME_LENGTH} characters"
        return Rejected(Reason("name_invalid", text))
    mark = {"router_test": True} if parcel.is_test else {}
    params = _json({**event.properties, **mark})
    if isinstance(params, Rejected):
        return params
    fields = {"event": event.name, "params": params}
    if config.send_created:
        fields["created"] = f"{event.time:.3f}"
    return fields


def _update_fields(update: ProfileUpdate) -> dict[str, str] | Rejected:
    operations = _operations(update)
    if not 1 <= len(operations) <= _MOST_OPERATIONS:
        text = f"{len(operations)} properties; 1 to {_MOST_OPERATIONS} can be changed at once"
        return Rejected(Reason("properties_invalid", text))
    encoded = _json(operations)
    if isinstance(encoded, Rejected):
        return encoded
    return {"operations": encoded, "parse_custom_props_type": "false"}


def _operations(update: ProfileUpdate) -> list[dict[str, Any]]:
    by_name: dict[str, Mapping[str, Any]] = {
        "update_or_create": update.set,
        "set_once": update.set_once,
        "add": update.add,
        "append": update.append,
        "union": update.union,
        "exclude": update.remove,
    }
    operations = [
        {"op": op, "key": key, "value": value}
        for op, values in by_name.items()
        for key, value in values.items()
    ]
    return operations + [{"op": "delete", "key": key} for key in update.unset]


def _json(value: Any) -> str | Rejected:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return Rejected(Reason("not_json", "the properties can't be written as JSON"))


def is_repeatable(parcel: Parcel) -> bool:
    """Sending it a second time changes nothing."""
    message = parcel.message
    return isinstance(message, ProfileUpdate) and not message.add and not message.append


def outcome(response: HttpResponse, now: float, *, repeatable: bool = False) -> Outcome:
    """What Carrot quest's answer means.

    Args:
        now: Seconds since the epoch.
        repeatable: :func:`is_repeatable` of the parcel.
    """
    body = json_body(response)
    meta = body.get("meta") if isinstance(body, dict) else None
    if not isinstance(meta, dict):
        return _without_envelope(response, now, repeatable)
    status = response.status
    if 200 <= status < 300 and isinstance(meta.get("status"), int):
        status = int(meta["status"])
    if 200 <= status < 300:
        match body:
            case {"data": {"id": str() | int() as event_id}}:
                return Delivered(str(event_id))
            case _:
                return Delivered()
    return _refusal(response, status, str(meta.get("error", "")), now)


def _refusal(response: HttpResponse, status: int, error: str, now: float) -> Outcome:
    text = f"{answer_text(response)} {error}" if _is_name(error) else answer_text(response)
    match status, error:
        case _, "LookupError":
            return Rejected(Reason("person_unknown", "no such person"), recipient_gone=True)
        case (401, _) | (_, "NotAuthenticated"):
            return Halt(Reason("token_refused", "Carrot quest refused the token"))
        case (403, _) | (_, "PermissionDeniedError"):
            return Halt(Reason("forbidden", "the token lacks a right"))
        case (404 | 405 | 415, _) | (_, "Error404"):
            return Halt(Reason("method_unknown", f"{text}; base_url may be wrong"))
        case 429, _:
            return Retry(Reason("rate_limited", text), retry_after(response, now), Scope.SINK)
        case status, _ if status >= 500 or status in (408, 425):
            return Retry(Reason("provider_error", text), retry_after(response, now))
        case _:
            return Rejected(Reason("bad_request", text))


def _without_envelope(response: HttpResponse, now: float, repeatable: bool) -> Outcome:
    """What an answer means that something before Carrot quest gave, or that came in part."""
    match response.status:
        case status if 200 <= status < 300:
            reason = Reason("answer_unreadable", answer_text(response))
            return Retry(reason) if repeatable else InDoubt(reason)
        case status if 300 <= status < 400:
            return Halt(Reason("redirected", "base_url answers with a redirect"))
        case 401 | 404 | 405 | 415 | 429:
            return _refusal(response, response.status, "", now)
        case 413:
            return Rejected(Reason("too_large", answer_text(response)))
        case _:
            return Retry(
                Reason("provider_error", answer_text(response)), retry_after(response, now)
            )


def _is_name(error: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9]{1,40}", error) is not None


@dataclass(frozen=True, slots=True)
class _Carrotquest:
    client: HttpClient
    config: CarrotquestConfig
    tools: SinkTools

    async def send(self, parcel: Parcel) -> Outcome:
        call = request(self.config, parcel)
        if not isinstance(call, HttpRequest):
            return call
        response = await exchange(self.client, call)
        if isinstance(response, HttpResponse):
            now = self.tools.clock.now()
            return outcome(response, now, repeatable=is_repeatable(parcel))
        if isinstance(response, InDoubt) and is_repeatable(parcel):
            return Retry(response.reason)
        return response


@asynccontextmanager
async def _open(config: CarrotquestConfig, tools: SinkTools) -> AsyncGenerator[_Carrotquest]:
    options = HttpOptions(
        connections=config.concurrency, ca_file=config.ca_file, proxy=config.proxy
    )
    async with open_client(options) as client:
        yield _Carrotquest(client, config, tools)


def _channel(config: CarrotquestConfig) -> Channel:
    return Channel.ANALYTICS


SINK = SinkType("carrotquest", CarrotquestConfig, _channel, "request", _open)
