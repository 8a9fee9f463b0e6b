"""Parcels, answers and configurations with sensible defaults."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

from router.messages import (
    AnalyticsEvent,
    ChatMessage,
    Delivered,
    EmailMessage,
    Halt,
    InDoubt,
    Message,
    Outcome,
    Parcel,
    Rejected,
    Request,
    Retry,
    Target,
)
from router.sinks import KINDS, SinkConfig
from router.transport import HttpResponse

KEY = bytes(range(16))
NOW = 1_767_323_045.0
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BOT_TOKEN = "123456:planted-token_A"

SERVICE_ACCOUNT = orjson.dumps(
    {
        "type": "service_account",
        "project_id": "acme-shop",
        "private_key_id": "k1",
        "private_key": "planted-private-key",
        "client_email": "router@acme-shop.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
).decode()

ConfigT = TypeVar("ConfigT", bound=SinkConfig)

_SMALLEST: dict[str, dict[str, Any]] = {
    "smtp": {"host": "127.0.0.1", "from": "Acme <no-reply@acme.example>"},
    "telegram": {"token": BOT_TOKEN},
    "webhook": {"url": "https://partner.example/hook", "secrets": [WEBHOOK_SECRET]},
    "http": {"base_url": "https://crm.example/api/"},
    "max": {"token": "planted-max-token_A"},
    "mixpanel": {"token": "planted0mixpanel0token"},
    "carrotquest": {"token": "app.1.planted"},
    "fcm": {"credentials": SERVICE_ACCOUNT},
    "apns": {
        "topic": "com.acme.shop",
        "key": "planted-key",
        "key_id": "ABC123DEFG",
        "team_id": "DEF123GHIJ",
    },
    "kafka": {"bootstrap": "127.0.0.1:9092", "topic": "crm.commands"},
    "console": {},
    "file": {"path": "out.jsonl"},
}


def config(kind: type[ConfigT], **changes: Any) -> ConfigT:
    """The smallest valid configuration of a kind, changed."""
    name = kind.__module__.rpartition(".")[2]
    return kind.model_validate({"type": name, **_SMALLEST[name], **changes})


def smallest(name: str, **changes: Any) -> SinkConfig:
    return KINDS.load(name).config.model_validate({"type": name, **_SMALLEST[name], **changes})


def parcel(message: Message, address: str = "", **changes: Any) -> Parcel:
    target = changes.pop("target", None) or Target(address, "any")
    values = {"event_time": NOW, "event_type": "payment.failed", **changes}
    return Parcel(KEY, message, target, **values)


def chat(html: str = "Hello", address: str = "42", **changes: Any) -> Parcel:
    return parcel(ChatMessage(html), address, **changes)


def mail(address: str = "anna@example.com", **changes: Any) -> EmailMessage:
    values: dict[str, Any] = {"subject": "Order", "html": "<p>Hi</p>", "text": "Hi", **changes}
    return EmailMessage(**values)


def tracked(name: str = "Paid", person: str = "u-1", **changes: Any) -> Parcel:
    """A parcel with an analytics event; ``changes`` are its properties."""
    return parcel(AnalyticsEvent(name, person, NOW, changes))


def call(body: bytes | None = b"{}", **changes: Any) -> Parcel:
    return parcel(Request(body=body, **changes))


def answer(status: int, body: Any = None, **headers: str) -> HttpResponse:
    """A response; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, names, data)


def kind(result: Outcome) -> tuple[Any, ...]:
    """What of an outcome the table decides: its class, code, and what goes with them."""
    match result:
        case Retry(reason, after, scope):
            return Retry, reason.code, after, scope
        case Rejected(reason, recipient_gone):
            return Rejected, reason.code, recipient_gone
        case Halt(reason) | InDoubt(reason):
            return type(result), reason.code
        case Delivered(provider_id, _):
            return Delivered, provider_id
