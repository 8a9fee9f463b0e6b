"""HTTP for all sinks: one client, with pools, deadlines, CA files, proxies and address checks."""

from router.transport.client import open_client
from router.transport.model import (
    AnswerLost,
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    NotSent,
)

__all__ = [
    "AnswerLost",
    "HttpClient",
    "HttpOptions",
    "HttpRequest",
    "HttpResponse",
    "NotSent",
    "open_client",
]
