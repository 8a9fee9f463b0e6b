"""What every kind of ledger has to do with facts, buckets, rates and progress, as tests.

They are part of the conformance suite.
"""

from __future__ import annotations

import anyio

from router.ledger import (
    Fact,
    Ledger,
    ProgressKey,
    Take,
    Verdict,
)
from router.testing.ledger_rows import (
    LedgerStore,
)


class LedgerFacts:
    """The tests of every kind."""

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
