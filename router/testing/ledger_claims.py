"""What every kind of ledger has to do with claims and what gives them back, as tests.

They are part of the conformance suite.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from router.ledger import (
    Cancelled,
    Claim,
    Done,
    Doubtful,
    Fact,
    Granted,
    Held,
    Ledger,
    Row,
    Settle,
    Settled,
    State,
)
from router.messages import Reason
from router.testing.ledger_rows import (
    LEASE,
    LedgerStore,
    delivery,
    key,
    keys_due,
    outcome,
    scheduled,
    stored,
)


class LedgerClaims:
    """The tests of every kind."""

    # Claims ----------------------------------------------------------------------------------

    async def test_an_unknown_delivery_is_inserted_claimed(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            assert await ledger.lookup([key(1)]) == [None]

            assert await ledger.claim([delivery(1, position="t/0/7")], LEASE) == [Granted(1)]

            row = await stored(ledger, 1)
            assert (row.state, row.epoch, row.owner) == (State.CLAIMED, 1, ledger.owner)
            assert row.lease_until == store.clock.now() + LEASE
            assert row.position == "t/0/7"

    async def test_nobody_claims_twice(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            held = Held(store.clock.now() + LEASE)

            assert await ledger.claim([delivery(1), delivery(1)], LEASE) == [Granted(1), held]
            assert await ledger.claim([delivery(1)], LEASE) == [held]
            assert await other.claim([delivery(1)], LEASE) == [held]

    async def test_of_racing_owners_one_gets_each_delivery(self, store: LedgerStore) -> None:
        rows = [delivery(n) for n in range(50)]
        claims: list[Sequence[Claim]] = []

        async with store.open() as ledger, store.second_client(ledger) as other:

            async def claim(by: Ledger, asked: Sequence[Row]) -> None:
                claims.append(await by.claim(asked, LEASE))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(claim, ledger, rows)
                tasks.start_soon(claim, other, rows)

        for first, second in zip(*claims, strict=True):
            assert sorted(type(c).__name__ for c in (first, second)) == ["Granted", "Held"]

    async def test_an_ended_lease_is_taken_over_in_doubt(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.claim([delivery(1, attempts=2)], LEASE)
            store.clock.advance(LEASE)

            assert await other.claim([delivery(1)], LEASE) == [Doubtful(2, 2)]
            assert await ledger.claim([delivery(1)], LEASE) == [Held(store.clock.now() + LEASE)]
            row = await stored(ledger, 1)
            assert (row.owner, row.epoch, row.doubtful) == (other.owner, 2, True)

    async def test_what_stands_already_is_not_claimed(self, store: LedgerStore) -> None:
        states = [State.SCHEDULED, State.WAITING, State.DELIVERED, State.SUPPRESSED, State.DEAD]
        rows = [delivery(n, state=state) for n, state in enumerate(states)]
        async with store.open() as ledger:
            await ledger.settle([Settle(row) for row in rows])

            assert await ledger.claim(rows, LEASE) == [Done(state) for state in states]

    async def test_another_event_of_the_same_identity_is_told(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(delivery(1, state=State.DELIVERED))])

            assert await ledger.claim([delivery(1, event_hash=b"x" * 16)], LEASE) == [
                Done(State.DELIVERED, other_event=True)
            ]

    async def test_a_cancelled_delivery_is_not_claimed(self, store: LedgerStore) -> None:
        row = delivery(1, cancel_scope="cancel:r", event_time=1000.0)
        async with store.open() as ledger:
            await ledger.put_facts([Fact("cancel:r", "", "999.5")])
            assert await ledger.claim([row], LEASE) == [Granted(1)]

            await ledger.put_facts([Fact("cancel:r", "", "1000.0")])

            later = delivery(2, cancel_scope="cancel:r", event_time=1000.5)
            older = delivery(3, cancel_scope="cancel:r", event_time=1000.0)
            assert await ledger.claim([later, older], LEASE) == [Granted(1), Cancelled()]
            assert await ledger.lookup([older.key]) == [None]

    async def test_a_mark_that_has_ended_cancels_nothing(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            mark = Fact("cancel:r", "", "2000", until=store.clock.now() + 5)
            await ledger.put_facts([mark])
            store.clock.advance(5)

            claims = await ledger.claim([delivery(1, cancel_scope="cancel:r")], LEASE)
            assert claims == [Granted(1)]

    async def test_a_claim_in_doubt_can_no_longer_be_cancelled(self, store: LedgerStore) -> None:
        row = delivery(1, cancel_scope="cancel:r")
        async with store.open() as ledger:
            await ledger.claim([row], LEASE)
            await ledger.put_facts([Fact("cancel:r", "", "2000")])
            store.clock.advance(LEASE)

            assert await ledger.claim([row], LEASE) == [Doubtful(2, 0)]

    # Giving back, replay -----------------------------------------------------------------------

    async def test_a_fresh_claim_given_back_leaves_no_trace(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.claim([delivery(1, order_scope="s", seq=1)], LEASE)
            await other.release([(key(1), 1)])
            await ledger.release([(key(1), 9), (key(2), 1)])
            assert (await stored(ledger, 1)).state is State.CLAIMED

            await ledger.release([(key(1), 1)])
            await ledger.release([(key(1), 1)])

            assert await ledger.lookup([key(1)]) == [None]
            assert await other.claim([delivery(2, order_scope="s", seq=2)], LEASE) == [Granted(1)]

    async def test_a_claim_out_of_the_schedule_returns_to_it(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(scheduled(1, due=1.0))])
            await ledger.due({"mail": 1}, LEASE)

            await ledger.release([(key(1), 1)])

            row = await stored(ledger, 1)
            assert (row.state, row.due, row.epoch) == (State.SCHEDULED, store.clock.now(), 1)
            assert await keys_due(ledger) == [1]

    async def test_a_doubt_given_back_stays_a_doubt(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.claim([delivery(1), delivery(2, blob=b"m")], LEASE)
            store.clock.advance(LEASE)
            await other.claim([delivery(1), delivery(2)], LEASE)

            await other.release([(key(1), 2), (key(2), 2)])

            assert await ledger.claim([delivery(1)], LEASE) == [Doubtful(3, 0)]
            (row,) = await ledger.due({"mail": 5}, LEASE)
            assert (row.key, row.state, row.epoch) == (key(2), State.CLAIMED, 3)

    async def test_replay_reopens_dead_rows_only_and_once(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            rows = [scheduled(1), scheduled(2), scheduled(3)]
            await ledger.settle([Settle(row) for row in rows])
            await ledger.due({"mail": 5}, LEASE)
            dead = outcome(rows[0], State.DEAD, attempts=4, first_at=5.0, reason=Reason("bad"))
            await ledger.settle([dead, outcome(rows[1], State.DELIVERED)])

            at = store.clock.now()
            wanted = [key(1), key(2), key(3), key(4)]
            assert await ledger.reschedule(wanted, at) == [True, False, False, False]
            assert await ledger.reschedule([key(1)], at) == [False]

            row = await stored(ledger, 1)
            assert (row.state, row.attempts, row.first_at, row.reason, row.due) == (
                State.SCHEDULED,
                0,
                None,
                None,
                at,
            )
            assert await ledger.settle([dead]) == [Settled.STALE]
            assert await keys_due(ledger) == [1]

    async def test_a_dead_row_without_message_can_not_be_replayed(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(delivery(1, state=State.DEAD))])
            assert await ledger.reschedule([key(1)], 1.0) == [False]
