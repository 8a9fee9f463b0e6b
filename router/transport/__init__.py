"""HTTP for all sinks: one client, with pools, deadlines, CA files, proxies and address checks."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from router.transport.model import (
    AnswerLost,
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    NotSent,
)


def open_client(options: HttpOptions) -> AbstractAsyncContextManager[HttpClient]:
    """A client for as long as the context is open; its pool is closed with it.

    The HTTP library is imported here, so that reading a configuration does not.

    Raises:
        OSError: the CA file can't be read or holds no certificate.
    """
    from router.transport import client

    return client.open_client(options)


__all__ = [
    "AnswerLost",
    "HttpClient",
    "HttpOptions",
    "HttpRequest",
    "HttpResponse",
    "NotSent",
    "open_client",
]
