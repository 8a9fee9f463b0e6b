"""A life of rows in small steps, between any two of which the process may be cut off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from router.ledger import Fact, Join, Joined, Kind, Ledger, ProgressKey, Row, Settled, State
from router.messages import Reason
from router.testing.ledger_rows import (
    LEASE,
    delivery,
    key,
    outcome,
    scheduled,
    stored,
    waiting,
)

Step = Callable[[Ledger], Awaitable[object]]

LIFE_ROWS = 100
"""So far apart are the numbers of two lives."""


def life(first: int) -> Sequence[Step]:
    """A delivery that fails twice, its fallback, the dead letter, and a digest of one.

    Each step may come after another process's than the one before it.
    """
    family, sinks = key(first), [f"{name}{first}" for name in ("push", "sms", "letters")]
    primary = replace(delivery(first, sink=sinks[0]), family=family)
    fallback = waiting(first + 1, sink=sinks[1], wait_on=family)
    letter = scheduled(first + 2, sink=sinks[2], kind=Kind.DEAD_LETTER)
    digest = key(first + 4)
    member = scheduled(first + 3, sink="mail")
    joins = [Join(f"life{first}", digest, member, f"digests{first}", 60.0, most=1)]

    async def current_epoch(ledger: Ledger, row: Row) -> int:
        return (await stored(ledger, int.from_bytes(row.key, "big"))).epoch

    async def retry(ledger: Ledger) -> None:
        epoch = await current_epoch(ledger, primary)
        again = outcome(primary, State.SCHEDULED, epoch, blob=b"m", follow_ups=(fallback,))
        await ledger.settle([again])

    async def fail(ledger: Ledger) -> None:
        end = outcome(
            primary,
            State.DEAD,
            await current_epoch(ledger, primary),
            waiters="start",
            causes=("rejected",),
            follow_ups=(letter,),
        )
        assert await ledger.settle([end]) == [Settled.OK]

    async def deliver(ledger: Ledger) -> None:
        for row in (fallback, letter):
            sent = outcome(row, State.DELIVERED, await current_epoch(ledger, row))
            assert await ledger.settle([sent]) == [Settled.OK]

    async def pull(ledger: Ledger) -> None:
        assert len(await ledger.due(dict.fromkeys(sinks, 5), LEASE)) >= 1

    async def join(ledger: Ledger) -> None:
        (joined,) = await ledger.join(joins)
        assert isinstance(joined, Joined)
        assert (joined.digest, joined.members, joined.is_new) == (digest, 1, True)

    async def pull_digest(ledger: Ledger) -> None:
        (row,) = await ledger.due({f"digests{first}": 5}, LEASE)
        assert row.key == digest

    async def flush(ledger: Ledger) -> None:
        (members,) = await ledger.members([digest])
        assert [row.blob for row in members] == [b"message"]
        row = await stored(ledger, first + 4)
        end = outcome(
            row, State.DELIVERED, row.epoch, waiters="drop", dropped_as=Reason("digested")
        )
        assert await ledger.settle([end]) == [Settled.OK]

    return [
        lambda ledger: ledger.put_progress({ProgressKey("g", "t", first): 8}),
        lambda ledger: ledger.put_facts([Fact(f"gate:{first}", "", "open")]),
        lambda ledger: ledger.claim([primary], LEASE),
        retry,
        pull,
        fail,
        pull,
        deliver,
        join,
        pull_digest,
        flush,
        lambda ledger: ledger.purge(0.0),
    ]


LENGTH_OF_LIFE = len(life(0))


async def check_life(ledger: Ledger, first: int) -> None:
    """A life came to the end that it has without a cut."""
    states = [(await stored(ledger, first + n)).state for n in range(5)]
    assert states == [
        State.DEAD,
        State.DELIVERED,
        State.DELIVERED,
        State.SUPPRESSED,
        State.DELIVERED,
    ], first
    assert await ledger.progress([ProgressKey("g", "t", first)]) == [8]
    assert [fact.value for fact in await ledger.facts([f"gate:{first}"])] == ["open"]
