"""What came out of the schedule is looked at again before it is sent."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from router.messages import InDoubt, Reason, Rejected, Retry
from router.planning import Ruleset, Step
from router.planning.policies import QuietHours, StepPolicy
from tests.contract.delivery.harness import SteppedClock, World, running, sinks
from tests.unit.planning.builders import person, request_step, route, rules, step

pytestmark = pytest.mark.anyio

MINUTE = 60.0
HOUR = 3600.0
GONE = Rejected(Reason("no_such_chat"), recipient_gone=True)
LATER = Retry(Reason("busy"), after=HOUR)
SINKS = sinks("chat", "mail", "hook", retry={"first": "1m", "cap": "1m", "give_up": "3d"})
CHAT = step("chat", address_kind="telegram")


def stepped(world: World) -> World:
    world.clock = SteppedClock()
    world.people.known["u-1"] = person("u-1")
    return world


async def test_an_address_that_died_meanwhile_is_left_alone(world: World) -> None:
    chat = stepped(world).providers["chat"]
    chat.answers += [LATER, GONE]
    async with running(world, rules(route(CHAT, step("mail", fallback_for="chat"))), SINKS) as run:
        world.publish({"user": "u-1"})
        await run.rested()
        world.publish({"user": "u-1"})
        await run.rested()
        await run.later(2 * HOUR)
        assert len(chat.sent) == 2
        assert await run.states() == {"suppressed recipient_gone": 2, "delivered": 2}


@pytest.mark.parametrize(
    "policy",
    [
        StepPolicy(delay=30 * MINUTE),
        StepPolicy(quiet_hours=QuietHours(0, 0, zone="UTC")),
        StepPolicy(),
    ],
    ids=["delay", "quiet_hours", "retry"],
)
async def test_nothing_that_waited_is_sent_too_late(world: World, policy: StepPolicy) -> None:
    """The process slept through the time at which it should have gone."""
    chat = stepped(world).providers["chat"]
    chat.answers += [Retry(Reason("busy"), after=30 * MINUTE)]
    short: Step = replace(CHAT, policy=policy, expires=40 * MINUTE)
    async with running(world, rules(route(short)), SINKS) as run:
        world.publish({"user": "u-1"})
        await run.rested()
        before = len(chat.sent)
        await run.later(2 * 24 * HOUR)
        assert await run.states() == {"suppressed expired": 1}
        assert len(chat.sent) == before


ONCE: Ruleset = rules(route(request_step(in_doubt="dead_letter")))
AGAIN: Ruleset = rules(route(request_step()))


def doubts(raw: bytes) -> float:
    line = next(x for x in raw.splitlines() if x.startswith(b'router_in_doubt_total{sink="hook"'))
    return float(line.split()[-1])


async def test_a_broken_attempt_is_sent_again_or_dead_as_its_step_says(world: World) -> None:
    hook = stepped(world).providers["hook"]
    hook.answers.append(InDoubt(Reason("timeout")))
    async with running(world, AGAIN, SINKS) as run:
        world.publish({"user": "u-1"})
        await run.later(2 * MINUTE)
        assert await run.states() == {"delivered": 1}
        assert doubts(run.metrics.render()) == 1
        hook.answers.append(InDoubt(Reason("timeout")))
        await run.apply(ONCE, SINKS)
        world.publish({"user": "u-1"})
        await run.rested()
        assert await run.states() == {"delivered": 1, "dead in_doubt": 1}
        assert doubts(run.metrics.render()) == 2
        await run.until(lambda: world.letters.reasons == ["in_doubt"])


@pytest.mark.parametrize("made", [ONCE, AGAIN], ids=["dead_letter", "resend"])
async def test_a_claim_that_a_dead_process_left_is_in_doubt(durable: World, made: Ruleset) -> None:
    """It came out of the schedule, so that its record does not bring it again."""
    hook = stepped(durable).providers["hook"]
    hook.answers.append(Retry(Reason("busy"), after=MINUTE))
    hook.hangs, hook.hangs_on = anyio.Event(), lambda parcel: parcel.attempt == 2
    async with running(durable, made, SINKS, dies=True) as run:
        durable.publish({"user": "u-1"})
        await run.rested()
        assert isinstance(durable.clock, SteppedClock)
        durable.clock.advance(2 * MINUTE)
        await run.until(lambda: len(hook.sent) == 2)
    hook.hangs = None
    async with running(durable, made, SINKS, checks=False) as run:
        await run.later(2 * MINUTE)
        expected = {"dead in_doubt": 1} if made is ONCE else {"delivered": 1}
        assert await run.states() == expected
        assert doubts(run.metrics.render()) == 1
