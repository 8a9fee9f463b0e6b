"""Which offsets may be committed."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.delivery.offsets import Offsets, Ticket
from router.events import Record, TopicPartition

PLACES = [TopicPartition("orders", 0), TopicPartition("orders", 1)]


def record(offset: int, place: TopicPartition = PLACES[0], value: bytes = b"x") -> Record:
    return Record(place.topic, place.partition, offset, 0.0, None, value)


def opened(offsets: Offsets, *numbers: int, now: float = 0.0) -> list[Ticket]:
    return offsets.open_batch([record(n) for n in numbers], now)


def test_nothing_is_committed_past_an_open_record() -> None:
    offsets = Offsets()
    first, second, third = opened(offsets, 5, 6, 9)
    second.release()
    third.release()
    assert offsets.committable({PLACES[0]: 10}) == {PLACES[0]: 5}
    first.release()
    assert offsets.committable({PLACES[0]: 10}) == {PLACES[0]: 10}


def test_gaps_at_the_end_are_committed_too() -> None:
    offsets = Offsets()
    (ticket,) = opened(offsets, 5)
    ticket.release()
    assert offsets.committable({PLACES[0]: 42}) == {PLACES[0]: 42}


def test_a_position_that_is_not_known_commits_nothing() -> None:
    offsets = Offsets()
    (ticket,) = opened(offsets, 5)
    ticket.release()
    assert offsets.committable({PLACES[0]: None}) == {}


def test_a_record_is_open_as_long_as_one_hold_is() -> None:
    offsets = Offsets()
    (ticket,) = opened(offsets, 5)
    ticket.hold(2)
    ticket.release()
    ticket.release()
    assert not ticket.is_closed
    ticket.release()
    assert ticket.is_closed
    assert offsets.open_records == 0


def test_a_ticket_that_is_released_twice_is_a_bug() -> None:
    (ticket,) = opened(Offsets(), 5)
    ticket.release()
    with pytest.raises(AssertionError):
        ticket.release()


def test_tickets_of_a_partition_that_went_and_came_back_free_nothing() -> None:
    offsets = Offsets()
    (old,) = opened(offsets, 5)
    offsets.revoke([PLACES[0]])
    offsets.assign([PLACES[0]])
    (new,) = opened(offsets, 5)
    old.release()
    assert not old.is_current
    assert new.is_current
    assert offsets.committable({PLACES[0]: 6}) == {PLACES[0]: 5}


def test_only_what_moved_is_committed_again() -> None:
    offsets = Offsets()
    first, _ = opened(offsets, 5, 6)
    offsets.mark_committed({PLACES[0]: 5})
    assert offsets.committable({PLACES[0]: 7}) == {}
    first.release()
    assert offsets.committable({PLACES[0]: 7}) == {PLACES[0]: 6}


def test_the_window_counts_records_and_bytes() -> None:
    offsets = Offsets()
    opened(offsets, 1, 2)
    offsets.open_batch([record(1, PLACES[1], b"x" * 5000)], 0.0)
    assert offsets.over_window(3, 10**6) == set()
    assert offsets.over_window(2, 10**6) == {PLACES[0]}
    assert offsets.over_window(9, 5000) == {PLACES[1]}


def test_a_record_read_twice_counts_once() -> None:
    offsets = Offsets()
    (old,) = opened(offsets, 5)
    size = offsets.size
    (new,) = opened(offsets, 5)
    assert offsets.size == size
    old.release()
    assert offsets.open_records == 1
    new.release()
    assert (offsets.open_records, offsets.size) == (0, 0)


def test_the_age_is_that_of_the_first_open_record() -> None:
    offsets = Offsets()
    (first,) = opened(offsets, 5, now=10.0)
    opened(offsets, 6, now=15.0)
    (partition,) = offsets.partitions
    assert partition.oldest_age(20.0) == 10.0
    first.release()
    assert partition.oldest_age(20.0) == 5.0


class Commits(RuleBasedStateMachine):
    """Reads, settles, revokes and commits in any order: no commit passes an unsettled record."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets = Offsets()
        self.next = dict.fromkeys(PLACES, 0)
        self.open: dict[tuple[TopicPartition, int], tuple[Ticket, int]] = {}
        self.stale: list[tuple[Ticket, int]] = []
        self.committed = dict.fromkeys(PLACES, 0)

    @rule(place=st.sampled_from(PLACES), gap=st.integers(0, 3), count=st.integers(1, 4))
    def read(self, place: TopicPartition, gap: int, count: int) -> None:
        start = self.next[place] + gap
        records = [record(start + i, place) for i in range(count)]
        for made, ticket in zip(records, self.offsets.open_batch(records, 0.0), strict=True):
            self.open[place, made.offset] = (ticket, 1)
        self.next[place] = start + count

    @precondition(lambda self: self.open)
    @rule(data=st.data(), count=st.integers(1, 3))
    def hold(self, data: st.DataObject, count: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.open)))
        ticket, holds = self.open[key]
        ticket.hold(count)
        self.open[key] = (ticket, holds + count)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.open)))
        ticket, holds = self.open.pop(key)
        ticket.release()
        if holds > 1:
            self.open[key] = (ticket, holds - 1)

    @precondition(lambda self: self.stale)
    @rule()
    def release_late(self) -> None:
        ticket, holds = self.stale.pop()
        ticket.release(holds)

    @rule(place=st.sampled_from(PLACES))
    def reassign(self, place: TopicPartition) -> None:
        self.offsets.leave([place])
        self.offsets.revoke([place])
        self.stale += [found for (at, _), found in self.open.items() if at == place]
        self.open = {key: found for key, found in self.open.items() if key[0] != place}
        self.offsets.assign([place])
        self.next[place] = self.committed[place]

    @rule()
    def commit(self) -> None:
        offsets = self.offsets.committable(self.next)
        self.offsets.mark_committed(offsets)
        self.committed |= offsets

    @invariant()
    def no_commit_passes_an_open_record(self) -> None:
        for place, offset in self.offsets.committable(self.next).items():
            assert all(at >= offset for found, at in self.open if found == place)
            assert offset <= self.next[place]

    @invariant()
    def the_count_is_right(self) -> None:
        assert self.offsets.open_records == len(self.open)
        assert (self.offsets.size == 0) is (not self.open)


Commits.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCommits = Commits.TestCase
