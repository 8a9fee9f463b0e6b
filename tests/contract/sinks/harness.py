"""Opens sinks against the sandbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from router.clock import Clock, SystemClock
from router.messages import Message, Outcome, Parcel, Target
from router.sandbox import Sandbox
from router.sinks import KINDS, BatchSink, Sink, SinkTools


class Open:
    """An open sink, and the parcels that a test sends through it."""

    def __init__(self, sink: Sink | BatchSink) -> None:
        self._sink = sink

    async def send(
        self, message: Message, address: str = "", key: int = 1, **changes: Any
    ) -> Outcome:
        assert isinstance(self._sink, Sink)
        return await self._sink.send(parcel(message, address, key, **changes))

    async def send_batch(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        assert isinstance(self._sink, BatchSink)
        return await self._sink.send_batch(parcels)


def parcel(message: Message, address: str = "", key: int = 1, **changes: Any) -> Parcel:
    target = changes.pop("target", None) or Target(address, "any")
    values = {"event_time": 1_767_323_045.0, "event_type": "order.paid", **changes}
    return Parcel(key.to_bytes(16, "big"), message, target, **values)


@asynccontextmanager
async def opened(kind: str, clock: Clock | None = None, **options: Any) -> AsyncGenerator[Open]:
    """A sink of a kind, open until the block ends."""
    sink_type = KINDS.load(kind)
    config = sink_type.config.model_validate({"type": kind, **options})
    async with sink_type.open(config, SinkTools(kind, clock or SystemClock())) as sink:
        yield Open(sink)


def smtp_options(box: Sandbox, **changes: Any) -> dict[str, Any]:
    """Options of an smtp sink that uses the sandbox with STARTTLS and a log-in."""
    return {
        "host": "127.0.0.1",
        "port": urlsplit(box.addresses["smtp"]).port,
        "from": "Acme, Inc. <no-reply@acme.example>",
        "username": box.credentials["smtp_user"],
        "password": box.credentials["smtp_password"],
        "ca_file": str(box.ca_file),
        **changes,
    }


def fcm_options(box: Sandbox, **changes: Any) -> dict[str, Any]:
    """Options of an fcm sink that uses the sandbox."""
    return {
        "base_url": box.addresses["fcm"],
        "credentials_file": box.credentials["fcm_credentials_file"],
        "ca_file": str(box.ca_file),
        **changes,
    }


def apns_options(box: Sandbox, **changes: Any) -> dict[str, Any]:
    """Options of an apns sink that uses both environments of the sandbox, with a key."""
    return {
        "production_url": box.addresses["apns"],
        "sandbox_url": box.addresses["apns-sandbox"],
        "topic": box.credentials["apns_topic"],
        "key_file": box.credentials["apns_key_file"],
        "key_id": box.credentials["apns_key_id"],
        "team_id": box.credentials["apns_team_id"],
        "ca_file": str(box.ca_file),
        **changes,
    }
