"""File: appends each message as a line of JSON, in batches and off the event loop."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

import anyio
import anyio.to_thread
import orjson
from pydantic import Field

from router.clock import Clock
from router.messages import (
    Channel,
    Delivered,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    message_to_dict,
)
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.values import FilePath


class FileConfig(SinkConfig):
    """Messages appended to a file, one JSON object a line."""

    path: FilePath = Field(
        min_length=1,
        description="The file; it and its folder are made when missing.",
        examples=["out/messages.jsonl"],
    )
    channel: Literal["analytics", "chat", "email", "push", "request"] = Field(
        "chat", description="What kind of message it takes.", examples=["email"]
    )
    fsync: bool = Field(
        False, description="Wait until the disk has each batch before it counts as delivered."
    )
    real: bool = Field(False, description="Reaches real people: it does not.")


def line(parcel: Parcel, now: float) -> bytes:
    """A parcel as a line of JSON. ``now`` is seconds since the epoch."""
    fields = {
        "key": parcel.key.hex(),
        "time": datetime.fromtimestamp(now, UTC).isoformat(),
        "address_kind": parcel.target.kind,
        "address": parcel.target.address,
        "event_type": parcel.event_type,
        "attempt": parcel.attempt,
        "is_test": parcel.is_test,
        "message": message_to_dict(parcel.message),
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


class _File:
    def __init__(self, descriptor: int, clock: Clock, *, fsync: bool) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._fsync = fsync
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def send_batch(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        now = self._clock.now()
        data = b"".join(line(parcel, now) for parcel in parcels)
        try:
            await anyio.to_thread.run_sync(self._append, data, limiter=self._one_at_a_time)
        except OSError as error:
            reason = Reason("write_failed", error.strerror or "the file can't be written")
            return [InDoubt(reason)] * len(parcels)
        return [Delivered()] * len(parcels)

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        if self._fsync:
            os.fsync(self._descriptor)


def _open_file(path: str) -> int:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


@asynccontextmanager
async def _open(config: FileConfig, tools: SinkTools) -> AsyncGenerator[_File]:
    descriptor = await anyio.to_thread.run_sync(_open_file, config.path)
    try:
        yield _File(descriptor, tools.clock, fsync=config.fsync)
    finally:
        os.close(descriptor)


def _channel(config: FileConfig) -> Channel:
    return Channel(config.channel)


SINK = SinkType("file", FileConfig, _channel, "any", _open)
