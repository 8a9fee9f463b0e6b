"""What the router concludes: from a sink's answer, or before anything is sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from router.messages import (
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Scope,
)
from router.planning.fan_out import EXPOSED_SECRET, FOREIGN_HOST, GONE
from router.planning.model import Cause, InDoubtRule
from router.planning.policies import OPTED_OUT

EXPIRED = Reason("expired", "it would have come too late")


@dataclass(frozen=True, slots=True)
class Arrived:
    """The provider has it."""

    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Scheduled:
    """It is tried (again) at ``due``, seconds since the epoch.

    ``blocks`` is what else has to wait until then: the target, the endpoint or the sink.
    """

    due: float
    reason: Reason
    blocks: Scope = Scope.MESSAGE


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A rule says not to send it. ``causes`` are what a fallback may start on."""

    reason: Reason
    causes: frozenset[Cause] = frozenset()


@dataclass(frozen=True, slots=True)
class Dead:
    """It can't be delivered; it goes to dead letters."""

    reason: Reason
    causes: frozenset[Cause] = frozenset()


Settlement: TypeAlias = Arrived | Scheduled | Suppressed | Dead


@dataclass(frozen=True, slots=True)
class Waits:
    """How retries of one sink wait: full jitter below a growing bound. Seconds."""

    first: float
    factor: float
    cap: float
    give_up: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of a delivery when its outcome comes in.

    Attributes:
        number: 1 for the first.
        first_at: When the first attempt was made, seconds since the epoch.
        expires_at: Not to be sent after this; None: ``give_up`` bounds it instead.
        in_doubt: The route's rule.
    """

    number: int
    first_at: float
    expires_at: float | None
    in_doubt: InDoubtRule


_GONE = frozenset({Cause.UNREACHABLE, Cause.REJECTED})
_OPTED_OUT = frozenset({Cause.OPTED_OUT})


def barred(reason: Reason) -> Suppressed | Dead:
    """What a delivery comes to that is not attempted: a dead address is as good as none, and one
    that must not be used is a mistake that somebody has to see. What people do not want there may
    be told them elsewhere, where a fallback says so."""
    if reason in (FOREIGN_HOST, EXPOSED_SECRET):
        return Dead(reason)
    if reason is OPTED_OUT:
        return Suppressed(reason, _OPTED_OUT)
    return Suppressed(reason, _GONE if reason is GONE else frozenset())


def conclude(
    outcome: Outcome, attempt: Attempt, waits: Waits, now: float, jitter: float
) -> Settlement:
    """What an outcome comes to.

    Args:
        now: Seconds since the epoch.
        jitter: Uniform in [0, 1).
    """
    match outcome:
        case Delivered():
            return Arrived(outcome.note)
        case Retry():
            wait = backoff(attempt.number, waits, jitter)
            if outcome.after is not None:
                wait = outcome.after + jitter * min(wait, outcome.after, 5.0)
            return _later(now + wait, outcome.reason, attempt, waits, now, outcome.scope)
        case Halt():
            wait = backoff(attempt.number, waits, jitter)
            return _later(now + wait, outcome.reason, attempt, waits, now, gives_up=False)
        case Rejected() if outcome.recipient_gone:
            return Suppressed(Reason(GONE.code, str(outcome.reason)), _GONE)
        case Rejected():
            return Dead(outcome.reason, frozenset({Cause.REJECTED}))
        case InDoubt() if attempt.in_doubt == "dead_letter":
            return Dead(Reason("in_doubt", str(outcome.reason)))
        case InDoubt():
            wait = backoff(attempt.number, waits, jitter)
            return _later(now + wait, outcome.reason, attempt, waits, now)


def _later(
    due: float,
    reason: Reason,
    attempt: Attempt,
    waits: Waits,
    now: float,
    blocks: Scope = Scope.MESSAGE,
    *,
    gives_up: bool = True,
) -> Settlement:
    if attempt.expires_at is not None:
        return Suppressed(EXPIRED) if due >= attempt.expires_at else Scheduled(due, reason, blocks)
    if gives_up and now - attempt.first_at >= waits.give_up:
        return Dead(Reason("gave_up", str(reason)))
    return Scheduled(due, reason, blocks)


def backoff(attempt: int, waits: Waits, jitter: float) -> float:
    """Seconds before the next attempt: full jitter below ``first * factor ** (attempt - 1)``."""
    try:
        bound = min(waits.cap, waits.first * waits.factor ** max(0, attempt - 1))
    except OverflowError:
        bound = waits.cap if waits.first else 0.0
    return bound * (0.05 + 0.95 * jitter)


def has_expired(expires_at: float | None, now: float) -> bool:
    """Whether it is too late to send."""
    return expires_at is not None and now >= expires_at
