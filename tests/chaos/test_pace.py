"""A repeat has a reason if the harness itself stood still, and only then."""

from __future__ import annotations

from tests.chaos.pace import Pace


def test_a_standstill_excuses_what_was_under_way() -> None:
    pace = Pace()
    pace.woke(100.0, 103.0)
    assert pace.longest_s == 3.0
    assert all(pace.may_have_met(at) for at in (98.0, 101.0, 105.0))
    assert not any(pace.may_have_met(at) for at in (96.0, 107.0))


def test_an_even_pace_excuses_nothing() -> None:
    pace = Pace()
    pace.woke(100.0, 100.3)
    assert pace.longest_s == 0.0
    assert not pace.may_have_met(100.1)
