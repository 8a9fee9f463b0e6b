"""Whatever is asked of them, in whatever order, all kinds answer alike."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.clock import ManualClock
from router.ledger import Fact, Join, Kind, Ledger, ProgressKey, Row, Settle, State, Stats, Take
from router.ledger._rules import RATE_PREFIX
from router.ledger.memory import MemoryLedger
from router.messages import Reason
from router.testing.ledgers import LedgerStore
from tests.contract.ledger.stores import PostgresStore, RedisStore, SqliteStore
from tests.servers import Server

EXAMPLES = int(os.environ.get("ROUTER_TEST_EXAMPLES", "30"))
"""How many sequences are tried on servers, which take their time."""

START = ManualClock().now()
KEYS = [n.to_bytes(16, "big") for n in range(6)]
SINKS = ["mail", "chat", ""]
FAMILIES = [None, b"a" * 16, b"b" * 16]
DIGESTS = [n.to_bytes(16, "big") for n in range(4, 20)]
"""Where the rows of digests end up: they are named like some of ``KEYS``, and go past them."""
CAUSES = [(), ("rejected",), ("unreachable",), ("rejected", "unreachable"), ("unseen",)]
AT_REST = [*(s for s in State if s is not State.CLAIMED), State.SCHEDULED, State.WAITING]
FACT_SCOPES = ["cancel:x", "gate:y", "b", "digest:d", "digest:e"]


@dataclass(frozen=True)
class Call:
    """One operation, as either owner asks for it."""

    name: str
    arguments: tuple[Any, ...]
    is_second: bool
    pause: float

    async def of(self, owners: Sequence[Ledger]) -> Any:
        answer = await getattr(owners[self.is_second], self.name)(*self.arguments)
        if self.name == "changes":
            return [without_spelling(fact) for fact in answer]
        return list(answer) if isinstance(answer, list | tuple) else answer


def without_spelling(fact: Fact) -> Fact:
    """A rate's tokens as numbers: kinds write them differently."""
    if not fact.scope.startswith(RATE_PREFIX):
        return fact
    return replace(fact, value=repr([float(number) for number in fact.value.split()]))


class Asker:
    """Asks at random, from few enough values that calls meet in the same rows."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def call(self) -> Call:
        name, *arguments = self._operation()
        pause = self._random.choice([0.0, 0.0, 1.0, 10.0])
        return Call(name, tuple(arguments), self._random.random() < 0.5, pause)

    def _operation(self) -> tuple[Any, ...]:
        r = self._random
        match r.choice(["claim", "settle", "settle", "due", "due", "give back", "join", "other"]):
            case "claim":
                rows = [self._row([State.CLAIMED]) for _ in range(r.randint(1, 4))]
                return "claim", rows, r.choice([10.0, 25.0])
            case "settle":
                return "settle", [self._settle() for _ in range(r.randint(1, 4))]
            case "due":
                wanted = {sink: r.randint(0, 3) for sink in SINKS}
                return "due", wanted, 10.0, r.choice([None, None, [Kind.FEEDBACK]])
            case "give back":
                return "release", [(r.choice(KEYS), r.randint(1, 3)) for _ in range(3)]
            case "join":
                return "join", [self._join() for _ in range(r.randint(1, 3))]
            case _:
                return self._other()

    def _other(self) -> tuple[Any, ...]:
        r = self._random
        return r.choice(
            [
                ("reschedule", [r.choice(KEYS)], self._time()),
                ("purge", self._time()),
                ("admit", [self._take() for _ in range(3)]),
                ("put_facts", [self._fact() for _ in range(2)]),
                ("drop_facts", [(r.choice(FACT_SCOPES), r.choice("mn"))]),
                ("changes", r.choice(["", "gate:", "cancel"]), self._time()),
                ("take", "t", r.randint(1, 9), 2.0, 5.0),
                ("put_progress", {ProgressKey("g", "t", 0): r.randint(0, 9)}),
            ]
        )

    def _row(self, states: Sequence[State]) -> Row:
        pick = self._random.choice
        return Row(
            key=pick(KEYS),
            kind=pick([Kind.DELIVERY, Kind.DELIVERY, Kind.FEEDBACK]),
            state=pick(states),
            sink=pick(SINKS),
            epoch=pick([0, 0, 1, 1, 2, 3]),
            due=pick([None, self._time()]),
            attempts=pick([0, 1, 2]),
            first_at=pick([None, self._time()]),
            expires_at=pick([None, self._time()]),
            family=pick(FAMILIES),
            wait_on=pick(FAMILIES),
            waits_for=pick([0, 1, 2]),
            starts_on=pick(CAUSES),
            order_scope=pick([None, "s", "s"]),
            seq=pick([None, 0, 1, 1, 2, 3]),
            cancel_scope=pick([None, "cancel:x"]),
            event_time=pick([1.0, 2.0]),
            event_hash=pick([b"", b"1", b"2"]),
            blob=pick([None, b"", b"m", b"message"]),
            rank=pick([0, 1, 1, 2]),
        )

    def _join(self) -> Join:
        pick = self._random.choice
        return Join(
            scope=pick("de"),
            key=pick(DIGESTS[:3]),
            member=self._row([State.WAITING]),
            sink=pick(SINKS),
            window=pick([5.0, 20.0]),
            most=pick([1, 2, 3, 9]),
            extend=pick([False, True]),
            at_most=pick([None, 15.0, 30.0]),
            blob=pick([b"", b"digest"]),
        )

    def _settle(self) -> Settle:
        r = self._random
        return Settle(
            self._row(AT_REST),
            waiters=r.choice(["keep", "start", "drop"]),
            causes=r.choice(CAUSES),
            follow_ups=tuple(self._row(AT_REST) for _ in range(r.randint(0, 2))),
            dropped_as=r.choice([None, Reason("digested", "with others")]),
        )

    def _take(self) -> Take:
        pick = self._random.choice
        return Take(pick("bc"), pick("mno"), limit=pick([1, 2]), window=pick([10.0, 30.0]))

    def _fact(self) -> Fact:
        pick = self._random.choice
        until = pick([None, self._time()])
        return Fact(pick(FACT_SCOPES[:2]), pick("mn"), pick(["0.5", "1.5", "3", "x"]), until)

    def _time(self) -> float:
        return START + self._random.randint(-20, 60)


async def everything(ledger: Ledger) -> list[Any]:
    """All that can be seen of a ledger."""
    stats = await ledger.stats()
    return [
        list(await ledger.lookup([*KEYS, *DIGESTS])),
        [list(members) for members in await ledger.members([*DIGESTS, FAMILIES[1] or b""])],
        list(await ledger.rows(state=State.SCHEDULED, after=KEYS[0], limit=3)),
        await ledger.next_due(SINKS),
        rounded(stats),
        list(await ledger.facts(FACT_SCOPES)),
        list(await ledger.progress([ProgressKey("g", "t", 0)])),
    ]


def rounded(stats: Stats) -> Stats:
    age = stats.oldest_due
    return replace(stats, oldest_due=None if age is None else round(age, 6))


async def agree(calls: Sequence[Call], store: LedgerStore) -> None:
    """Asks the store under test, through two clients, and memory the same."""
    clock = store.clock
    memory = MemoryLedger(owner="one", clock=clock)
    async with store.open("one") as one, store.second_client(one, "two") as two:
        for call in calls:
            clock.advance(call.pause)
            answer = await call.of([one, two])
            assert answer == await call.of([memory, memory.sharing("two")]), call
            assert await everything(two) == await everything(memory), call


SEEDS, LENGTHS = st.integers(0, 2**32), st.integers(1, 30)


def calls_of(seed: int, length: int) -> list[Call]:
    asker = Asker(seed)
    return [asker.call() for _ in range(length)]


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, length=LENGTHS)
@example(seed=3026608, length=11)  # two digests of one call, due at the same time
@example(seed=479001601, length=3)  # a row that is settled in the call that adds it
def test_memory_and_sqlite_answer_alike(seed: int, length: int) -> None:
    in_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = tempfile.mkdtemp(dir=in_memory)
    try:
        asyncio.run(agree(calls_of(seed, length), SqliteStore(Path(folder) / "ledger.db")))
    finally:
        shutil.rmtree(folder)


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=SEEDS, length=LENGTHS)
def test_memory_and_postgres_answer_alike(postgres_server: Server, seed: int, length: int) -> None:
    asyncio.run(agree(calls_of(seed, length), PostgresStore.on(postgres_server)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=SEEDS, length=LENGTHS)
def test_memory_and_redis_answer_alike(redis_server: Server, seed: int, length: int) -> None:
    asyncio.run(agree(calls_of(seed, length), RedisStore.on(redis_server)))
