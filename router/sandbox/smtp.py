"""A mail server (RFC 5321) that keeps what it gets: TLS, AUTH, quotas, greylisting, faults."""

from __future__ import annotations

import base64
import binascii
import hmac
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import final

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from router.clock import Clock, SystemClock
from router.sandbox.faults import UNREAD, Fault, Faults
from router.sandbox.http import reset_on_close
from router.sandbox.mail import parse_mail, why_malformed
from router.sandbox.record import Record

_WIRE = SystemClock()  # faults take real time, whatever the sandbox's clock shows
_MAX_LINE = 2048


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """How the server behaves.

    Attributes:
        credentials: User to password, for AUTH PLAIN and LOGIN.
        requires_auth: MAIL needs AUTH before it.
        auth_needs_tls: AUTH is neither offered nor taken in the clear (RFC 4954 section 4).
        size_bytes: The SIZE limit.
        extensions: Of ``8BITMIME``, ``SMTPUTF8``, ``PIPELINING``: those offered.
        messages_per_connection: After so many, MAIL gets 421; None for no limit.
        greylist_s: The first attempt of a (sender, recipient) gets 451 and has to come again
            after so many seconds; None takes mail at once.
        banner_delay_s: How long the greeting takes.
    """

    credentials: Mapping[str, str] = field(default_factory=lambda: {"sandbox": "sandbox-password"})
    requires_auth: bool = False
    auth_needs_tls: bool = True
    size_bytes: int = 10 * 1024**2
    extensions: frozenset[str] = frozenset({"8BITMIME", "SMTPUTF8", "PIPELINING"})
    messages_per_connection: int | None = None
    greylist_s: float | None = None
    banner_delay_s: float = 0.0


_STATES: Mapping[str, str | None] = {
    "alive": None,
    "unknown": "550 5.1.1 no such mailbox",
    "disabled": "550 5.2.1 mailbox disabled",
    "full": "452 4.2.2 mailbox full",
    "refused": "550 5.7.1 message refused by policy",
}


@final
class MailServer:
    """Mailboxes at any address."""

    name = "smtp"

    def __init__(
        self,
        record: Record,
        clock: Clock,
        settings: SmtpSettings = SmtpSettings(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.faults = Faults()
        self.record = record
        self.clock = clock
        self.settings = settings
        self.tls = tls
        self._states: dict[str, str] = {}
        self._greylist: dict[tuple[str, str], float] = {}

    def set_state(self, target: str, state: str) -> None:
        """What becomes of mail to an address: ``alive``, ``unknown``, ``disabled``, ``full`` or
        ``refused``.

        Raises:
            ValueError: there is no such state.
        """
        if state not in _STATES:
            raise ValueError(f"no state {state!r} of a mailbox; there are {', '.join(_STATES)}")
        self._states[target] = state

    def verdict(self, sender: str, recipient: str) -> str | None:
        """The refusal of this recipient, or None."""
        if refusal := _STATES[self._states.get(recipient, "alive")]:
            return refusal
        if self.settings.greylist_s is not None:
            first = self._greylist.setdefault((sender, recipient), self.clock.now())
            if self.clock.now() < first + self.settings.greylist_s:
                return "451 4.7.1 greylisted, try again later"
        return None

    @asynccontextmanager
    async def serve(self, port: int = 0, *, implicit_tls: bool = False) -> AsyncGenerator[int]:
        """Serves on loopback until the block ends; gives the port."""

        async def handle(stream: SocketStream) -> None:
            with anyio.CancelScope() as scope:
                try:
                    await _serve_connection(self, stream, implicit_tls)
                except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError, OSError):
                    scope.cancel()
                finally:
                    await anyio.aclose_forcefully(stream)

        async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as tcp:
            failure: Exception | None = None
            async with anyio.create_task_group() as group:
                group.start_soon(tcp.serve, handle)
                try:
                    yield int(tcp.extra(SocketAttribute.local_port))
                except Exception as error:  # leaves as it is, not wrapped into the group's
                    failure = error
                group.cancel_scope.cancel()
            if failure is not None:
                raise failure


async def _serve_connection(server: MailServer, stream: SocketStream, implicit_tls: bool) -> None:
    session = _Session(server, stream)
    if implicit_tls:
        await session.start_tls()
    await session.run()


class _HangUp(Exception):
    """Ends the session."""


@dataclass(slots=True)
class _Transaction:
    sender: str
    recipients: list[str] = field(default_factory=list[str])
    parameters: frozenset[str] = frozenset()
    pending: Fault | None = None


class _Session:
    """One connection: commands in, replies out."""

    def __init__(self, server: MailServer, stream: SocketStream) -> None:
        self._server = server
        self._socket = stream
        self._stream: ByteStream = stream
        self._reader = BufferedByteReceiveStream(stream)
        self._is_secure = False
        self._user: str | None = None
        self._greeted = False
        self._transaction: _Transaction | None = None
        self._messages = 0

    async def start_tls(self) -> None:
        tls = await TLSStream.wrap(
            self._stream,
            server_side=True,
            ssl_context=self._server.tls,
            standard_compatible=False,
        )
        self._stream, self._is_secure = tls, True
        self._reader = BufferedByteReceiveStream(tls)  # what came before TLS is forgotten
        self._greeted, self._user, self._transaction = False, None, None

    async def run(self) -> None:
        try:
            await _WIRE.sleep(self._server.settings.banner_delay_s)
            if fault := self._server.faults.draw(UNREAD, or_any=False):
                await self._strike(fault)
                raise _HangUp
            await self._say("220 sandbox.test ESMTP")
            while True:
                await self._command(await self._line())
        except _HangUp:
            return
        except anyio.DelimiterNotFound:
            await self._say("500 5.5.2 line too long")

    async def _command(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO" | "HELO":
                await self._hello(verb.upper(), rest)
            case "STARTTLS":
                await self._starttls()
            case "AUTH":
                await self._auth(rest)
            case "MAIL":
                await self._mail(rest)
            case "RCPT":
                await self._rcpt(rest)
            case "DATA":
                await self._data()
            case "RSET":
                self._transaction = None
                await self._say("250 2.0.0 Ok")
            case "NOOP":
                await self._say("250 2.0.0 Ok")
            case "VRFY":
                await self._say("252 2.1.5 will try")
            case "QUIT":
                await self._say("221 2.0.0 Bye")
                raise _HangUp
            case _:
                await self._say("500 5.5.1 command unknown")

    async def _hello(self, verb: str, name: str) -> None:
        if not name.strip():
            await self._say(f"501 5.5.4 {verb} needs a name")
            return
        self._greeted, self._transaction = True, None
        if verb == "HELO":
            await self._say("250 sandbox.test")
            return
        server = self._server
        lines = ["sandbox.test", f"SIZE {server.settings.size_bytes}", "ENHANCEDSTATUSCODES"]
        lines += sorted(server.settings.extensions)
        if server.tls is not None and not self._is_secure:
            lines.append("STARTTLS")
        if self._may_auth:
            lines.append("AUTH PLAIN LOGIN")
        replies = [f"250-{text}" for text in lines[:-1]] + [f"250 {lines[-1]}"]
        await self._say("\r\n".join(replies))

    @property
    def _may_auth(self) -> bool:
        return self._is_secure or not self._server.settings.auth_needs_tls

    async def _starttls(self) -> None:
        if self._server.tls is None or self._is_secure:
            await self._say("502 5.5.1 no STARTTLS here")
            return
        await self._say("220 2.0.0 ready to start TLS")
        await self.start_tls()

    async def _auth(self, rest: str) -> None:
        if not self._may_auth:
            await self._say("538 5.7.11 encryption required for AUTH")
            return
        if self._user is not None:
            await self._say("503 5.5.1 already authenticated")
            return
        mechanism, _, initial = rest.partition(" ")
        try:
            match mechanism.upper():
                case "PLAIN":
                    given = initial or await self._ask("")
                    user, password = _decode(given).split("\0")[1:]
                case "LOGIN":
                    user = _decode(initial or await self._ask("Username:"))
                    password = _decode(await self._ask("Password:"))
                case _:
                    await self._say("504 5.5.4 mechanism unknown")
                    return
        except (binascii.Error, UnicodeDecodeError, ValueError):
            await self._say("501 5.5.2 cannot decode")
            return
        await self._admit(user, password)

    async def _admit(self, user: str, password: str) -> None:
        known = self._server.settings.credentials.get(user)
        if known is None or not hmac.compare_digest(known.encode(), password.encode()):
            self._server.record.refuse("smtp", user, "AUTH failed")
            await self._say("535 5.7.8 credentials invalid")
            return
        self._user = user
        await self._say("235 2.7.0 authenticated")

    async def _ask(self, prompt: str) -> str:
        await self._say(f"334 {base64.b64encode(prompt.encode()).decode()}")
        return await self._line()

    async def _mail(self, rest: str) -> None:
        settings = self._server.settings
        if not self._greeted:
            await self._say("503 5.5.1 say EHLO first")
            return
        if settings.requires_auth and self._user is None:
            await self._say("530 5.7.0 authentication required")
            return
        if self._transaction is not None:
            await self._say("503 5.5.1 a transaction is open")
            return
        limit = settings.messages_per_connection
        if limit is not None and self._messages >= limit:
            await self._say("421 4.7.0 too many messages on this connection")
            raise _HangUp
        path = _path(rest, "FROM:")
        if path is None:
            await self._say("501 5.5.4 write MAIL FROM:<address>")
            return
        sender, parameters = path
        if problem := self._refusal_of(sender, parameters):
            await self._say(problem)
            return
        fault = self._server.faults.draw(sender, or_any=False)
        if fault is not None:
            await self._strike(fault)
            return
        self._transaction = _Transaction(sender, parameters=parameters)
        await self._say("250 2.1.0 Ok")

    def _refusal_of(self, sender: str, parameters: frozenset[str]) -> str | None:
        settings = self._server.settings
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            known = name in settings.extensions or name == "SIZE"
            if name == "BODY":
                known = value == "7BIT" or (value == "8BITMIME" in settings.extensions)
            if not known:
                return f"555 5.5.4 parameter {name} not supported"
            if name == "SIZE" and value.isdigit() and int(value) > settings.size_bytes:
                return "552 5.3.4 message too big"
        if not sender.isascii() and "SMTPUTF8" not in parameters:
            return "553 5.6.7 address needs SMTPUTF8"
        return None

    async def _rcpt(self, rest: str) -> None:
        transaction = self._transaction
        if transaction is None:
            await self._say("503 5.5.1 say MAIL first")
            return
        path = _path(rest, "TO:")
        if path is None or "@" not in path[0]:
            await self._say("501 5.1.3 write RCPT TO:<address>")
            return
        recipient, _ = path
        if not recipient.isascii() and "SMTPUTF8" not in transaction.parameters:
            await self._say("553 5.6.7 address needs SMTPUTF8")
            return
        fault = self._server.faults.draw(recipient)
        if fault is not None and fault.command == "RCPT":
            await self._strike(fault)
            return
        refusal = self._server.verdict(transaction.sender, recipient)
        if refusal is not None:
            self._server.record.refuse("smtp", recipient, refusal)
            await self._say(refusal)
            return
        transaction.pending = transaction.pending or fault
        transaction.recipients.append(recipient)
        await self._say("250 2.1.5 Ok")

    async def _data(self) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            await self._say("503 5.5.1 say RCPT first")
            return
        fault, self._transaction = transaction.pending, None
        if fault is not None and fault.command == "DATA":
            await self._strike(fault)
            return
        await self._say("354 end with <CR><LF>.<CR><LF>")
        content = await self._content()
        if fault is None:
            await self._say(self._accept(transaction, content))
            return
        if fault.after_effect:
            self._accept(transaction, content)
        await self._strike(fault)

    def _accept(self, transaction: _Transaction, content: bytes | None) -> str:
        record, settings = self._server.record, self._server.settings
        if content is None:
            refusal = "552 5.3.4 message too big"
        else:
            has_utf8 = "SMTPUTF8" in transaction.parameters
            refusal = why_malformed(content, "8BITMIME" in settings.extensions, has_utf8)
        if content is None or refusal is not None:
            refusal = refusal or ""
            record.refuse("smtp", ", ".join(transaction.recipients), refusal)
            return refusal
        self._messages += 1
        wire = {"sender": transaction.sender, "tls": "yes" if self._is_secure else "no"}
        if self._user is not None:
            wire["user"] = self._user
        number = 0
        for recipient in transaction.recipients:
            number = record.add(parse_mail(content, recipient, wire)).number
        return f"250 2.0.0 Ok: queued as {number:08X}"

    async def _content(self) -> bytes | None:
        """The message without its dots; None, though read to its end, when it is too big."""
        lines: list[bytes] = []
        size = 0
        while True:
            line = await self._reader.receive_until(b"\r\n", 1024**2)
            if line == b".":
                return None if size > self._server.settings.size_bytes else b"".join(lines)
            line = line.removeprefix(b".") + b"\r\n"
            size += len(line)
            if size <= self._server.settings.size_bytes:
                lines.append(line)

    async def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case "answer":
                await self._say(f"{fault.status} {fault.body}")
                if fault.status != 421:
                    return
            case "stall":
                await _WIRE.sleep(fault.seconds)
            case "reset":
                reset_on_close(self._socket.extra(SocketAttribute.raw_socket))
            case _:
                pass
        raise _HangUp

    async def _line(self) -> str:
        return (await self._reader.receive_until(b"\r\n", _MAX_LINE)).decode("utf-8", "replace")

    async def _say(self, reply: str) -> None:
        await self._stream.send(reply.encode() + b"\r\n")


def _decode(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _path(rest: str, keyword: str) -> tuple[str, frozenset[str]] | None:
    """The address between angle brackets and the parameters behind it, in upper case."""
    if not rest.upper().startswith(keyword):
        return None
    path = rest[len(keyword) :].lstrip()
    if not path.startswith("<") or ">" not in path:
        return None
    address, _, tail = path[1:].rpartition(">") if " " not in path else path[1:].partition(">")
    return address, frozenset(tail.upper().split())
