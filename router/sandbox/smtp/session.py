"""One SMTP connection (RFC 5321): commands in, replies out, and the faults between them."""

from __future__ import annotations

import base64
import binascii
import hmac
import ssl
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from router.clock import SystemClock
from router.sandbox.faults import UNREAD, Fault
from router.sandbox.http import reset_on_close
from router.sandbox.smtp.mailboxes import Mailboxes

_WIRE = SystemClock()  # faults take real time, whatever the sandbox's clock shows
_MAX_LINE = 2048
_MAX_DATA_LINE = 1024**2


class _HangUp(Exception):
    """Ends the session."""


@dataclass(slots=True)
class _Transaction:
    sender: str
    recipients: list[str] = field(default_factory=list[str])
    parameters: frozenset[str] = frozenset()
    pending: Fault | None = None


class Session:
    """What one client has said so far. ``tls`` None offers no STARTTLS."""

    def __init__(
        self, mailboxes: Mailboxes, stream: SocketStream, tls: ssl.SSLContext | None
    ) -> None:
        self._mailboxes = mailboxes
        self._settings = mailboxes.settings
        self._tls = tls
        self._socket = stream
        self._stream: ByteStream = stream
        self._reader = BufferedByteReceiveStream(stream)
        self._is_secure = False
        self._user: str | None = None
        self._greeted = False
        self._transaction: _Transaction | None = None
        self._messages = 0

    async def start_tls(self) -> None:
        """Goes on encrypted, and as if nothing had been said before (RFC 3207 section 4.2)."""
        tls = await TLSStream.wrap(
            self._stream,
            server_side=True,
            ssl_context=self._tls,
            standard_compatible=False,
        )
        self._stream, self._is_secure = tls, True
        self._reader = BufferedByteReceiveStream(tls)  # what came before TLS is forgotten
        self._greeted, self._user, self._transaction = False, None, None

    async def run(self) -> None:
        """Greets, and answers commands until either side hangs up."""
        try:
            await _WIRE.sleep(self._settings.banner_delay_s)
            if fault := self._mailboxes.faults.draw(UNREAD, or_any=False):
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
        lines = ["sandbox.test", f"SIZE {self._settings.size_bytes}", "ENHANCEDSTATUSCODES"]
        lines += sorted(self._settings.extensions)
        if self._tls is not None and not self._is_secure:
            lines.append("STARTTLS")
        if self._may_auth:
            lines.append(" ".join(("AUTH", *self._settings.mechanisms)))
        replies = [f"250-{text}" for text in lines[:-1]] + [f"250 {lines[-1]}"]
        await self._say("\r\n".join(replies))

    @property
    def _may_auth(self) -> bool:
        return self._is_secure or not self._settings.auth_needs_tls

    async def _starttls(self) -> None:
        if self._tls is None or self._is_secure:
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
        if mechanism.upper() not in self._settings.mechanisms:
            await self._say("504 5.5.4 mechanism unknown")
            return
        try:
            match mechanism.upper():
                case "XOAUTH2":
                    user, token = _bearer(_decode(initial or await self._ask("")))
                    await self._admit_token(user, token)
                    return
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

    async def _admit_token(self, user: str, token: str) -> None:
        """XOAUTH2, as Google documents it: a refusal is a challenge that wants an empty line."""
        fault = self._mailboxes.faults.draw(user, or_any=False)
        if fault is not None:
            await self._strike(fault)
            return
        if user not in self._settings.credentials or not self._mailboxes.is_token(token):
            problem = '{"status":"401","schemes":"bearer","scope":"https://mail.sandbox.test/"}'
            if await self._ask(problem) != "":
                await self._say("501 5.5.2 expected an empty line")
                return
            await self._say(self._mailboxes.refuse(user, "535 5.7.8 token not accepted"))
            return
        self._user = user
        await self._say("235 2.7.0 authenticated")

    async def _admit(self, user: str, password: str) -> None:
        fault = self._mailboxes.faults.draw(user, or_any=False)
        if fault is not None:
            await self._strike(fault)
            return
        known = self._settings.credentials.get(user)
        if known is None or not hmac.compare_digest(known.encode(), password.encode()):
            await self._say(self._mailboxes.refuse(user, "535 5.7.8 credentials invalid"))
            return
        self._user = user
        await self._say("235 2.7.0 authenticated")

    async def _ask(self, prompt: str) -> str:
        await self._say(f"334 {base64.b64encode(prompt.encode()).decode()}")
        return await self._line()

    async def _mail(self, rest: str) -> None:
        if not self._greeted:
            await self._say("503 5.5.1 say EHLO first")
            return
        if self._settings.requires_auth and self._user is None:
            await self._say("530 5.7.0 authentication required")
            return
        if self._transaction is not None:
            await self._say("503 5.5.1 a transaction is open")
            return
        limit = self._settings.messages_per_connection
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
        fault = self._mailboxes.faults.draw(sender, or_any=False)
        if fault is not None:
            await self._strike(fault)
            return
        self._transaction = _Transaction(sender, parameters=parameters)
        await self._say("250 2.1.0 Ok")

    def _refusal_of(self, sender: str, parameters: frozenset[str]) -> str | None:
        known = {"BODY=7BIT"}
        if "8BITMIME" in self._settings.extensions:
            known.add("BODY=8BITMIME")
        if "SMTPUTF8" in self._settings.extensions:
            known.add("SMTPUTF8")
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name == "SIZE" and value.isdigit():
                if int(value) > self._settings.size_bytes:
                    return "552 5.3.4 message too big"
            elif parameter not in known:
                return f"555 5.5.4 parameter {name} not supported"
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
        fault = self._mailboxes.faults.draw(recipient)
        if fault is not None and fault.command == "RCPT":
            await self._strike(fault)
            return
        refusal = self._mailboxes.verdict(transaction.sender, recipient)
        if refusal is not None:
            await self._say(self._mailboxes.refuse(recipient, refusal))
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
        if content is None:
            who = ", ".join(transaction.recipients)
            return self._mailboxes.refuse(who, "552 5.3.4 message too big")
        wire = {"sender": transaction.sender, "tls": "yes" if self._is_secure else "no"}
        if self._user is not None:
            wire["user"] = self._user
        has_utf8 = "SMTPUTF8" in transaction.parameters
        reply = self._mailboxes.store(content, transaction.recipients, wire, has_utf8)
        if reply.startswith("250"):
            self._messages += 1
        return reply

    async def _content(self) -> bytes | None:
        """The message without its dots; None, though read to its end, when it is too big."""
        lines: list[bytes] = []
        size = 0
        while True:
            line = await self._reader.receive_until(b"\r\n", _MAX_DATA_LINE)
            if line == b".":
                return None if size > self._settings.size_bytes else b"".join(lines)
            line = line.removeprefix(b".") + b"\r\n"
            size += len(line)
            if size <= self._settings.size_bytes:
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


def _bearer(text: str) -> tuple[str, str]:
    """User and token of XOAUTH2's initial response.

    Raises:
        ValueError: it is not one.
    """
    user, auth, *end = text.split("\x01")
    if not user.startswith("user=") or not auth.startswith("auth=Bearer ") or end != ["", ""]:
        raise ValueError(text)
    return user.removeprefix("user="), auth.removeprefix("auth=Bearer ")


def _path(rest: str, keyword: str) -> tuple[str, frozenset[str]] | None:
    """The address between angle brackets and the parameters behind it, in upper case."""
    if not rest.upper().startswith(keyword):
        return None
    path = rest[len(keyword) :].lstrip()
    if not path.startswith("<") or ">" not in path:
        return None
    address, _, tail = path[1:].rpartition(">") if " " not in path else path[1:].partition(">")
    return address, frozenset(tail.upper().split())
