"""Where messages go. One file a kind; a file's name is its ``type:`` in configuration.

Modules that start with an underscore are shared ground, every other module exports ``SINK``.
"""

from router.kinds import Kinds
from router.messages import (
    Channel,
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Retry,
    Scope,
)
from router.sinks._contract import (
    Backoff,
    BatchSink,
    Breaker,
    Sink,
    SinkConfig,
    SinkTools,
    SinkType,
)

KINDS = Kinds("router.sinks", "SINK")
"""The installed sink kinds."""

__all__ = [
    "KINDS",
    "Backoff",
    "BatchSink",
    "Breaker",
    "Channel",
    "Delivered",
    "Halt",
    "InDoubt",
    "Outcome",
    "Parcel",
    "Reason",
    "Rejected",
    "Retry",
    "Scope",
    "Sink",
    "SinkConfig",
    "SinkTools",
    "SinkType",
]
