"""What FCM checks of a message, in its own words, and what a person sees of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from router.messages import Button

_MAX_BYTES = 4096
_MAX_TOPIC_BYTES = 2048
_LONGEST_S = 2_419_200
_TARGETS = ("token", "topic", "condition", "fid")
_TTL = re.compile(r"\d+(\.\d{1,9})?s")
_TOKEN = re.compile(r"[A-Za-z0-9_:.\-]{4,4096}")
_TOPIC = re.compile(r"[A-Za-z0-9\-_.~%]{1,900}")
_CONDITION = re.compile(r"'[A-Za-z0-9\-_.~%]+' in topics")
_MOST_TOPICS = 5
_RESERVED = re.compile(r"from|message_type|(google|gcm).*", re.DOTALL)

_FIELDS: Mapping[str, frozenset[str]] = {
    "": frozenset({"message", "validate_only", "validateOnly"}),
    "message": frozenset(
        {"name", "data", "notification", "android", "webpush", "apns", "fcm_options", *_TARGETS}
    ),
    "message.notification": frozenset({"title", "body", "image"}),
    "message.android": frozenset(
        {
            "collapse_key",
            "priority",
            "ttl",
            "restricted_package_name",
            "data",
            "notification",
            "fcm_options",
            "direct_boot_ok",
        }
    ),
    "message.android.notification": frozenset(
        {
            "title",
            "body",
            "icon",
            "color",
            "sound",
            "tag",
            "click_action",
            "channel_id",
            "ticker",
            "sticky",
            "event_time",
            "local_only",
            "notification_priority",
            "default_sound",
            "default_vibrate_timings",
            "default_light_settings",
            "vibrate_timings",
            "visibility",
            "notification_count",
            "light_settings",
            "image",
        }
    ),
    "message.webpush": frozenset({"headers", "data", "notification", "fcm_options"}),
    "message.webpush.fcm_options": frozenset({"link", "analytics_label"}),
    "message.apns": frozenset({"headers", "payload", "fcm_options", "live_activity_token"}),
    "message.fcm_options": frozenset({"analytics_label"}),
}


class Wrong(Exception):
    """FCM does not take the message.

    Attributes:
        field: The field at fault; None where Google's answer names none.
        is_parse: The JSON does not fit the schema: such answers have no FcmError.
    """

    def __init__(self, text: str, field: str | None = None, *, is_parse: bool = False) -> None:
        super().__init__(text)
        self.field, self.is_parse = field, is_parse


@dataclass(frozen=True, slots=True)
class Push:
    """A message that FCM takes.

    Attributes:
        target: Token, ``/topics/<name>`` or condition.
        tag: What makes a later push replace this one on the device; None never.
    """

    kind: str
    target: str
    title: str
    body: str
    data: Mapping[str, str]
    buttons: tuple[tuple[Button, ...], ...]
    tag: str | None
    is_silent: bool
    is_validation: bool
    details: Mapping[str, str]


def target_of(body: bytes) -> str:
    """Whom a call is for, as far as that can be read."""
    try:
        message = orjson.loads(body)["message"]
        kind, name = next((k, message[k]) for k in _TARGETS if k in message)
    except (ValueError, TypeError, KeyError, StopIteration):
        return ""
    return f"/topics/{name}" if kind == "topic" else str(name)


def read_push(body: bytes) -> Push:
    """The message of a call.

    Raises:
        Wrong: FCM does not take it.
    """
    try:
        call = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Wrong("Invalid JSON payload received. Unexpected token.", is_parse=True) from None
    _check_names("", call)
    message = call.get("message")
    if not isinstance(message, dict):
        raise Wrong("Message must be specified.", "message")
    data = _data("message.data", message.get("data"))
    kind, target = _target(message)
    shown = _texts("message.notification", message.get("notification"))
    _check_size(kind, shown, data)
    android, webpush, apns = (message.get(name) or {} for name in ("android", "webpush", "apns"))
    _check_android(android)
    _check_webpush(webpush)
    headers = _texts("message.apns.headers", apns.get("headers"))
    android_shown = android.get("notification") or {}
    web_shown = webpush.get("notification") or {}
    tag = android_shown.get("tag") or web_shown.get("tag") or headers.get("apns-collapse-id")
    links = [
        Button(str(action.get("title")), str(action.get("action")))
        for action in web_shown.get("actions") or []
        if re.match("https?://", str(action.get("action")))
    ]
    details = {
        "kind": kind,
        "app": android.get("restricted_package_name"),
        "image": shown.get("image"),
        "link": (webpush.get("fcm_options") or {}).get("link") or data.get("link"),
        "priority": android.get("priority"),
        "ttl": android.get("ttl"),
        "collapse_key": android.get("collapse_key"),
        "tag": tag,
        "channel": android_shown.get("channel_id"),
        "sound": android_shown.get("sound"),
        "silent": "no" if shown else "yes",
    }
    return Push(
        kind,
        f"/topics/{target}" if kind == "topic" else target,
        shown.get("title", ""),
        shown.get("body", ""),
        data,
        (tuple(links),) if links else (),
        tag,
        not shown,
        bool(call.get("validate_only") or call.get("validateOnly")),
        {name: str(value) for name, value in details.items() if value},
    )


def _check_names(path: str, value: object) -> None:
    if not isinstance(value, dict):
        raise Wrong(f"Invalid value at '{path}'", path, is_parse=True)
    for name, inner in value.items():
        if name not in _FIELDS[path]:
            at = f" at '{path}'" if path else ""
            text = f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
            raise Wrong(text, path, is_parse=True)
        below = f"{path}.{name}" if path else str(name)
        if below in _FIELDS:
            _check_names(below, inner)


def _texts(path: str, value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Wrong(f"Invalid value at '{path}'", path, is_parse=True)
    for index, text in enumerate(value.values()):
        if not isinstance(text, str):
            at = f"{path}[{index}].value"
            raise Wrong(f"Invalid value at '{at}' (TYPE_STRING), {text}", at, is_parse=True)
    return dict(value)


def _data(path: str, value: object) -> dict[str, str]:
    data = _texts(path, value)
    for name in data:
        if _RESERVED.fullmatch(name):
            raise Wrong(f"Invalid data payload key: {name}", path)
    return data


def _target(message: Mapping[str, Any]) -> tuple[str, str]:
    given = [(kind, message[kind]) for kind in _TARGETS if message.get(kind)]
    if len(given) != 1 or not isinstance(given[0][1], str):
        text = "Recipient of the message is not set, or more than one is."
        raise Wrong(text, "message")
    kind, target = given[0]
    match kind:
        case "token" if not _TOKEN.fullmatch(target):
            text = "The registration token is not a valid FCM registration token"
            raise Wrong(text, "message.token")
        case "topic" if not _TOPIC.fullmatch(target):
            raise Wrong("Invalid topic name", "message.topic")
        case "condition" if not _is_condition(target):
            raise Wrong("Invalid condition expression provided.", "message.condition")
        case _:
            return kind, target


def _is_condition(text: str) -> bool:
    left = _CONDITION.sub("T", text)
    topics = left.count("T")
    return 1 <= topics <= _MOST_TOPICS and re.fullmatch(r"[T()!&|\s]+", left) is not None


def _check_size(kind: str, shown: Mapping[str, str], data: Mapping[str, str]) -> None:
    size = sum(
        len(text.encode()) for part in (shown, data) for pair in part.items() for text in pair
    )
    if size > (_MAX_BYTES if kind in ("token", "fid") else _MAX_TOPIC_BYTES):
        raise Wrong("Message is too big")  # Google names no field here


def _check_android(android: Mapping[str, Any]) -> None:
    _data("message.android.data", android.get("data"))
    if str(android.get("priority", "high")).lower() not in ("high", "normal"):
        text = "Invalid value at 'message.android.priority'"
        raise Wrong(text, "message.android.priority", is_parse=True)
    ttl = android.get("ttl")
    if ttl is None:
        return
    if not isinstance(ttl, str) or not _TTL.fullmatch(ttl):
        text = (
            "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration),"
            " Field 'ttl', Illegal duration format; duration must end with 's'"
        )
        raise Wrong(text, "message.android.ttl", is_parse=True)
    if float(ttl[:-1]) > _LONGEST_S:
        raise Wrong("Invalid value for 'ttl'", "message.android.ttl")


def _check_webpush(webpush: Mapping[str, Any]) -> None:
    _texts("message.webpush.headers", webpush.get("headers"))
    link = (webpush.get("fcm_options") or {}).get("link")
    if link is not None and not str(link).startswith("https://"):
        raise Wrong("The link must be an https URL", "message.webpush.fcm_options.link")
