"""Where messages go. One file a kind; a file's name is its ``type:`` in configuration.

Modules that start with an underscore are shared ground, every other module exports ``SINK``.
Installed plugins add kinds by entry points of the group ``router.sinks``; what they need to speak
HTTP as the built-in kinds do, and to read chat markup, is exported here too.
"""

from router.kinds import Kinds, Plugins
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
    mistake_in,
)
from router.sinks._http import HttpSink, answer_text, exchange, expect, json_body, retry_after
from router.sinks._markup import Rendered, render_html
from router.transport import HttpClient, HttpOptions, HttpRequest, HttpResponse, open_client

KINDS = Kinds("router.sinks", "SINK", Plugins("router.sinks", mistake_in))
"""The installed sink kinds."""

__all__ = [
    "KINDS",
    "Backoff",
    "BatchSink",
    "Breaker",
    "Channel",
    "Delivered",
    "Halt",
    "HttpClient",
    "HttpOptions",
    "HttpRequest",
    "HttpResponse",
    "HttpSink",
    "InDoubt",
    "Outcome",
    "Parcel",
    "Reason",
    "Rejected",
    "Rendered",
    "Retry",
    "Scope",
    "Sink",
    "SinkConfig",
    "SinkTools",
    "SinkType",
    "answer_text",
    "exchange",
    "expect",
    "json_body",
    "open_client",
    "render_html",
    "retry_after",
]
