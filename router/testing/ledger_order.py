"""What every kind of ledger has to do for ranks, order scopes and rows that wait, as tests.

They are part of the conformance suite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio

from router.ledger import (
    Behind,
    Cancelled,
    Doubtful,
    Fact,
    Granted,
    Ledger,
    Row,
    Settle,
    Settled,
    State,
)
from router.messages import Reason
from router.testing.ledger_races import ROUNDS, at_once, both, due_numbers
from router.testing.ledger_rows import (
    FAMILY,
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

URGENT, NORMAL, BULK = 0, 1, 2


def in_scope(number: int, *, scope: str = "s", how: Callable[..., Row] = scheduled) -> Row:
    """A row whose place in its order scope is its number."""
    return how(number, order_scope=scope, seq=number, cancel_scope=f"cancel:{scope}")


class LedgerOrder:
    """The tests of every kind."""

    # Ranks -------------------------------------------------------------------------------------

    async def test_the_urgent_go_first_and_bulk_goes_last(self, store: LedgerStore) -> None:
        now = store.clock.now()
        ranks = [BULK, NORMAL, URGENT, BULK, NORMAL, URGENT]
        rows = [scheduled(n, rank=rank, due=now - n) for n, rank in enumerate(ranks)]
        rows += [scheduled(6, rank=URGENT, due=now + 1), scheduled(7, sink="sms", rank=BULK)]
        async with store.open() as ledger:
            await ledger.settle([Settle(row) for row in rows])

            assert await keys_due(ledger, limit=3) == [5, 2, 4]
            both_sinks = await ledger.due({"mail": 1, "sms": 5}, LEASE)
            assert [row.key for row in both_sinks] == [key(1), key(7)]
            assert await keys_due(ledger) == [3, 0]
            assert await ledger.next_due(["mail"]) == now + 1

    async def test_a_rank_is_kept_as_first_stored(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            urgent, bulk = delivery(1, rank=URGENT, blob=b"m"), scheduled(2, rank=BULK)
            await ledger.claim([urgent], LEASE)
            await ledger.settle([Settle(bulk, follow_ups=(scheduled(3, rank=URGENT),))])
            await ledger.settle([outcome(replace(urgent, rank=BULK), State.SCHEDULED)])

            assert await keys_due(ledger) == [1, 3, 2]
            await ledger.settle([outcome(replace(bulk, rank=URGENT), State.DEAD)])
            await ledger.reschedule([key(2)], 1.0)
            await ledger.settle([Settle(scheduled(4, due=store.clock.now()))])
            assert await keys_due(ledger) == [4, 2]
            ranks = [(await stored(ledger, n)).rank for n in (1, 2, 3, 4)]
            assert ranks == [URGENT, BULK, URGENT, NORMAL]

    async def test_a_rank_that_is_none_is_refused(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            calls = [
                partial(ledger.claim, [delivery(1, rank=3)], LEASE),
                partial(ledger.settle, [Settle(scheduled(1, rank=-1))]),
            ]
            for call in calls:
                try:
                    await call()
                except ValueError:
                    continue
                raise AssertionError("a row of an unknown rank was taken")
            assert await ledger.lookup([key(1)]) == [None]

    async def test_a_backlog_of_bulk_holds_no_urgent_row_up(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(scheduled(n, rank=BULK, due=1.0)) for n in range(500)])
            await ledger.settle([Settle(scheduled(900, rank=URGENT))])
            assert await keys_due(ledger, limit=2) == [900, 0]

    async def test_some_ranks_can_be_asked_for_alone(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            rows = [scheduled(n, rank=n % 3, due=1.0) for n in range(6)]
            await ledger.settle([Settle(row) for row in rows])

            bulk = await ledger.due({"mail": 1}, LEASE, ranks=[BULK])
            assert [row.key for row in bulk] == [key(2)]
            others = await ledger.due({"mail": 5}, LEASE, ranks=[URGENT, BULK])
            assert [row.key for row in others] == [key(0), key(3), key(5)]
            assert await keys_due(ledger) == [1, 4]

    # Waiting rows ------------------------------------------------------------------------------

    async def test_waiting_rows_are_dropped_for_the_reason_given(self, store: LedgerStore) -> None:
        family = b"n" * 16
        reason = Reason("superseded", "something else arrived")
        async with store.open() as ledger:
            await ledger.claim([delivery(1, family=FAMILY)], LEASE)
            await ledger.settle(
                [Settle(waiting(2, family=family)), Settle(waiting(3, wait_on=family))]
            )
            sent = outcome(delivery(1), State.DELIVERED, waiters="drop")
            assert await ledger.settle([replace(sent, dropped_as=reason)]) == [Settled.OK]

            for number in (2, 3):
                row = await stored(ledger, number)
                assert (row.state, row.reason, row.blob) == (State.SUPPRESSED, reason, None)

    async def test_a_failure_drops_what_it_does_not_start_as_not_needed(
        self, store: LedgerStore
    ) -> None:
        async with store.open() as ledger:
            await ledger.claim([delivery(1, family=FAMILY)], LEASE)
            await ledger.settle([Settle(waiting(2, starts_on=("gone",)))])
            failed = outcome(delivery(1), State.DEAD, waiters="start", causes=("rejected",))
            await ledger.settle([replace(failed, dropped_as=Reason("other"))])
            row = await stored(ledger, 2)
            assert row.reason is not None
            assert (row.state, row.reason.code) == (State.SUPPRESSED, "not_needed")

    async def test_what_starts_unseen_outlives_the_delivery(self, store: LedgerStore) -> None:
        due = store.clock.now() + 60
        unseen = waiting(2, starts_on=("rejected", "unseen"), due=due)
        async with store.open() as ledger:
            await ledger.claim([delivery(1, family=FAMILY)], LEASE)
            await ledger.settle([Settle(unseen), Settle(waiting(3))])

            await ledger.settle([outcome(delivery(1), State.DELIVERED, waiters="drop")])

            left = await stored(ledger, 2)
            assert (left.state, left.due, left.blob) == (State.WAITING, due, b"message")
            assert (await stored(ledger, 3)).state is State.SUPPRESSED
            assert await ledger.next_due(["sms"]) == due
            store.clock.advance(60)
            assert await keys_due(ledger, "sms") == [2]

    async def test_a_failure_starts_what_starts_unseen_only_for_its_cause(
        self, store: LedgerStore
    ) -> None:
        unseen = [
            waiting(2, starts_on=("unseen", "rejected")),
            waiting(3, starts_on=("unseen",), due=store.clock.now() + 60),
        ]
        async with store.open() as ledger:
            await ledger.claim([delivery(1, family=FAMILY)], LEASE)
            await ledger.settle([Settle(row) for row in unseen])
            failed = outcome(delivery(1), State.DEAD, waiters="start", causes=("rejected",))
            await ledger.settle([failed])

            assert (await stored(ledger, 2)).state is State.SCHEDULED
            assert (await stored(ledger, 3)).state is State.WAITING

    async def test_what_waits_on_a_dropped_row_goes_with_it_unseen_or_not(
        self, store: LedgerStore
    ) -> None:
        family = b"n" * 16
        chain = [
            waiting(2, family=family),
            waiting(3, wait_on=family, starts_on=("unseen",), due=store.clock.now() + 60),
        ]
        async with store.open() as ledger:
            await ledger.claim([delivery(1, family=FAMILY)], LEASE)
            await ledger.settle([Settle(row) for row in chain])
            await ledger.settle([outcome(delivery(1), State.DELIVERED, waiters="drop")])
            assert (await stored(ledger, 3)).state is State.SUPPRESSED

    # Order scopes ------------------------------------------------------------------------------

    async def test_order_is_stored_by_whatever_inserts_a_row(self, store: LedgerStore) -> None:
        claimed = in_scope(1, scope="a", how=delivery)
        settled = in_scope(2, scope="b")
        follow_up = in_scope(3, scope="c")
        async with store.open() as ledger:
            await ledger.claim([claimed], LEASE)
            await ledger.settle([Settle(settled, follow_ups=(follow_up,))])
            for row in (claimed, settled, follow_up):
                found = await stored(ledger, row.seq or 0)
                assert (found.order_scope, found.seq, found.cancel_scope) == (
                    row.order_scope,
                    row.seq,
                    row.cancel_scope,
                )

    async def test_a_claim_is_behind_rows_however_they_came(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.settle([Settle(in_scope(1))])
            assert await other.claim([in_scope(2, how=delivery)], LEASE) == [Behind()]
            assert await keys_due(other) == [1]
            assert await ledger.claim([in_scope(2, how=delivery)], LEASE) == [Behind()]
            await other.settle([outcome(scheduled(1), State.DELIVERED)])

            assert await ledger.claim([in_scope(2, how=delivery)], LEASE) == [Granted(1)]
            await other.settle([Settle(in_scope(3))])
            assert await other.next_due(["mail"]) is None
            assert await keys_due(other) == []

    async def test_the_next_head_is_to_be_had_at_once(self, store: LedgerStore) -> None:
        now = store.clock.now()
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.claim([in_scope(1, how=delivery)], LEASE)
            followers = [in_scope(n) for n in range(2, 6)]
            await other.settle([Settle(replace(row, due=now - row.key[-1])) for row in followers])
            assert await other.next_due(["mail"]) is None

            for number, end in ((1, State.DELIVERED), (2, State.DEAD), (3, State.SUPPRESSED)):
                await ledger.settle([outcome(delivery(number), end)])
                for looks in (ledger, other):
                    assert await looks.next_due(["mail"]) == now - number - 1
                assert await keys_due(other) == [number + 1]
            await other.release([(key(4), 1)])
            assert await ledger.next_due(["mail"]) == now
            assert await keys_due(ledger) == [4]

    async def test_a_head_that_is_tried_again_keeps_the_others_behind(
        self, store: LedgerStore
    ) -> None:
        later = store.clock.now() + 50
        async with store.open() as ledger:
            await ledger.claim([in_scope(1, how=delivery)], LEASE)
            retry = outcome(delivery(1), State.SCHEDULED, blob=b"m", due=later)
            await ledger.settle([retry, Settle(in_scope(2))])
            assert await ledger.next_due(["mail"]) == later
            assert await keys_due(ledger) == []

    async def test_a_head_in_doubt_can_be_had_and_its_followers_can_not(
        self, store: LedgerStore
    ) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.claim([in_scope(1, how=delivery)], LEASE)
            await ledger.settle([Settle(in_scope(2))])
            store.clock.advance(LEASE)
            assert await other.claim([in_scope(3, how=delivery)], LEASE) == [Behind()]
            assert await keys_due(other) == []
            assert await other.claim([in_scope(1, how=delivery)], LEASE) == [Doubtful(2, 0)]

    async def test_a_claim_in_an_order_scope_can_be_cancelled(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.put_facts([Fact("cancel:s", "", "2000")])
            assert await ledger.claim([in_scope(1, how=delivery)], LEASE) == [Cancelled()]
            await ledger.settle([Settle(in_scope(2))])
            assert await keys_due(ledger) == [2]

    async def test_replicas_run_a_scope_in_its_order(self, store: LedgerStore) -> None:
        """Some rows come with claims, some from the schedule; each of two replicas takes what it
        gets."""
        async with both(store) as (one, two):
            numbers = range(1, 25)
            scopes = ["a", "b", "c"]
            rows = {n: in_scope(n, scope=scopes[n % 3]) for n in numbers}
            by_claim = {n: replace(rows[n], blob=None) for n in numbers if n % 4 == 0}
            await one.settle([Settle(row) for n, row in rows.items() if n not in by_claim])
            seen: list[int] = []

            async def run(by: Ledger) -> None:
                while len(seen) < len(numbers):
                    got = await due_numbers(by, most=2)
                    for n in [n for n in by_claim if n not in seen]:
                        (claim,) = await by.claim([by_claim[n]], LEASE)
                        if isinstance(claim, Granted):
                            got.append(n)
                    seen.extend(got)
                    await by.settle([outcome(rows[n], State.DELIVERED) for n in got])

            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run, one)
                    tasks.start_soon(run, two)

            assert sorted(seen) == list(numbers)
            scheduled_of = [n for n in seen if n not in by_claim]
            for scope in scopes:
                of_scope = [n for n in scheduled_of if rows[n].order_scope == scope]
                assert of_scope == sorted(of_scope)

    async def test_an_end_beside_a_new_row_leaves_a_head(self, store: LedgerStore) -> None:
        """Whichever comes first, the scope does not get stuck, and ``next_due`` knows."""
        async with both(store) as (one, two):
            for n in range(ROUNDS):
                scope, first = f"s{n}", 10 * n
                await one.claim([in_scope(first, scope=scope, how=delivery)], LEASE)
                await at_once(
                    partial(one.settle, [outcome(delivery(first), State.DELIVERED)]),
                    partial(two.settle, [Settle(in_scope(first + 1, scope=scope))]),
                )
                assert await one.next_due(["mail"]) is not None
                assert await due_numbers(two) == [first + 1]
