"""A mail server on loopback."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import final

import anyio
from anyio.abc import SocketAttribute, SocketStream

from router.clock import Clock
from router.sandbox.faults import Faults
from router.sandbox.record import Record
from router.sandbox.smtp.mailboxes import Mailboxes, SmtpSettings
from router.sandbox.smtp.session import Session

_CLIENT_LEFT = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    OSError,  # TLS errors too
)


@final
class MailServer:
    """Mailboxes at any address, behind SMTP."""

    name = "smtp"

    def __init__(
        self,
        record: Record,
        clock: Clock,
        settings: SmtpSettings,
        tls: ssl.SSLContext | None,
        is_token: Callable[[str], bool] = lambda token: False,
    ) -> None:
        self._mailboxes = Mailboxes(record, clock, settings, is_token)
        self._tls = tls

    @property
    def settings(self) -> SmtpSettings:
        return self._mailboxes.settings

    @property
    def faults(self) -> Faults:
        """By recipient; by sender for MAIL, by user for AUTH, ``UNREAD`` for the greeting."""
        return self._mailboxes.faults

    def set_state(self, target: str, state: str) -> None:
        """What becomes of mail to an address; see :meth:`Mailboxes.set_state`."""
        self._mailboxes.set_state(target, state)

    @asynccontextmanager
    async def serve(self, port: int = 0, *, implicit_tls: bool = False) -> AsyncGenerator[int]:
        """Serves on loopback until the block ends; gives the port."""

        async def handle(stream: SocketStream) -> None:
            async with stream:
                with suppress(*_CLIENT_LEFT):
                    session = Session(self._mailboxes, stream, self._tls)
                    if implicit_tls:
                        await session.start_tls()
                    await session.run()

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
        try:
            async with listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, handle)
                yield int(listener.extra(SocketAttribute.local_port))
                group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            first, *others = errors.exceptions
            if others:
                raise
            raise first from None  # the block's error leaves as it came
