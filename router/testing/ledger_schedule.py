"""What every kind of ledger has to do with what is due and with order scopes, as tests.

They are part of the conformance suite.
"""

from __future__ import annotations

import anyio

from router.ledger import (
    Behind,
    Doubtful,
    Granted,
    Kind,
    Ledger,
    Settle,
    State,
)
from router.testing.ledger_rows import (
    LEASE,
    LedgerStore,
    delivery,
    key,
    keys_due,
    outcome,
    scheduled,
    waiting,
)


class LedgerSchedule:
    """The tests of every kind."""

    # The schedule ------------------------------------------------------------------------------

    async def test_due_rows_come_longest_due_first_within_each_sinks_share(
        self, store: LedgerStore
    ) -> None:
        now = store.clock.now()
        async with store.open() as ledger:
            rows = [scheduled(n, due=now - n) for n in range(5)]
            rows += [scheduled(n, due=now - n, sink="chat") for n in (6, 7)]
            rows += [scheduled(8, due=now + 1), scheduled(9, due=now - 100, sink="other")]
            await ledger.settle([Settle(row) for row in rows])

            due = await ledger.due({"mail": 3, "chat": 1, "none": 5}, LEASE)

            assert [row.key for row in due] == [key(n) for n in (7, 4, 3, 2)]
            assert {(row.state, row.epoch, row.owner) for row in due} == {
                (State.SCHEDULED, 1, ledger.owner)
            }
            assert {row.lease_until for row in due} == {now + LEASE}
            assert {row.blob for row in due} == {b"message"}
            assert await keys_due(ledger) == [1, 0]
            assert await keys_due(ledger) == []

    async def test_due_can_be_asked_for_some_kinds(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(scheduled(1)), Settle(scheduled(2, kind=Kind.INPUT))])
            only = await ledger.due({"mail": 5}, LEASE, [Kind.INPUT, Kind.DIGEST])
            assert [row.key for row in only] == [key(2)]
            assert await keys_due(ledger) == [1]

    async def test_racing_schedulers_share_the_due_rows(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.settle([Settle(scheduled(n)) for n in range(40)])
            taken: list[bytes] = []

            async def pull(by: Ledger) -> None:
                while rows := await by.due({"mail": 7}, LEASE):
                    taken.extend(row.key for row in rows)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pull, ledger)
                tasks.start_soon(pull, other)

            assert sorted(taken) == [key(n) for n in range(40)]

    async def test_a_claim_that_was_left_comes_back_in_doubt(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.claim([delivery(1, blob=b"m"), delivery(2)], LEASE)
            assert await other.due({"mail": 5}, LEASE) == []
            store.clock.advance(LEASE)

            (row,) = await other.due({"mail": 5}, LEASE)

            assert (row.key, row.state, row.epoch) == (key(1), State.CLAIMED, 2)
            assert row.doubtful
            assert await ledger.claim([delivery(2)], LEASE) == [Doubtful(2, 0)]

    async def test_a_waiting_row_starts_at_its_time(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle(
                [Settle(waiting(2, due=store.clock.now() + 10)), Settle(waiting(3))]
            )
            assert await ledger.next_due(["sms"]) == store.clock.now() + 10
            store.clock.advance(10)

            (row,) = await ledger.due({"sms": 5}, LEASE)
            assert (row.key, row.state) == (key(2), State.WAITING)

    async def test_next_due_is_when_something_can_be_had(self, store: LedgerStore) -> None:
        now = store.clock.now()
        async with store.open() as ledger:
            assert await ledger.next_due(["mail", "chat"]) is None
            rows = [scheduled(1, due=now + 9), scheduled(2, due=now + 5, sink="chat")]
            await ledger.settle([Settle(row) for row in rows])

            assert await ledger.next_due(["mail"]) == now + 9
            assert await ledger.next_due(["mail", "chat"]) == now + 5
            store.clock.advance(5)
            await ledger.due({"chat": 1}, 60.0)
            assert await ledger.next_due(["chat"]) == now + 65

    async def test_a_row_can_move_to_another_sink(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(scheduled(1, sink="old"))])
            await ledger.due({"old": 1}, LEASE)
            await ledger.settle([outcome(delivery(1, sink="new"), State.SCHEDULED)])

            assert await keys_due(ledger, "old") == []
            assert await keys_due(ledger, "new") == [1]

    # Order -------------------------------------------------------------------------------------

    async def test_a_later_sequence_is_behind_an_open_one(self, store: LedgerStore) -> None:
        first, second = (delivery(n, order_scope="s", seq=n) for n in (1, 2))
        async with store.open() as ledger:
            assert await ledger.claim([first, second], LEASE) == [Granted(1), Behind()]
            assert await ledger.lookup([second.key]) == [None]
            assert await ledger.claim([delivery(3, order_scope="t", seq=3)], LEASE) == [Granted(1)]

            await ledger.settle([outcome(first, State.DELIVERED)])
            assert await ledger.claim([second], LEASE) == [Granted(1)]

    async def test_only_heads_are_due_and_an_end_frees_the_next(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            rows = [scheduled(n, order_scope="s", seq=n, due=float(9 - n)) for n in (1, 2, 3)]
            await ledger.settle([Settle(row) for row in rows])

            assert await ledger.next_due(["mail"]) == 8.0
            assert await keys_due(ledger) == [1]
            assert await keys_due(ledger) == []
            await ledger.settle([outcome(rows[0], State.DEAD)])
            assert await keys_due(ledger) == [2]

            await ledger.settle([outcome(rows[1], State.SCHEDULED, due=store.clock.now() + 50)])
            assert await ledger.next_due(["mail"]) == store.clock.now() + 50
            assert await keys_due(ledger) == []
            store.clock.advance(50)
            assert await keys_due(ledger) == [2]
            await ledger.settle([outcome(rows[1], State.SUPPRESSED, epoch=2)])
            assert await keys_due(ledger) == [3]

    async def test_a_lower_sequence_takes_the_head(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(scheduled(5, order_scope="s", seq=5))])
            await ledger.settle([Settle(scheduled(2, order_scope="s", seq=2))])

            assert await keys_due(ledger) == [2]
            await ledger.settle([outcome(delivery(2), State.DELIVERED)])
            assert await keys_due(ledger) == [5]

    async def test_pieces_of_one_sequence_run_together(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            rows = [scheduled(n, order_scope="s", seq=n // 2) for n in (2, 3, 4)]
            await ledger.settle([Settle(row) for row in rows])

            assert await keys_due(ledger) == [2, 3]
            await ledger.settle([outcome(rows[0], State.DELIVERED)])
            assert await keys_due(ledger) == []
            await ledger.settle([outcome(rows[1], State.DELIVERED)])
            assert await keys_due(ledger) == [4]
