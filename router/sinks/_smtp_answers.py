"""What a mail server's replies, and the loss of its connection, mean."""

from __future__ import annotations

import re

from router.messages import Delivered, Halt, InDoubt, Outcome, Reason, Rejected, Retry, Scope
from router.sinks._http import QUIET_S
from router.sinks._smtp_session import Stage

_GREYLIST_S = 300.0
_FULL_S = 3600.0
_QUEUED = re.compile(r"\bqueued as ([A-Za-z0-9.\-]{1,64})")
_GREYLISTED = frozenset({450, 451})


def refused(stage: Stage, code: int, enhanced: str | None) -> Outcome:
    """What a refusal means: the enhanced code (RFC 3463) before the reply code, never the text."""
    reply = f"{code} {enhanced}" if enhanced else str(code)
    where = f"{reply} at {stage}"
    match stage:
        case _ if code == 421:
            return Retry(Reason("server_closing", where))
        case _ if code in (530, 534, 535):
            return Halt(Reason("auth_refused", where))
        case Stage.CONNECT:
            return Retry(Reason("connect_refused", where))
        case Stage.EHLO | Stage.STARTTLS | Stage.AUTH:
            code_name = "auth_refused" if stage is Stage.AUTH else "session_refused"
            return _temporary(where) if code < 500 else Halt(Reason(code_name, where))
        case _ if code < 500:
            return _deferred(code, enhanced, where)
        case _:
            return _denied(stage, code, enhanced or "", where)


def broken(stage: Stage, code: str, text: str = "") -> Outcome:
    """What the loss of a connection, or a deadline, means at a stage."""
    if stage is Stage.DOT:
        return InDoubt(Reason("answer_lost", f"{code} after the message's end"))
    reason = Reason(code, text or f"at {stage}")
    return Retry(reason, QUIET_S, Scope.SINK) if code == "timeout" else Retry(reason)


def _temporary(where: str) -> Outcome:
    return Retry(Reason("temporary", where))


def _deferred(code: int, enhanced: str | None, where: str) -> Outcome:
    if enhanced == "4.2.2":
        return Retry(Reason("mailbox_full", where), _FULL_S, Scope.TARGET)
    is_server_state = enhanced is not None and enhanced.startswith(("4.3.", "4.4."))
    if code in _GREYLISTED and not is_server_state:
        return Retry(Reason("greylisted", where), _GREYLIST_S, Scope.TARGET)
    return _temporary(where)


def _denied(stage: Stage, code: int, enhanced: str, where: str) -> Outcome:
    if enhanced in ("5.1.7", "5.1.8"):
        return Halt(Reason("sender_refused", where))
    if stage is Stage.RCPT and enhanced.startswith("5.1."):
        return Rejected(Reason("no_such_mailbox", where), recipient_gone=True)
    if enhanced == "5.2.2" or (stage is Stage.RCPT and code == 552 and not enhanced):
        return Retry(Reason("mailbox_full", where), _FULL_S, Scope.TARGET)
    if enhanced.startswith("5.7."):
        return Rejected(Reason("policy_refused", where))
    if enhanced in ("5.3.4", "5.2.3") or code == 552:
        return Rejected(Reason("too_large", where))
    if 500 <= code <= 504:
        return Halt(Reason("protocol_error", where))
    return Rejected(Reason("refused", where))


def accepted(text: str) -> Delivered:
    """The server's text after the final dot, for the queue id in it."""
    queued = _QUEUED.search(text)
    return Delivered(queued[1] if queued else None)
