"""One SMTP connection: what it was doing when it ended, and nothing left half done.

aiosmtplib speaks the protocol; its ``sendmail`` can't tell whether a connection broke before or
after the final dot, so the transaction is written here, command by command.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias, cast

import aiosmtplib
import aiosmtplib.protocol
import anyio

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")


class Stage(StrEnum):
    """How far a delivery came. ``DOT``: its end was written and the answer is awaited."""

    CONNECT = "connect"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class Answered(Exception):
    """The server refused. ``enhanced`` is its RFC 3463 code, if it gave one."""

    def __init__(self, stage: Stage, code: int, enhanced: str | None) -> None:
        super().__init__(f"{stage} {code} {enhanced or ''}".strip())
        self.stage = stage
        self.code = code
        self.enhanced = enhanced


class Broken(Exception):
    """The connection ended or made no sense; ``code`` is a reason code."""

    def __init__(self, stage: Stage, code: str, text: str = "") -> None:
        super().__init__(f"{stage} {code}")
        self.stage = stage
        self.code = code
        self.text = text


class Unsupported(Exception):
    """The server lacks what the configuration demands; ``code`` is a reason code."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Password:
    """A log-in with AUTH PLAIN or LOGIN."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A log-in with AUTH XOAUTH2: an OAuth 2 access token that stands for the user."""

    username: str
    token: str = field(repr=False)


Login: TypeAlias = Password | AccessToken


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach a server."""

    host: str
    port: int
    implicit_tls: bool
    starttls: bool
    ehlo_name: str
    tls: ssl.SSLContext | None


class Session:
    """A connection that carries one mail at a time.

    Attributes:
        stage: What it is doing, for the one who has to conclude from an interruption.
        sent: Mails accepted on it.
        idle_since: Monotonic seconds of its last use.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            local_hostname=server.ehlo_name,
            use_tls=server.implicit_tls,
            start_tls=False,
            tls_context=server.tls,
            timeout=None,
        )
        self._writer: asyncio.StreamWriter | None = None
        self.stage = Stage.CONNECT
        self.sent = 0
        self.idle_since = 0.0

    @property
    def is_open(self) -> bool:
        return self._client.is_connected

    def offers(self, extension: str) -> bool:
        return self._client.supports_extension(extension)

    @property
    def size_limit(self) -> int:
        """Bytes that the server takes at most; 0 where it does not say."""
        text = self._client.esmtp_extensions.get("size", "").strip()
        return int(text) if text.isdigit() else 0

    async def open(self) -> None:
        """Connects and encrypts.

        Raises:
            Answered, Broken, Unsupported: it did not come to a usable connection.
        """
        with self._conclusions():
            self.stage = Stage.CONNECT
            await self._client.connect()
            await self._ehlo()
            if self._server.starttls:
                self.stage = Stage.STARTTLS
                if not self.offers("starttls"):
                    raise Unsupported("starttls_missing", "the server does not offer STARTTLS")
                await self._client.starttls()
                await self._ehlo()

    async def log_in(self, login: Login) -> None:
        """Authenticates. A refusal (``Answered``) may be followed by another try.

        Raises:
            Answered, Broken, Unsupported: the server does not know the user now.
        """
        self.stage = Stage.AUTH
        offered = self._client.server_auth_methods
        with self._conclusions():
            match login:
                case AccessToken(username, token):
                    if "xoauth2" not in offered:
                        raise Unsupported("auth_missing", "the server does not offer AUTH XOAUTH2")
                    await self._client.auth_xoauth2(username, token)
                case Password(username, password) if "plain" in offered:
                    await self._client.auth_plain(username, password)
                case Password(username, password) if "login" in offered:
                    await self._client.auth_login(username, password)
                case Password():
                    raise Unsupported(
                        "auth_missing", "the server offers neither AUTH PLAIN nor LOGIN"
                    )

    async def deliver(
        self, sender: str, recipient: str, data: bytes, parameters: tuple[str, ...]
    ) -> str:
        """One mail to one recipient; the server's text after the final dot.

        Raises:
            Answered, Broken: it was not accepted, or (``Broken`` at ``DOT``) nobody knows.
        """
        options = [parameter.encode("ascii") for parameter in parameters]
        with self._conclusions():
            await self._command(Stage.MAIL, b"MAIL", b"FROM:<%s>" % sender.encode(), *options)
            await self._command(Stage.RCPT, b"RCPT", b"TO:<%s>" % recipient.encode())
            await self._command(Stage.DATA, b"DATA")
            text = await self._data(data)
        self.sent += 1
        return text

    async def reset(self) -> bool:
        """Whether the connection is clean and can be used again."""
        return await self._probe(b"RSET")

    async def is_alive(self) -> bool:
        return await self._probe(b"NOOP")

    async def quit(self) -> None:
        """Says goodbye, if there is time, and closes."""
        try:
            if self.is_open:
                await self._client.quit()
        except (aiosmtplib.SMTPException, OSError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        self._client.close()

    async def _ehlo(self) -> None:
        self.stage = Stage.EHLO
        await self._client.ehlo()

    @contextmanager
    def _conclusions(self) -> Generator[None]:
        """Turns the library's errors into what they say at the present stage."""
        try:
            yield
        except (aiosmtplib.SMTPConnectResponseError, aiosmtplib.SMTPResponseException) as error:
            raise _answered(self.stage, error.code, error.message) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _broken(self.stage, error) from None

    async def _command(self, stage: Stage, *words: bytes) -> None:
        self.stage = stage
        response = await self._client.execute_command(*words)
        expected = 3 if stage is Stage.DATA else 2
        if response.code // 100 != expected:
            raise _answered(stage, response.code, response.message)

    async def _data(self, data: bytes) -> str:
        """Writes the body, then, once that has left, its end: only then may it be accepted."""
        protocol = self._client.protocol
        if protocol is None or not protocol.is_connected:
            raise Broken(Stage.DATA, "connection_lost")
        writer = self._flow_control(protocol)
        body = data.replace(b"\r\n.", b"\r\n..")
        if body.startswith(b"."):
            body = b"." + body
        if not body.endswith(b"\r\n"):
            body += b"\r\n"
        protocol.write(body)
        await writer.drain()
        if not protocol.is_connected:
            raise Broken(Stage.DATA, "connection_lost")
        self.stage = Stage.DOT
        protocol.write(b".\r\n")
        response = await protocol.read_response()
        if response.code // 100 != 2:
            raise _answered(Stage.DOT, response.code, response.message)
        return response.message

    def _flow_control(self, protocol: aiosmtplib.protocol.SMTPProtocol) -> asyncio.StreamWriter:
        """What waits until everything written has left. Kept: a writer ends its connection."""
        if self._writer is None:
            transport = cast("asyncio.WriteTransport", protocol.transport)
            transport.set_write_buffer_limits(high=1, low=0)  # TLS would never resume at 0
            self._writer = asyncio.StreamWriter(
                transport, cast("Any", protocol), None, asyncio.get_running_loop()
            )
        return self._writer

    async def _probe(self, command: bytes) -> bool:
        try:
            with anyio.fail_after(5):
                response = await self._client.execute_command(command)
        except (aiosmtplib.SMTPException, OSError):
            return False
        return response.code == 250


def _answered(stage: Stage, code: int, message: str) -> Answered | Broken:
    if not 200 <= code < 600:
        return Broken(stage, "answer_malformed", "the answer is not SMTP")
    match = _ENHANCED.match(message)
    return Answered(stage, code, match[1] if match else None)


def _broken(stage: Stage, error: Exception) -> Broken:
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return Broken(stage, "certificate_invalid", cause.verify_message)
            case ssl.SSLError():
                return Broken(stage, "tls_failed", cause.reason or "")
            case ConnectionRefusedError():
                return Broken(stage, "connection_refused", "connection refused")
            case _:
                cause = cause.__cause__
    if isinstance(error, TimeoutError):
        return Broken(stage, "timeout", "no answer in time")
    code = "connect_failed" if stage is Stage.CONNECT else "connection_lost"
    return Broken(stage, code, f"at {stage}")
