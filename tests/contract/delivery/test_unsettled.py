"""Fallbacks that start by themselves: of a primary that is not settled in time, or not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest

from router.ledger import Settle, State
from router.messages import Channel, Delivered, Halt, Reason, Rejected, Retry
from router.planning import Cause, Ruleset, Step
from router.planning.policies import CancelOn, Same, StepPolicy
from router.recipients import Device
from tests.contract.delivery.harness import SteppedClock, World, running, sinks
from tests.unit.planning.builders import condition, path, person, route, rules, step

pytestmark = pytest.mark.anyio

MINUTE = 60.0
HOUR = 3600.0
AFTER = 10 * MINUTE
NO = Rejected(Reason("invalid"))
BUSY = Retry(Reason("busy"), after=HOUR)
SINKS = sinks("push", "mail", "sms", retry={"first": "1m", "cap": "1m", "give_up": "3d"})
PUSH = step("push", address_kind="telegram")
PHONES = step("push", channel=Channel.PUSH, address_kind="device")
DEVICES = tuple(Device(n, f"token-{n}", "ios") for n in "ab")
EVERY = (Cause.UNREACHABLE, Cause.REJECTED, Cause.UNSETTLED)


def timed(
    id: str = "mail", of: str = "push", after: float = AFTER, causes: Sequence[Cause] = EVERY
) -> Step:
    kind = "telegram" if id == "sms" else "email"
    return replace(step(id, fallback_for=of, causes=causes, address_kind=kind), after=after)


def unseen(causes: Sequence[Cause] = (Cause.UNREACHABLE, Cause.REJECTED)) -> Step:
    opened = CancelOn(
        condition({"type": "push.opened"}), (Same(path("data.user"), path("data.user")),), 24 * HOUR
    )
    return replace(timed(causes=causes), unless=opened)


def told(world: World, **fields: Any) -> World:
    world.clock = SteppedClock()
    world.people.known["u-1"] = person("u-1", **fields)
    world.publish({"user": "u-1"})
    return world


def sent(world: World) -> dict[str, int]:
    return {n: len(world.providers[n].sent) for n in SINKS if world.providers[n].sent}


MAILED: Ruleset = rules(route(PUSH, timed()))


async def test_an_unsettled_primary_gives_way_to_its_fallback(world: World) -> None:
    world.providers["push"].always = BUSY
    async with running(told(world), MAILED, SINKS) as run:
        await run.later(AFTER - 5)
        assert sent(world) == {"push": 1}
        await run.later(10)
        assert await run.states() == {"suppressed superseded": 1, "delivered": 1}
        await run.later(2 * HOUR)
    assert sent(world) == {"push": 1, "mail": 1}


async def test_one_that_was_never_claimed_gives_way_too(world: World) -> None:
    """Its sink is closed, so it went to the schedule at once."""
    world.clock = SteppedClock()
    world.people.known["u-1"] = person("u-1")
    world.providers["push"].always = Halt(Reason("no"))
    async with running(world, MAILED, SINKS) as run:
        world.publish({"user": "u-1"}, {"user": "u-1"})
        await run.rested()
        world.publish({"user": "u-1"})
        await run.rested()
        rows = await run.rows(state=State.SCHEDULED)
        assert any(row.epoch == 0 for row in rows)
        await run.later(AFTER + 5)
        # One of them was trying the sink out just then, and was awaited.
        await run.later(30)
        assert await run.states() == {"suppressed superseded": 3, "delivered": 3}


async def test_a_primary_that_arrives_in_time_ends_its_fallback(world: World) -> None:
    world.providers["push"].answers += [Retry(Reason("busy"), after=MINUTE)]
    async with running(told(world), MAILED, SINKS) as run:
        await run.later(2 * MINUTE)
        assert await run.states() == {"delivered": 1, "suppressed not_needed": 1}
        await run.later(HOUR)
    assert sent(world) == {"push": 2}


async def test_a_refusal_starts_it_before_its_time(world: World) -> None:
    world.providers["push"].answers += [Retry(Reason("busy"), after=MINUTE), NO]
    async with running(told(world), MAILED, SINKS) as run:
        await run.later(2 * MINUTE)
        assert await run.states() == {"dead invalid": 1, "delivered": 1}


async def test_the_time_counts_from_the_end_of_a_hold(world: World) -> None:
    held = replace(PUSH, policy=StepPolicy(delay=HOUR))
    world.providers["push"].always = BUSY
    async with running(told(world), rules(route(held, timed())), SINKS) as run:
        await run.later(AFTER + 5)
        assert sent(world) == {}
        await run.later(HOUR - AFTER)
        assert sent(world) == {"push": 1}
        await run.later(AFTER + 5)
        assert sent(world) == {"push": 1, "mail": 1}


async def test_a_primary_under_way_is_awaited(world: World) -> None:
    push = world.providers["push"]
    push.answers += [Retry(Reason("busy"), after=AFTER - 10)]
    async with running(told(world), MAILED, SINKS) as run:
        await run.rested()
        push.hangs = anyio.Event()
        assert isinstance(world.clock, SteppedClock)
        world.clock.advance(AFTER - 1)
        await run.until(lambda: push.at_once == 1)
        world.clock.advance(2)
        await anyio.sleep(0.5)
        assert sent(world) == {"push": 2}
        push.hangs.set()
        await run.rested()
        assert await run.states() == {"delivered": 1, "suppressed not_needed": 1}


async def test_a_chain_gives_each_link_its_time(world: World) -> None:
    world.providers["push"].always = world.providers["mail"].always = BUSY
    made = rules(route(PUSH, timed(), timed("sms", of="mail")))
    async with running(told(world), made, SINKS) as run:
        await run.later(AFTER + 5)
        assert sent(world) == {"push": 1, "mail": 1}
        await run.later(AFTER - 30)
        assert sent(world) == {"push": 1, "mail": 1}
        await run.later(60)
        assert sent(world) == {"push": 1, "mail": 1, "sms": 1}
        assert await run.states() == {"suppressed superseded": 2, "delivered": 1}


async def test_a_link_that_is_started_by_a_refusal_has_its_time_from_then(world: World) -> None:
    world.providers["push"].answers += [Retry(Reason("busy"), after=9 * MINUTE), NO]
    world.providers["mail"].always = BUSY
    made = rules(route(PUSH, step("mail", fallback_for="push"), timed("sms", of="mail")))
    async with running(told(world), made, SINKS) as run:
        await run.later(9 * MINUTE + 5)
        assert sent(world) == {"push": 2, "mail": 1}
        await run.later(9 * MINUTE)
        assert "sms" not in sent(world)
        await run.later(2 * MINUTE)
        assert sent(world) == {"push": 2, "mail": 1, "sms": 1}


async def test_what_stands_in_for_an_unreachable_one_has_its_time(world: World) -> None:
    world.providers["push"].always = BUSY
    made = rules(route(PUSH, timed(), step("sms", fallback_for="mail", address_kind="telegram")))
    async with running(told(world, email=None), made, SINKS) as run:
        await run.later(AFTER + 5)
        assert sent(world) == {"push": 1, "sms": 1}


async def test_all_devices_give_way(world: World) -> None:
    world.providers["push"].by_target = {"token-a": BUSY, "token-b": NO}
    async with running(told(world, devices=DEVICES), rules(route(PHONES, timed())), SINKS) as run:
        await run.later(AFTER + 5)
        expected = {"suppressed superseded": 1, "dead invalid": 1, "delivered": 1}
        assert await run.states() == expected


async def test_those_that_wait_as_long_start_together_and_the_others_end(world: World) -> None:
    world.providers["push"].always = BUSY
    both = rules(route(PUSH, timed(), timed("sms")))
    async with running(told(world), both, SINKS) as run:
        await run.later(AFTER + 5)
        assert sent(world) == {"push": 1, "mail": 1, "sms": 1}
    world = told(World(world.store))
    world.providers["push"].always = BUSY
    later = rules(route(PUSH, timed(), timed("sms", after=HOUR)))
    async with running(world, later, SINKS, checks=False) as run:
        await run.later(AFTER + 5)
        await run.later(2 * HOUR)
    assert sent(world) == {"push": 1, "mail": 1}


async def test_one_that_has_expired_leaves_the_primary_alone(world: World) -> None:
    world.providers["push"].answers += [Retry(Reason("busy"), after=HOUR)]
    short = replace(timed(), expires=5 * MINUTE)
    async with running(told(world), rules(route(PUSH, short)), SINKS) as run:
        await run.later(AFTER)
        assert await run.states() == {"scheduled busy": 1, "suppressed expired": 1}
        await run.later(HOUR)
        assert await run.states() == {"delivered": 1, "suppressed expired": 1}


async def test_the_time_outlives_the_process(durable: World) -> None:
    durable.providers["push"].always = BUSY
    async with running(told(durable), MAILED, SINKS) as run:
        await run.rested()
    async with running(durable, MAILED, SINKS) as run:
        await run.later(AFTER + 5)
        assert await run.states() == {"suppressed superseded": 1, "delivered": 1}


async def test_what_another_replica_delivered_meanwhile_ends_it(durable: World) -> None:
    """Its arrival is written when the fallback is claimed already, so nothing has dropped it."""
    durable.providers["push"].always = BUSY
    async with running(told(durable), MAILED, SINKS, checks=False) as run:
        await run.rested()
        (primary,) = await run.rows(state=State.SCHEDULED)
        await run.ledger.settle([Settle(replace(primary, state=State.DELIVERED))])
        await run.later(AFTER + 5)
        assert await run.states() == {"delivered": 1, "suppressed not_needed": 1}
    assert sent(durable) == {"push": 1}


# Unseen --------------------------------------------------------------------------------------

UNSEEN: Ruleset = rules(route(PUSH, unseen()))


async def test_a_message_that_nobody_opens_is_followed(world: World) -> None:
    async with running(told(world), UNSEEN, SINKS) as run:
        await run.later(AFTER - 5)
        assert sent(world) == {"push": 1}
        await run.later(10)
        assert await run.states() == {"delivered": 2}
    assert sent(world) == {"push": 1, "mail": 1}


async def test_one_that_is_opened_is_not(world: World) -> None:
    async with running(told(world), UNSEEN, SINKS) as run:
        await run.later(5)
        world.publish({"type": "push.opened", "user": "u-1"})
        await run.later(AFTER)
        assert await run.states() == {"delivered": 1, "suppressed seen": 1}
    assert sent(world) == {"push": 1}


async def test_the_time_to_open_it_counts_from_its_arrival(world: World) -> None:
    world.providers["push"].answers += [Retry(Reason("busy"), after=9 * MINUTE)]
    async with running(told(world), UNSEEN, SINKS) as run:
        await run.later(9 * MINUTE + 5)
        assert sent(world) == {"push": 2}
        await run.later(5 * MINUTE)
        assert sent(world) == {"push": 2}
        await run.later(6 * MINUTE)
        assert await run.states() == {"delivered": 2}


async def test_one_that_is_refused_is_followed_at_once(world: World) -> None:
    world.providers["push"].always = NO
    async with running(told(world), UNSEEN, SINKS) as run:
        await run.rested()
        assert await run.states() == {"dead invalid": 1, "delivered": 1}


async def test_one_of_several_devices_is_enough_to_wait(world: World) -> None:
    world.providers["push"].by_target = {"token-a": Delivered(), "token-b": NO}
    made = rules(route(PHONES, unseen()))
    async with running(told(world, devices=DEVICES), made, SINKS) as run:
        await run.rested()
        assert sent(world) == {"push": 2}
        await run.later(AFTER + 5)
        assert await run.states() == {"delivered": 2, "dead invalid": 1}
