"""Policies at work: what is let in, what is suppressed and why, on every ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.ledger import State
from router.messages import Channel, Reason, Rejected
from router.planning import Cause, Route, Ruleset, Step
from router.planning.policies import (
    Dedupe,
    Digest,
    Mode,
    Rollout,
    RoutePolicy,
    Throttle,
)
from router.recipients import Device
from tests.contract.delivery.harness import World, running, sinks
from tests.unit.planning.builders import broken, path, person, request_step, route, rules, step

pytestmark = pytest.mark.anyio

SINKS = sinks("mail", "push", "hook")
HOUR = 3600.0
ONE = Throttle(1, HOUR, "route:paid")


def held(*steps: Step, id: str = "paid", category: str | None = None, **policy: Any) -> Route:
    made = route(*(steps or (step(),)), id=id)
    return replace(made, category=category, policy=RoutePolicy(**policy))


async def outcome(world: World, made: Ruleset, *events: dict[str, Any]) -> dict[str, int]:
    world.people.known |= {id: person(id) for id in ("u-1", "u-2")}
    world.publish(*({"user": "u-1", **event} for event in events))
    async with running(world, made, SINKS) as run:
        await run.ended()
        return await run.states()


async def test_a_throttled_person_hears_of_as_many_as_the_limit_says(world: World) -> None:
    limited = rules(held(throttles=(replace(ONE, limit=2),)))
    found = await outcome(world, limited, {}, {}, {}, {"user": "u-2"})
    assert found == {"delivered": 3, "suppressed throttled": 1}


async def test_the_throttle_counts_on_after_a_restart(durable: World) -> None:
    limited = rules(held(throttles=(ONE,)))
    assert await outcome(durable, limited, {}) == {"delivered": 1}
    found = await outcome(durable, limited, {})
    assert found == {"delivered": 1, "suppressed throttled": 1}


async def test_routes_share_the_throttle_of_all(world: World) -> None:
    wide = Throttle(1, HOUR, "all")
    both = rules(held(throttles=(wide,)), held(id="again", throttles=(wide,)))
    assert await outcome(world, both, {}) == {"delivered": 1, "suppressed throttled": 1}


async def test_a_redelivered_event_is_no_second_one(durable: World) -> None:
    """The process died after it asked and before it sent: what asks again is let in again."""
    limited = rules(held(throttles=(ONE,)))
    durable.people.known["u-1"] = person("u-1")
    async with running(durable, limited, SINKS, dies=True) as run:
        run.outage.loses.add("admit")
        durable.publish({"user": "u-1", "id": "first"})
        await run.until(lambda: not run.outage.loses)
    assert not durable.providers["mail"].sent
    assert await outcome(durable, limited) == {"delivered": 1}


async def test_an_outage_in_the_middle_of_admission_takes_no_second_place(world: World) -> None:
    limited = rules(held(dedupe=Dedupe(path("data.n"), HOUR), throttles=(ONE,)))
    world.people.known["u-1"] = person("u-1")
    async with running(world, limited, SINKS) as run:
        run.outage.loses.add("admit")
        world.publish({"user": "u-1", "n": 1})
        await run.ended()
        assert await run.states() == {"delivered": 1}


async def test_a_duplicate_is_suppressed(world: World) -> None:
    boards = rules(held(dedupe=Dedupe(path("data.board"), HOUR)))
    found = await outcome(world, boards, {"board": 1}, {"board": 1}, {"board": 2})
    assert found == {"delivered": 2, "suppressed duplicate": 1}


async def test_what_runs_once_per_event_is_not_throttled(world: World) -> None:
    both = rules(held(step(), request_step(), throttles=(ONE,)))
    found = await outcome(world, both, {}, {})
    assert found == {"delivered": 3, "suppressed throttled": 1}


async def test_what_is_suppressed_by_policy_starts_no_fallback(world: World) -> None:
    chain = rules(held(step("push", address_kind="telegram"), step("mail", fallback_for="push"),
                       throttles=(replace(ONE, limit=0),)))  # fmt: skip
    assert await outcome(world, chain, {}) == {"suppressed throttled": 1}


async def test_fallbacks_are_free(world: World) -> None:
    chain = rules(
        held(
            step("push", address_kind="telegram"),
            step("mail", fallback_for="push"),
            throttles=(ONE,),
        )
    )
    world.providers["push"].always = Rejected(Reason("invalid"))
    assert await outcome(world, chain, {}) == {"dead invalid": 1, "delivered": 1}


async def test_whoever_is_reached_by_the_last_of_three_channels_is_throttled_too(
    world: World,
) -> None:
    """The first address is dead, the second channel has none."""
    chain = rules(
        held(
            step("push", channel=Channel.PUSH, address_kind="device"),
            step("hook", address_kind="telegram", fallback_for="push"),
            step("mail", fallback_for="hook"),
            throttles=(ONE,),
        )
    )
    devices = (Device("d1", "token", "ios"),)
    world.people.known["u-1"] = person("u-1", telegram=None, devices=devices)
    world.providers["push"].always = Rejected(Reason("gone"), recipient_gone=True)
    async with running(world, chain, SINKS) as run:
        for _ in range(2):
            world.publish({"user": "u-1"})
            await run.ended()
        found = await run.states()
    assert found["delivered"] == found["suppressed throttled"] == 1
    assert len(world.providers["mail"].sent) == 1


async def test_a_shadow_is_rendered_and_not_sent(world: World) -> None:
    shadows = rules(
        held(mode=Mode.SHADOW), held(step(content=broken()), id="broken", mode=Mode.SHADOW)
    )
    world.people.known["u-1"] = person("u-1")
    world.publish({"user": "u-1"})
    async with running(world, shadows, SINKS) as run:
        await run.ended()
        assert await run.states() == {"suppressed shadow": 2}
        page = run.metrics.render().decode()
    assert not world.providers["mail"].sent
    assert not world.letters.published
    assert 'router_shadow_failures_total{route="broken"} 1.0' in page
    assert 'router_shadow_failures_total{route="paid"} 0.0' in page


async def test_a_rollout_sends_to_those_that_are_drawn(world: World) -> None:
    some = rules(held(rollout=Rollout(30)))
    world.people.known |= {f"u-{n}": person(f"u-{n}") for n in range(100)}
    world.orders(100)
    world.orders(100)
    async with running(world, some, SINKS) as run:
        await run.ended()
        found = await run.states()
    assert found["delivered"] + found["suppressed rollout"] == 200
    assert 30 <= found["delivered"] <= 90
    sent = [parcel.target.address for parcel in world.providers["mail"].sent]
    assert len(set(sent)) * 2 == len(sent)


# Preferences -------------------------------------------------------------------------------------

PUSH = step("push", address_kind="telegram")


async def test_what_people_opted_out_of_is_not_sent(world: World) -> None:
    billing = rules(held(category="billing"))
    world.people.known["u-1"] = person("u-1", preferences={"billing": False})
    world.publish({"user": "u-1"})
    async with running(world, billing, SINKS) as run:
        await run.ended()
        assert await run.states() == {"suppressed opted_out": 1}


@pytest.mark.parametrize(
    ("preferences", "causes", "found"),
    [
        ({"billing/email": False}, [Cause.OPTED_OUT], {"suppressed opted_out": 1, "delivered": 1}),
        ({"billing/email": False}, [Cause.UNREACHABLE], {"suppressed opted_out": 1}),
        ({"billing": False}, [Cause.OPTED_OUT], {"suppressed opted_out": 2}),
    ],
)
async def test_another_channel_takes_over_where_the_route_says_so(
    world: World, preferences: dict[str, bool], causes: list[Cause], found: dict[str, int]
) -> None:
    text = replace(PUSH, channel=Channel.CHAT, fallback_for="mail", causes=frozenset(causes))
    chain = rules(held(step("mail"), text, category="billing"))
    world.people.known["u-1"] = person("u-1", preferences=preferences)
    world.publish({"user": "u-1"})
    async with running(world, chain, SINKS) as run:
        await run.ended()
        assert await run.states() == found


async def test_an_unwanted_notification_takes_no_place(world: World) -> None:
    limited = rules(held(category="billing", throttles=(ONE,)))
    world.people.known["u-1"] = person("u-1", preferences={"billing": False})
    world.publish({"user": "u-1"})
    async with running(world, limited, SINKS) as run:
        await run.ended()
        world.people.known["u-1"] = person("u-1")
        world.publish({"user": "u-1"})
        await run.ended()
        assert await run.states() == {"suppressed opted_out": 1, "delivered": 1}


# Members of digests ------------------------------------------------------------------------------

COLLECTED = {"digest": Digest(HOUR)}


async def test_members_wait_for_their_digest(world: World) -> None:
    world.people.known["u-1"] = person("u-1")
    world.publish({"user": "u-1"}, {"user": "u-1"})
    async with running(world, rules(held(**COLLECTED)), SINKS) as run:
        await run.settled()
        assert await run.states() == {"waiting digest": 2}
        assert not world.providers["mail"].sent


async def test_members_are_throttled_as_messages_are(world: World) -> None:
    limited = rules(held(**COLLECTED, throttles=(ONE,)))
    world.people.known["u-1"] = person("u-1")
    world.publish({"user": "u-1"}, {"user": "u-1"})
    async with running(world, limited, SINKS) as run:
        await run.settled()
        assert await run.states() == {"waiting digest": 1, "suppressed throttled": 1}


async def test_a_member_whose_answer_was_lost_is_in_the_books_once(world: World) -> None:
    world.people.known["u-1"] = person("u-1")
    async with running(world, rules(held(**COLLECTED)), SINKS) as run:
        run.outage.loses.add("join")
        world.publish({"user": "u-1"})
        await run.until(lambda: run.metrics.balance().scheduled)
        await run.settled()
        assert await run.states() == {"waiting digest": 1}


async def test_an_event_that_comes_again_joins_once(world: World) -> None:
    world.people.known["u-1"] = person("u-1")
    world.publish({"user": "u-1", "id": "e"}, {"user": "u-1", "id": "e"})
    async with running(world, rules(held(**COLLECTED)), SINKS) as run:
        await run.until(lambda: run.intake.records_read == 2)
        await run.settled()
        world.publish({"user": "u-1", "id": "e"})
        await run.until(lambda: run.metrics.balance().duplicate == 2)
        assert await run.states() == {"waiting digest": 1}


async def test_requests_of_a_route_with_a_digest_go_at_once(world: World) -> None:
    both = rules(held(step(), request_step("hook"), **COLLECTED))
    world.people.known["u-1"] = person("u-1")
    world.publish({"user": "u-1"})
    async with running(world, both, SINKS) as run:
        await run.until(lambda: world.providers["hook"].accepted)
        await run.settled()
        assert await run.states() == {"waiting digest": 1, "delivered": 1}
        assert len(await run.rows(state=State.WAITING)) == 1
