"""``ordering: key``: what has one Kafka key goes one after the other through a sink."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace

import anyio
import orjson
import pytest

from router.messages import Delivered, Halt, InDoubt, Outcome, Parcel, Reason, Rejected, Retry
from router.messages import Request as Sent
from router.planning import PayloadContent
from router.planning.policies import StepPolicy
from tests.contract.delivery.harness import World, running, sinks
from tests.contract.delivery.sinks import Provider
from tests.unit.planning.builders import request_step, route, rules

pytestmark = pytest.mark.anyio

BUSY = Reason("busy")
IN_ORDER = StepPolicy(is_ordered=True)


def ordered(id: str = "hook") -> object:
    return replace(request_step(id), policy=IN_ORDER, content=PayloadContent())


ORDERED = rules(route(ordered()))  # type: ignore[arg-type]


def publish(world: World, count: int, keys: int, start: int = 0) -> None:
    for n in range(start, start + count):
        world.publish({"user": "u-1", "n": n}, key=b"key-%d" % (n % keys))


def number(parcel: Parcel) -> int:
    assert isinstance(parcel.message, Sent)
    assert parcel.message.body is not None
    return int(orjson.loads(parcel.message.body)["data"]["n"])


def numbers_by_key(provider: Provider) -> dict[bytes, list[int]]:
    """What was accepted, in the order of acceptance; repeats once."""
    at = {parcel.key: parcel for parcel in provider.sent}
    found: dict[bytes, list[int]] = defaultdict(list)
    for key in dict.fromkeys(provider.accepted):
        parcel = at[key]
        assert parcel.event_key is not None
        found[parcel.event_key].append(number(parcel))
    return found


def is_in_order(provider: Provider) -> bool:
    return all(numbers == sorted(numbers) for numbers in numbers_by_key(provider).values())


def fails_now_and_then(seed: int) -> object:
    dice = random.Random(seed)

    def answer(parcel: Parcel) -> Outcome:
        outcomes = [Retry(BUSY), Retry(BUSY, after=0.02), InDoubt(BUSY), Rejected(BUSY)]
        return dice.choice(outcomes) if dice.random() < 0.3 else Delivered()

    return answer


async def test_a_key_s_events_arrive_in_their_order(world: World) -> None:
    hook = world.providers["hook"]
    hook.always = fails_now_and_then(1)  # type: ignore[assignment]
    async with running(world, ORDERED, sinks("hook", concurrency=8)) as run:
        publish(world, 60, keys=4)
        await run.ended(30)
        assert is_in_order(hook)
        states = await run.states()
        assert sum(states.values()) == 60


async def test_one_of_a_key_is_under_way_at_a_time_and_keys_go_side_by_side(
    durable: World,
) -> None:
    hook = durable.providers["hook"]
    under_way: dict[bytes | None, int] = defaultdict(int)
    most: dict[bytes | None, int] = defaultdict(int)
    side_by_side = 0

    hook.hangs = anyio.Event()
    async with running(durable, ORDERED, sinks("hook", concurrency=8)) as run:
        publish(durable, 12, keys=3)
        await run.until(lambda: hook.at_once == 3)
        side_by_side = hook.at_once
        for parcel in hook.sent:
            under_way[parcel.event_key] += 1
            most[parcel.event_key] = max(most[parcel.event_key], under_way[parcel.event_key])
        hook.hangs.set()
        await run.ended(20)
    assert side_by_side == 3
    assert set(most.values()) == {1}


async def test_a_dead_head_lets_the_next_go(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.answers.append(Rejected(BUSY))
    async with running(durable, ORDERED, sinks("hook")) as run:
        publish(durable, 3, keys=1)
        await run.ended()
        assert [number(parcel) for parcel in hook.sent] == [0, 1, 2]
        assert await run.states() == {"dead busy": 1, "delivered": 2}


async def test_records_without_a_key_have_no_order(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.answers.append(Retry(BUSY, after=0.3))
    async with running(durable, ORDERED, sinks("hook", concurrency=1)) as run:
        durable.orders(3)
        await run.ended()
        assert [number(parcel) for parcel in hook.sent] == [0, 1, 2, 0]


async def test_two_steps_of_one_event_go_in_the_order_they_are_written(durable: World) -> None:
    first = replace(request_step("first"), sink="hook", policy=IN_ORDER)
    second = replace(request_step("second"), sink="hook", policy=IN_ORDER)
    hook = durable.providers["hook"]
    hook.always = lambda parcel: Retry(BUSY) if parcel.attempt == 1 else Delivered()
    async with running(durable, rules(route(first, second)), sinks("hook", concurrency=4)) as run:
        publish(durable, 4, keys=1)
        await run.ended(20)
        rows = {row.key: row for row in await run.rows()}
        places = [rows[key].seq for key in hook.accepted]
        assert places == sorted(places, key=lambda place: place or 0)
        assert len(set(places)) == 8


async def test_the_order_outlives_the_process(durable: World) -> None:
    """Cut off while heads are out for a retry and others stand behind them, again and again."""
    hook = durable.providers["hook"]
    for life in range(4):
        hook.always = fails_now_and_then(life)  # type: ignore[assignment]
        configs = sinks("hook", concurrency=4, timeout="100ms")
        async with running(durable, ORDERED, configs, dies=True) as run:
            publish(durable, 30, keys=3, start=30 * life)
            seen = len(hook.accepted)
            await run.until(lambda seen=seen: len(hook.accepted) >= seen + 10)
    hook.always = Delivered()
    async with running(durable, ORDERED, sinks("hook", timeout="100ms"), checks=False) as run:
        await run.ended(60)
    assert is_in_order(hook)


async def test_a_closed_sink_s_backlog_keeps_its_order(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.answers += [Halt(BUSY)] * 2
    async with running(durable, ORDERED, sinks("hook", concurrency=4)) as run:
        publish(durable, 40, keys=2)
        await run.settled()
        assert len(hook.accepted) < 40
        configs = sinks("hook", concurrency=4, timeout="6s")
        await run.apply(ORDERED, configs)
        await run.ended(30)
        assert is_in_order(hook)
        assert await run.states() == {"delivered": 40}
