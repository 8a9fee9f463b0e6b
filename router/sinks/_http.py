"""What sinks that speak HTTP share: one exchange, `Retry-After`, and what may be told of an answer.

An HTTP sink is two pure functions, one from a parcel to a request and one from a response to an
outcome, and :class:`HttpSink` between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import orjson

from router.messages import (
    Halt,
    InDoubt,
    Message,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Retry,
    Scope,
)
from router.transport import AnswerLost, HttpClient, HttpRequest, HttpResponse, NotSent

REQUEST_ID = "X-Request-Id"
"""Carries the delivery's key: logs on both sides can be joined, and a repeat is recognisable."""

RETRY_AFTER_CAP_S = 3600.0
"""A provider that asks for more is asked again after this."""

QUIET_S = 60.0
"""How long a scope is left alone after a refusal or a timeout that names no time."""

_MACHINE_CODE = re.compile(r"[A-Za-z][A-Za-z_.:\-]{1,39}")
_PLAIN_CODE = re.compile(rb"(?=.{1,40}\Z)[a-z]+(_[a-z]+)+")
_CODE_FIELDS = ("code", "error_code", "errorCode", "error", "type", "status", "reason", "name")
_SLOW = frozenset({"connect_timeout", "dns_timeout"})

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True)
class HttpSink:
    """A sink made of a client and two pure functions.

    Attributes:
        request: The request for a parcel, or the outcome of a parcel that can't be sent.
        outcome: What a response means.
    """

    client: HttpClient
    request: Callable[[Parcel], HttpRequest | Outcome]
    outcome: Callable[[HttpResponse], Outcome]

    async def send(self, parcel: Parcel) -> Outcome:
        request = self.request(parcel)
        if not isinstance(request, HttpRequest):
            return request
        response = await exchange(self.client, request)
        return self.outcome(response) if isinstance(response, HttpResponse) else response


async def exchange(client: HttpClient, request: HttpRequest) -> HttpResponse | Outcome:
    """The response, or the outcome of an attempt that brought none."""
    try:
        return await client.send(request)
    except NotSent as error:
        return not_sent(error.reason)
    except AnswerLost as error:
        return InDoubt(error.reason)


def not_sent(reason: Reason) -> Outcome:
    """The outcome of a request that did not leave."""
    match reason.code:
        case "address_refused":
            return Halt(reason)
        case "invalid_request":
            return Rejected(reason)
        case code if code in _SLOW:
            return Retry(reason, QUIET_S, Scope.ENDPOINT)
        case _:
            return Retry(reason)


def retry_after(response: HttpResponse, now: float) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or a date (RFC 9110 §10.2.3), capped.

    None where the header is missing or can't be read.
    """
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_CAP_S)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_CAP_S)


def json_body(response: HttpResponse) -> Any:
    """The body decoded, or None where it is not JSON."""
    try:
        return orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return None


def answer_text(response: HttpResponse) -> str:
    """One line on an answer that can hold neither secrets nor personal data.

    Free text is never quoted, since providers echo addresses and content in it: the status, the
    media type of what is not JSON, and the machine-readable code of what is, or that is the whole
    body.
    """
    status = f"HTTP {response.status}"
    body = json_body(response)
    if body is None and (word := _PLAIN_CODE.fullmatch(response.body.strip())):
        return f"{status} {word[0].decode()}"
    if body is None:
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        known = media if re.fullmatch(r"[a-z]+/[a-z.+\-]{1,40}", media) else ""
        return f"{status} {known}".strip()
    code = _machine_code(body)
    return f"{status} {code}" if code else status


def expect(parcel: Parcel, kind: type[MessageT]) -> MessageT:
    """The parcel's message, which planning promises to be of the sink's channel.

    Raises:
        TypeError: it is another channel's.
    """
    if not isinstance(parcel.message, kind):
        raise TypeError(f"expected {kind.__name__}, not {type(parcel.message).__name__}")
    return parcel.message


def _machine_code(body: Any) -> str | None:
    if not isinstance(body, dict):
        return None
    for field in _CODE_FIELDS:
        match body.get(field):
            case str(text) if _MACHINE_CODE.fullmatch(text):
                return text
            case dict(inner) if (code := _machine_code(inner)) is not None:
                return code
            case _:
                continue
    return None
