"""Whose turn it is in a lane."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.delivery.job import Job
from router.delivery.queue import Queue
from router.planning.policies import Rank
from tests.unit.delivery.builders import job

RANKS = st.sampled_from(list(Rank))


def taken(queue: Queue) -> list[Job]:
    found: list[Job] = []
    while (one := queue.take()) is not None:
        found.append(one)
    return found


def test_urgent_ones_go_before_all_others() -> None:
    queue = Queue()
    queue.put([job(1, rank=Rank.BULK), job(2), job(3, rank=Rank.URGENT)])
    queue.put_resumed(job(4, rank=Rank.URGENT))
    first_two = {queue.take(), queue.take()}
    assert {one.rank for one in first_two if one} == {Rank.URGENT}


def test_bulk_is_slow_and_not_stuck() -> None:
    queue = Queue()
    queue.put(job(n) for n in range(100))
    queue.put(job(100 + n, rank=Rank.BULK) for n in range(100))
    first = [queue.take() for _ in range(80)]
    assert sum(one.rank is Rank.BULK for one in first if one) == 10


def test_new_ones_and_those_out_of_the_schedule_take_turns() -> None:
    queue = Queue()
    queue.put(job(n) for n in range(3))
    for n in range(3):
        queue.put_resumed(job(10 + n, epoch=1))
    assert [one.epoch for one in taken(queue)] == [0, 1, 0, 1, 0, 1]


def test_what_can_wait_best_is_spilled_first() -> None:
    queue = Queue()
    queue.put([job(1, rank=Rank.URGENT), job(2), job(3, rank=Rank.BULK), job(4, rank=Rank.BULK)])
    assert [one.rank for one in queue.take_fresh(3)] == [Rank.BULK, Rank.BULK, Rank.NORMAL]


def test_what_has_an_order_keeps_it_whatever_its_rank() -> None:
    queue = Queue()
    ranks = [Rank.BULK, Rank.NORMAL, Rank.URGENT, Rank.BULK]
    queue.put(job(n, rank=rank, order_scope="hook:k", seq=n) for n, rank in enumerate(ranks))
    assert [one.seq for one in taken(queue)] == [0, 1, 2, 3]


@given(st.lists(st.tuples(RANKS, st.booleans()), max_size=60))
def test_each_comes_out_once_and_in_its_line_s_order(given: list[tuple[Rank, bool]]) -> None:
    queue = Queue()
    for n, (rank, is_resumed) in enumerate(given):
        one = job(n, rank=rank, epoch=int(is_resumed))
        if is_resumed:
            queue.put_resumed(one)
        else:
            queue.put([one])
    assert queue.ready == len(given)
    out = taken(queue)
    assert sorted(one.key for one in out) == [n.to_bytes(16, "big") for n in range(len(given))]
    for rank in Rank:
        for epoch in (0, 1):
            keys = [one.key for one in out if (one.rank, one.epoch) == (rank, epoch)]
            assert keys == sorted(keys)
