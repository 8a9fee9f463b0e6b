"""Sections of ``router.yaml`` that are the router's own: delivery, admin, logs, dead letters."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from router.events import FeedbackType
from router.kafka.connection import KafkaConnection
from router.values import Duration, FilePath, Secret, Size


class Settings(BaseModel):
    """A section: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DeliverySettings(Settings):
    """How much work is under way at once, and how it ends."""

    window_records: int = Field(
        5000, ge=1, description="Unsettled records of one partition before it is paused."
    )
    window_bytes: Size = Field(
        32 * 1024**2, description="Bytes of unsettled records of one partition.", examples=["32MiB"]
    )
    total_bytes: Size = Field(
        128 * 1024**2, description="The same over all partitions.", examples=["128MiB"]
    )
    lane_capacity: int = Field(2000, ge=1, description="Deliveries that wait for one sink at most.")
    spill_rows: int = Field(
        100_000,
        ge=0,
        description="Deliveries of one full sink kept in the schedule before a pause.",
    )
    spill_bytes: Size = Field(1024**3, description="The same in bytes.", examples=["1GiB"])
    drain: Duration = Field(
        10.0, description="How long a revoked partition's sends may still take.", examples=["10s"]
    )
    grace: Duration = Field(
        25.0, description="How long a shutdown may take in all.", examples=["25s"]
    )
    resume_batch: int = Field(500, ge=1, description="Scheduled rows pulled at once.")


class AdminSettings(Settings):
    """The admin server, and the listener of probes and metrics."""

    listen: str = Field(
        "127.0.0.1:9090", description="Admin server (loopback unless a token is set)."
    )
    probes: str = Field("0.0.0.0:9091", description="Health, readiness and metrics.")
    token: Secret | None = Field(None, description="Bearer token that admin calls need.")
    enabled: bool = Field(True, description="Serve at all.")


class LogSettings(Settings):
    """Logs on standard error."""

    format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is console on a terminal, JSON otherwise."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity."
    )
    hash_key: Secret | None = Field(
        default=None,
        description="Key of the hashes that stand for people: with the same one they are the same "
        "in all replicas and after a restart. By default each process makes its own.",
        examples=["!env LOG_HASH_KEY"],
    )


class DeadLetterSettings(Settings):
    """Where dead letters go: a Kafka topic, or a file where there is no Kafka."""

    kafka: KafkaConnection | None = Field(
        None, description="Connection; by default the first Kafka source's."
    )
    topic: str = Field("router.dead-letters", description="Dead-letter topic.")
    replay_topic: str = Field("router.replay", description="The router's own topic for replays.")
    file: FilePath | None = Field(
        None, description="JSON lines file instead of a topic, for projects without Kafka."
    )


class FeedbackSettings(Settings):
    """Tells a Kafka topic, or a file, what became of deliveries, as CloudEvents."""

    kafka: KafkaConnection | None = Field(
        None, description="Connection; by default the first Kafka source's."
    )
    topic: str = Field("router.feedback", description="Feedback topic.")
    file: FilePath | None = Field(
        None,
        description="JSON lines file instead of a topic, for projects without Kafka.",
        examples=["feedback.jsonl"],
    )
    events: list[FeedbackType] = Field(
        default=["recipient_gone", "rejected", "dead", "suppressed"],
        min_length=1,
        description="What is reported: `recipient_gone` (the address is dead, and named), "
        "`rejected` (the provider will not take it), `dead` (given up otherwise), `suppressed` "
        "(a rule kept it back), `delivered`.",
        examples=[["recipient_gone"]],
    )
    max_waiting: int = Field(
        100_000,
        ge=0,
        description="So much may wait to be published; `delivered` past it is left out and "
        "counted, the rest never.",
    )
