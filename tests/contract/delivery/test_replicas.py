"""Several replicas on one ledger: what is due to both is sent by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import anyio
import pytest

from router.authoring.silences import opened_silences
from router.clock import Clock, SystemClock
from router.delivery.gates import By, Gates
from router.ledger import Kind, Ledger
from router.messages import Delivered, Reason, Rejected, Retry
from router.planning.policies import Digest
from router.planning.silences import silence_of
from tests.contract.delivery.harness import Running, World, running, sinks
from tests.contract.delivery.sources import Log
from tests.contract.delivery.stores import Store
from tests.contract.delivery.test_digests import collecting, told
from tests.contract.delivery.test_feedback import Heard
from tests.contract.ledger.stores import PostgresStore, RedisStore, SharedStore
from tests.contract.planning.builders import load
from tests.servers import Server
from tests.unit.planning.builders import person, request_step, route, rules

pytestmark = pytest.mark.anyio

BUSY = Reason("busy")
HOOK = rules(route(request_step()))
MANY = 300
WEBHOOK = """
hook:
  type: webhook
  url: https://hook.example
  secrets: [whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=]
"""
SOME = """
some:
  match: {type: order.paid}
  deliver: [hook]
"""

TOLD = rules(collecting(Digest(0.5)))

STORES: dict[str, Callable[[Server], SharedStore]] = {
    "postgres": PostgresStore.on,
    "redis": RedisStore.on,
}


@final
@dataclass(frozen=True)
class Replica:
    """A shared store as one replica opens it."""

    store: SharedStore
    owner: str
    is_durable: bool = True

    def open(self, clock: Clock) -> AbstractAsyncContextManager[Ledger]:
        return self.store.open_by_server_clock(self.owner, clock)


@final
@dataclass(frozen=True)
class Opened:
    """A ledger that several workers of one process have open."""

    ledger: Ledger
    is_durable: bool = True

    def open(self, clock: Clock) -> AbstractAsyncContextManager[Ledger]:
        return nullcontext(self.ledger)


@final
class WrongClock:
    """The machine's clocks, of which the wall clock is wrong by so many seconds."""

    def __init__(self, wrong_by: float) -> None:
        self._clock = SystemClock()
        self._wrong_by = wrong_by

    def now(self) -> float:
        return self._clock.now() + self._wrong_by

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@pytest.fixture(params=list(STORES))
def worlds(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> list[World]:
    """Two replicas with one ledger; each has providers and a log of its own."""
    store = STORES[request.param](servers(request.param))
    return [World(Replica(store, owner)) for owner in ("one", "two")]


def accepted(worlds: Sequence[World]) -> Counter[bytes]:
    """How often each message was taken by anybody's provider."""
    return Counter(key for world in worlds for key in world.providers["hook"].accepted)


async def scheduled_by(world: World, count: int) -> None:
    """So many deliveries stand in the ledger, to be tried again soon."""
    hook = world.providers["hook"]
    hook.always = Retry(BUSY, after=0.6)
    world.orders(count)
    async with running(world, HOOK, sinks("hook"), checks=False) as run:
        await run.until(lambda: len(hook.sent) >= count)
        await run.settled()
    hook.always = Delivered()


async def both_ended(runs: Sequence[Running]) -> dict[str, int]:
    for run in runs:
        await run.ended(20)
    return await runs[0].states()


async def test_of_racing_schedules_each_row_is_sent_once(worlds: list[World]) -> None:
    one, two = worlds
    await scheduled_by(one, MANY)
    for world in worlds:
        world.providers["hook"].seconds = 0.002
    configs = sinks("hook", concurrency=8)

    async with (
        running(one, HOOK, configs, checks=False) as first,
        running(two, HOOK, configs, checks=False) as second,
    ):
        assert await both_ended([first, second]) == {"delivered": MANY}

    assert set(accepted(worlds).values()) == {1}
    assert len(accepted(worlds)) == MANY
    assert all(accepted([world]) for world in worlds), "one replica did all the work"


async def test_records_that_both_read_are_sent_once(worlds: list[World]) -> None:
    one, two = worlds
    two.log = Log()
    two.log.records = one.log.records
    for world in worlds:
        world.providers["hook"].seconds = 0.002
    one.orders(MANY)
    configs = sinks("hook", concurrency=8)

    async with (
        running(one, HOOK, configs, checks=False) as first,
        running(two, HOOK, configs, checks=False) as second,
    ):
        assert await both_ended([first, second]) == {"delivered": MANY}
        assert one.log.committed == two.log.committed

    assert set(accepted(worlds).values()) == {1}
    assert len(accepted(worlds)) == MANY


async def test_retries_and_deaths_of_both_add_up(worlds: list[World]) -> None:
    one, two = worlds
    for world in worlds:
        hook = world.providers["hook"]
        hook.answers += [Retry(BUSY), Retry(BUSY), Rejected(Reason("bad"))] * 30
        world.orders(100)
    configs = sinks("hook", concurrency=4)

    async with (
        running(one, HOOK, configs, checks=False) as first,
        running(two, HOOK, configs, checks=False) as second,
    ):
        states = await both_ended([first, second])
        stats = await first.ledger.stats()

    assert states == {"delivered": 140, "dead bad": 60}
    assert set(accepted(worlds).values()) == {1}
    letters = one.letters.published + two.letters.published
    assert len({letter.delivery_key for letter in letters}) == len(letters) == 60
    assert sum(count for (_, state), count in stats.rows.items() if not state.is_final) == 0


async def test_a_replica_goes_on_with_what_another_left(worlds: list[World]) -> None:
    one, two = worlds
    hook = one.providers["hook"]
    hook.hangs = anyio.Event()
    one.orders(50)

    async with running(two, HOOK, sinks("hook"), checks=False) as second:
        async with running(one, HOOK, sinks("hook", concurrency=4), dies=True):
            await second.until(lambda: len(hook.sent) == 4)
            two.log.records = one.log.records
        await second.ended(20)
        assert await second.states() == {"delivered": 50}

    assert {parcel.key for parcel in hook.sent} <= set(accepted([two]))
    assert set(accepted([two]).values()) == {1}


async def test_each_digest_is_told_of_by_one(worlds: list[World]) -> None:
    await tell_of_digests(*worlds)


async def test_each_digest_is_told_of_by_one_worker_of_a_process(
    store_of: Callable[[str], Store],
) -> None:
    async with store_of("sqlite").open(SystemClock()) as ledger:
        await tell_of_digests(World(Opened(ledger)), World(Opened(ledger)))


async def tell_of_digests(one: World, two: World) -> None:
    """Events of the same people come to both; who closes a digest tells of all of them."""
    count = 60
    heard = Heard()
    for number, world in enumerate((one, two)):
        world.people.known = {f"u-{n}": person(f"u-{n}") for n in range(count)}
        world.publish(
            *({"user": f"u-{n}", "n": number, "id": f"e-{number}-{n}"} for n in range(count))
        )
    configs = sinks("mail")
    async with (
        running(one, TOLD, configs, checks=False, reporting=heard.reporting) as first,
        running(two, TOLD, configs, checks=False, reporting=heard.reporting) as second,
    ):
        states = await both_ended([first, second])
        digests = await first.rows(Kind.DIGEST)
    messages = [message for world in (one, two) for message in told(world)]
    assert sorted((who, n) for who, ns in messages for n in ns) == sorted(
        (f"u-{n}", number) for number in (0, 1) for n in range(count)
    )
    taken = Counter(key for world in (one, two) for key in world.providers["mail"].accepted)
    assert set(taken.values()) == {1}
    assert states == {"delivered": len(digests), "suppressed digested": 2 * count}
    assert len(heard.told) == len(taken) == len(digests)


@pytest.mark.parametrize("wrong_by", [-60.0, 60.0])
async def test_a_replica_whose_clock_is_wrong_sends_nothing_twice(
    worlds: list[World], wrong_by: float
) -> None:
    one, two = worlds
    two.clock = WrongClock(wrong_by)
    await scheduled_by(one, 100)
    for world in worlds:
        world.providers["hook"].seconds = 0.005
    two.log.records = one.log.records
    one.orders(100)

    async with (
        running(one, HOOK, sinks("hook", concurrency=4), checks=False) as first,
        running(two, HOOK, sinks("hook", concurrency=4), checks=False) as second,
    ):
        assert await both_ended([first, second]) == {"delivered": 200}

    assert set(accepted(worlds).values()) == {1}


async def test_a_replica_whose_clock_is_ahead_obeys_gates(worlds: list[World]) -> None:
    one, two = worlds
    two.clock = WrongClock(60.0)

    async with running(two, HOOK, sinks("hook"), checks=False) as run:
        await run.until(lambda: two.providers["hook"].opens)
        gates = run.worker.lanes["hook"].gates
        other = Gates("hook", "", "one")
        other.pause(Reason("maintenance"), one.clock.now())
        await run.ledger.put_facts(other.take_changes())
        await run.until(lambda: gates.is_closed_by(By.PAUSE), 20)
        other.resume(one.clock.now())
        await run.ledger.put_facts(other.take_changes())
        await run.until(lambda: not gates.is_closed_by(By.PAUSE), 20)


async def test_silences_are_written_into_the_ledger_that_replicas_share(
    worlds: list[World], tmp_path: Path
) -> None:
    """No daemon is asked: whoever can reach the ledger can silence."""
    one, _ = worlds
    assert isinstance(one.store, Replica)
    project = replace(load(tmp_path, WEBHOOK, SOME), ledger=one.store.store.config)
    now = one.clock.now()
    named = {"id": "s1", "author": "ops", "comment": "incident", "created": now}
    made = silence_of({**named, "until": now + 3600, "sink": "hook"})

    async with opened_silences(project, SystemClock(), None) as silences:
        await silences.add(made)
        assert [silence.id for silence in await silences.active()] == ["s1"]
    one.orders(1)
    async with running(one, HOOK, sinks("hook"), checks=False) as run:
        await run.ended()
        assert await run.states() == {"suppressed silenced": 1}
        async with opened_silences(project, SystemClock(), None) as silences:
            await silences.expire(made)
            assert not await silences.active()
        await run.until(lambda: not run.worker.silences.active)
