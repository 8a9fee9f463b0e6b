"""From a host's name to a connection: names, addresses, proxies, TLS."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar, cast

import anyio.to_thread
from aiohappyeyeballs import start_connection
from yarl import URL

from router.messages import Reason
from router.transport.checks import ADDRESS_REFUSED, normalised, os_text, tls_context
from router.transport.guard import is_public
from router.transport.model import HttpOptions, NotSent

_NEXT_FAMILY_S = 0.25
_TLS_CLOSE_S = 1.0
_LONGEST_PROXY_ANSWER = 16 * 1024

NO_ANSWER = Reason("answer_timeout", "no answer in time")
CLIENT_CLOSED = Reason("client_closed", "the client was closed")

_NO_NAME = Reason("dns_failed", "the name does not resolve")

_Address: TypeAlias = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)
Greet: TypeAlias = Callable[[asyncio.Transport, ProtocolT], Awaitable[Reason | None]]
"""What else has to happen before a connection can be used; why it can't, if so."""


class Place(NamedTuple):
    """Where a connection leads to."""

    host: str
    port: int
    is_secure: bool


def _proxy_of(options: HttpOptions) -> URL | None:
    """The proxy to go through.

    Raises:
        OSError: it is not an ``http:`` one.
    """
    if options.proxy is None:
        return None
    proxy = URL(options.proxy)
    if proxy.scheme != "http" or not proxy.host:
        raise OSError("requests go through http: proxies only")
    return proxy


async def dialer_for(options: HttpOptions, protocol: str) -> Dialer:
    """How a client of these options connects; files with certificates are read in a thread.

    Args:
        protocol: What is spoken (ALPN).

    Raises:
        OSError: a file with certificates can't be read or used, or the proxy is not an HTTP one.
    """
    proxy = _proxy_of(options)
    context = await anyio.to_thread.run_sync(tls_context, options, protocol)
    return Dialer(options, context, proxy)


def basic(user: str, password: str) -> str:
    """Credentials as a header value (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Dialer:
    """How connections are made.

    Attributes:
        context: Trust, client certificate, and the protocols to offer.
        proxy: Carries what is secure through a tunnel, and is told the rest in plain text.
    """

    options: HttpOptions
    context: ssl.SSLContext
    proxy: URL | None

    async def dial(
        self, place: Place, make: Callable[[], ProtocolT], greet: Greet[ProtocolT] | None = None
    ) -> ProtocolT:
        """A connection that is ready for requests.

        Args:
            make: Makes the protocol's side of a connection.

        Raises:
            NotSent: there is none, and why.
        """
        if self.proxy is None:
            found = await self._resolve(place.host, place.port)
        else:
            found = await self._resolve(self.proxy.host or "", self.proxy.port or 80, is_proxy=True)
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                raw = await _connect(found, is_proxy=self.proxy is not None)
                try:
                    if self.proxy is not None and place.is_secure:
                        await _tunnel(raw, self.proxy, place.host, place.port)
                    return await self._speak(raw, place, make, greet)
                except BaseException:
                    raw.close()
                    raise
        except TimeoutError:
            raise NotSent(Reason("connect_timeout", "no connection in time")) from None
        except UnicodeError:  # behind a proxy nobody has looked the name up
            raise NotSent(_NO_NAME) from None

    async def _resolve(self, host: str, port: int, *, is_proxy: bool = False) -> list[_Address]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                answer = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise NotSent(Reason("dns_timeout", "the name was not resolved in time")) from None
        except (OSError, UnicodeError):
            raise NotSent(_NO_NAME) from None
        found = cast("list[_Address]", answer)
        is_free = host.rstrip(".").lower() in normalised(self.options.allow_hosts)
        if is_proxy or is_free or not self.options.public_only:
            return found
        public = [info for info in found if is_public(info[4][0])]
        if not public:
            raise NotSent(ADDRESS_REFUSED)
        return public

    async def _speak(
        self,
        raw: socket.socket,
        place: Place,
        make: Callable[[], ProtocolT],
        greet: Greet[ProtocolT] | None,
    ) -> ProtocolT:
        loop = asyncio.get_running_loop()
        try:
            if place.is_secure:
                transport, connection = await loop.create_connection(
                    make,
                    sock=raw,
                    ssl=self.context,
                    server_hostname=place.host,
                    ssl_shutdown_timeout=_TLS_CLOSE_S,
                )
            else:
                transport, connection = await loop.create_connection(make, sock=raw)
        except ssl.SSLCertVerificationError as error:
            reason = Reason("certificate_invalid", error.verify_message)
        except ssl.SSLError as error:
            reason = Reason("tls_failed", error.reason or "")
        except OSError as error:
            reason = Reason("connect_failed", os_text(error))
        else:
            refusal = await _greeted(transport, connection, greet)
            if refusal is None:
                return connection
            reason = refusal
            transport.abort()
        # Outside the handlers: what they caught stays out of tracebacks.
        raise NotSent(reason)


async def _greeted(
    transport: asyncio.Transport, connection: ProtocolT, greet: Greet[ProtocolT] | None
) -> Reason | None:
    if greet is None:
        return None
    try:
        return await greet(transport, connection)
    except asyncio.CancelledError:
        transport.abort()
        raise


async def _connect(found: list[_Address], *, is_proxy: bool) -> socket.socket:
    try:
        return await start_connection(found, happy_eyeballs_delay=_NEXT_FAMILY_S)
    except OSError as error:
        is_refusal = isinstance(error, ConnectionRefusedError)
        code = "connection_refused" if is_refusal else "connect_failed"
        reason = Reason("proxy_unreachable" if is_proxy else code, os_text(error))
    raise NotSent(reason)


async def _tunnel(raw: socket.socket, proxy: URL, host: str, port: int) -> None:
    """Has an HTTP proxy connect through (RFC 9110 §9.3.6)."""
    loop = asyncio.get_running_loop()
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.user is not None:
        lines.append(f"Proxy-Authorization: {basic(proxy.user, proxy.password or '')}")
    answer = b""
    try:
        await loop.sock_sendall(raw, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        while b"\r\n\r\n" not in answer and len(answer) < _LONGEST_PROXY_ANSWER:
            part = await loop.sock_recv(raw, 4096)
            if not part:
                break
            answer += part
    except OSError as error:
        raise NotSent(Reason("proxy_unreachable", os_text(error))) from None
    status = answer.split(b"\r\n", 1)[0].split(b" ")[1:2]
    if status != [b"200"]:
        said = status[0].decode("latin-1") if status and status[0].isdigit() else "no HTTP"
        raise NotSent(Reason("proxy_refused", f"the proxy answered {said}"))
