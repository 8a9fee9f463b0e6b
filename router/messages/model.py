"""Rendered messages by channel, and the parcel that carries one to a sink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeAlias

import orjson

from router.values import Secret


class Channel(StrEnum):
    """What kind of message a sink takes."""

    PUSH = "push"
    EMAIL = "email"
    CHAT = "chat"
    ANALYTICS = "analytics"
    REQUEST = "request"

    @property
    def is_personal(self) -> bool:
        """Sent per recipient and subject to person policies."""
        return self in _PERSONAL


_PERSONAL = frozenset({Channel.PUSH, Channel.EMAIL, Channel.CHAT})


@dataclass(frozen=True, slots=True)
class EmailMessage:
    """A mail, before MIME.

    Attributes:
        subject: One line of text.
        html: The body with its CSS inlined; None for a text-only mail.
        text: The plain-text part.
        reply_to: Address to answer to, if the template names one.
        locale: The locale found, for ``Content-Language``.
        unsubscribe_url: For ``List-Unsubscribe`` (RFC 8058), where the category is optional.
    """

    subject: str
    html: str | None
    text: str
    reply_to: str | None = None
    locale: str | None = None
    unsubscribe_url: str | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """A link below a chat message or a push."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A chat message in the neutral markup subset.

    Attributes:
        html: ``b i u s code pre a[href] blockquote`` and text; sinks turn it into their dialect.
        buttons: Rows of link buttons.
        silent: No sound at the receiver.
        link_preview: Show a preview of the first link.
        part: Of a message that is sent in several parts, which one this is, from 1; else 0.
        rest: The parts that follow, in order; each has no rest itself. Sinks pass them over.
    """

    html: str
    buttons: tuple[tuple[Button, ...], ...] = ()
    silent: bool = False
    link_preview: bool = True
    part: int = 0
    rest: tuple[ChatMessage, ...] = ()

    def next(self) -> ChatMessage | None:
        """The part to send once this one is delivered; None after the last."""
        return replace(self.rest[0], rest=self.rest[1:]) if self.rest else None


class Priority(StrEnum):
    """How soon a push should reach the device: ``high`` wakes it, ``normal`` may wait."""

    HIGH = "high"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class PushMessage:
    """A phone or browser notification.

    Attributes:
        title, body: What is shown; both empty with ``silent``.
        image: Address of a picture.
        link: What a tap opens.
        badge: Number on the app's icon; 0 removes it.
        sound: Name of a sound the app has; None keeps the platform's default.
        data: For the app, texts only.
        actions: Buttons; a button's ``url`` is what it opens.
        ttl: Seconds the provider may keep it for an offline device; None is its default.
        collapse: A newer push of the same collapse key replaces this one.
        silent: Delivered to the app without being shown.
    """

    title: str
    body: str
    image: str | None = None
    link: str | None = None
    badge: int | None = None
    sound: str | None = None
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    actions: tuple[Button, ...] = ()
    ttl: int | None = None
    priority: Priority = Priority.HIGH
    collapse: str | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True)
class AnalyticsEvent:
    """One tracked event. ``time`` is seconds since the epoch."""

    name: str
    distinct_id: str
    time: float
    properties: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """Changes to a person's analytics profile, applied in this order.

    Attributes:
        set, set_once: Property to value; ``set_once`` only where it has none.
        add: Property to a number that is added (not idempotent).
        append, union, remove: Property to a value (or, for ``union``, values) of a list.
        unset: Properties to remove.
    """

    distinct_id: str
    time: float
    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    set_once: Mapping[str, Any] = field(default_factory=dict[str, Any])
    add: Mapping[str, float] = field(default_factory=dict[str, float])
    append: Mapping[str, Any] = field(default_factory=dict[str, Any])
    union: Mapping[str, Any] = field(default_factory=dict[str, Any])
    remove: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request a sink sends to its base address.

    Attributes:
        method: Upper case.
        path: Appended to the sink's address, parameters already percent-encoded; may be empty.
        query: Query parameters.
        headers: Extra headers, never credentials.
        body: The exact bytes to send; None sends none.
        content_type: Media type of the body.
    """

    method: str = "POST"
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = "application/json"


Message: TypeAlias = (
    EmailMessage | ChatMessage | PushMessage | AnalyticsEvent | ProfileUpdate | Request
)

_KINDS: dict[str, type[Message]] = {
    "email": EmailMessage,
    "chat": ChatMessage,
    "push": PushMessage,
    "analytics": AnalyticsEvent,
    "profile": ProfileUpdate,
    "request": Request,
}
_NAMES = {cls: name for name, cls in _KINDS.items()}


def message_to_dict(message: Message) -> dict[str, Any]:
    """JSON-ready form; :func:`message_from_dict` reads it back."""
    fields = {name: getattr(message, name) for name in message.__slots__}
    if isinstance(message, Request) and message.body is not None:
        fields["body"] = message.body.decode("utf-8", "surrogateescape")
    elif isinstance(message, ChatMessage):
        fields["buttons"] = [[asdict(button) for button in row] for row in message.buttons]
        fields["rest"] = [message_to_dict(part) for part in message.rest]
    elif isinstance(message, PushMessage):
        fields["actions"] = [asdict(button) for button in message.actions]
    return {"kind": _NAMES[type(message)], **fields}


def message_from_dict(fields: Mapping[str, Any]) -> Message:
    """The message that :func:`message_to_dict` was given."""
    values = dict(fields)
    cls = _KINDS[values.pop("kind")]
    if cls is ChatMessage:
        values["buttons"] = tuple(tuple(Button(**b) for b in row) for row in values["buttons"])
        values["rest"] = tuple(message_from_dict(part) for part in values.get("rest", ()))
    elif cls is PushMessage:
        values["actions"] = tuple(Button(**b) for b in values["actions"])
        values["priority"] = Priority(values["priority"])
    elif cls is ProfileUpdate:
        values["unset"] = tuple(values["unset"])
    elif cls is Request:
        for name in ("query", "headers"):
            values[name] = tuple((k, v) for k, v in values[name])
        if values["body"] is not None:
            values["body"] = values["body"].encode("utf-8", "surrogateescape")
    return cls(**values)


def dump_message(message: Message) -> bytes:
    """Compact bytes for the ledger."""
    return orjson.dumps(message_to_dict(message))


def load_message(blob: bytes) -> Message:
    """The message from :func:`dump_message`'s bytes."""
    return message_from_dict(orjson.loads(blob))


@dataclass(frozen=True, slots=True)
class Target:
    """Where one message goes.

    Attributes:
        address: E-mail address, chat id, device token, or empty for a request.
        kind: ``email``, ``telegram``, ``max``, ``device``, ``request`` …: what the address is.
        registered_at: Seconds since the epoch when a device token was registered, if known.
        platform: Of a device: ``android``, ``ios`` or ``web``.
        environment: Of a device's token: ``production`` or ``sandbox``, if known.
        id: Of a device: the directory's id of it, which stays when its token is replaced.
    """

    address: str
    kind: str
    registered_at: float | None = None
    platform: str | None = None
    environment: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """All that a sink sees of a delivery.

    Attributes:
        key: The delivery's idempotency key, 16 bytes; goes to every provider that can use it.
        message: What to send.
        target: Where to.
        attempt: 1 for the first.
        event_time: Seconds since the epoch; deterministic dates and ids are made of it.
        expires_at: Seconds since the epoch after which it must not be sent; None never.
        event_type: For formats that carry it (Standard Webhooks).
        traceparent: W3C trace context to pass on, if the event had one.
        is_test: A test send: mark it.
        event_key: The event's own Kafka key, for sinks that keep its order.
        secrets: Signing secrets of the customer's endpoint that is the target.
    """

    key: bytes
    message: Message
    target: Target
    attempt: int = 1
    event_time: float = 0.0
    expires_at: float | None = None
    event_type: str = ""
    traceparent: str | None = None
    is_test: bool = False
    event_key: bytes | None = None
    secrets: tuple[Secret, ...] = ()
