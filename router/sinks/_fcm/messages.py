"""What FCM is sent: one notification and its data, and what differs by platform."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from router.messages import Parcel, Priority, PushMessage, Reason, Rejected, Target
from router.sinks import _push as push

_MAX_BYTES = 4096
_MAX_TOPIC_BYTES = 2048
_LONGEST_S = 2_419_200
_COLLAPSE_BYTES = 64
_RESERVED = re.compile(r"from|message_type|google.*|gcm.*", re.IGNORECASE | re.DOTALL)
_TOPIC = re.compile(r"[A-Za-z0-9\-_.~%]{1,900}")


@dataclass(frozen=True, slots=True)
class Look:
    """What all messages of a sink have in common.

    Attributes:
        platforms: Which ones a message to a topic, or to a device of no known platform, is for.
        android_channel, android_package, ios_category, analytics_label: See the sink's options.
    """

    platforms: Sequence[str]
    android_channel: str | None = None
    android_package: str | None = None
    ios_category: str | None = None
    analytics_label: str | None = None


def fcm_message(
    look: Look, parcel: Parcel, message: PushMessage, now: float
) -> dict[str, Any] | Rejected:
    """The ``message`` of FCM's API, or why FCM would not take it.

    Args:
        now: Seconds since the epoch.
    """
    if (refused := push.check_message(message)) is not None:
        return refused
    data = push.app_data(parcel, message)
    if taken := [key for key in data if _RESERVED.fullmatch(key)]:
        return Rejected(Reason("data_reserved", f"FCM keeps the data key {taken[0]!r} to itself"))
    addressed = _addressed(parcel.target)
    if isinstance(addressed, Rejected):
        return addressed
    shown = _notification(message)
    limit = _MAX_BYTES if "token" in addressed else _MAX_TOPIC_BYTES
    size = sum(len(k.encode()) + len(v.encode()) for part in (shown, data) for k, v in part.items())
    if size > limit:
        return Rejected(Reason("too_large", f"{size} of {limit} bytes"))
    fields: dict[str, Any] = {**addressed, "data": data}
    if shown:
        fields["notification"] = shown
    life = push.life_s(parcel, message, now, _LONGEST_S)
    platforms = [parcel.target.platform] if parcel.target.platform else look.platforms
    if "android" in platforms:
        fields["android"] = _android(look, message, life)
    if "ios" in platforms:
        fields["apns"] = _apns(look, message, life, now)
    if "web" in platforms:
        fields["webpush"] = _webpush(message, life)
    if look.analytics_label is not None:
        fields["fcm_options"] = {"analytics_label": look.analytics_label}
    return fields


def _addressed(target: Target) -> dict[str, str] | Rejected:
    match target.kind:
        case "topic":
            name = target.address.removeprefix("/topics/")
            if not _TOPIC.fullmatch(name):
                return Rejected(Reason("topic_invalid", "not a topic's name"))
            return {"topic": name}
        case "condition":
            return {"condition": target.address}
        case _:
            return {"token": target.address}


def _notification(message: PushMessage) -> dict[str, str]:
    if message.silent:
        return {}
    shown = {"title": message.title, "body": message.body, "image": message.image}
    return {name: text for name, text in shown.items() if text}


def _android(look: Look, message: PushMessage, life: int | None) -> dict[str, Any]:
    is_urgent = message.priority is Priority.HIGH and not message.silent
    fields: dict[str, Any] = {"priority": "high" if is_urgent else "normal"}
    if life is not None:
        fields["ttl"] = f"{life}s"
    if message.collapse is not None:
        fields["collapse_key"] = message.collapse
    if look.android_package is not None:
        fields["restricted_package_name"] = look.android_package
    if message.silent:
        return fields
    shown: dict[str, Any] = {}
    if look.android_channel is not None:
        shown["channel_id"] = look.android_channel
    if message.collapse is not None:
        shown["tag"] = message.collapse
    if message.sound is None:
        shown["default_sound"] = True
    elif message.sound:
        shown["sound"] = message.sound
    if message.badge is not None:
        shown["notification_count"] = message.badge
    if shown:
        fields["notification"] = shown
    return fields


def _apns(look: Look, message: PushMessage, life: int | None, now: float) -> dict[str, Any]:
    headers = {
        "apns-push-type": "background" if message.silent else "alert",
        "apns-priority": push.apns_priority(message),
    }
    if life is not None:
        headers["apns-expiration"] = str(int(now) + life) if life else "0"
    if message.collapse is not None:
        headers["apns-collapse-id"] = push.short_id(message.collapse, _COLLAPSE_BYTES)
    return {"headers": headers, "payload": {"aps": push.aps(message, look.ios_category)}}


def _webpush(message: PushMessage, life: int | None) -> dict[str, Any]:
    is_urgent = message.priority is Priority.HIGH and not message.silent
    headers = {"Urgency": "high" if is_urgent else "normal"}
    if life is not None:
        headers["TTL"] = str(life)
    if message.collapse is not None:
        headers["Topic"] = push.url_id(message.collapse)
    fields: dict[str, Any] = {"headers": headers}
    shown: dict[str, Any] = {}
    if message.collapse is not None:
        shown["tag"] = message.collapse
    if message.actions:
        shown["actions"] = [{"action": a.url, "title": a.text} for a in message.actions]
    if shown and not message.silent:
        fields["notification"] = shown
    if message.link is not None and message.link.startswith("https://"):
        fields["fcm_options"] = {"link": message.link}
    return fields
