"""What every kind of ledger has to do, as tests that any ledger can run.

Subclass :class:`LedgerConformance` (for durable kinds :class:`DurableLedgerConformance`) in a
test module, mark it for async tests, and give it a fixture ``store`` that is a
:class:`LedgerStore`, empty for each test. For kinds that several clients can have open at once, mix
:class:`router.testing.ledger_races.LedgerRaces` in.
"""

from __future__ import annotations

from typing import Any

from router.ledger import (
    Doubtful,
    Fact,
    Kind,
    Settle,
    State,
)
from router.testing.ledger_claims import LedgerClaims
from router.testing.ledger_digests import DurableLedgerDigests, LedgerDigests
from router.testing.ledger_expiry import LedgerExpiry
from router.testing.ledger_facts import LedgerFacts
from router.testing.ledger_lives import LENGTH_OF_LIFE, LIFE_ROWS, check_life, life
from router.testing.ledger_order import LedgerOrder
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
from router.testing.ledger_schedule import LedgerSchedule
from router.testing.ledger_settlements import LedgerSettlements

__all__ = [
    "FAMILY",
    "LEASE",
    "DurableLedgerConformance",
    "LedgerConformance",
    "LedgerStore",
    "delivery",
    "key",
    "keys_due",
    "outcome",
    "scheduled",
    "stored",
    "waiting",
]


class LedgerConformance(
    LedgerClaims,
    LedgerSettlements,
    LedgerSchedule,
    LedgerOrder,
    LedgerExpiry,
    LedgerDigests,
    LedgerFacts,
):
    """The tests of every kind."""

    async def test_rows_are_listed_by_key_in_pages(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            start = store.clock.now()
            for n in (3, 1, 2, 4, 5):
                state = State.DEAD if n != 4 else State.DELIVERED
                sink = "mail" if n != 5 else "chat"
                await ledger.settle([Settle(delivery(n, state=state, sink=sink))])
                store.clock.advance(1)

            async def listed(**wanted: Any) -> list[int]:
                rows = await ledger.rows(**wanted)
                return [int.from_bytes(row.key, "big") for row in rows]

            assert await listed() == [1, 2, 3, 4, 5]
            assert await listed(state=State.DEAD, sink="mail", limit=2) == [1, 2]
            assert await listed(state=State.DEAD, sink="mail", after=key(2)) == [3]
            assert await listed(since=start + 1, until=start + 3) == [1, 2]
            assert await listed(kind=Kind.FEEDBACK) == []

    async def test_purge_drops_old_ended_rows_and_ended_facts(self, store: LedgerStore) -> None:
        now = store.clock.now()
        async with store.open() as ledger:
            ended = (State.DELIVERED, State.SUPPRESSED, State.DEAD)
            rows = [delivery(n, state=state) for n, state in enumerate(ended)]
            rows += [scheduled(3), waiting(4), scheduled(6)]
            await ledger.settle([Settle(row) for row in rows])
            await ledger.claim([delivery(5)], LEASE)
            await ledger.put_facts([Fact("f", "1", until=now + 9), Fact("f", "2")])
            store.clock.advance(10)
            await ledger.settle([Settle(delivery(7, state=State.DELIVERED))])
            await ledger.due({"mail": 1}, LEASE)
            await ledger.settle([outcome(rows[3], State.DELIVERED)])

            assert await ledger.purge(now + 5) == 4
            assert await ledger.purge(now + 5) == 0

            found = await ledger.lookup([key(n) for n in range(8)])
            assert [row is not None for row in found] == [False] * 3 + [True] * 5
            assert [f.member for f in await ledger.facts(["f"])] == ["2"]

    async def test_stats_count_what_stands(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            assert (await ledger.stats()).oldest_due is None
            await ledger.settle(
                [
                    Settle(scheduled(1, due=store.clock.now() - 5)),
                    Settle(scheduled(2, due=store.clock.now() + 5)),
                    Settle(waiting(3, blob=b"1234567890")),
                    Settle(delivery(4, state=State.DEAD, blob=b"x")),
                    Settle(scheduled(5, kind=Kind.FEEDBACK, sink="feedback")),
                ]
            )
            await ledger.claim([delivery(6), delivery(7)], LEASE)
            await ledger.settle([outcome(delivery(7), State.DELIVERED)])
            await ledger.release([(key(6), 1)])

            stats = await ledger.stats()

            assert dict(stats.rows) == {
                (Kind.DELIVERY, State.SCHEDULED): 2,
                (Kind.DELIVERY, State.WAITING): 1,
                (Kind.DELIVERY, State.DEAD): 1,
                (Kind.DELIVERY, State.DELIVERED): 1,
                (Kind.FEEDBACK, State.SCHEDULED): 1,
            }
            assert dict(stats.backlog) == {"mail": 2, "sms": 1, "feedback": 1}
            assert dict(stats.backlog_bytes) == {"mail": 14, "sms": 10, "feedback": 7}
            assert stats.oldest_due == 5.0

    async def test_nothing_asked_is_nothing_done(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            assert list(await ledger.lookup([])) == []
            assert list(await ledger.claim([], LEASE)) == []
            assert list(await ledger.settle([])) == []
            assert list(await ledger.due({}, LEASE)) == []
            assert await ledger.next_due([]) is None
            await ledger.release([])
            await ledger.put_facts([])
            await ledger.put_progress({})
            assert await ledger.purge(store.clock.now()) == 0


class DurableLedgerConformance(LedgerConformance, DurableLedgerDigests):
    """The tests of kinds that outlive their process."""

    async def test_the_store_keeps_its_name(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            first = ledger.uuid
        async with store.open() as ledger:
            assert ledger.uuid == first != ""

    async def test_claims_of_a_dead_owner_are_in_doubt_at_once(self, store: LedgerStore) -> None:
        async with store.open("dead") as ledger:
            await ledger.settle([Settle(scheduled(1))])
            await ledger.due({"mail": 1}, LEASE)
            await ledger.claim([delivery(2)], LEASE)
        async with store.open() as ledger:
            (row,) = await ledger.due({"mail": 5}, LEASE)
            assert (row.key, row.state, row.epoch) == (key(1), State.CLAIMED, 2)
            assert await ledger.claim([delivery(2)], LEASE) == [Doubtful(2, 0)]

    async def test_reopening_between_any_two_operations_loses_nothing(
        self, store: LedgerStore
    ) -> None:
        for cut in range(LENGTH_OF_LIFE):
            steps = life(number := cut * LIFE_ROWS)
            async with store.open() as ledger:
                for step in steps[:cut]:
                    await step(ledger)
            async with store.open() as ledger:
                for step in steps[cut:]:
                    await step(ledger)
                await check_life(ledger, number)
