"""What every kind of ledger has to do with deliveries that have had their time, as tests.

They are part of the conformance suite.
"""

from __future__ import annotations

from router.ledger import Kind, Ledger, Settle, Settled, State
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


async def keys_expired(ledger: Ledger, most: int = 100) -> list[int]:
    """Claims what has expired; the numbers of its keys."""
    return [int.from_bytes(row.key, "big") for row in await ledger.expired(most, LEASE)]


class LedgerExpiry:
    """The tests of every kind."""

    async def test_what_waits_expires_wherever_it_stands(self, store: LedgerStore) -> None:
        now = store.clock.now()
        rows = [
            scheduled(1, due=now, expires_at=now + 20),
            scheduled(2, due=now + 500, expires_at=now + 10, sink="gone", rank=2),
            scheduled(3, order_scope="s", seq=3, expires_at=now + 90),
            scheduled(4, order_scope="s", seq=4, expires_at=now + 30),
            scheduled(5),
        ]
        async with store.open() as ledger:
            await ledger.settle([Settle(row) for row in rows])
            assert await keys_expired(ledger) == []
            store.clock.advance(30)

            assert await keys_expired(ledger, most=2) == [2, 1]
            assert await keys_expired(ledger) == [4]
            assert await keys_expired(ledger) == []

    async def test_an_expired_delivery_comes_claimed_with_its_message(
        self, store: LedgerStore
    ) -> None:
        now = store.clock.now()
        async with store.open() as ledger:
            await ledger.settle([Settle(scheduled(1, expires_at=now, attempts=2))])
            (row,) = await ledger.expired(1, LEASE)

            assert (row.key, row.state, row.epoch) == (key(1), State.SCHEDULED, 1)
            assert (row.blob, row.attempts, row.lease_until) == (b"message", 2, now + LEASE)
            assert await keys_due(ledger) == []
            assert await ledger.settle([outcome(row, State.SUPPRESSED)]) == [Settled.OK]
            left = await stored(ledger, 1)
            assert (left.state, left.blob) == (State.SUPPRESSED, None)
            assert (await ledger.stats()).backlog == {}

    async def test_only_scheduled_deliveries_expire(self, store: LedgerStore) -> None:
        now = store.clock.now()
        late = now - 1
        async with store.open() as ledger:
            await ledger.claim([delivery(1, expires_at=late)], LEASE)
            rows = [
                waiting(2, expires_at=late),
                delivery(3, state=State.DEAD, blob=b"m", expires_at=late),
                scheduled(4, kind=Kind.INPUT, expires_at=late),
                scheduled(5, expires_at=late),
                scheduled(6, expires_at=late, due=now),
            ]
            await ledger.settle([Settle(row) for row in rows])
            await ledger.settle([outcome(scheduled(5), State.SUPPRESSED, 0)])
            (claimed,) = await ledger.due({"mail": 1}, LEASE, [Kind.DELIVERY])

            open_rows = {5, 6} - {int.from_bytes(claimed.key, "big")}
            assert set(await keys_expired(ledger)) == open_rows

    async def test_a_head_that_expires_frees_the_next(self, store: LedgerStore) -> None:
        now = store.clock.now()
        head = scheduled(1, order_scope="s", seq=1, due=now + 900, expires_at=now)
        behind = scheduled(2, order_scope="s", seq=2, expires_at=now + 5)
        last = scheduled(3, order_scope="s", seq=3)
        async with store.open() as ledger:
            await ledger.settle([Settle(row) for row in (head, behind, last)])
            (expired,) = await ledger.expired(5, LEASE)
            assert await keys_due(ledger) == []
            await ledger.settle([outcome(expired, State.SUPPRESSED)])
            store.clock.advance(5)

            # Behind nothing any more, and expired itself: whoever asks first has it.
            (second,) = await ledger.expired(5, LEASE)
            assert (second.key, await keys_due(ledger)) == (key(2), [])
            await ledger.settle([outcome(second, State.SUPPRESSED)])
            assert await keys_due(ledger) == [3]

    async def test_of_two_owners_one_gets_what_expired(self, store: LedgerStore) -> None:
        now = store.clock.now()
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.settle([Settle(scheduled(n, expires_at=now - n)) for n in range(6)])
            assert await keys_expired(ledger, most=4) == [5, 4, 3, 2]
            assert await keys_expired(other) == [1, 0]
            assert await keys_due(other) == []
