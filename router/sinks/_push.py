"""What push sinks share: the app's data, lives, collapse ids, Apple's ``aps``, and the extra."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from importlib.util import find_spec
from typing import Any, Final

import orjson

from router.messages import Parcel, Priority, PushMessage, Reason, Rejected

DELIVERY_KEY: Final = "delivery_key"
"""Under this name the app finds the delivery's key, by which it can tell a repeat."""

_OWN_KEYS = (DELIVERY_KEY,)
_EXTRA = ("cryptography", "hpack")


def need_extra(kind: str) -> None:
    """Raises:
    ValueError: packages that push sinks need are not installed; the text names the extra.
    """
    if not all(find_spec(name) for name in _EXTRA):
        raise ValueError(f"a {kind} sink needs an extra: pip install 'router[push]'")


def check_message(message: PushMessage) -> Rejected | None:
    """Why no push provider would take it, if so."""
    if not message.silent and not (message.title or message.body):
        return Rejected(Reason("text_empty", "the push has neither title nor body"))
    if taken := sorted(set(message.data) & set(_OWN_KEYS)):
        return Rejected(Reason("data_reserved", f"data has a key of the router's own: {taken[0]}"))
    return None


def app_data(parcel: Parcel, message: PushMessage) -> dict[str, str]:
    """What the app gets: the message's data, and what it needs to open links and tell repeats.

    ``link``, ``image`` and ``actions`` (JSON, a list of ``text`` and ``url``) are added under
    these names unless the message's own data has them.
    """
    data: dict[str, str] = {}
    if message.link is not None:
        data["link"] = message.link
    if message.image is not None:
        data["image"] = message.image
    if message.actions:
        actions = [{"text": action.text, "url": action.url} for action in message.actions]
        data["actions"] = orjson.dumps(actions).decode()
    return {**data, **message.data, DELIVERY_KEY: parcel.key.hex()}


def life_s(parcel: Parcel, message: PushMessage, now: float, longest: int) -> int | None:
    """Whole seconds that the provider may keep the message; None leaves it to the provider.

    The message's own ``ttl`` and what is left until the delivery expires: the shorter holds.
    """
    bounds = [float(message.ttl)] if message.ttl is not None else []
    if parcel.expires_at is not None:
        bounds.append(parcel.expires_at - now)
    return max(0, min(int(min(bounds)), longest)) if bounds else None


def short_id(text: str, limit: int) -> str:
    """The text, or 22 characters that stand for it where it has more bytes than the limit."""
    return text if len(text.encode()) <= limit else url_id(text)


def url_id(text: str) -> str:
    """22 URL-safe characters that stand for a text."""
    return encode_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())


def encode_bytes(data: bytes) -> str:
    """URL-safe base64 without padding, as JWTs have it (RFC 7515 §2)."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def apns_priority(message: PushMessage) -> str:
    """Apple's number: a push that shows nothing must be 5."""
    return "10" if message.priority is Priority.HIGH and not message.silent else "5"


def aps(message: PushMessage, category: str | None) -> dict[str, Any]:
    """Apple's part of the payload, without the alert."""
    if message.silent:
        return {"content-available": 1}
    fields: dict[str, Any] = {}
    if message.sound is None:
        fields["sound"] = "default"
    elif message.sound:
        fields["sound"] = message.sound
    if message.badge is not None:
        fields["badge"] = message.badge
    if message.image is not None:
        fields["mutable-content"] = 1
    if message.actions and category is not None:
        fields["category"] = category
    return fields
