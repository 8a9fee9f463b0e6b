"""Replays: what was asked for comes back, once, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from router.authoring.dead_letters import Outgoing, Skipped, replay_of
from router.events import DeadLetter, TopicPartition, wrap_replay
from router.ledger import State
from router.messages import Delivered, Reason, Rejected, Retry
from tests.contract.delivery.harness import Running, World, running, sinks
from tests.contract.delivery.sources import ORDERS
from tests.unit.planning.builders import broken, person, request_step, route, rules, step

pytestmark = pytest.mark.anyio

REPLAYS = TopicPartition("replay", 0)
PLACES = (ORDERS, REPLAYS)
NO = Rejected(Reason("invalid"))
BOTH = rules(route(request_step("a"), id="one"), route(request_step("b"), id="two"))
SINKS = sinks("a", "b")


def replay(
    world: World, *routes: str, key: bytes | None = None, hop: int = 1, offset: int = 0
) -> None:
    """Puts one of the orders on the replay topic."""
    record = world.log.records[ORDERS][offset]
    _, value, headers = wrap_replay(record, routes, key, hop)
    assert value is not None
    world.log.publish(value, place=REPLAYS, timestamp=world.clock.now(), headers=headers)


async def dead_rows(run: Running) -> list[Any]:
    return await run.rows(state=State.DEAD)


async def test_a_dead_delivery_is_revived_and_sent_anew(durable: World) -> None:
    durable.providers["a"].always = NO
    durable.publish({"id": "e-1"})
    async with running(durable, BOTH, SINKS, places=PLACES) as run:
        await run.ended()
        durable.providers["a"].always = Delivered()
        durable.revivals = 1
        replay(durable)
        await run.until(lambda: durable.providers["a"].accepted)
        await run.ended()
        assert await run.states() == {"delivered": 2}
    assert [p.attempt for p in durable.providers["a"].sent] == [1, 1]
    assert len(durable.providers["b"].sent) == 1


async def test_a_replay_that_dies_again_has_a_letter_of_its_own(durable: World) -> None:
    durable.providers["a"].always = NO
    durable.publish({"id": "e-1"})
    async with running(durable, BOTH, SINKS, places=PLACES) as run:
        await run.ended()
        durable.revivals = 1
        replay(durable)
        await run.until(lambda: len(durable.letters.published) == 2)
        await run.ended()
        assert await run.states() == {"delivered": 1, "dead invalid": 1}


async def test_a_delivery_that_dies_again_and_again_is_replayed_eight_times(
    durable: World,
) -> None:
    durable.providers["a"].always = NO
    durable.publish({"id": "e-1"})
    letters = durable.letters.published
    async with running(durable, BOTH, SINKS, places=PLACES) as run:
        await run.until(lambda: letters)
        durable.revivals = 8
        for times in range(1, 10):
            _, value, headers = resent(letters[-1])
            durable.log.publish(
                value, place=REPLAYS, timestamp=durable.clock.now(), headers=headers
            )
            await run.until(lambda times=times: len(letters) == times + 1)
        await run.ended()
    assert [letter.hop for letter in letters[:-1]] == [*range(9)]
    assert durable.letters.reasons == ["invalid"] * 9 + ["replay_loop"]


async def test_how_often_it_was_replayed_is_kept_while_it_is_retried(durable: World) -> None:
    hook = durable.providers["a"]
    hook.answers += [NO, Retry(Reason("busy")), Retry(Reason("busy")), NO]
    durable.publish({"id": "e-1"})
    async with running(durable, BOTH, SINKS, places=PLACES) as run:
        await run.ended()
        durable.revivals = 1
        replay(durable, hop=5)
        await run.until(lambda: len(durable.letters.published) == 2)
        await run.ended()
    assert [letter.hop for letter in durable.letters.published] == [0, 5]


def resent(letter: DeadLetter) -> Outgoing:
    """What `dead-letters replay` publishes for it."""
    made = replay_of(letter, {"one": "one", "two": "two"})
    assert not isinstance(made, Skipped)
    return made


@pytest.mark.parametrize("names", [("one",), ("one/a",)])
async def test_only_the_routes_and_steps_it_names(durable: World, names: tuple[str, ...]) -> None:
    durable.providers["a"].always = durable.providers["b"].always = NO
    durable.publish({"id": "e-1"})
    async with running(durable, BOTH, SINKS, places=PLACES) as run:
        await run.ended()
        durable.providers["a"].always = durable.providers["b"].always = Delivered()
        durable.revivals = 1
        replay(durable, *names)
        await run.until(lambda: durable.providers["a"].accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1, "dead invalid": 1}
    assert durable.providers["b"].accepted == []


async def test_only_the_delivery_it_names_a_fallback_too(durable: World) -> None:
    made = rules(route(step("push", address_kind="telegram"), step("mail", fallback_for="push")))
    durable.people.known["u-1"] = person("u-1")
    durable.providers["push"].always = durable.providers["mail"].always = NO
    durable.publish({"id": "e-1", "user": "u-1"})
    async with running(durable, made, sinks("push", "mail"), places=PLACES) as run:
        await run.ended()
        (mail,) = [row for row in await dead_rows(run) if row.sink == "mail"]
        durable.providers["mail"].always = Delivered()
        durable.revivals = 1
        replay(durable, key=mail.key)
        await run.until(lambda: durable.providers["mail"].accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1, "dead invalid": 1}
    assert len(durable.providers["push"].sent) == 1


async def test_what_was_delivered_is_not_sent_again(world: World) -> None:
    world.publish({"id": "e-1"})
    async with running(world, BOTH, SINKS, places=PLACES) as run:
        await run.ended()
        replay(world)
        await run.ended()
        assert await run.states() == {"delivered": 2}
        assert b"router_duplicate_event_total 0.0" in run.metrics.render()
    assert len(world.providers["a"].sent) == 1


async def test_what_could_not_be_rendered_is_rendered_under_todays_rules(durable: World) -> None:
    durable.people.known["u-1"] = person("u-1")
    durable.publish({"id": "e-1", "user": "u-1"})
    before = rules(route(step("mail", content=broken())))
    async with running(durable, before, sinks("mail"), places=PLACES) as run:
        await run.ended()
        assert await run.states() == {"dead render_failed": 1}
        durable.revivals = 1
        replay(durable)
        await run.until(lambda: len(durable.letters.published) == 2)
        await run.ended()
    after = rules(route(step("mail")))
    async with running(durable, after, sinks("mail"), places=PLACES) as run:
        durable.revivals = 2
        replay(durable)
        await run.until(lambda: durable.providers["mail"].accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1}


async def test_who_was_unknown_is_told_on_a_replay(durable: World) -> None:
    made = rules(route(step("mail")))
    durable.publish({"id": "e-1", "user": "u-1"})
    async with running(durable, made, sinks("mail"), places=PLACES) as run:
        await run.until(lambda: durable.letters.published)
        await run.ended()
        replay(durable)
        await run.until(lambda: len(durable.letters.published) == 2)
        durable.people.known["u-1"] = person("u-1")
        replay(durable, hop=2)
        await run.ended()
        assert await run.states() == {"dead recipient_unknown": 2, "delivered": 1}


async def test_a_replay_in_circles_is_poison(world: World) -> None:
    world.publish({"id": "e-1"})
    async with running(world, BOTH, SINKS, places=PLACES) as run:
        await run.ended()
        replay(world, hop=9)
        await run.until(lambda: world.letters.published)
        await run.ended()
        assert await run.states() == {"delivered": 2}
    assert world.letters.reasons == ["replay_loop"]


async def test_the_routers_own_dead_letters_are_never_read(world: World) -> None:
    letters = TopicPartition("dead-letters", 0)
    world.publish(b"poison", {"id": "e-1"}, place=letters)
    async with running(world, BOTH, SINKS, places=(letters,)) as run:
        await run.settled()
        assert await run.states() == {}
        assert world.log.committed[letters] == 2
        assert b'outcome="skipped",topic="dead-letters"} 2.0' in run.metrics.render()


async def test_a_replay_is_not_bound_by_the_window(durable: World) -> None:
    durable.providers["a"].always = NO
    durable.publish({"id": "e-1"}, timestamp=durable.clock.now() - 30 * 86400)
    async with running(durable, BOTH, SINKS, places=PLACES) as run:
        await run.ended()
    durable.providers["a"].always = Delivered()
    async with running(durable, BOTH, SINKS, places=PLACES) as run:
        durable.revivals = 1
        replay(durable)
        await run.until(lambda: durable.providers["a"].accepted)
        await run.ended()
        assert await run.states() == {"delivered": 2}
