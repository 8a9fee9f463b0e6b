"""The HTTP/1.1 client of all sinks: aiohttp, held to one attempt and to a precise failure.

A sink has to know whether a request can have reached its provider. aiohttp's exceptions alone do
not say so (its total timeout is the same exception in the pool and after the last byte), and it
resends idempotent methods by itself on a connection that broke. Here each attempt notes the
moment when it was handed to a connection; what fails before is :class:`NotSent`, what fails after
is :class:`AnswerLost`, and nothing is resent.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from router.messages import Reason
from router.transport.checks import (
    ADDRESS_REFUSED,
    check_head,
    checked_url,
    normalised,
    os_text,
    tls_context,
)
from router.transport.guard import is_public
from router.transport.model import (
    AnswerLost,
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    NotSent,
)

_KEEP_ALIVE_S = 15.0
_CLOSE_S = 2.0
_MOST_TIMEOUTS = 16


@asynccontextmanager
async def open_client(options: HttpOptions) -> AsyncGenerator[HttpClient]:
    """A client for as long as the context is open; its pool is closed with it.

    Raises:
        OSError: the CA file can't be read or holds no certificate.
    """
    context = await anyio.to_thread.run_sync(tls_context, options)
    connector = aiohttp.TCPConnector(
        limit=options.connections,
        ssl=context,
        resolver=_Resolver(options),
        keepalive_timeout=_KEEP_ALIVE_S,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        proxy=options.proxy,
        request_class=_Request,
        skip_auto_headers=("Accept-Encoding", "Content-Type"),
        headers={"User-Agent": "router"},
    )
    try:
        yield _Client(session, options)
    finally:
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await session.close()


class _Client:
    def __init__(self, session: aiohttp.ClientSession, options: HttpOptions) -> None:
        self._session = session
        self._max_body = options.max_body
        self._connect_timeout_s = options.connect_timeout_s
        self._options = options
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        check_head(request)
        url = checked_url(request.url, self._options)
        attempt = _Attempt()
        response: HttpResponse | None = None
        failure: NotSent | AnswerLost | None = None
        try:
            response = await self._exchange(request, url, attempt)
        except (aiohttp.ClientError, OSError, _Broken) as error:
            failure = _failure(error, was_sent=attempt.was_sent)
        if failure is not None:
            # Raised outside the handler: aiohttp's own exceptions quote the URL, and with it
            # whatever credential a provider wants in the path.
            raise failure
        assert response is not None
        return response

    async def _exchange(self, request: HttpRequest, url: URL, attempt: _Attempt) -> HttpResponse:
        async with self._session.request(
            request.method,
            url,
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            timeout=self._timeout(request.timeout_s),
            middlewares=(attempt,),
        ) as answer:
            body, truncated = await _read(answer, self._max_body)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return HttpResponse(answer.status, headers, body, truncated)

    def _timeout(self, total_s: float) -> aiohttp.ClientTimeout:
        """A sink's requests share one deadline: its object is made once."""
        timeout = self._timeouts.get(total_s)
        if timeout is None:
            timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=self._connect_timeout_s)
            if len(self._timeouts) < _MOST_TIMEOUTS:
                self._timeouts[total_s] = timeout
        return timeout


async def _read(answer: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """The body up to a limit, and whether some of it is missing."""
    parts: list[bytes] = []
    left = limit
    try:
        while left > 0:
            part = await answer.content.read(left)
            if not part:
                return b"".join(parts), False
            parts.append(part)
            left -= len(part)
        if not await answer.content.read(1):
            return b"".join(parts), False
    except (aiohttp.ClientError, OSError):
        pass
    answer.close()
    return b"".join(parts), True


class _Broken(Exception):
    """Stands in for the exceptions after which aiohttp would send an idempotent request again."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _Request(aiohttp.ClientRequest):
    """Notes when it is handed to a connection: from there on bytes may have left."""

    was_sent = False

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        self.was_sent = True
        return await super().send(conn)


class _Attempt:
    """The middleware of one request: keeps it in sight and takes away aiohttp's own retry."""

    def __init__(self) -> None:
        self._request: aiohttp.ClientRequest | None = None

    @property
    def was_sent(self) -> bool:
        return isinstance(self._request, _Request) and self._request.was_sent

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self._request = request
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise _Broken(error) from None


class _AddressRefused(OSError):
    """A name leads to addresses that are not public."""


class _ResolveTimeout(OSError):
    """A name was not resolved in time."""


class _Resolver(AbstractResolver):
    """System name resolution with a deadline and, where asked for, the address check."""

    def __init__(self, options: HttpOptions) -> None:
        self._system = ThreadedResolver()
        self._timeout_s = options.connect_timeout_s
        self._is_guarded = options.public_only and options.proxy is None
        self._allowed = normalised(options.allow_hosts)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._system.resolve(host, port, family)
        except TimeoutError:
            raise _ResolveTimeout("name not resolved in time") from None
        if not self._is_guarded or host.rstrip(".").lower() in self._allowed:
            return found
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise _AddressRefused("no public address")
        return public

    async def close(self) -> None:
        await self._system.close()


def _failure(error: Exception, *, was_sent: bool) -> NotSent | AnswerLost:
    cause = error.cause if isinstance(error, _Broken) else error
    before = _before_sending(cause)
    if before is not None:
        return NotSent(before)
    if was_sent:
        return AnswerLost(_after_sending(cause))
    if isinstance(cause, TimeoutError):
        return NotSent(Reason("pool_timeout", "no connection became free in time"))
    return NotSent(Reason("connect_failed", type(cause).__name__))


def _before_sending(error: Exception) -> Reason | None:
    """What failed while connecting; None where the error can come later as well."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            detail = getattr(error.certificate_error, "verify_message", "")
            return Reason("certificate_invalid", detail or "the certificate does not verify")
        case aiohttp.ClientConnectorSSLError():
            return Reason("tls_failed", getattr(error.os_error, "reason", None) or "")
        case aiohttp.ClientConnectorDNSError():
            match error.os_error:
                case _AddressRefused():
                    return ADDRESS_REFUSED
                case _ResolveTimeout():
                    return Reason("dns_timeout", "the name was not resolved in time")
                case _:
                    return Reason("dns_failed", "the name does not resolve")
        case aiohttp.ClientProxyConnectionError():
            return Reason("proxy_unreachable", os_text(error.os_error))
        case aiohttp.ClientConnectorError():
            is_refusal = isinstance(error.os_error, ConnectionRefusedError)
            code = "connection_refused" if is_refusal else "connect_failed"
            return Reason(code, os_text(error.os_error))
        case aiohttp.ClientHttpProxyError():
            return Reason("proxy_refused", f"the proxy answered {error.status}")
        case aiohttp.ConnectionTimeoutError():
            return Reason("connect_timeout", "no connection in time")
        case aiohttp.InvalidURL():
            return Reason("invalid_request", "not a URL that can be connected to")
        case _:
            return None


def _after_sending(error: Exception) -> Reason:
    match error:
        case TimeoutError():
            return Reason("answer_timeout", "no answer in time")
        case aiohttp.ClientResponseError():
            return Reason("answer_malformed", "the answer is not HTTP")
        case _:
            return Reason("connection_lost", "the connection broke before an answer")
