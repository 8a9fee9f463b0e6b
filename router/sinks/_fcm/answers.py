"""What FCM's answers mean.

Source: the FCM v1 REST reference and "FCM error codes". ``errorCode`` in an error's details
decides, the HTTP status only where there is none: a bare 404 is a wrong project, not a dead token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.messages import (
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Scope,
    Target,
)
from router.sinks._http import QUIET_S, answer_text, json_body, retry_after
from router.transport import HttpResponse

_OTHER_PLATFORM_S = 300.0
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


def outcome(
    platforms: Sequence[str], target: Target, response: HttpResponse, now: float
) -> Outcome:
    """What FCM's answer means; of a refused access token, :class:`Halt`.

    Args:
        platforms: Which ones the sink takes.
        now: Seconds since the epoch.
    """
    if response.status == 200:
        return _accepted(response)
    error = _error(response)
    asked = retry_after(response, now)
    match error.code:
        case "UNREGISTERED":
            return Rejected(Reason("token_unregistered", "the app is gone"), recipient_gone=True)
        case "SENDER_ID_MISMATCH":
            reason = Reason("sender_mismatch", "the token belongs to another Firebase project")
            return Rejected(reason, recipient_gone=True)
        case "INVALID_ARGUMENT":
            return _invalid(response, error)
        case "THIRD_PARTY_AUTH_ERROR" | "APNS_AUTH_ERROR":
            return _third_party(platforms)
        case "QUOTA_EXCEEDED":
            return _over_quota(target, error, asked)
        case "UNAVAILABLE":
            scope = Scope.MESSAGE if asked is None else Scope.SINK
            return Retry(Reason("unavailable", answer_text(response)), asked, scope)
        case "INTERNAL":
            return Retry(Reason("provider_error", answer_text(response)), asked)
        case _:
            return _by_status(response, target, error, asked)


def is_token_refused(response: HttpResponse) -> bool:
    """Whether the access token is what FCM refused."""
    return response.status == 401 and not _error(response).code


@dataclass(frozen=True, slots=True)
class _Error:
    """What FCM says of a refusal: ``code`` of its own, the fields at fault, free text."""

    code: str = ""
    fields: tuple[str, ...] = ()
    text: str = ""
    is_readable: bool = False


def _error(response: HttpResponse) -> _Error:
    match json_body(response):
        case {"error": dict(error)}:
            details = error.get("details")
            entries: list[Mapping[str, Any]] = [
                entry
                for entry in (details if isinstance(details, list) else ())
                if isinstance(entry, dict)
            ]
            codes = [d.get("errorCode") for d in entries if d.get("@type") == _FCM_ERROR]
            code = next((c for c in codes if isinstance(c, str)), "")
            return _Error(code, tuple(_violations(entries)), str(error.get("message", "")), True)
        case _:
            return _Error()


def _violations(details: list[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for detail in details:
        violations = detail.get("fieldViolations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and isinstance(violation.get("field"), str):
                found.append(violation["field"])
    return found


def _accepted(response: HttpResponse) -> Outcome:
    match json_body(response):
        case {"name": str(name)} if name.endswith("/fake_message_id"):
            return Delivered(name, Reason("validated", "FCM checked it and delivered nothing"))
        case {"name": str(name)}:
            return Delivered(name)
        case _ if b'"name"' in response.body:
            return Delivered()
        case _:
            return InDoubt(Reason("answer_unreadable", answer_text(response)))


def _invalid(response: HttpResponse, error: _Error) -> Outcome:
    is_token = "message.token" in error.fields or "registration token" in error.text.lower()
    if is_token:
        return Rejected(Reason("token_invalid", "not a registration token"), recipient_gone=True)
    return Rejected(Reason("bad_request", answer_text(response)))


def _third_party(platforms: Sequence[str]) -> Outcome:
    """The key of one platform is wrong: the others go on, as far as this sink has any."""
    reason = Reason("platform_key_refused", "the APNs or web push key in the Firebase project")
    if len(platforms) == 1:
        return Halt(reason)
    return Retry(reason, _OTHER_PLATFORM_S, Scope.TARGET)


def _over_quota(target: Target, error: _Error, asked: float | None) -> Outcome:
    text = error.text.lower()
    is_own = "device" in text or (target.kind == "topic" and "topic" in text)
    reason = Reason("quota_exceeded", "the device's" if "device" in text else "the project's")
    scope = Scope.TARGET if is_own else Scope.SINK
    return Retry(reason, QUIET_S if asked is None else asked, scope)


def _by_status(
    response: HttpResponse, target: Target, error: _Error, asked: float | None
) -> Outcome:
    """An answer without a code of FCM's own."""
    text = answer_text(response)
    match response.status:
        case 400 | 403 | 404 if response.truncated and not error.is_readable:
            return Retry(Reason("answer_cut", text))
        case 400:
            return _invalid(response, error)
        case 401:
            return Halt(Reason("credentials_refused", "FCM takes no token of this service account"))
        case 403:
            return Halt(Reason("permission_denied", "the API is off, or the account lacks a role"))
        case 404:
            return Halt(Reason("project_unknown", "there is no such project, or base_url is wrong"))
        case 429:
            return _over_quota(target, error, asked)
        case 413:
            return Rejected(Reason("too_large", text))
        case 503:
            return Retry(
                Reason("unavailable", text), asked, Scope.MESSAGE if asked is None else Scope.SINK
            )
        case status if status >= 500 or status in (408, 409, 425):
            return Retry(Reason("provider_error", text), asked)
        case status if 300 <= status < 400:
            return Halt(Reason("redirected", "base_url answers with a redirect"))
        case _:
            return Rejected(Reason("refused", text))
