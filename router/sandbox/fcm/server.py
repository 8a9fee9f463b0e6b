"""``messages:send``: checks as FCM does, and keeps what devices were sent and show."""

from __future__ import annotations

import re
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from router.clock import Clock
from router.messages import Channel
from router.sandbox.faults import Faults
from router.sandbox.fcm.accounts import TOKEN_PATH, ServiceAccount
from router.sandbox.fcm.messages import Push, Wrong, read_push, target_of
from router.sandbox.fcm.settings import FcmSettings
from router.sandbox.http import Answer, Call, Endpoint, json_answer
from router.sandbox.http2 import Certificate, Http2Endpoint, serve_http2
from router.sandbox.limits import Bucket
from router.sandbox.record import Received, Record

_PATH = re.compile(r"/v1/projects/([^/]+)/messages:send")
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_MAX_STREAMS = 100
_DEVICE_PER_MINUTE = 240

_STATES: Mapping[str, tuple[int, str, str, str]] = {
    "unregistered": (404, "NOT_FOUND", "UNREGISTERED", "Requested entity was not found."),
    "other_project": (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", "SenderId mismatch"),
    "platform_key": (
        401,
        "UNAUTHENTICATED",
        "THIRD_PARTY_AUTH_ERROR",
        "Auth error from APNS or Web Push Service",
    ),
}


class _Refusal(Exception):
    def __init__(
        self,
        code: int,
        status: str,
        text: str,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.code, self.status, self.text = code, status, text
        self.details, self.headers = details, headers


@dataclass(frozen=True, slots=True)
class _Session:
    """A connection; FCM has nothing to remember of one."""

    api: FcmApi
    max_streams: int = _MAX_STREAMS

    def answer(self, call: Call) -> Answer:
        return self.api.answer(call)


@final
class FcmApi:
    """One project. Every token is alive until it is told otherwise."""

    name = "fcm"

    def __init__(self, record: Record, clock: Clock, folder: Path, settings: FcmSettings) -> None:
        self.faults = Faults()
        self.settings = settings
        self._record = record
        self._clock = clock
        self._key_file = folder / "fcm-service-account.json"
        self._account = ServiceAccount(clock, settings.project_id, settings.token_life_s)
        self._states: dict[str, str] = {}
        self._project = Bucket(clock, settings.per_minute, 60.0)
        self._devices: defaultdict[str, Bucket] = defaultdict(
            lambda: Bucket(clock, _DEVICE_PER_MINUTE, 60.0)
        )
        self._shown: defaultdict[str, dict[str, Received]] = defaultdict(dict)

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext, port: int = 0) -> AsyncGenerator[int]:
        """Serves HTTP/2 and HTTP/1.1 on loopback until the block ends; gives the port."""

        def connected(_: Certificate | None) -> _Session:
            return _Session(self)

        older = Endpoint(_target, self.answer, self.faults)
        endpoint = Http2Endpoint(_target, connected, self.faults, over_http1=older)
        async with serve_http2(endpoint, tls, port) as port:
            self._account.address = f"https://127.0.0.1:{port}"
            self._key_file.unlink(missing_ok=True)
            yield port

    @property
    def credentials_file(self) -> Path:
        """The service account's JSON key file."""
        if not self._key_file.exists():
            self._account.write_key_file(self._key_file)
        return self._key_file

    def set_state(self, target: str, state: str) -> None:
        """What a token is: ``alive``, ``unregistered``, ``other_project``, ``invalid``, or
        ``platform_key`` (its platform's key in the project is wrong).

        Raises:
            ValueError: there is no such state.
        """
        if state not in ("alive", "invalid", *_STATES):
            known = ", ".join(("alive", "invalid", *_STATES))
            raise ValueError(f"no state {state!r} of a token; there are {known}")
        self._states[target] = state

    def revoke_tokens(self) -> None:
        """Every access token issued so far stops working."""
        self._account.revoke_tokens()

    def shown(self, target: str) -> Sequence[Received]:
        """What stands in a device's list, oldest first: a tag's newest replaces the older."""
        return tuple(self._shown[target].values())

    def answer(self, call: Call) -> Answer:
        if call.path == TOKEN_PATH and call.method == "POST":
            answer, why = self._account.issue(call)
            if why:
                self._record.refuse(self.name, TOKEN_PATH, why)
            return answer
        try:
            return json_answer(200, {"name": self._send(call)})
        except _Refusal as refusal:
            self._record.refuse(self.name, _target(call), f"{refusal.code} {refusal.text}")
            error: dict[str, Any] = {
                "code": refusal.code,
                "message": refusal.text,
                "status": refusal.status,
            }
            if refusal.details:
                error["details"] = list(refusal.details)
            return json_answer(refusal.code, {"error": error}, refusal.headers)

    def _send(self, call: Call) -> str:
        match = _PATH.fullmatch(call.path)
        if match is None or call.method != "POST":
            raise _Refusal(404, "NOT_FOUND", "Requested entity was not found.")
        if not self._account.admits(call.headers):
            text = "Request had invalid authentication credentials."
            raise _Refusal(401, "UNAUTHENTICATED", text)
        if match[1] != self.settings.project_id:
            raise _Refusal(404, "NOT_FOUND", "Requested entity was not found.")
        if not self.settings.is_enabled:
            text = (
                "Firebase Cloud Messaging API has not been used in project before or is disabled."
            )
            raise _Refusal(403, "PERMISSION_DENIED", text)
        self._take(self._project, "Quota exceeded for quota metric 'Send requests' per minute")
        push = self._read(call)
        self._check_token(push)
        prefix = f"projects/{self.settings.project_id}/messages/"
        if push.is_validation:
            return f"{prefix}fake_message_id"
        if push.kind == "token":
            self._take(self._devices[push.target], "Quota exceeded for messages to one device")
        entry = self._keep(push, call)
        return f"{prefix}0:{int(entry.at * 1_000_000)}%{entry.number:016x}"

    def _read(self, call: Call) -> Push:
        try:
            return read_push(call.body)
        except Wrong as wrong:
            details: list[dict[str, Any]] = []
            if wrong.field is not None:
                violation = {"field": wrong.field, "description": str(wrong)}
                details.append({"@type": _BAD_REQUEST, "fieldViolations": [violation]})
            if wrong.field is not None and not wrong.is_parse:
                details.insert(0, {"@type": _FCM_ERROR, "errorCode": "INVALID_ARGUMENT"})
            raise _Refusal(400, "INVALID_ARGUMENT", str(wrong), details) from None

    def _check_token(self, push: Push) -> None:
        state = self._states.get(push.target, "alive")
        if state == "invalid":
            text = "The registration token is not a valid FCM registration token"
            violation = {"field": "message.token", "description": text}
            details = [
                {"@type": _FCM_ERROR, "errorCode": "INVALID_ARGUMENT"},
                {"@type": _BAD_REQUEST, "fieldViolations": [violation]},
            ]
            raise _Refusal(400, "INVALID_ARGUMENT", text, details)
        if state in _STATES:
            code, status, error, text = _STATES[state]
            raise _Refusal(code, status, text, [{"@type": _FCM_ERROR, "errorCode": error}])

    def _take(self, bucket: Bucket, text: str) -> None:
        if wait := bucket.wait_s():
            headers = {"Retry-After": str(wait)} if self.settings.says_when else {}
            details = [{"@type": _FCM_ERROR, "errorCode": "QUOTA_EXCEEDED"}]
            raise _Refusal(429, "RESOURCE_EXHAUSTED", text, details, headers)
        bucket.take()

    def _keep(self, push: Push, call: Call) -> Received:
        entry = self._record.add(
            Received(
                provider=self.name,
                channel=Channel.PUSH,
                recipient=push.target,
                title=push.title,
                text=push.body,
                buttons=push.buttons,
                key=push.data.get("delivery_key"),
                raw=call.body,
                details={"project": self.settings.project_id, **push.details},
            )
        )
        if not push.is_silent:
            tag = push.tag if push.tag is not None else f"#{entry.number}"
            self._shown[push.target].pop(tag, None)
            self._shown[push.target][tag] = entry
        return entry


def _target(call: Call) -> str:
    return TOKEN_PATH if call.path == TOKEN_PATH else target_of(call.body)
