"""HTTP for all sinks: pools, deadlines, CA files, client certificates, proxies, address checks."""

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
from router.transport.trust import trusting


def open_client(options: HttpOptions) -> AbstractAsyncContextManager[HttpClient]:
    """A client for as long as the context is open; its pool is closed with it.

    The HTTP library is imported here, so that reading a configuration does not.

    Raises:
        OSError: the CA file can't be read or holds no certificate.
    """
    from router.transport.http1 import client

    return client.open_client(options)


def open_http2_client(options: HttpOptions) -> AbstractAsyncContextManager[HttpClient]:
    """The same over HTTP/2 alone: every request shares a few connections that stay open.

    A server that does not agree to HTTP/2 gets nothing (``NotSent``, ``http2_refused``).

    Raises:
        OSError: a file with certificates can't be read or used, or the proxy is not an HTTP one.
        ImportError: the ``push`` extra is not installed.
    """
    from router.transport.http2 import client

    return client.open_http2_client(options)


__all__ = [
    "AnswerLost",
    "HttpClient",
    "HttpOptions",
    "HttpRequest",
    "HttpResponse",
    "NotSent",
    "open_client",
    "open_http2_client",
    "trusting",
]
