"""What every kind of ledger has to do with outcomes and with rows that wait for them, as tests.

They are part of the conformance suite.
"""

from __future__ import annotations

from dataclasses import replace

from router.ledger import (
    Kind,
    Row,
    Settle,
    Settled,
    State,
)
from router.messages import Reason
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


class LedgerSettlements:
    """The tests of every kind."""

    # Settlements -------------------------------------------------------------------------------

    async def test_an_outcome_is_written_once(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.claim([delivery(1)], LEASE)
            sent = outcome(delivery(1), State.DELIVERED, attempts=1, reason=Reason("ok", "fine"))

            assert await ledger.settle([sent]) == [Settled.OK]
            assert await ledger.settle([sent, sent]) == [Settled.SAME, Settled.SAME]

            row = await stored(ledger, 1)
            assert (row.state, row.attempts) == (State.DELIVERED, 1)
            assert row.reason == Reason("ok", "fine")
            assert (row.owner, row.lease_until, row.due) == (None, None, None)

    async def test_a_stale_delivered_wins_and_other_stale_outcomes_do_not(
        self, store: LedgerStore
    ) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            await ledger.claim([delivery(1), delivery(2)], LEASE)
            store.clock.advance(LEASE)
            await other.claim([delivery(1), delivery(2)], LEASE)

            late = [
                outcome(delivery(1), State.DELIVERED, epoch=1),
                outcome(delivery(2), State.DEAD, epoch=1),
            ]
            assert await ledger.settle(late) == [Settled.OK, Settled.STALE]
            assert await ledger.settle(late) == [Settled.SAME, Settled.STALE]

            taken_over = [
                outcome(delivery(1), State.DEAD, epoch=2),
                outcome(delivery(2), State.SCHEDULED, epoch=2, blob=b"m"),
            ]
            assert await other.settle(taken_over) == [Settled.STALE, Settled.OK]
            assert (await stored(ledger, 1)).state is State.DELIVERED
            assert (await stored(ledger, 2)).state is State.SCHEDULED

    async def test_a_stale_delivered_does_not_reopen_an_ended_row(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.claim([delivery(1)], LEASE)
            store.clock.advance(LEASE)
            await ledger.claim([delivery(1)], LEASE)
            await ledger.settle([outcome(delivery(1), State.DEAD, epoch=2)])

            late = [outcome(delivery(1), State.DELIVERED, epoch=1)]
            assert await ledger.settle(late) == [Settled.STALE]
            assert (await stored(ledger, 1)).state is State.DEAD

    async def test_an_outcome_after_the_lease_counts_if_nobody_took_over(
        self, store: LedgerStore
    ) -> None:
        async with store.open() as ledger:
            await ledger.claim([delivery(1)], LEASE)
            store.clock.advance(10 * LEASE)

            retry = outcome(delivery(1), State.SCHEDULED, blob=b"m")
            assert await ledger.settle([retry]) == [Settled.OK]

    async def test_a_row_that_was_never_claimed_is_inserted_or_left(
        self, store: LedgerStore
    ) -> None:
        row = scheduled(1, due=5.0)
        async with store.open() as ledger:
            assert await ledger.settle([Settle(row)]) == [Settled.OK]
            again = replace(row, due=9.0)
            ended = replace(row, state=State.SUPPRESSED)
            assert await ledger.settle([Settle(again), Settle(ended)]) == [
                Settled.SAME,
                Settled.STALE,
            ]
            assert (await stored(ledger, 1)).due == 5.0

    async def test_an_outcome_of_a_forgotten_row_is_kept(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            sent = outcome(delivery(1), State.DELIVERED, epoch=3)
            assert await ledger.settle([sent]) == [Settled.OK]
            assert (await stored(ledger, 1)).epoch == 3

    async def test_identity_stays_as_first_stored(self, store: LedgerStore) -> None:
        row = delivery(1, family=FAMILY, position="t/0/1", kind=Kind.INPUT, expires_at=9e9)
        bare = Row(key=row.key, state=State.SCHEDULED, epoch=1, due=7.0, blob=b"m")
        async with store.open() as ledger:
            await ledger.claim([row], LEASE)
            await ledger.settle([Settle(bare)])

            found = await stored(ledger, 1)
            assert (found.kind, found.sink, found.family) == (Kind.INPUT, "mail", FAMILY)
            assert (found.position, found.event_hash) == ("t/0/1", b"h" * 16)
            assert (found.expires_at, found.due, found.blob) == (9e9, 7.0, b"m")

    async def test_a_message_goes_with_the_end_of_its_row_unless_dead(
        self, store: LedgerStore
    ) -> None:
        async with store.open() as ledger:
            rows = [delivery(n, blob=b"secret") for n in range(3)]
            await ledger.claim(rows, LEASE)
            ends = (State.DELIVERED, State.SUPPRESSED, State.DEAD)
            await ledger.settle([outcome(r, end) for r, end in zip(rows, ends, strict=True)])
            await ledger.settle([Settle(delivery(3, state=State.SUPPRESSED, blob=b"secret"))])

            blobs = [row and row.blob for row in await ledger.lookup([key(n) for n in range(4)])]
            assert blobs == [None, None, b"secret", None]

    async def test_a_retry_keeps_the_stored_message(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.settle([Settle(scheduled(1))])
            await ledger.due({"mail": 1}, LEASE)

            retry = outcome(delivery(1), State.SCHEDULED, due=store.clock.now() + 60)
            assert await ledger.settle([retry]) == [Settled.OK]
            assert (await stored(ledger, 1)).blob == b"message"

    async def test_a_repeat_after_an_unknown_result_changes_nothing(
        self, store: LedgerStore
    ) -> None:
        async with store.open() as ledger:
            await ledger.claim([delivery(1)], LEASE)
            retry = outcome(delivery(1), State.SCHEDULED, blob=b"m", due=store.clock.now())
            assert await ledger.settle([retry]) == [Settled.OK]
            assert await ledger.settle([retry]) == [Settled.SAME]
            await ledger.due({"mail": 1}, LEASE)

            assert await ledger.settle([retry]) == [Settled.STALE]
            assert (await stored(ledger, 1)).state is State.CLAIMED

    async def test_follow_ups_come_with_a_written_outcome_only(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.claim([delivery(1)], LEASE)
            letter = scheduled(9, kind=Kind.DEAD_LETTER, sink="dead-letters")
            dead = outcome(delivery(1), State.DEAD, follow_ups=(letter,))
            stale = outcome(delivery(1), State.DEAD, epoch=7, follow_ups=(scheduled(8),))

            assert await ledger.settle([stale, dead]) == [Settled.STALE, Settled.OK]
            assert await ledger.lookup([key(8)]) == [None]
            assert await ledger.due({"dead-letters": 5}, LEASE, [Kind.DEAD_LETTER]) != []
            await ledger.settle([outcome(letter, State.DELIVERED, epoch=1)])

            assert await ledger.settle([dead]) == [Settled.SAME]
            assert (await stored(ledger, 9)).state is State.DELIVERED

    async def test_settlements_of_one_call_see_each_other(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            row = delivery(1)
            answers = await ledger.settle(
                [
                    outcome(row, State.SCHEDULED, blob=b"m", follow_ups=(scheduled(2),)),
                    outcome(row, State.DELIVERED),
                    outcome(row, State.DEAD),
                    Settle(scheduled(2)),
                ]
            )
            assert answers == [Settled.OK, Settled.OK, Settled.STALE, Settled.SAME]
            assert (await stored(ledger, 1)).blob is None

    async def test_a_settlement_can_not_write_a_claim(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            for settlement in (
                Settle(delivery(1)),
                Settle(scheduled(1), follow_ups=(delivery(2),)),
            ):
                try:
                    await ledger.settle([settlement])
                except ValueError:
                    continue
                raise AssertionError("a settlement wrote a claim")
            assert await ledger.lookup([key(1), key(2)]) == [None, None]

    # Waiting rows ------------------------------------------------------------------------------

    async def test_delivery_makes_its_fallback_needless(self, store: LedgerStore) -> None:
        primary = delivery(1, family=FAMILY)
        async with store.open() as ledger:
            await ledger.claim([primary], LEASE)
            retry = outcome(primary, State.SCHEDULED, blob=b"m", follow_ups=(waiting(2),))
            await ledger.settle([retry])
            assert await keys_due(ledger, "sms") == []

            await ledger.settle([outcome(primary, State.DELIVERED, waiters="drop")])

            fallback = await stored(ledger, 2)
            assert (fallback.state, fallback.blob) == (State.SUPPRESSED, None)
            assert fallback.reason is not None
            assert fallback.reason.code == "not_needed"

    async def test_the_last_failure_starts_a_fallback(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            phones = [delivery(n, family=FAMILY) for n in (1, 2)]
            await ledger.claim(phones, LEASE)
            await ledger.settle([Settle(waiting(3, waits_for=2))])
            failures = [
                outcome(phone, State.DEAD, waiters="start", causes=("rejected",))
                for phone in phones
            ]

            assert await ledger.settle(failures[:1]) == [Settled.OK]
            assert await ledger.settle(failures[:1]) == [Settled.SAME]
            assert (await stored(ledger, 3)).state is State.WAITING

            await ledger.settle(failures)
            started = await stored(ledger, 3)
            assert (started.state, started.due) == (State.SCHEDULED, store.clock.now())
            assert await keys_due(ledger, "sms") == [3]

    async def test_a_failure_for_another_cause_ends_a_fallback(self, store: LedgerStore) -> None:
        primary = delivery(1, family=FAMILY)
        rows = [waiting(2), waiting(3, starts_on=("unreachable", "gone"))]
        async with store.open() as ledger:
            await ledger.claim([primary], LEASE)
            await ledger.settle([Settle(row) for row in rows])

            causes = ("gone", "other")
            await ledger.settle([outcome(primary, State.DEAD, waiters="start", causes=causes)])

            assert (await stored(ledger, 2)).state is State.SUPPRESSED
            assert (await stored(ledger, 3)).state is State.SCHEDULED

    async def test_a_fallback_that_is_dropped_takes_its_own_with_it(
        self, store: LedgerStore
    ) -> None:
        primary = delivery(1, family=FAMILY)
        second, third = (bytes([n]) * 16 for n in (2, 3))
        chain = [
            waiting(2, family=second),
            waiting(3, family=third, wait_on=second),
            waiting(4, wait_on=third),
        ]
        async with store.open() as ledger:
            await ledger.claim([primary], LEASE)
            await ledger.settle([Settle(row) for row in chain])

            await ledger.settle([outcome(primary, State.DELIVERED, waiters="drop")])

            assert {(await stored(ledger, n)).state for n in (2, 3, 4)} == {State.SUPPRESSED}
            assert (await ledger.stats()).backlog == {}

    async def test_a_fallback_written_with_a_failure_counts_it(self, store: LedgerStore) -> None:
        phones = [delivery(n, family=FAMILY) for n in (1, 2)]
        fallback = waiting(3, waits_for=2)
        async with store.open() as ledger:
            await ledger.claim(phones, LEASE)
            for phone in phones:
                failure = outcome(
                    phone,
                    State.DEAD,
                    waiters="start",
                    causes=("rejected",),
                    follow_ups=(fallback,),
                )
                await ledger.settle([failure])

            assert (await stored(ledger, 3)).state is State.SCHEDULED

    async def test_only_waiting_rows_are_woken(self, store: LedgerStore) -> None:
        primary = delivery(1, family=FAMILY)
        async with store.open() as ledger:
            await ledger.claim([primary], LEASE)
            await ledger.settle([Settle(waiting(2, due=store.clock.now()))])
            assert await keys_due(ledger, "sms") == [2]

            await ledger.settle([outcome(primary, State.DELIVERED, waiters="drop")])

            assert (await stored(ledger, 2)).state is State.CLAIMED
