"""What APNs' answers mean.

Source: "Handling notification responses from APNs". The reason decides; the status only where a
body is missing. Apple documents no ``Retry-After``; where one comes, it holds.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import final

from router.messages import (
    Delivered,
    Halt,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Scope,
    Target,
)
from router.sinks._http import QUIET_S, answer_text, json_body, retry_after
from router.transport import HttpResponse

_TOO_MANY_TOKENS_S = 300.0
_SHUTDOWN_S = 1.0
_REASON = re.compile(r"[A-Za-z]{1,60}")
_OURS = frozenset(
    {
        "BadCollapseId",
        "BadExpirationDate",
        "BadMessageId",
        "BadPriority",
        "DuplicateHeaders",
        "InvalidPushType",
        "MissingDeviceToken",
        "PayloadEmpty",
    }
)
_CONFIGURATION = frozenset(
    {
        "BadCertificate",
        "BadCertificateEnvironment",
        "BadEnvironmentKeyIdInToken",
        "BadEnvironmentKeyInToken",
        "BadPath",
        "BadTopic",
        "ExpiredProviderToken",
        "Forbidden",
        "InvalidProviderToken",
        "MethodNotAllowed",
        "MissingProviderToken",
        "MissingTopic",
        "TopicDisallowed",
        "UnrelatedKeyIdInToken",
    }
)
_GONE = frozenset({"Unregistered", "ExpiredToken"})


def reason_of(response: HttpResponse) -> str:
    """Apple's word for a refusal; empty where there is none."""
    match json_body(response):
        case {"reason": str(reason)} if _REASON.fullmatch(reason):
            return reason
        case _:
            return ""


def outcome(target: Target, environment: str, response: HttpResponse, now: float) -> Outcome:
    """What APNs' answer means.

    Args:
        target: The device.
        environment: Of the host that was asked.
        now: Seconds since the epoch.
    """
    if response.status == 200:
        return Delivered(response.headers.get("apns-id"))
    said = reason_of(response)
    text = f"HTTP {response.status} {said}" if said else answer_text(response)
    match said:
        case "BadDeviceToken":
            return _bad_token(target, environment)
        case "DeviceTokenNotForTopic":
            reason = Reason("token_of_other_app", "the device token is not of this topic")
            return Rejected(reason, recipient_gone=True)
        case "TooManyRequests":
            return Retry(Reason("rate_limited", text), _asked(response, now), Scope.TARGET)
        case "TooManyProviderTokenUpdates":
            return Retry(Reason("too_many_tokens", text), _TOO_MANY_TOKENS_S, Scope.SINK)
        case "Shutdown":
            return Retry(Reason("provider_error", text), _SHUTDOWN_S)
        case "IdleTimeout":
            return Retry(Reason("provider_error", text))
        case _ if said in _GONE:
            return _gone(target, response)
        case _ if said in _OURS:
            return Rejected(Reason("bad_request", text))
        case _ if said in _CONFIGURATION:
            return Halt(Reason("configuration_refused", text))
        case _:
            return _by_status(target, response, text, now)


def _asked(response: HttpResponse, now: float) -> float:
    asked = retry_after(response, now)
    return QUIET_S if asked is None else asked


def _bad_token(target: Target, environment: str) -> Outcome:
    """Malformed, or of the other environment: a dead token only where that is ruled out."""
    if target.environment == environment:
        return Rejected(Reason("token_invalid", "not a device token"), recipient_gone=True)
    text = f"not a device token, or not one of the {environment} environment"
    return Rejected(Reason("token_or_environment", text))


def _gone(target: Target, response: HttpResponse) -> Outcome:
    """Dead, unless the device registered again after the moment that Apple speaks of."""
    match json_body(response):
        case {"timestamp": int() | float() as milliseconds} if target.registered_at is not None:
            if target.registered_at > milliseconds / 1000:
                reason = Reason("registered_since", "the device has registered again since")
                return Retry(reason, QUIET_S, Scope.TARGET)
        case _:
            pass
    return Rejected(Reason("token_unregistered", "the app is gone"), recipient_gone=True)


def _by_status(target: Target, response: HttpResponse, text: str, now: float) -> Outcome:
    """A refusal whose reason is missing or new."""
    match response.status:
        case 400 | 410 if response.truncated:
            return Retry(Reason("answer_cut", text))
        case 403 | 404 | 405:
            return Halt(Reason("configuration_refused", text))
        case 410:
            return _gone(target, response)
        case 413:
            return Rejected(Reason("too_large", text))
        case 429:
            return Retry(Reason("rate_limited", text), _asked(response, now), Scope.TARGET)
        case status if status >= 500 or status == 408:
            return Retry(Reason("provider_error", text), retry_after(response, now))
        case status if 300 <= status < 400:
            return Halt(Reason("redirected", "the host answers with a redirect"))
        case _:
            return Rejected(Reason("refused", text))


@final
@dataclass(frozen=True, slots=True)
class TopicWatch:
    """Tells a device of another app from a sink whose topic is wrong.

    As long as most of the last answers say that tokens are not of this topic, the topic is the
    likelier mistake, and nobody's token is given up for it.
    """

    _fits: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=20))

    def judge(self, result: Outcome) -> Outcome:
        """The outcome, or a halt in its place."""
        match result:
            case Delivered():
                self._fits.append(True)
            case Rejected(Reason("token_of_other_app")):
                self._fits.append(False)
                if self._fits.count(False) > self._fits.count(True):
                    return Halt(Reason("topic_wrong", "most device tokens are of other topics"))
            case _:
                pass
        return result
