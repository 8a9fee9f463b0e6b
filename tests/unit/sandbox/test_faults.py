"""Fault plans: which call meets what."""

from __future__ import annotations

import pytest

from router.clock import ManualClock
from router.sandbox import ANY_TARGET, UNREAD, Fault, answer
from router.sandbox.faults import Faults
from router.sandbox.limits import Bucket, take_all

RESET = Fault("reset")
BUSY = answer(503)


def test_calls_count_per_target() -> None:
    faults = Faults()
    faults.plan("a", {2: RESET})
    assert [faults.draw(t) for t in ("a", "b", "a", "a")] == [None, None, RESET, None]


def test_every_other_call_meets_the_standing_fault() -> None:
    faults = Faults()
    faults.plan("a", {1: RESET}, always=BUSY)
    assert [faults.draw("a") for _ in range(3)] == [RESET, BUSY, BUSY]


def test_targets_without_a_plan_share_the_general_one() -> None:
    faults = Faults()
    faults.plan(ANY_TARGET, {2: RESET})
    faults.plan("a", {1: BUSY})
    assert [faults.draw(t) for t in ("b", "a", "c")] == [None, BUSY, RESET]


def test_general_plan_does_not_strike_before_reading() -> None:
    faults = Faults()
    faults.plan(ANY_TARGET, always=RESET)
    assert faults.draw(UNREAD, or_any=False) is None


def test_a_new_plan_counts_from_one_again() -> None:
    faults = Faults()
    faults.plan("a", {1: RESET})
    faults.draw("a")
    faults.plan("a", {1: BUSY})
    assert faults.draw("a") is BUSY


def test_fault_from_json_refuses_unknown_fields() -> None:
    assert Fault.from_dict({"kind": "stall", "seconds": 2}) == Fault("stall", seconds=2)
    with pytest.raises(TypeError):
        Fault.from_dict({"kind": "reset", "after_efect": True})


def test_bucket_refills_evenly() -> None:
    clock = ManualClock()
    bucket = Bucket(clock, capacity=2, per_s=4)
    assert [take_all([bucket]) for _ in range(3)] == [0, 0, 2]
    clock.advance(1.9)
    assert take_all([bucket]) == 1
    clock.advance(0.1)
    assert take_all([bucket]) == 0


def test_refused_call_takes_nothing_from_the_other_bucket() -> None:
    clock = ManualClock()
    wide, narrow = Bucket(clock, 2, 1), Bucket(clock, 1, 60)
    assert take_all([wide, narrow]) == 0
    assert take_all([wide, narrow]) == 60
    assert take_all([wide]) == 0
