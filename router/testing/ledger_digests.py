"""What every kind of ledger has to do for digests, as tests that any ledger can run.

They are part of the conformance suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from router.ledger import Done, Fact, Join, Joined, Kind, Ledger, Row, Settle, Settled, State
from router.messages import Reason
from router.testing.ledger_races import ROUNDS, at_once, both
from router.testing.ledger_rows import (
    LEASE,
    LedgerStore,
    delivery,
    key,
    keys_due,
    outcome,
    scheduled,
    stored,
    waiting,
)

WINDOW = 60.0
FIRST = 1000
"""The number of a digest's key, less that of the member which opens it."""


def join(number: int, **fields: Any) -> Join:
    """A member's wish to be in the digest of a scope."""
    given: dict[str, Any] = {
        "scope": "daily",
        "key": key(FIRST + number),
        "member": delivery(number, blob=b"message", event_time=1000.0 + number),
        "sink": "digests",
        "window": WINDOW,
        "most": 100,
        "blob": b"digest",
        **fields,
    }
    return Join(**given)


def member_numbers(members: Sequence[Row]) -> list[int]:
    return [int.from_bytes(row.key, "big") for row in members]


async def joined(ledger: Ledger, asked: Join) -> Joined:
    """Has a member join; it has to be in a digest then."""
    (answer,) = await ledger.join([asked])
    assert isinstance(answer, Joined), answer
    return answer


async def members_of(ledger: Ledger, digest: bytes) -> list[int]:
    (members,) = await ledger.members([digest])
    return member_numbers(members)


class LedgerDigests:
    """The tests of every kind."""

    # Opening and joining -----------------------------------------------------------------------

    async def test_the_first_member_opens_a_digest(self, store: LedgerStore) -> None:
        now = store.clock.now()
        async with store.open() as ledger:
            answer = await joined(ledger, join(1))

            assert answer == Joined(key(FIRST + 1), 1, now + WINDOW, is_new=True)
            assert await stored(ledger, FIRST + 1) == Row(
                key=key(FIRST + 1),
                kind=Kind.DIGEST,
                state=State.SCHEDULED,
                sink="digests",
                due=now + WINDOW,
                first_at=now,
                family=key(FIRST + 1),
                waits_for=1,
                event_time=1001.0,
                blob=b"digest",
                updated=now,
            )
            member = await stored(ledger, 1)
            assert (member.state, member.wait_on, member.due) == (
                State.WAITING,
                key(FIRST + 1),
                None,
            )
            assert (member.blob, member.sink, member.epoch) == (b"message", "mail", 0)
            assert await ledger.next_due(["digests", "mail"]) == now + WINDOW

    async def test_further_members_wait_in_the_same_digest(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            first = await joined(ledger, join(3))
            store.clock.advance(WINDOW / 2)

            answers = await other.join([join(2), join(1), join(9, scope="weekly")])

            assert answers == [
                Joined(first.digest, 2, first.closes_at, is_new=True),
                Joined(first.digest, 3, first.closes_at, is_new=True),
                Joined(key(FIRST + 9), 1, store.clock.now() + WINDOW, is_new=True),
            ]
            found = await ledger.members([first.digest, key(FIRST + 9), key(7)])
            assert [member_numbers(members) for members in found] == [[1, 2, 3], [9], []]
            assert {row.blob for row in found[0]} == {b"message"}
            assert (await stored(ledger, FIRST + 3)).waits_for == 3

    async def test_who_joins_again_is_where_it_was(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            first = await joined(ledger, join(1, most=2))
            second = await joined(ledger, join(2, most=2))
            assert second.members == 2

            again = replace(second, is_new=False)
            assert await ledger.join([join(2, most=2), join(1, most=2)]) == [again, again]
            store.clock.advance(WINDOW)
            await ledger.due({"digests": 1}, LEASE)

            assert await ledger.join([join(1), join(1)]) == [again, again]
            assert await members_of(ledger, first.digest) == [1, 2]

    async def test_one_that_is_asked_for_twice_at_once_is_counted_once(
        self, store: LedgerStore
    ) -> None:
        async with store.open() as ledger:
            first, second = await ledger.join([join(1), join(1)])
            assert isinstance(first, Joined)
            assert second == replace(first, is_new=False)

    async def test_a_member_whose_row_stands_otherwise_is_done(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(delivery(1, state=State.DELIVERED)), Settle(waiting(2))])
            await ledger.claim([delivery(3)], LEASE)
            other = delivery(1, event_hash=b"x" * 16)

            assert await ledger.join([join(n) for n in (1, 2, 3)]) == [
                Done(State.DELIVERED),
                Done(State.WAITING),
                Done(State.CLAIMED),
            ]
            assert await ledger.join([join(1, member=other)]) == [
                Done(State.DELIVERED, other_event=True)
            ]
            assert (await ledger.stats()).rows.get((Kind.DIGEST, State.SCHEDULED)) is None

    async def test_a_digest_whose_key_is_taken_gets_another(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(delivery(FIRST + 1, state=State.DELIVERED))])
            answer = await joined(ledger, join(1))
            assert answer.digest == key(FIRST + 2)
            assert await members_of(ledger, answer.digest) == [1]

    async def test_a_digest_and_its_members_are_counted(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.join([join(n) for n in (1, 2)])
            stats = await ledger.stats()
            assert dict(stats.rows) == {
                (Kind.DIGEST, State.SCHEDULED): 1,
                (Kind.DELIVERY, State.WAITING): 2,
            }
            assert dict(stats.backlog) == {"digests": 1, "mail": 2}
            assert dict(stats.backlog_bytes) == {"digests": 6, "mail": 14}

    # Closing -----------------------------------------------------------------------------------

    async def test_a_digest_closes_with_its_window(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            first = await joined(ledger, join(1))
            store.clock.advance(WINDOW - 1)
            assert (await joined(ledger, join(2))).digest == first.digest
            assert await ledger.due({"digests": 5}, LEASE) == []
            store.clock.advance(1)

            later = await joined(ledger, join(3))

            assert (later.digest, later.members) == (key(FIRST + 3), 1)
            (row,) = await ledger.due({"digests": 5}, LEASE, [Kind.DIGEST])
            assert (row.key, row.waits_for, row.blob) == (first.digest, 2, b"digest")
            assert await members_of(ledger, row.key) == [1, 2]

    async def test_the_last_of_so_many_closes_a_digest(self, store: LedgerStore) -> None:
        now = store.clock.now()
        async with store.open() as ledger:
            answers = await ledger.join([join(n, most=2) for n in range(5)])

            told = [(a.digest, a.members, a.closes_at) for a in answers if isinstance(a, Joined)]
            assert told == [
                (key(FIRST), 1, now + WINDOW),
                (key(FIRST), 2, now),
                (key(FIRST + 2), 1, now + WINDOW),
                (key(FIRST + 2), 2, now),
                (key(FIRST + 4), 1, now + WINDOW),
            ]
            assert await keys_due(ledger, "digests") == [FIRST, FIRST + 2]
            alone = await joined(ledger, join(9, scope="alone", most=1))
            assert alone.closes_at == now
            assert await keys_due(ledger, "digests") == [FIRST + 9]

    async def test_each_member_may_move_the_end_up_to_a_bound(self, store: LedgerStore) -> None:
        start = store.clock.now()
        bounded = partial(join, extend=True, at_most=100.0)
        async with store.open() as ledger:
            ends = [(await joined(ledger, bounded(0))).closes_at]
            for n in (1, 2):
                store.clock.advance(30)
                ends.append((await joined(ledger, bounded(n))).closes_at)
            assert ends == [start + 60, start + 90, start + 100]
            assert await ledger.next_due(["digests"]) == start + 100

            unbounded = partial(join, extend=True, scope="unbounded")
            last = await joined(ledger, unbounded(5))
            for n in range(6, 10):
                store.clock.advance(WINDOW - 1)
                last = await joined(ledger, unbounded(n))
            assert (last.members, last.closes_at) == (5, store.clock.now() + WINDOW)

    async def test_a_digest_that_was_claimed_is_closed_for_ever(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await joined(ledger, join(1))
            store.clock.advance(WINDOW)
            (row,) = await ledger.due({"digests": 1}, LEASE)
            retry = outcome(row, State.SCHEDULED, row.epoch, due=store.clock.now() + 5)
            assert await ledger.settle([retry]) == [Settled.OK]

            assert (await joined(ledger, join(2))).digest == key(FIRST + 2)
            assert await members_of(ledger, row.key) == [1]

    async def test_members_end_with_their_digest_for_its_reason(self, store: LedgerStore) -> None:
        family = b"m" * 16
        member = delivery(1, blob=b"message", family=family)
        sent = scheduled(50)
        digested = Reason("digested", "sent together with others")
        async with store.open() as ledger:
            await ledger.join([join(1, member=member, most=2), join(2, most=2)])
            await ledger.settle([Settle(waiting(3, wait_on=family))])
            (row,) = await ledger.due({"digests": 1}, LEASE)
            end = outcome(
                row,
                State.DELIVERED,
                row.epoch,
                waiters="drop",
                dropped_as=digested,
                follow_ups=(sent,),
            )

            assert await ledger.settle([end]) == [Settled.OK]
            assert await ledger.settle([end]) == [Settled.SAME]

            ended = [await stored(ledger, n) for n in (1, 2, 3)]
            assert {(r.state, r.reason, r.blob) for r in ended} == {
                (State.SUPPRESSED, digested, None)
            }
            assert await members_of(ledger, row.key) == []
            assert await ledger.join([join(1)]) == [Done(State.SUPPRESSED)]
            assert await keys_due(ledger) == [50]

    async def test_no_failure_starts_a_member(self, store: LedgerStore) -> None:
        member = delivery(1, blob=b"message", waits_for=1, starts_on=("rejected",))
        async with store.open() as ledger:
            await joined(ledger, join(1, member=member, most=1))
            (row,) = await ledger.due({"digests": 1}, LEASE)
            await ledger.settle(
                [outcome(row, State.DEAD, row.epoch, waiters="start", causes=("rejected",))]
            )
            assert (await stored(ledger, 1)).state is State.SUPPRESSED

    async def test_upkeep_leaves_what_is_open_and_forgets_who_was_last(
        self, store: LedgerStore
    ) -> None:
        async with store.open() as ledger:
            first = await joined(ledger, join(1))
            await ledger.purge(store.clock.now() + 10 * WINDOW)
            assert (await joined(ledger, join(2))).digest == first.digest

            store.clock.advance(2 * WINDOW)
            assert await ledger.purge(store.clock.now()) == 1
            assert await ledger.purge(store.clock.now()) == 0
            assert await keys_due(ledger, "digests") == [FIRST + 1]
            assert await members_of(ledger, first.digest) == [1, 2]

    async def test_nobody_asked_is_nobody_joined(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            assert list(await ledger.join([])) == []
            assert list(await ledger.members([])) == []

    # Races -------------------------------------------------------------------------------------

    async def test_members_from_both_sides_meet_in_one_digest(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            for n in range(ROUNDS):
                wished = [
                    [join(100 * n + i, scope=f"s{n}") for i in range(start, 20, 2)]
                    for start in (0, 1)
                ]
                answers = await at_once(
                    partial(one.join, wished[0]), partial(two.join, wished[1][::-1])
                )

                told = [a for each in answers for a in each if isinstance(a, Joined)]
                assert sorted(a.members for a in told) == list(range(1, 21))
                (digest,) = {a.digest for a in told}
                assert await members_of(one, digest) == [100 * n + i for i in range(20)]

    async def test_a_member_that_comes_from_both_sides_is_in_once(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            for n in range(ROUNDS):
                asked = [join(10 * n, scope=f"s{n}")]
                answers = await at_once(partial(one.join, asked), partial(two.join, asked))
                told = [a for each in answers for a in each if isinstance(a, Joined)]
                assert sorted(a.is_new for a in told) == [False, True]
                assert {(a.digest, a.members) for a in told} == {(key(FIRST + 10 * n), 1)}

    async def test_only_the_limit_splits_a_digest(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            wished = [[join(n, most=7) for n in range(start, 40, 2)] for start in (0, 1)]
            calls = [
                partial(by.join, [asked])
                for pair in zip(*wished, strict=True)
                for by, asked in zip((one, two), pair, strict=True)
            ]
            answers = await at_once(*calls)

            digests = {a.digest for (a,) in answers if isinstance(a, Joined)}
            sizes = sorted([len(await members_of(one, digest)) for digest in digests])
            assert sizes == [5, 7, 7, 7, 7, 7]

    async def test_who_joins_beside_the_claim_is_in_it_or_in_the_next(
        self, store: LedgerStore
    ) -> None:
        async with both(store) as (one, two):
            flushed: list[int] = []
            rounds = 12
            most = 3
            ended = anyio.Event()

            async def flush() -> None:
                while True:
                    was_ended = ended.is_set()
                    rows = await two.due({"digests": 10}, LEASE)
                    for members in await two.members([row.key for row in rows]):
                        flushed.extend(member_numbers(members))
                    drops = [
                        outcome(row, State.DELIVERED, row.epoch, waiters="drop") for row in rows
                    ]
                    await two.settle(drops)
                    if was_ended and not rows:
                        return
                    await anyio.lowlevel.checkpoint()

            async def come(lane: int) -> None:
                for n in range(rounds):
                    number = lane * 100 + n
                    answer = await joined(one, join(number, most=most))
                    assert answer.is_new

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(flush)
                async with anyio.create_task_group() as comers:
                    for lane in range(3):
                        comers.start_soon(come, lane)
                store.clock.advance(WINDOW)
                ended.set()

            assert sorted(flushed) == [lane * 100 + n for lane in range(3) for n in range(rounds)]


class DurableLedgerDigests(LedgerDigests):
    """The tests of kinds that outlive their process."""

    async def test_digests_outlive_a_restart(self, store: LedgerStore) -> None:
        async with store.open("dead") as ledger:
            first = await joined(ledger, join(1))
        async with store.open() as ledger:
            assert await ledger.join([join(1), join(2)]) == [
                replace(first, is_new=False),
                replace(first, members=2),
            ]
            await ledger.put_facts([Fact("other", "")])
        store.clock.advance(WINDOW)
        async with store.open("dies") as ledger:
            assert await keys_due(ledger, "digests") == [FIRST + 1]
        store.clock.advance(LEASE)
        async with store.open() as ledger:
            (row,) = await ledger.due({"digests": 5}, LEASE)
            assert (row.state, row.epoch) == (State.CLAIMED, 2)
            assert await members_of(ledger, row.key) == [1, 2]
            assert (await joined(ledger, join(3))).digest == key(FIRST + 3)
