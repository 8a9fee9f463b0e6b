"""Kafka: records on a topic.

The value is the step's body, the key by default the event's own, so that what was in order stays
in order. Every record names its delivery in ``router-delivery-key``: Kafka recognises no repeats
across the router's attempts, its readers can.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from pydantic import Field

from router.kafka.connection import KafkaConnection
from router.kafka.errors import PublishFailed
from router.messages import (
    Channel,
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Request,
    Retry,
)
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.sinks._http import expect
from router.values import Duration

if TYPE_CHECKING:
    from router.kafka.producer import Producer

DELIVERY_KEY = "router-delivery-key"
"""The header with the delivery's key, in hexadecimal."""

_TOO_LARGE = re.compile(r"(MessageSizeTooLarge|RecordTooLarge|RecordListTooLarge)Error")
_NOT_ALLOWED = re.compile(
    r"(TopicAuthorizationFailed|ClusterAuthorizationFailed|AuthenticationFailed|PolicyViolation)"
    r"Error"
)
_NO_TOPIC = re.compile(r"(UnknownTopicOrPartition|InvalidTopic)Error")
_NOT_APPENDED = re.compile(
    r"(NotEnoughReplicas|NotLeaderForPartition|LeaderNotAvailable|BrokerNotAvailable)Error"
    r"|OutOfOrderSequenceNumber"  # an earlier record of the producer was refused
)
_NAME = re.compile(r"[A-Z][A-Za-z]{2,50}(?:Error|SequenceNumber|Epoch|Mapping|Exception)")

_Header = tuple[str, bytes]


class KafkaSinkConfig(SinkConfig, KafkaConnection):
    """Records on a topic of a Kafka cluster, acknowledged by all in-sync replicas."""

    topic: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Where to.", examples=["crm.commands"]
    )
    key: Literal["event", "path", "delivery", "none"] = Field(
        "event",
        description="Each record's key: the event's own; the `path` of the step's request, for a "
        "key made of the event's data; the delivery's; or none.",
    )
    format: Literal["plain", "cloudevents"] = Field(
        "plain",
        description="`cloudevents` adds the headers of CloudEvents' binary mode (`ce_id`, "
        "`ce_type` …); the id is the delivery's key, so readers recognise repeats by it.",
    )
    ce_source: str = Field(
        "/router",
        min_length=1,
        description="With `cloudevents`: who publishes.",
        examples=["/acme/router"],
    )
    timeout: Duration = Field(
        15.0, gt=0, description="A batch is acknowledged within this time.", examples=["15s"]
    )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to publish."""

    key: bytes | None
    value: bytes | None
    headers: tuple[_Header, ...]


def record(config: KafkaSinkConfig, parcel: Parcel) -> Outgoing | Rejected:
    """The record for a parcel, or why Kafka would not take it."""
    message = expect(parcel, Request)
    key = _key(config, parcel, message)
    if key is None and message.body is None:
        return Rejected(Reason("record_empty", "a record needs a key or a body"))
    own = _own_headers(config, parcel, message)
    taken = {name for name, _ in own}
    given = [(n, v.encode()) for n, v in message.headers if n.lower() not in taken]
    return Outgoing(key, message.body, (*given, *own))


def _key(config: KafkaSinkConfig, parcel: Parcel, message: Request) -> bytes | None:
    match config.key:
        case "event":
            return parcel.event_key
        case "path":
            return unquote(message.path.strip("/")).encode() or None
        case "delivery":
            return parcel.key.hex().encode()
        case "none":
            return None


def _own_headers(config: KafkaSinkConfig, parcel: Parcel, message: Request) -> list[_Header]:
    headers = {DELIVERY_KEY: parcel.key.hex()}
    if message.body is not None:
        headers["content-type"] = message.content_type
    if parcel.traceparent:
        headers["traceparent"] = parcel.traceparent
    if parcel.is_test:
        headers["router-test"] = "true"
    if config.format == "cloudevents":
        moment = datetime.fromtimestamp(parcel.event_time, UTC)
        headers |= {
            "ce_specversion": "1.0",
            "ce_id": parcel.key.hex(),
            "ce_source": config.ce_source,
            "ce_type": parcel.event_type,
            "ce_time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
    return [(name, value.encode()) for name, value in headers.items()]


def outcome(text: str, *, is_unsent: bool) -> Outcome:
    """What it means that a record was not acknowledged.

    Args:
        text: The client's line on it, which begins with or contains the error's name.
        is_unsent: The record can't have arrived.
    """
    name = _name(text)
    if _TOO_LARGE.search(text):
        return Rejected(Reason("too_large", name))
    if _NOT_ALLOWED.search(text):
        return Halt(Reason("not_allowed", name))
    if _NO_TOPIC.search(text):
        return Halt(Reason("topic_unknown", name))
    if _NOT_APPENDED.search(text):
        return Retry(Reason("not_available", name))
    if is_unsent:
        return Retry(Reason("not_sent", name))
    return InDoubt(Reason("not_acknowledged", name))


def _name(text: str) -> str:
    """The error's name alone: its text may quote what was sent."""
    if found := _NAME.search(text):
        return found[0]
    return "no answer in time" if text.startswith("no acknowledgement") else ""


@dataclass(frozen=True, slots=True)
class _Kafka:
    client: Producer
    config: KafkaSinkConfig

    async def send_batch(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        built = [record(self.config, parcel) for parcel in parcels]
        outcomes: list[Outcome] = [
            item if isinstance(item, Rejected) else Delivered() for item in built
        ]
        records = {at: item for at, item in enumerate(built) if isinstance(item, Outgoing)}
        places = list(records)
        batch = [(item.key, item.value, item.headers) for item in records.values()]
        try:
            await self.client.publish(self.config.topic, batch, timeout_s=self.config.timeout)
        except PublishFailed as error:
            for index, text in error.failed.items():
                outcomes[places[index]] = outcome(text, is_unsent=index in error.unsent)
        return outcomes


@asynccontextmanager
async def _open(config: KafkaSinkConfig, tools: SinkTools) -> AsyncGenerator[_Kafka]:
    from router.kafka.producer import producer

    async with producer(config) as client:
        yield _Kafka(client, config)


def _channel(config: KafkaSinkConfig) -> Channel:
    return Channel.REQUEST


SINK = SinkType("kafka", KafkaSinkConfig, _channel, "request", _open)
