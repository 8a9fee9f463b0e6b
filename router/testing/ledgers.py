"""What every kind of ledger has to do, as tests that any ledger can run.

Subclass :class:`LedgerConformance` (for durable kinds :class:`DurableLedgerConformance`) in a
test module, mark it for async tests, and give it a fixture ``store`` that is a
:class:`LedgerStore`, empty for each test. For kinds that several clients can have open at once, mix
:class:`router.testing.ledger_races.LedgerRaces` in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from router.ledger import (
    Behind,
    Cancelled,
    Claim,
    Done,
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
    Verdict,
)
from router.messages import Reason
from router.testing.ledger_digests import DurableLedgerDigests, LedgerDigests
from router.testing.ledger_expiry import LedgerExpiry
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


class LedgerConformance(LedgerDigests, LedgerExpiry, LedgerOrder):
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

    # Facts -------------------------------------------------------------------------------------

    async def test_a_bucket_grants_its_places_once_each(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            asks = [Take("b", member, 2, 60.0) for member in ("m1", "m2", "m3", "m1")]
            verdicts = [Verdict(True, 1), Verdict(True, 2), Verdict(False, 2), Verdict(True, 2)]
            assert await ledger.admit(asks) == verdicts
            assert await ledger.admit([Take("b", "m3", 9, 60.0), Take("c", "m1", 1, 60.0)]) == [
                Verdict(False, 2),
                Verdict(True, 1),
            ]

    async def test_places_are_free_again_after_the_window(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.admit([Take("b", "m1", 1, 60.0)])
            store.clock.advance(30)
            assert await ledger.admit([Take("b", "m2", 1, 60.0)]) == [Verdict(False, 1)]
            store.clock.advance(30)
            assert await ledger.admit([Take("b", "m3", 1, 60.0)]) == [Verdict(True, 1)]

    async def test_racing_members_never_get_more_than_the_limit(self, store: LedgerStore) -> None:
        verdicts: list[Verdict] = []
        async with store.open() as ledger, store.second_client(ledger) as other:

            async def ask(by: Ledger, member: int) -> None:
                verdicts.extend(await by.admit([Take("b", str(member), 5, 60.0)]))

            async with anyio.create_task_group() as tasks:
                for member in range(20):
                    tasks.start_soon(ask, (ledger, other)[member % 2], member)

        assert sum(verdict.granted for verdict in verdicts) == 5

    async def test_facts_are_replaced_dropped_and_end(self, store: LedgerStore) -> None:
        now = store.clock.now()
        async with store.open() as ledger:
            await ledger.put_facts(
                [
                    Fact("gate", "mail", "halt", blob=b"x"),
                    Fact("gate", "chat", "pause", until=now + 5),
                    Fact("silence", "s", "1"),
                ]
            )
            await ledger.put_facts([Fact("gate", "mail", "breaker")])
            found = await ledger.facts(["silence", "gate", "gate", "none"])
            assert [(f.scope, f.member, f.value, f.at, f.blob) for f in found] == [
                ("gate", "chat", "pause", now, None),
                ("gate", "mail", "breaker", now, None),
                ("silence", "s", "1", now, None),
            ]

            store.clock.advance(5)
            await ledger.drop_facts([("silence", "s"), ("silence", "t")])
            await ledger.drop_facts([("silence", "s")])
            assert [f.member for f in await ledger.facts(["gate", "silence"])] == ["mail"]

    async def test_a_cancel_mark_only_grows(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            marks = [Fact("cancel:r", "", value, until=9e9 + n) for n, value in enumerate("375")]
            await ledger.put_facts(marks)
            await ledger.put_facts([Fact("other", "", "9"), Fact("other", "", "1")])

            found = await ledger.facts(["cancel:r", "other"])
            assert [(f.value, f.until) for f in found] == [("7", 9e9 + 2), ("1", None)]

    async def test_changes_tell_what_was_written_since(self, store: LedgerStore) -> None:
        async with store.open() as ledger:
            await ledger.put_facts([Fact("gate:a", "1"), Fact("gates", "2"), Fact("gate:b", "3")])
            store.clock.advance(1)
            since = store.clock.now()
            await ledger.put_facts([Fact("gate:b", "3", until=since), Fact("gate:c", "4")])

            changed = await ledger.changes("gate:", since)
            assert [(f.scope, f.member) for f in changed] == [("gate:b", "3"), ("gate:c", "4")]
            assert len(await ledger.changes("gate:", 0.0)) == 3
            assert await ledger.changes("gate:", since + 1) == []

    async def test_tokens_are_shared_and_promised(self, store: LedgerStore) -> None:
        async with store.open() as ledger, store.second_client(ledger) as other:
            assert await ledger.take("api", 10, 10.0, 10.0) == 0.0
            assert await other.take("api", 5, 10.0, 10.0) == 0.5
            assert await ledger.take("api", 5, 10.0, 10.0) == 1.0
            assert await ledger.take("other", 5, 10.0, 10.0) == 0.0
            store.clock.advance(1.5)
            assert await ledger.take("api", 5, 10.0, 10.0) == 0.0
            store.clock.advance(3600)
            assert await ledger.take("api", 12, 10.0, 10.0) == 0.2

    async def test_progress_never_moves_back(self, store: LedgerStore) -> None:
        zero, one = ProgressKey("g", "t", 0), ProgressKey("g", "t", 1)
        async with store.open() as ledger:
            await ledger.put_progress({zero: 7, one: 1})
            await ledger.put_progress({zero: 3})
            assert await ledger.progress([one, ProgressKey("h", "t", 0), zero]) == [1, None, 7]

    # Looking, upkeep ---------------------------------------------------------------------------

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
