"""Mailboxes at any address, and what becomes of mail to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from router.clock import Clock
from router.sandbox.faults import Faults
from router.sandbox.record import Record
from router.sandbox.smtp.content import parse_mail, why_malformed


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """How the server behaves.

    Attributes:
        credentials: User to password, for AUTH PLAIN and LOGIN.
        mechanisms: Those of AUTH that are offered and taken.
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
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN", "XOAUTH2")
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
    "refused": None,  # by policy, once the content is known
}


@final
class Mailboxes:
    """Takes or refuses mail, and stores it. Every mailbox exists until it is told otherwise."""

    def __init__(
        self,
        record: Record,
        clock: Clock,
        settings: SmtpSettings,
        is_token: Callable[[str], bool],
    ) -> None:
        """``is_token`` says whether an OAuth 2 access token is good now."""
        self.faults = Faults()
        self.settings = settings
        self.is_token = is_token
        self._record = record
        self._clock = clock
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
            first = self._greylist.setdefault((sender, recipient), self._clock.now())
            if self._clock.now() < first + self.settings.greylist_s:
                return "451 4.7.1 greylisted, try again later"
        return None

    def refuse(self, who: str, why: str) -> str:
        """Notes a refusal, and gives it back."""
        self._record.refuse("smtp", who, why)
        return why

    def store(
        self, content: bytes, recipients: Sequence[str], wire: Mapping[str, str], has_utf8: bool
    ) -> str:
        """Stores one copy for each recipient, or none; the answer is the server's reply."""
        takes_8bit = "8BITMIME" in self.settings.extensions
        if "refused" in map(self._states.get, recipients):
            return self.refuse(", ".join(recipients), "550 5.7.1 message refused by policy")
        if refusal := why_malformed(content, takes_8bit, has_utf8):
            return self.refuse(", ".join(recipients), refusal)
        number = 0
        for recipient in recipients:
            number = self._record.add(parse_mail(content, recipient, wire)).number
        return f"250 2.0.0 Ok: queued as {number:08X}"
