"""``POST /3/device/<token>``: checks as APNs does, and keeps what devices were sent and show."""

from __future__ import annotations

import re
import ssl
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, final

import orjson

from router.clock import Clock
from router.messages import Button, Channel
from router.sandbox.apns.credentials import Credentials
from router.sandbox.apns.settings import ApnsSettings
from router.sandbox.faults import Faults
from router.sandbox.http import Answer, Call, json_answer
from router.sandbox.http2 import Certificate, Http2Endpoint, serve_http2
from router.sandbox.jwt import Token
from router.sandbox.limits import Bucket
from router.sandbox.record import Received, Record

_MAX_BYTES = 4096
_MAX_VOIP_BYTES = 5120
_COLLAPSE_BYTES = 64
_OLDEST_JWT_S = 3600
_SOONEST_JWT_S = 1200
_SKEW_S = 60
_DEVICE = re.compile(r"([0-9A-Fa-f]{2}){32,100}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_STATE = re.compile(r"(unregistered|expired)(:\d+)?")
_TYPES = frozenset(
    {
        "alert",
        "background",
        "complication",
        "controls",
        "fileprovider",
        "liveactivity",
        "location",
        "mdm",
        "pushtotalk",
        "voip",
        "widgets",
    }
)
_STATES = ("alive", "bad", "other_topic", "unregistered[:<ms>]", "expired[:<ms>]")


class _Refusal(Exception):
    def __init__(self, status: int, reason: str, timestamp: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.timestamp = status, reason, timestamp


@final
class Devices:
    """Which environment a device token is of, for both environments together.

    A token is of production unless it was given a state in the sandbox environment.
    """

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.of_sandbox: set[str] = set()


@dataclass(slots=True)
class _Session:
    """A connection: whose it is, and the token it last used."""

    api: ApnsApi
    topic_of_certificate: str | None
    is_trusted: bool = False
    jwt: str = ""
    issued_at: float = 0.0
    updated_at: float | None = None

    @property
    def max_streams(self) -> int:
        return self.api.settings.max_streams if self.is_trusted else 1

    def answer(self, call: Call) -> Answer:
        return self.api.answer(call, self)

    def update(self, jwt: str, issued_at: float, now: float) -> None:
        """Another token than before: not more than one new one in 20 minutes.

        Raises:
            _Refusal: it was made, or comes, too soon after the last one.
        """
        if self.jwt:
            is_early = self.updated_at is not None and now - self.updated_at < _SOONEST_JWT_S
            if is_early or issued_at - self.issued_at < _SOONEST_JWT_S:
                raise _Refusal(429, "TooManyProviderTokenUpdates")
            self.updated_at = now
        self.jwt, self.issued_at = jwt, issued_at


@final
class ApnsApi:
    """One environment, ``apns`` (production) or ``apns-sandbox``."""

    def __init__(
        self,
        name: str,
        record: Record,
        clock: Clock,
        devices: Devices,
        credentials: Credentials,
        settings: ApnsSettings,
    ) -> None:
        self.name = name
        self.faults = Faults()
        self.settings = settings
        self.credentials = credentials
        self._record = record
        self._clock = clock
        self._devices = devices
        self._buckets: defaultdict[str, Bucket] = defaultdict(lambda: Bucket(clock, 100, 60.0))
        self._shown: defaultdict[str, dict[str, Received]] = defaultdict(dict)

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext, port: int = 0) -> AsyncGenerator[int]:
        """Serves on loopback until the block ends; gives the port."""

        def connected(shown: Certificate | None) -> _Session:
            topic = None if shown is None else shown.subject.get("userId")
            return _Session(self, topic, is_trusted=topic is not None)

        self.credentials.ask_for(tls)
        endpoint = Http2Endpoint(_device, connected, self.faults, self.settings.idle_s)
        async with serve_http2(endpoint, tls, port) as port:
            yield port

    def set_state(self, target: str, state: str) -> None:
        """What a device token is in this environment: ``alive``, ``bad``, ``other_topic``,
        ``unregistered`` or ``expired``; the last two may say since when, in milliseconds.

        Raises:
            ValueError: there is no such state.
        """
        if state not in ("alive", "bad", "other_topic") and not _STATE.fullmatch(state):
            raise ValueError(f"no state {state!r} of a device; there are {', '.join(_STATES)}")
        if self.name == "apns-sandbox":
            self._devices.of_sandbox.add(target)
        self._devices.states[target] = state

    def shown(self, target: str) -> Sequence[Received]:
        """What stands in a device's list, oldest first: of a collapse id, the newest alone."""
        return tuple(self._shown[target].values())

    def answer(self, call: Call, session: _Session) -> Answer:
        apns_id = call.headers.get("apns-id") or str(uuid.uuid4())
        headers = {"apns-id": apns_id}
        try:
            push = self._check(call, session)
        except _Refusal as refusal:
            self._record.refuse(self.name, _device(call), f"{refusal.status} {refusal.reason}")
            fields: dict[str, Any] = {"reason": refusal.reason}
            if refusal.timestamp is not None:
                fields["timestamp"] = refusal.timestamp
            return json_answer(refusal.status, fields, headers)
        self._keep(push, call, apns_id)
        if self.name == "apns-sandbox":
            headers["apns-unique-id"] = str(uuid.uuid4())
        return Answer(200, b"", headers)

    def _check(self, call: Call, session: _Session) -> _Push:
        if not call.path.startswith("/3/device"):
            raise _Refusal(404, "BadPath")
        if call.method != "POST":
            raise _Refusal(405, "MethodNotAllowed")
        device = _device(call)
        if not device:
            raise _Refusal(400, "MissingDeviceToken")
        self._check_sender(call, session)
        push = _Push.read(device, call, session.topic_of_certificate)
        if push.topic != self.settings.topic:
            raise _Refusal(400, "TopicDisallowed")
        self._check_device(device)
        return push

    def _check_sender(self, call: Call, session: _Session) -> None:
        scheme, _, text = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            if session.topic_of_certificate is None:
                raise _Refusal(403, "MissingProviderToken")
            return
        now = self._clock.now()
        token = Token.read(text) if text == session.jwt else self._verified(text, now)
        issued = token.number("iat") or 0.0
        if now - issued > _OLDEST_JWT_S:
            raise _Refusal(403, "ExpiredProviderToken")
        if text != session.jwt:
            session.update(text, issued, now)
        session.is_trusted = True

    def _verified(self, text: str, now: float) -> Token:
        try:
            token = Token.read(text)
        except ValueError:
            raise _Refusal(403, "InvalidProviderToken") from None
        issued = token.number("iat")
        if (
            token.header.get("kid") != self.settings.key_id
            or token.claims.get("iss") != self.settings.team_id
            or issued is None
            or issued > now + _SKEW_S
            or not token.is_signed_by(self.credentials.public_key)
        ):
            raise _Refusal(403, "InvalidProviderToken")
        return token

    def _check_device(self, device: str) -> None:
        is_of_sandbox = device in self._devices.of_sandbox
        state = self._devices.states.get(device, "alive")
        is_here = is_of_sandbox == (self.name == "apns-sandbox")
        if not _DEVICE.fullmatch(device) or not is_here or state == "bad":
            raise _Refusal(400, "BadDeviceToken")
        if state == "other_topic":
            raise _Refusal(400, "DeviceTokenNotForTopic")
        if state != "alive":
            kind, _, since = state.partition(":")
            timestamp = int(since) if since else int(self._clock.now() * 1000)
            reason = "Unregistered" if kind == "unregistered" else "ExpiredToken"
            raise _Refusal(410, reason, timestamp)
        if self.settings.has_limits:
            if self._buckets[device].wait_s():
                raise _Refusal(429, "TooManyRequests")
            self._buckets[device].take()

    def _keep(self, push: _Push, call: Call, apns_id: str) -> None:
        entry = self._record.add(
            Received(
                provider=self.name,
                channel=Channel.PUSH,
                recipient=push.device,
                title=push.title,
                text=push.body,
                buttons=push.buttons,
                key=apns_id.lower(),
                raw=call.body,
                details=push.details,
            )
        )
        if push.details["push_type"] != "background":
            collapse = call.headers.get("apns-collapse-id", f"#{entry.number}")
            self._shown[push.device].pop(collapse, None)
            self._shown[push.device][collapse] = entry


@dataclass(frozen=True, slots=True)
class _Push:
    """A push that APNs takes."""

    device: str
    topic: str
    title: str
    body: str
    buttons: tuple[tuple[Button, ...], ...] = ()
    details: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def read(cls, device: str, call: Call, topic_of_certificate: str | None) -> _Push:
        headers = call.headers
        topic = headers.get("apns-topic") or topic_of_certificate
        if topic is None:
            raise _Refusal(400, "MissingTopic")
        kind = headers.get("apns-push-type", "alert")
        if kind not in _TYPES:
            raise _Refusal(400, "InvalidPushType")
        priority = headers.get("apns-priority", "10")
        if priority not in ("10", "5", "1") or (kind == "background" and priority != "5"):
            raise _Refusal(400, "BadPriority")
        if not re.fullmatch(r"\d{1,12}", headers.get("apns-expiration", "0")):
            raise _Refusal(400, "BadExpirationDate")
        if "apns-id" in headers and not _UUID.fullmatch(headers["apns-id"]):
            raise _Refusal(400, "BadMessageId")
        if len(headers.get("apns-collapse-id", "").encode()) > _COLLAPSE_BYTES:
            raise _Refusal(400, "BadCollapseId")
        if len(call.body) > (_MAX_VOIP_BYTES if kind == "voip" else _MAX_BYTES):
            raise _Refusal(413, "PayloadTooLarge")
        aps, data = _payload(call.body)
        title, body = _alert(aps.get("alert"))
        details = {
            "push_type": kind,
            "priority": priority,
            "expiration": headers.get("apns-expiration", ""),
            "collapse_id": headers.get("apns-collapse-id", ""),
            "topic": topic,
            "badge": str(aps.get("badge", "")),
            "sound": str(aps.get("sound", "")),
            "category": str(aps.get("category", "")),
            "link": str(data.get("link", "")),
            "image": str(data.get("image", "")),
        }
        shown = {name: text for name, text in details.items() if text}
        return cls(device, topic, title, body, _buttons(data.get("actions")), shown)


def _payload(body: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Apple's part, and what the app gets besides."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = None
    match payload:
        case {"aps": dict(aps), **data}:
            return aps, data
        case _:
            raise _Refusal(400, "PayloadEmpty")


def _alert(alert: object) -> tuple[str, str]:
    match alert:
        case str(text):
            return "", text
        case {"title": str(title), "body": str(body)}:
            return title, body
        case {"title": str(title)}:
            return title, ""
        case {"body": str(body)}:
            return "", body
        case _:
            return "", ""


def _buttons(actions: object) -> tuple[tuple[Button, ...], ...]:
    """What an app makes of ``actions``: a list, in JSON, of ``text`` and ``url``."""
    try:
        given: object = orjson.loads(actions) if isinstance(actions, str) else None
    except orjson.JSONDecodeError:
        given = None
    buttons: list[Button] = []
    for action in given if isinstance(given, list) else []:
        match action:
            case {"text": str(text), "url": str(url)}:
                buttons.append(Button(text, url))
            case _:
                pass
    return (tuple(buttons),) if buttons else ()


def _device(call: Call) -> str:
    return call.path.removeprefix("/3/device").strip("/")
