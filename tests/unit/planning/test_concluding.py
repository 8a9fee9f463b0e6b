"""What the router concludes from a sink's answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.messages import Delivered, Halt, InDoubt, Outcome, Reason, Rejected, Retry, Scope
from router.planning import (
    EXPIRED,
    Arrived,
    Attempt,
    Cause,
    Dead,
    Scheduled,
    Settlement,
    Suppressed,
    Waits,
    backoff,
    conclude,
    has_expired,
)
from router.planning.model import InDoubtRule

NOW = 1_767_323_045.0
WAITS = Waits(first=1.0, factor=2.0, cap=1800.0, give_up=259_200.0)
R = Reason("busy", "try later")
BOTH = frozenset({Cause.UNREACHABLE, Cause.REJECTED})


def settled(
    outcome: Outcome,
    *,
    number: int = 1,
    age: float = 0.0,
    expires_in: float | None = None,
    in_doubt: InDoubtRule = "resend",
    jitter: float = 1.0,
) -> Settlement:
    expires_at = None if expires_in is None else NOW + expires_in
    return conclude(outcome, Attempt(number, NOW - age, expires_at, in_doubt), WAITS, NOW, jitter)


def shown(settlement: Settlement) -> tuple[Any, ...]:
    """Its class and code, and what a table wants to see of it."""
    match settlement:
        case Arrived(reason):
            return Arrived, reason.code if reason else None
        case Scheduled(due, reason, blocks):
            return Scheduled, reason.code, due - NOW, blocks
        case Suppressed(reason, causes) | Dead(reason, causes):
            return type(settlement), reason.code, causes


NONE: frozenset[Cause] = frozenset()
LONG = WAITS.give_up
GONE = Rejected(R, recipient_gone=True)

TABLE: list[tuple[Outcome, dict[str, Any], tuple[Any, ...]]] = [
    (Delivered(), {}, (Arrived, None)),
    (Delivered(note=R), {"expires_in": -1}, (Arrived, "busy")),
    (Delivered(), {"age": 9 * LONG}, (Arrived, None)),
    (Retry(R), {}, (Scheduled, "busy", 1.0, Scope.MESSAGE)),
    (Retry(R), {"number": 3}, (Scheduled, "busy", 4.0, Scope.MESSAGE)),
    (Retry(R), {"number": 99}, (Scheduled, "busy", 1800.0, Scope.MESSAGE)),
    (Retry(R, after=60, scope=Scope.SINK), {"jitter": 0}, (Scheduled, "busy", 60.0, Scope.SINK)),
    (Retry(R, after=60, scope=Scope.TARGET), {}, (Scheduled, "busy", 61.0, Scope.TARGET)),
    (Retry(R), {"age": LONG - 1}, (Scheduled, "busy", 1.0, Scope.MESSAGE)),
    (Retry(R), {"age": LONG}, (Dead, "gave_up", NONE)),
    (Retry(R), {"expires_in": 1.5}, (Scheduled, "busy", 1.0, Scope.MESSAGE)),
    (Retry(R), {"expires_in": 1.0}, (Suppressed, "expired", NONE)),
    (Retry(R, after=60), {"expires_in": 30}, (Suppressed, "expired", NONE)),
    (Retry(R), {"age": 9 * LONG, "expires_in": 99}, (Scheduled, "busy", 1.0, Scope.MESSAGE)),
    (Halt(R), {}, (Scheduled, "busy", 1.0, Scope.MESSAGE)),
    (Halt(R), {"age": 9 * LONG}, (Scheduled, "busy", 1.0, Scope.MESSAGE)),
    (Halt(R), {"expires_in": 0.5}, (Suppressed, "expired", NONE)),
    (Rejected(R), {}, (Dead, "busy", frozenset({Cause.REJECTED}))),
    (Rejected(R), {"expires_in": -1}, (Dead, "busy", frozenset({Cause.REJECTED}))),
    (GONE, {}, (Suppressed, "recipient_gone", BOTH)),
    (InDoubt(R), {}, (Scheduled, "busy", 1.0, Scope.MESSAGE)),
    (InDoubt(R), {"age": LONG}, (Dead, "gave_up", NONE)),
    (InDoubt(R), {"expires_in": 0.5}, (Suppressed, "expired", NONE)),
    (InDoubt(R), {"in_doubt": "dead_letter"}, (Dead, "in_doubt", NONE)),
    (InDoubt(R), {"in_doubt": "dead_letter", "expires_in": 99}, (Dead, "in_doubt", NONE)),
    (Retry(R), {"in_doubt": "dead_letter"}, (Scheduled, "busy", 1.0, Scope.MESSAGE)),
]


@pytest.mark.parametrize(("outcome", "attempt", "expected"), TABLE)
def test_every_outcome(
    outcome: Outcome, attempt: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert shown(settled(outcome, **attempt)) == expected


# Laws ----------------------------------------------------------------------------------------

_reasons = st.builds(Reason, st.just("code"))
_after = st.none() | st.floats(0, 1e6)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Delivered),
    st.builds(Retry, _reasons, _after, st.sampled_from(Scope)),
    st.builds(Halt, _reasons),
    st.builds(Rejected, _reasons, st.booleans()),
    st.builds(InDoubt, _reasons),
)
attempts = st.builds(
    Attempt,
    st.integers(0, 10_000),
    st.floats(NOW - 1e7, NOW),
    st.none() | st.floats(NOW - 1e6, NOW + 1e7),
    st.sampled_from(["resend", "dead_letter"]),
)
waits = st.builds(Waits, st.floats(0, 1e4), st.floats(1, 1e9), st.floats(0, 1e5), st.floats(0, 1e7))
jitters = st.floats(0, 1, exclude_max=True)


@settings(max_examples=1500, deadline=None)
@given(outcomes, attempts, waits, jitters)
def test_the_laws_of_concluding(
    outcome: Outcome, attempt: Attempt, waits: Waits, jitter: float
) -> None:
    settlement = conclude(outcome, attempt, waits, NOW, jitter)

    assert isinstance(settlement, Arrived) is isinstance(outcome, Delivered)
    if isinstance(settlement, Scheduled):
        assert settlement.due >= NOW
        assert not has_expired(attempt.expires_at, settlement.due)
        if isinstance(outcome, Retry) and outcome.after is not None:
            assert settlement.due >= NOW + outcome.after
    if isinstance(outcome, Halt):
        assert not isinstance(settlement, Dead)
    if isinstance(outcome, Retry | InDoubt | Halt) and not isinstance(settlement, Scheduled):
        assert settlement.causes == NONE  # type: ignore[union-attr]
    if settlement == Suppressed(EXPIRED):
        assert attempt.expires_at is not None
    if attempt.in_doubt == "dead_letter" and isinstance(outcome, InDoubt):
        assert isinstance(settlement, Dead)


@given(st.integers(0, 10_000), waits, jitters)
def test_waits_are_bounded_from_both_sides(number: int, waits: Waits, jitter: float) -> None:
    seconds = backoff(number, waits, jitter)
    assert min(0.05 * waits.first, 0.05 * waits.cap) <= seconds <= waits.cap


@given(st.integers(1, 30), waits)
def test_waits_never_shrink_with_attempts(number: int, waits: Waits) -> None:
    assert backoff(number, waits, 0.5) <= backoff(number + 1, waits, 0.5)


def test_expiry_is_reached_at_its_second() -> None:
    assert not has_expired(None, NOW)
    assert not has_expired(NOW + 0.001, NOW)
    assert has_expired(NOW, NOW)
