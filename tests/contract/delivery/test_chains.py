"""Fallbacks: what starts them, what does not, and that each is sent once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from router.ledger import State
from router.messages import Channel, Delivered, InDoubt, Reason, Rejected, Retry, Scope
from router.planning import Cause, Ruleset
from router.recipients import Device
from tests.contract.delivery.harness import Running, World, running, sinks
from tests.unit.planning.builders import broken, person, route, rules, step

pytestmark = pytest.mark.anyio

NO = Rejected(Reason("invalid"))
GONE = Rejected(Reason("no_such_chat"), recipient_gone=True)
BUSY = Retry(Reason("busy"))
PUSH = step("push", address_kind="telegram")
MAIL = step("mail", fallback_for="push")
SMS = step("sms", fallback_for="mail", address_kind="telegram")
CHAIN = rules(route(PUSH, MAIL, SMS))
SINKS = sinks("push", "mail", "sms")


def sent(world: World) -> dict[str, int]:
    return {n: len(world.providers[n].sent) for n in SINKS if world.providers[n].sent}


async def outcome(world: World, made: Ruleset = CHAIN, **fields: Any) -> dict[str, int]:
    """What one event for one person comes to."""
    world.people.known["u-1"] = person("u-1", **fields)
    world.publish({"user": "u-1"})
    async with running(world, made, SINKS) as run:
        await run.ended()
        return await run.states()


def script(world: World, **answers: Sequence[Any]) -> None:
    """Answers of each sink in order; the last one stays."""
    for name, given in answers.items():
        world.providers[name].answers += given[:-1]
        world.providers[name].always = given[-1]


async def test_none_is_started_where_the_primary_arrives(world: World) -> None:
    assert await outcome(world) == {"delivered": 1}
    assert sent(world) == {"push": 1}


@pytest.mark.parametrize(
    ("answer", "end"), [(NO, "dead invalid"), (GONE, "suppressed recipient_gone")]
)
async def test_a_refused_primary_starts_its_fallback(world: World, answer: Any, end: str) -> None:
    script(world, push=[answer])
    assert await outcome(world) == {end: 1, "delivered": 1, "suppressed not_needed": 1}
    assert sent(world) == {"push": 1, "mail": 1}


async def test_an_unreachable_primary_starts_its_fallback(world: World) -> None:
    assert await outcome(world, telegram=None) == {"suppressed unreachable": 1, "delivered": 1}
    assert sent(world) == {"mail": 1}


async def test_fallbacks_follow_each_other_to_the_last(world: World) -> None:
    script(world, push=[NO], mail=[NO])
    assert await outcome(world) == {"dead invalid": 2, "delivered": 1}
    assert sent(world) == {"push": 1, "mail": 1, "sms": 1}


async def test_an_unreachable_fallback_passes_on(world: World) -> None:
    script(world, push=[NO])
    expected = {"dead invalid": 1, "suppressed unreachable": 1, "delivered": 1}
    assert await outcome(world, email=None) == expected
    assert sent(world) == {"push": 1, "sms": 1}


async def test_one_that_waits_is_dropped_with_its_own_once_the_primary_arrives(
    world: World,
) -> None:
    script(world, push=[BUSY, Delivered()])
    assert await outcome(world) == {"delivered": 1, "suppressed not_needed": 2}
    assert sent(world) == {"push": 2}


async def test_one_that_waits_starts_once_the_primary_fails(world: World) -> None:
    script(world, push=[BUSY, BUSY, NO], mail=[BUSY, NO])
    assert await outcome(world) == {"dead invalid": 2, "delivered": 1}
    assert sent(world) == {"push": 3, "mail": 2, "sms": 1}


async def test_an_unreachable_one_does_not_start_its_own_before_the_primary_failed(
    world: World,
) -> None:
    script(world, push=[BUSY, Delivered()])
    expected = {"delivered": 1, "suppressed unreachable": 1, "suppressed not_needed": 1}
    assert await outcome(world, email=None) == expected
    assert sent(world) == {"push": 2}


async def test_only_the_causes_it_names_start_a_fallback(world: World) -> None:
    made = rules(route(PUSH, step("mail", fallback_for="push", causes=[Cause.UNREACHABLE])))
    script(world, push=[BUSY, NO])
    assert await outcome(world, made) == {"dead invalid": 1, "suppressed not_needed": 1}
    assert sent(world) == {"push": 2}


@pytest.mark.parametrize("answers", [[InDoubt(Reason("timeout"))], [BUSY, InDoubt(Reason("x"))]])
async def test_a_primary_that_may_have_arrived_starts_none(world: World, answers: Any) -> None:
    primary = step("push", address_kind="telegram", in_doubt="dead_letter")
    script(world, push=answers)
    states = await outcome(world, rules(route(primary, MAIL)))
    assert states.pop("dead in_doubt") == 1
    assert states in ({}, {"suppressed not_needed": 1})
    assert "mail" not in sent(world)


async def test_an_expired_primary_starts_none(world: World) -> None:
    primary = step("push", address_kind="telegram", expires=60)
    script(world, push=[Retry(Reason("busy"), after=3600)])
    assert await outcome(world, rules(route(primary, MAIL))) == {"suppressed expired": 1}
    assert sent(world) == {"push": 1}


async def test_a_fallback_that_can_not_be_rendered_is_dead_only_if_it_is_needed(
    world: World,
) -> None:
    made = rules(route(PUSH, step("mail", fallback_for="push", content=broken())))
    script(world, push=[BUSY, Delivered()])
    assert await outcome(world, made) == {"delivered": 1, "suppressed not_needed": 1}
    assert world.letters.published == []

    script(world, push=[BUSY, NO])
    world.publish({"user": "u-1"})
    async with running(world, made, SINKS) as run:
        await run.until(lambda: len(world.letters.published) >= 2)
        await run.ended()
        states = await run.states()
        assert (states["dead invalid"], states["dead render_failed"]) == (1, 1)


# Repeats -------------------------------------------------------------------------------------


async def test_the_same_event_again_starts_no_fallback_again(world: World) -> None:
    script(world, push=[NO], mail=[NO])
    world.people.known["u-1"] = person("u-1")
    event = {"id": "e-1", "user": "u-1"}
    async with running(world, CHAIN, SINKS) as run:
        for _ in range(3):
            world.publish(event)
            await run.ended()
        assert await run.states() == {"dead invalid": 2, "delivered": 1}
    assert sent(world) == {"push": 1, "mail": 1, "sms": 1}


async def test_who_was_reached_is_not_told_again_after_losing_the_address(world: World) -> None:
    event = {"id": "e-1", "user": "u-1"}
    async with running(world, CHAIN, SINKS) as run:
        world.people.known["u-1"] = person("u-1")
        world.publish(event)
        await run.ended()
        world.people.known["u-1"] = person("u-1", telegram=None)
        world.publish(event)
        await run.ended()
        assert await run.states() == {"delivered": 1}
    assert sent(world) == {"push": 1}


async def test_who_was_unreachable_is_told_by_the_fallback_alone(world: World) -> None:
    event = {"id": "e-1", "user": "u-1"}
    async with running(world, CHAIN, SINKS) as run:
        world.people.known["u-1"] = person("u-1", telegram=None)
        world.publish(event)
        await run.ended()
        world.people.known["u-1"] = person("u-1")
        world.publish(event)
        await run.ended()
        assert await run.states() == {"suppressed unreachable": 1, "delivered": 1}
    assert sent(world) == {"mail": 1}


# Restarts ------------------------------------------------------------------------------------


async def test_a_chain_goes_on_after_a_restart(durable: World) -> None:
    durable.people.known["u-1"] = person("u-1")
    durable.publish({"user": "u-1"})
    script(durable, push=[Retry(Reason("busy"), after=0.3), NO])
    async with running(durable, CHAIN, SINKS) as run:
        await run.until(lambda: durable.providers["push"].sent)
        await run.settled()
        assert (await run.ledger.stats()).backlog == {"push": 1, "mail": 1, "sms": 1}
    script(durable, mail=[Retry(Reason("busy"), after=0.3), NO])
    async with running(durable, CHAIN, SINKS) as run:
        await run.until(lambda: durable.providers["mail"].sent)
        await run.settled()
    async with running(durable, CHAIN, SINKS) as run:
        await run.ended()
        assert await run.states() == {"dead invalid": 2, "delivered": 1}
    assert sent(durable) == {"push": 2, "mail": 2, "sms": 1}


async def test_a_chain_whose_record_comes_again_goes_on_where_it_was(durable: World) -> None:
    """It was retried before the process died, but its offset was not committed."""
    durable.people.known["u-1"] = person("u-1")
    durable.publish({"user": "u-1"})
    push = durable.providers["push"]
    script(durable, push=[BUSY, Delivered()])
    push.hangs, push.hangs_on = anyio.Event(), lambda parcel: parcel.attempt == 2
    async with running(durable, CHAIN, SINKS, dies=True) as run:
        run.source.refuses_commits = True
        await run.until(lambda: len(push.sent) == 2)
    push.hangs = None
    async with running(durable, CHAIN, SINKS, checks=False) as run:
        await run.ended()
        assert await run.states() == {"delivered": 1, "suppressed not_needed": 2}


async def test_a_fallback_of_a_slow_sink_is_not_started_by_a_pause_of_the_process(
    durable: World,
) -> None:
    durable.people.known["u-1"] = person("u-1")
    durable.publish({"user": "u-1"})
    script(durable, push=[Retry(Reason("busy"), after=0.2, scope=Scope.SINK), Delivered()])
    async with running(durable, CHAIN, SINKS) as run:
        await run.until(lambda: durable.providers["push"].sent)
    async with running(durable, CHAIN, SINKS) as run:
        await run.ended()
        assert await run.states() == {"delivered": 1, "suppressed not_needed": 2}


# Several devices -----------------------------------------------------------------------------

DEVICES = tuple(Device(n, f"token-{n}", "ios") for n in "abc")
PHONES = step("push", channel=Channel.PUSH, address_kind="device")


def phones(world: World, **answers: Any) -> None:
    for name in "abc":
        answer = answers.get(name, NO)
        world.providers["push"].by_target[f"token-{name}"] = answer


@pytest.mark.parametrize("first", ["a", "b", "c"])
async def test_one_device_that_is_reached_is_enough(world: World, first: str) -> None:
    phones(world, **{first: Delivered()})
    made = rules(route(PHONES, MAIL, SMS))
    states = await outcome(world, made, devices=DEVICES)
    assert states == {"delivered": 1, "dead invalid": 2, "suppressed not_needed": 2}
    assert sent(world) == {"push": 3}


async def test_devices_that_all_fail_start_one_fallback(world: World) -> None:
    phones(world)
    states = await outcome(world, rules(route(PHONES, MAIL, SMS)), devices=DEVICES)
    assert states == {"dead invalid": 3, "delivered": 1, "suppressed not_needed": 1}
    assert sent(world) == {"push": 3, "mail": 1}


async def test_a_device_that_expires_leaves_nothing_waiting(world: World) -> None:
    phones(world, a=Retry(Reason("busy"), after=3600))
    primary = step("push", channel=Channel.PUSH, address_kind="device", expires=60)
    states = await outcome(world, rules(route(primary, MAIL)), devices=DEVICES)
    assert states.pop("suppressed not_needed") == 1
    assert states == {"suppressed expired": 1, "dead invalid": 2}
    assert "mail" not in sent(world)


async def test_devices_that_are_retried_wait_for_each_other(durable: World) -> None:
    replies = {name: iter([BUSY, BUSY, NO]) for name in "abc"}
    phones(durable, **{n: (lambda _, n=n: next(replies[n])) for n in "abc"})
    states = await outcome(durable, rules(route(PHONES, MAIL)), devices=DEVICES)
    assert states == {"dead invalid": 3, "delivered": 1}
    assert sent(durable) == {"push": 9, "mail": 1}


async def test_many_people_at_once(world: World) -> None:
    people = [person(f"u-{n}", devices=DEVICES) for n in range(30)]
    world.people.known = {who.id: who for who in people}
    phones(world, b=BUSY)
    async with running(world, rules(route(PHONES, MAIL, SMS)), SINKS) as run:
        world.orders(30)
        await until_retried(run, world)
        phones(world)
        await run.ended()
        states = await run.states()
        assert states == {"dead invalid": 90, "delivered": 30, "suppressed not_needed": 30}
        assert len(await run.rows(state=State.WAITING)) == 0
    assert len(world.providers["mail"].accepted) == 30


async def until_retried(run: Running, world: World) -> None:
    await run.until(lambda: any(parcel.attempt > 1 for parcel in world.providers["push"].sent))
    await anyio.sleep(0.02)
