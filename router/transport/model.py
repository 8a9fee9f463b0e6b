"""What goes over HTTP, and the two ways in which it can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from router.messages import Reason
from router.values import Secret


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. ``timeout_s`` bounds it as a whole, from pool to the last byte.

    Its ``repr`` shows neither address nor headers nor body: they may hold credentials.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_s: float = 15.0


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer. Header names are lower case.

    Attributes:
        truncated: The body is not whole: longer than ``HttpOptions.max_body``, or the connection
            or the deadline ended it. The status arrived and holds.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    truncated: bool = False


class NotSent(Exception):
    """The request can't have reached the provider: safe to send again."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class AnswerLost(Exception):
    """The request may have left and no status came back: the provider may have accepted it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How a client connects.

    Attributes:
        connections: Pool size: connections in all, over HTTP/2 connections to one host.
        connect_timeout_s: For TCP and TLS together, and again for the name's resolution.
        ca_file: PEM file that replaces the system's roots.
        verify: TLS verification; False is for a sandbox on loopback only.
        proxy: Proxy address; the environment's proxy variables are not read.
        public_only: Refuse addresses that are not public, checked on the addresses that are
            connected to. Behind a proxy, which resolves names itself, only literal addresses
            are checked.
        allow_hosts: Hosts that ``public_only`` lets through.
        max_body: Bytes of an answer that are read.
        cert_file, key_file: PEM files of a client certificate and its key; the key may stand in
            the certificate's file.
        key_password: Opens an encrypted key.
    """

    connections: int = 16
    connect_timeout_s: float = 5.0
    ca_file: str | None = None
    verify: bool = True
    proxy: str | None = None
    public_only: bool = False
    allow_hosts: frozenset[str] = frozenset()
    max_body: int = 256 * 1024
    cert_file: str | None = None
    key_file: str | None = None
    key_password: Secret | None = None


class HttpClient(Protocol):
    """An open client. It never follows redirects and never retries."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """The answer, whatever its status, as soon as status and headers are known for certain.

        Raises:
            NotSent: the request did not leave.
            AnswerLost: it may have left, and no status came back.
        """
        ...
