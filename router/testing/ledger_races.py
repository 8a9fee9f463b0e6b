"""Races between two clients of one ledger, as tests that any kind can run.

Mix :class:`LedgerRaces` into the subclass of the conformance suite. Whatever the clients do at the
same time has to come out as if one had done it after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import anyio

from router.ledger import (
    Doubtful,
    Fact,
    Granted,
    Held,
    Kind,
    Ledger,
    ProgressKey,
    Row,
    Settle,
    Settled,
    State,
    Take,
)
from router.testing.ledger_rows import (
    FAMILY,
    LEASE,
    LedgerStore,
    delivery,
    key,
    outcome,
    scheduled,
    stored,
    waiting,
)

R = TypeVar("R")

ROUNDS = 8
MANY = 60


@asynccontextmanager
async def both(store: LedgerStore) -> AsyncGenerator[tuple[Ledger, Ledger]]:
    """Two clients of the store."""
    async with store.open() as one, store.second_client(one) as two:
        yield one, two


async def at_once(*calls: Callable[[], Awaitable[R]]) -> list[R]:
    """Makes calls at the same time; their answers in the order of the calls."""
    answers: dict[int, R] = {}

    async def make(place: int, call: Callable[[], Awaitable[R]]) -> None:
        answers[place] = await call()

    async with anyio.create_task_group() as tasks:
        for place, call in enumerate(calls):
            tasks.start_soon(make, place, call)
    return [answers[place] for place in range(len(calls))]


async def due_numbers(ledger: Ledger, sink: str = "mail", most: int = 1000) -> list[int]:
    return [int.from_bytes(row.key, "big") for row in await ledger.due({sink: most}, LEASE)]


class LedgerRaces:
    """The tests of every kind that more than one client can have open."""

    async def test_batches_in_opposite_orders_get_past_each_other(self, store: LedgerStore) -> None:
        rows = [delivery(n) for n in range(MANY)]
        async with both(store) as (one, two):
            claims = await at_once(
                partial(one.claim, rows, LEASE), partial(two.claim, rows[::-1], LEASE)
            )
            for first, second in zip(claims[0], claims[1][::-1], strict=True):
                assert {type(first), type(second)} == {Granted, Held}

            ends = [outcome(row, State.DELIVERED) for row in rows]
            answers = await at_once(partial(one.settle, ends), partial(two.settle, ends[::-1]))
            for pair in zip(answers[0], answers[1][::-1], strict=True):
                assert sorted(pair) == [Settled.OK, Settled.SAME]
            assert (await one.stats()).rows == {(Kind.DELIVERY, State.DELIVERED): MANY}

    async def test_of_different_outcomes_one_counts(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            for n in range(ROUNDS):
                row = delivery(n)
                await one.claim([row], LEASE)
                letters = [scheduled(100 + 2 * n + who, sink="letters") for who in (0, 1)]
                ends = [
                    outcome(row, state, blob=b"m", follow_ups=(letter,))
                    for state, letter in zip((State.DEAD, State.SCHEDULED), letters, strict=True)
                ]

                answers = await at_once(
                    partial(one.settle, ends[:1]), partial(two.settle, ends[1:])
                )

                assert answers[0] == [Settled.OK]
                assert (await stored(one, n)).state is State.DEAD
                found = await two.lookup([letter.key for letter in letters])
                assert [letter is not None for letter in found] == [
                    True,
                    answers[1] == [Settled.OK],
                ]

    async def test_one_of_two_takes_over_an_ended_lease(self, store: LedgerStore) -> None:
        rows = [delivery(n, blob=b"m") for n in range(MANY)]
        async with both(store) as (one, two):
            await one.claim(rows, LEASE)
            store.clock.advance(LEASE)

            claims, pulled = await at_once(
                partial(one.claim, rows, LEASE), partial(two.due, {"mail": MANY}, LEASE)
            )

            by_claim = {
                row.key
                for row, claim in zip(rows, claims, strict=True)
                if isinstance(claim, Doubtful)
            }
            by_due = {row.key for row in pulled if isinstance(row, Row)}
            assert not by_claim & by_due
            left = await one.due({"mail": MANY}, LEASE)  # who comes late skips, and comes again
            assert by_claim | by_due | {row.key for row in left} == {row.key for row in rows}
            assert {row.epoch if row else 0 for row in await two.lookup([r.key for r in rows])} == {
                2
            }

    async def test_of_schedulers_nobody_gets_what_another_got(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            await one.settle([Settle(scheduled(n)) for n in range(4 * MANY)])
            taken: Counter[int] = Counter()

            async def pull(by: Ledger) -> None:
                while rows := await due_numbers(by, most=9):
                    taken.update(rows)

            async with anyio.create_task_group() as tasks:
                for by in (one, two, one, two):
                    tasks.start_soon(pull, by)

            assert taken == Counter(range(4 * MANY))

    async def test_a_claim_given_back_goes_to_one(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            for n in range(ROUNDS):
                row = delivery(n)
                await one.claim([row], LEASE)

                _, claims = await at_once(
                    partial(one.release, [(key(n), 1)]),
                    partial(two.claim, [row], LEASE),
                )

                found = await one.lookup([row.key])
                if isinstance(claims, Sequence) and isinstance(claims[0], Granted):
                    assert found[0] is not None
                    assert found[0].owner == two.owner
                else:
                    assert found == [None]

    async def test_failures_at_once_are_both_counted(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            for n in range(ROUNDS):
                family = bytes([n]) * 16
                phones = [delivery(10 * n + i, family=family) for i in (1, 2)]
                fallback = waiting(10 * n + 3, wait_on=family, waits_for=2)
                await one.claim(phones, LEASE)
                failures = [
                    outcome(
                        phone,
                        State.DEAD,
                        waiters="start",
                        causes=("rejected",),
                        follow_ups=(fallback,),
                    )
                    for phone in phones
                ]

                answers = await at_once(
                    partial(one.settle, failures[:1]),
                    partial(two.settle, failures[1:]),
                )

                assert answers == [[Settled.OK], [Settled.OK]]
                assert (await stored(one, 10 * n + 3)).state is State.SCHEDULED

    async def test_delivery_drops_the_fallback_that_a_failure_beside_it_brings(
        self, store: LedgerStore
    ) -> None:
        async with both(store) as (one, two):
            for n in range(ROUNDS):
                family = bytes([n]) * 16
                phones = [delivery(10 * n + i, family=family) for i in (1, 2)]
                fallback = waiting(10 * n + 3, wait_on=family, waits_for=2)
                await one.claim(phones, LEASE)
                failure = outcome(
                    phones[0],
                    State.DEAD,
                    waiters="start",
                    causes=("rejected",),
                    follow_ups=(fallback,),
                )
                needless = replace(fallback, state=State.SUPPRESSED)
                success = outcome(
                    phones[1], State.DELIVERED, waiters="drop", follow_ups=(needless,)
                )

                await at_once(partial(one.settle, [failure]), partial(two.settle, [success]))

                assert (await stored(one, 10 * n + 3)).state is State.SUPPRESSED

    async def test_rows_of_one_scope_that_come_at_once_are_due_one_by_one(
        self, store: LedgerStore
    ) -> None:
        scopes = [f"s{n % 3}" for n in range(MANY)]
        rows = [scheduled(n, order_scope=s, seq=n) for n, s in enumerate(scopes)]
        async with both(store) as (one, two):
            await at_once(
                partial(one.settle, [Settle(row) for row in rows[::2]]),
                partial(two.settle, [Settle(row) for row in rows[::-1][::2]]),
            )

            seen: list[int] = []
            while numbers := sorted(await due_numbers(one)):
                assert len({scopes[n] for n in numbers}) == len(numbers)
                seen += numbers
                half = len(numbers) // 2
                ends = [outcome(rows[n], State.DELIVERED) for n in numbers]
                await at_once(
                    partial(one.settle, ends[:half]),
                    partial(two.settle, ends[half:]),
                )
            assert sorted(seen) == list(range(MANY))
            for scope in set(scopes):
                of_scope = [n for n in seen if scopes[n] == scope]
                assert of_scope == sorted(of_scope)

    async def test_claims_of_one_scope_at_once_never_run_ahead(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            for n in range(ROUNDS):
                rows = [delivery(10 * n + i, order_scope=f"s{n}", seq=i) for i in (1, 2)]

                claims = await at_once(
                    partial(one.claim, rows[:1], LEASE),
                    partial(two.claim, rows[1:], LEASE),
                )

                assert claims[0] == [Granted(1)]
                ahead = (await two.lookup([rows[1].key]))[0] is not None
                assert (claims[1] == [Granted(1)]) == ahead  # the second came first, or is behind

    async def test_replay_from_two_sides_happens_once(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            dead = [Settle(delivery(n, state=State.DEAD, blob=b"m")) for n in range(MANY)]
            await one.settle(dead)
            keys = [settlement.row.key for settlement in dead]

            answers = await at_once(
                partial(one.reschedule, keys, 1.0), partial(two.reschedule, keys[::-1], 1.0)
            )

            for pair in zip(answers[0], answers[1][::-1], strict=True):
                assert sorted(pair) == [False, True]
            assert {row.epoch if row else 0 for row in await one.lookup(keys)} == {1}

    async def test_purge_beside_replay_keeps_what_was_reopened(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            dead = [Settle(delivery(n, state=State.DEAD, blob=b"m")) for n in range(MANY)]
            await one.settle(dead)
            keys = [settlement.row.key for settlement in dead]
            store.clock.advance(10)
            now = store.clock.now()

            reopened, dropped = await at_once(
                partial(one.reschedule, keys, now), partial(two.purge, now)
            )

            assert isinstance(reopened, Sequence)
            left = [row is not None for row in await one.lookup(keys)]
            assert left == list(reopened)
            assert left.count(False) == dropped
            assert sum((await two.stats()).rows.values()) == left.count(True)

    async def test_a_bucket_asked_from_both_sides_keeps_its_limit(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            asks = [[Take("b", f"{who}{n}", 7, 60.0) for n in range(20)] for who in "xy"]
            verdicts = await at_once(partial(one.admit, asks[0]), partial(two.admit, asks[1][::-1]))
            assert sum(v.granted for each in verdicts for v in each) == 7

    async def test_cancel_marks_from_both_sides_keep_the_latest(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            marks = [[Fact(f"cancel:{n}", "", str(w + n % 2)) for n in range(20)] for w in (3, 4)]
            await at_once(partial(one.put_facts, marks[0]), partial(two.put_facts, marks[1][::-1]))
            found = await one.facts([mark.scope for mark in marks[0]])
            assert sorted(fact.value for fact in found) == ["4"] * 10 + ["5"] * 10

    async def test_every_token_is_given_to_one(self, store: LedgerStore) -> None:
        async with both(store) as (one, two):
            takes = [partial(by.take, "api", 1, 10.0, 4.0) for by in (one, two) * 5]
            waits = sorted(await at_once(*takes))
            assert [round(wait, 6) for wait in waits] == [0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]

    async def test_progress_from_both_sides_is_the_furthest(self, store: LedgerStore) -> None:
        keys = [ProgressKey("g", "t", n) for n in range(20)]
        async with both(store) as (one, two):
            await at_once(
                partial(one.put_progress, {key: 5 + key.partition % 2 for key in keys}),
                partial(two.put_progress, {key: 6 - key.partition % 2 for key in keys[::-1]}),
            )
            assert set(await one.progress(keys)) == {6}

    async def test_counts_are_right_after_a_quarrel(self, store: LedgerStore) -> None:
        rows = [scheduled(n, family=FAMILY, due=0.0) for n in range(MANY)]
        async with both(store) as (one, two):

            async def quarrel(by: Ledger, order: int) -> None:
                await by.settle([Settle(row) for row in rows[::order]])
                for _ in range(4):
                    taken = await by.due({"mail": 15}, LEASE)
                    await by.settle(
                        [
                            outcome(row, State.SCHEDULED, row.epoch, due=0.0, blob=b"longer")
                            for row in taken
                        ]
                    )
                await by.settle([Settle(delivery(900 + order, state=State.DEAD, blob=b"1"))])

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(quarrel, one, 1)
                tasks.start_soon(quarrel, two, -1)

            found = [row for row in await one.lookup([r.key for r in rows]) if row is not None]
            stats = await one.stats()
            assert dict(stats.rows) == {
                (Kind.DELIVERY, State.SCHEDULED): MANY,
                (Kind.DELIVERY, State.DEAD): 2,
            }
            assert dict(stats.backlog) == {"mail": MANY}
            assert dict(stats.backlog_bytes) == {"mail": sum(len(r.blob or b"") for r in found)}
