"""What APNs is sent: headers that say what to do with a push, and the payload that is shown.

Source: "Sending notification requests to APNs", "Generating a remote notification".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from router.messages import Parcel, PushMessage, Reason, Rejected
from router.sinks import _push as push

_MAX_BYTES = 4096
_COLLAPSE_BYTES = 64
_LONGEST_S = 30 * 86_400
_DEVICE = re.compile(r"[0-9A-Fa-f]{2,200}")


@dataclass(frozen=True, slots=True)
class ApnsCall:
    """One push on the wire, without credentials."""

    path: str
    headers: Mapping[str, str]
    body: bytes


def apns_call(
    parcel: Parcel, message: PushMessage, topic: str | None, category: str | None, now: float
) -> ApnsCall | Rejected:
    """The call for a parcel, or why APNs would not take it.

    Args:
        topic: The app's bundle id; None leaves it to the client certificate.
        category: The app's category for messages with actions.
        now: Seconds since the epoch.
    """
    if (refused := push.check_message(message)) is not None:
        return refused
    device = parcel.target.address
    if not _DEVICE.fullmatch(device):
        return Rejected(Reason("token_malformed", "not a device token of APNs"))
    data = push.app_data(parcel, message)
    if "aps" in data:
        return Rejected(Reason("data_reserved", "APNs keeps the data key 'aps' to itself"))
    body = orjson.dumps({"aps": _aps(parcel, message, category), **data})
    if len(body) > _MAX_BYTES:
        return Rejected(Reason("too_large", f"{len(body)} of {_MAX_BYTES} bytes"))
    headers = {
        "apns-push-type": "background" if message.silent else "alert",
        "apns-priority": push.apns_priority(message),
        "apns-id": str(UUID(bytes=parcel.key)),
    }
    if topic is not None:
        headers["apns-topic"] = topic
    life = push.life_s(parcel, message, now, _LONGEST_S)
    if life is not None:
        headers["apns-expiration"] = str(int(now) + life) if life else "0"
    if message.collapse is not None:
        headers["apns-collapse-id"] = push.short_id(message.collapse, _COLLAPSE_BYTES)
    return ApnsCall(f"/3/device/{device}", headers, body)


def _aps(parcel: Parcel, message: PushMessage, category: str | None) -> dict[str, Any]:
    fields = push.aps(message, category)
    if not message.silent:
        marker = "[test] " if parcel.is_test else ""
        title = marker + message.title
        alert = {"title": title, "body": message.body}
        fields["alert"] = {name: text for name, text in alert.items() if text}
    return fields
