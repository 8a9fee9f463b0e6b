"""A lane spills where it would hold up others, and only then."""

from __future__ import annotations

from router.delivery.crowding import Crowding

CAPACITY = 100


def spills_after(
    depth: int, per_second: float, *, others_have_room: bool = True, for_s: float = 10.0
) -> float | None:
    """When a lane of that depth spills, from which so many go out; None: not within that time."""
    crowding, now, step = Crowding(CAPACITY), 1000.0, 0.05
    sent = 0.0
    for number in range(int(for_s / step)):
        before, sent = int(sent), sent + per_second * step
        if int(sent) > before:
            crowding.went(int(sent) - before, now)
        crowding.look(depth, now, lambda: others_have_room)
        if crowding.is_spilling:
            return number * step
        now += step
    return None


def test_one_that_is_stuck_spills_before_it_is_full() -> None:
    after = spills_after(60, 0)
    assert after is not None
    assert after < 0.5


def test_one_that_is_slow_spills_as_soon_as_it_is_full() -> None:
    after = spills_after(CAPACITY, 20)
    assert after is not None
    assert 1.0 <= after < 1.2
    assert spills_after(CAPACITY - 1, 20) is None


def test_one_that_keeps_pace_is_only_kept_full_by_a_backlog() -> None:
    assert spills_after(CAPACITY, 60) is None
    assert spills_after(3 * CAPACITY, 500) is None


def test_one_that_has_room_is_left_alone() -> None:
    assert spills_after(CAPACITY // 2, 0) is None


def test_nobody_is_held_up_where_all_lanes_are_crowded() -> None:
    assert spills_after(CAPACITY, 0, others_have_room=False) is None


def test_it_goes_on_spilling_for_a_while_once_it_has() -> None:
    crowding = Crowding(CAPACITY)
    crowding.look(CAPACITY, 1000.0, lambda: True)
    crowding.look(CAPACITY, 1001.0, lambda: True)
    crowding.spilled(1001.0)
    crowding.look(0, 1030.0, lambda: True)
    assert crowding.is_spilling
    crowding.look(0, 1032.0, lambda: True)
    assert not crowding.is_spilling
