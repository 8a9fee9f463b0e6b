"""SMTP: mail through a relay, one recipient a transaction, over a pool of connections.

SMTP has no idempotency facility: the ``Message-ID`` is made of the delivery's key, so that repeats
carry the same one, and a connection lost after the final dot is in doubt.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Self

import anyio
import anyio.to_thread
from pydantic import Field, field_validator, model_validator

from router.messages import Channel, EmailMessage, Halt, Outcome, Parcel, Reason, Rejected
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.sinks._dkim import DkimKeys, MailSigner, mail_signers, signed
from router.sinks._http import expect
from router.sinks._mime import (
    Heading,
    UnsafeMail,
    mailbox,
    message_id,
    parse_mailbox,
    serialise,
    wire_address,
)
from router.sinks._oauth2 import OAuth2Auth, TokenSource
from router.sinks._smtp_answers import accepted, broken, refused
from router.sinks._smtp_session import (
    AccessToken,
    Answered,
    Broken,
    Login,
    Password,
    Server,
    Session,
    Unsupported,
)
from router.transport import HttpOptions, open_client, trusting
from router.values import Duration, FilePath, Secret

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_TOKEN_REFUSED = 535
_QUIT_S = 2.0
_FRESH_S = 5.0


class SmtpConfig(SinkConfig):
    """Mail through an SMTP relay."""

    host: str = Field(
        description="The relay's host name.", examples=["smtp.example.com"], min_length=1
    )
    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Its port; by default 587 for `starttls`, 465 for `tls`, 25 for `none`.",
        examples=[587],
    )
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="`starttls` demands the upgrade, `tls` is encrypted from the start, `none` "
        "is plain text.",
    )
    username: str | None = Field(
        None, description="User name; without one there is no log-in.", examples=["notifications"]
    )
    password: Secret | None = Field(
        None, description="The user's password.", examples=["!env SMTP_PASSWORD"]
    )
    auth: OAuth2Auth | None = Field(
        None, description="Log in with an OAuth 2 token (XOAUTH2) instead of a password."
    )
    sender: str = Field(
        alias="from",
        description="Sender's address, with a display name if wanted.",
        examples=["Acme <no-reply@acme.example>"],
    )
    ehlo: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9.\-\[\]:]{1,255}$",
        description="Name to greet the server with; by default the sender's domain.",
        examples=["router.acme.example"],
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's, "
        "for the relay and for `auth.token_url`.",
        examples=["/etc/router/ca.pem"],
    )
    dkim: DkimKeys | None = Field(
        None,
        description="Sign each mail with DKIM, where the relay does not. A list of keys signs it "
        "with each.",
        examples=[{"domain": "acme.example", "selector": "r2026", "key": "!file dkim.pem"}],
    )
    connect_timeout: Duration = Field(
        10.0, gt=0, description="Connecting and logging in takes at most this.", examples=["10s"]
    )
    idle: Duration = Field(
        60.0, description="A connection unused for longer is replaced.", examples=["1m"]
    )
    per_connection: int = Field(
        100, ge=1, description="Mails on one connection before it is replaced."
    )
    concurrency: int = Field(
        8, ge=1, le=1000, description="Sends under way at once, each on its own connection."
    )
    timeout: Duration = Field(
        60.0, gt=0, description="One attempt takes at most this long.", examples=["60s"]
    )

    @field_validator("sender")
    @classmethod
    def _address(cls, text: str) -> str:
        try:
            _, address = parse_mailbox(text)
        except UnsafeMail:
            raise ValueError("write an address, as in Acme <no-reply@acme.example>") from None
        if not address.isascii():
            raise ValueError("the sender's address must be ASCII; its display name need not be")
        return text

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        if self.auth is not None:
            if self.username is None or self.password is not None:
                raise ValueError("auth: needs the username, and no password")
            if self.security == "none":
                raise ValueError("auth: a token is not sent in plain text; see security")
        elif (self.username is None) != (self.password is None):
            raise ValueError("username and password go together; one of them is missing")
        return self


@dataclass(frozen=True, slots=True)
class _Sender:
    """The configured sender, once as header and once as envelope address."""

    header: str
    address: str
    domain: str

    @classmethod
    def of(cls, text: str) -> _Sender:
        name, address = parse_mailbox(text)
        return cls(mailbox(name, address), address, address.rpartition("@")[2])


class _Smtp:
    """A pool of sessions: as many as sends are under way, the most recently used first."""

    def __init__(
        self,
        config: SmtpConfig,
        tools: SinkTools,
        server: Server,
        sender: _Sender,
        tokens: TokenSource | None,
        signers: tuple[MailSigner, ...],
    ) -> None:
        self._config = config
        self._clock = tools.clock
        self._server = server
        self._sender = sender
        self._tokens = tokens
        self._signers = signers
        self._idle: deque[Session] = deque()
        self._slots = anyio.Semaphore(config.concurrency)

    async def send(self, parcel: Parcel) -> Outcome:
        message = expect(parcel, EmailMessage)
        try:
            heading = Heading(
                self._sender.header,
                wire_address(parcel.target.address),
                message_id(parcel.key, self._sender.domain),
                parcel.event_time,
                parcel.is_test,
            )
        except UnsafeMail as error:
            return Rejected(Reason(error.code, error.text), recipient_gone=True)
        async with self._slots:
            return await self._send(message, heading)

    async def aclose(self) -> None:
        with anyio.move_on_after(_QUIT_S, shield=True):
            async with anyio.create_task_group() as tasks:
                for session in self._idle:
                    tasks.start_soon(session.quit)
        for session in self._idle:
            session.close()
        self._idle.clear()

    async def _send(self, message: EmailMessage, heading: Heading) -> Outcome:
        session = await self._reusable()
        is_clean = False
        try:
            with anyio.move_on_after(self._config.timeout):
                if not session.is_open:
                    opened = await self._open(session)
                    if opened is not None:
                        return opened
                result, is_clean = await self._transact(session, message, heading)
                return result
            return broken(session.stage, "timeout", f"no answer at {session.stage} in time")
        except UnsafeMail as error:
            is_clean = session.is_open
            return Rejected(Reason(error.code, error.text))
        finally:
            self._put_back(session, is_clean=is_clean)

    async def _open(self, session: Session) -> Outcome | None:
        """Connects and logs in; None when that worked."""
        token = None if self._tokens is None else await self._tokens.token()
        if token is not None and not isinstance(token, str):
            return token
        try:
            with anyio.fail_after(self._config.connect_timeout):
                await session.open()
                return await self._log_in(session, token)
        except TimeoutError:
            return broken(session.stage, "timeout", f"no answer at {session.stage} in time")
        except Answered as error:
            return refused(error.stage, error.code, error.enhanced)
        except Broken as error:
            return broken(error.stage, error.code, error.text)
        except Unsupported as error:
            return Halt(Reason(error.code, error.text))

    async def _log_in(self, session: Session, token: str | None) -> Outcome | None:
        login = self._login(token)
        if login is None:
            return None
        try:
            await session.log_in(login)
        except Answered as error:
            if self._tokens is None or token is None or error.code != _TOKEN_REFUSED:
                raise
            # The token may have ended early, so once more with a new one.
            self._tokens.refuse(token)
            newer = await self._tokens.token()
            if not isinstance(newer, str):
                return newer
            await session.log_in(AccessToken(login.username, newer))
        return None

    def _login(self, token: str | None) -> Login | None:
        username, password = self._config.username, self._config.password
        if username is None:
            return None
        if token is not None:
            return AccessToken(username, token)
        return None if password is None else Password(username, password.reveal())

    async def _transact(
        self, session: Session, message: EmailMessage, heading: Heading
    ) -> tuple[Outcome, bool]:
        """The outcome, and whether the session can carry the next mail."""
        is_international = not heading.recipient.isascii()
        if is_international and not session.offers("smtputf8"):
            reason = Reason("smtputf8_missing", "the server takes only ASCII addresses")
            return Rejected(reason), True
        data = self._written(session, message, heading)
        limit = session.size_limit
        if limit and len(data) > limit:
            return Rejected(Reason("too_large", f"{len(data)} of {limit} bytes")), True
        parameters = [f"SIZE={len(data)}"] if session.offers("size") else []
        if not data.isascii() and session.offers("8bitmime"):
            parameters.append("BODY=8BITMIME")
        if is_international:
            parameters.append("SMTPUTF8")
        try:
            text = await session.deliver(
                self._sender.address, heading.recipient, data, tuple(parameters)
            )
        except Answered as error:
            is_clean = error.code != 421 and await session.reset()
            return refused(error.stage, error.code, error.enhanced), is_clean
        except Broken as error:
            return broken(error.stage, error.code, error.text), False
        return accepted(text), True

    def _written(self, session: Session, message: EmailMessage, heading: Heading) -> bytes:
        """The mail, signed if it is to be.

        Bodies that are signed are ASCII (RFC 6376 section 5.3): a relay that has to encode them
        would break the signature.
        """
        if not self._signers:
            return serialise(message, heading, eight_bit=session.offers("8bitmime"))
        data = serialise(message, heading, eight_bit=False)
        return signed(data, self._signers, self._clock.now())

    async def _reusable(self) -> Session:
        """An idle session that still answers, or a new one, not yet open."""
        now = self._clock.monotonic()
        while self._idle:
            session = self._idle.pop()
            idle = now - session.idle_since
            is_usable = False
            try:
                is_usable = (
                    session.is_open
                    and idle < self._config.idle
                    and (idle < _FRESH_S or await session.is_alive())
                )
            finally:
                if not is_usable:
                    session.close()
            if is_usable:
                return session
        return Session(self._server)

    def _put_back(self, session: Session, *, is_clean: bool) -> None:
        if is_clean and session.is_open and session.sent < self._config.per_connection:
            session.idle_since = self._clock.monotonic()
            self._idle.append(session)
        else:
            session.close()


def _tls_context(config: SmtpConfig) -> ssl.SSLContext | None:
    return None if config.security == "none" else trusting(config.ca_file)


@asynccontextmanager
async def _open(config: SmtpConfig, tools: SinkTools) -> AsyncGenerator[_Smtp]:
    sender = _Sender.of(config.sender)
    server = Server(
        host=config.host,
        port=config.port or _PORTS[config.security],
        implicit_tls=config.security == "tls",
        starttls=config.security == "starttls",
        ehlo_name=config.ehlo or sender.domain,
        tls=await anyio.to_thread.run_sync(_tls_context, config),
    )
    signers = await anyio.to_thread.run_sync(mail_signers, config.dkim, sender.domain)
    async with _tokens(config, tools) as tokens:
        sink = _Smtp(config, tools, server, sender, tokens, signers)
        try:
            yield sink
        finally:
            await sink.aclose()


@asynccontextmanager
async def _tokens(config: SmtpConfig, tools: SinkTools) -> AsyncGenerator[TokenSource | None]:
    if config.auth is None:
        yield None
        return
    async with open_client(HttpOptions(connections=1, ca_file=config.ca_file)) as client:
        yield TokenSource(config.auth, client, tools.clock, config.connect_timeout)


def _channel(config: SmtpConfig) -> Channel:
    return Channel.EMAIL


SINK = SinkType("smtp", SmtpConfig, _channel, "email", _open)
