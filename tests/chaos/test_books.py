"""The books don't balance where something is wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from router.ledger import Row, State
from router.messages import Reason
from tests.chaos.books import Books, balance

_KEYS = [bytes([n]) * 16 for n in range(3)]
_A, _B, _C = (key.hex() for key in _KEYS)


def rows(*states: State, **fields: Any) -> list[Row]:
    """A row for each state, with the keys in their order."""
    return [Row(key=key, state=state, **fields) for key, state in zip(_KEYS, states, strict=False)]


def books(
    found: Sequence[Row],
    arrived: Sequence[str],
    *,
    planned: int = 2,
    letters: Sequence[Row] = (),
    counted: int = 0,
    excused: Collection[str] = (),
) -> Books:
    return balance(planned, found, letters, arrived, counted, excused)


DELIVERED = rows(State.DELIVERED, State.DELIVERED)


def test_all_delivered_once() -> None:
    assert books(DELIVERED, [_B, _A]).problems == []


def test_dead_and_suppressed_need_not_have_arrived() -> None:
    found = rows(State.DELIVERED, State.DEAD, State.SUPPRESSED)
    assert books(found, [_A], planned=3).problems == []


def test_a_repeat_that_is_counted_and_has_a_reason() -> None:
    found = books(DELIVERED, [_A, _A, _B], counted=1, excused=[_A])
    assert (found.problems, found.repeats) == ([], 1)


def test_in_doubt_may_have_arrived() -> None:
    doubtful = rows(State.DEAD, reason=Reason("in_doubt"))
    assert books(doubtful, [_A], planned=1).problems == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (books(DELIVERED, [_A]), "1 are lost"),
        (books(DELIVERED[:1], [_A]), "planned 2, but the ledger has 1 delivered"),
        (books(DELIVERED, [_A, _B], planned=1), "planned 1, but the ledger has 2 delivered"),
        (books(DELIVERED, [_A, _A, _B], excused=[_A]), "1 repeats, but 0 counted"),
        (books(DELIVERED, [_A, _A, _B], counted=1), "1 deliveries came twice for no reason"),
        (books(DELIVERED, [_A, _B, _C]), "1 came that the ledger does not call delivered"),
        (books(rows(State.DELIVERED, State.DEAD), [_A, _B]), "1 came that"),
        (books(rows(State.DELIVERED, State.SCHEDULED), [_A]), "1 deliveries are open"),
        (books(rows(State.DELIVERED, State.CLAIMED), [_A]), "1 deliveries are open"),
        (
            books(DELIVERED, [_A, _B], letters=rows(State.SCHEDULED)),
            "1 dead letters are not published",
        ),
    ],
)
def test_what_is_wrong_shows(wrong: Books, problem: str) -> None:
    assert any(found.startswith(problem) for found in wrong.problems)
