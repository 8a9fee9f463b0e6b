"""Every way a delivery can end, on every kind of ledger."""

from __future__ import annotations

import anyio
import pytest

from router.ledger import State
from router.messages import Delivered, Halt, InDoubt, Reason, Rejected, Retry
from router.recipients import Recipient
from tests.contract.delivery.harness import Running, World, running, sinks
from tests.contract.delivery.sources import ORDERS
from tests.unit.planning.builders import broken, request_step, route, rules, step

pytestmark = pytest.mark.anyio

BUSY = Reason("busy")
HOOK = rules(route(request_step()))


async def test_delivered_and_committed(world: World) -> None:
    world.orders(50)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.settled()
        assert await run.states() == {"delivered": 50}
    assert len(set(world.providers["hook"].accepted)) == 50
    assert world.providers["hook"].repeats == 0


async def test_what_no_route_wants_is_committed(world: World) -> None:
    world.orders(10, type="other")
    async with running(world, HOOK, sinks("hook")) as run:
        await run.settled()
        assert await run.states() == {}


async def test_a_retry_is_sent_again_with_a_higher_attempt(world: World) -> None:
    provider = world.providers["hook"]
    provider.answers += [Retry(BUSY), Retry(BUSY)]
    world.orders(1)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: provider.accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1}
    assert [parcel.attempt for parcel in provider.sent] == [1, 2, 3]
    assert len({parcel.key for parcel in provider.sent}) == 1


async def test_rejected_is_dead_and_published(world: World) -> None:
    world.providers["hook"].always = Rejected(Reason("invalid"))
    world.orders(3)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: len(world.letters.published) == 3)
        await run.ended()
        assert await run.states() == {"dead invalid": 3}
    letter = world.letters.published[0]
    assert (letter.stage, letter.route, letter.step, letter.attempts) == ("send", "paid", "hook", 1)


async def test_gone_is_suppressed(world: World) -> None:
    world.providers["hook"].always = Rejected(Reason("no_such_chat"), recipient_gone=True)
    world.orders(1)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"suppressed recipient_gone": 1}
    assert world.letters.published == []


async def test_poison_is_dead_and_the_partition_moves_on(world: World) -> None:
    world.publish(b"{", {"user": "u-1"}, b"\xff")
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: len(world.letters.published) == 2)
        await run.ended()
        assert await run.states() == {"delivered": 1}
    assert {letter.stage for letter in world.letters.published} == {"decode"}


async def test_what_can_not_be_rendered_is_dead(world: World) -> None:
    world.orders(2)
    made = rules(route(request_step(content=broken())))
    async with running(world, made, sinks("hook")) as run:
        await run.until(lambda: len(world.letters.published) == 2)
        await run.ended()
        assert await run.states() == {"dead render_failed": 2}
    assert world.providers["hook"].sent == []
    assert world.letters.published[0].stage == "render"


async def test_expired_is_suppressed_without_an_attempt(world: World) -> None:
    world.publish({"user": "u-1"}, timestamp=world.clock.now() - 100)
    made = rules(route(request_step(expires=60)))
    async with running(world, made, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"suppressed expired": 1}
    assert world.providers["hook"].sent == []


async def test_a_retry_that_would_come_too_late_is_suppressed(world: World) -> None:
    world.providers["hook"].always = Retry(BUSY, after=3600)
    world.orders(1)
    made = rules(route(request_step(expires=60)))
    async with running(world, made, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"suppressed expired": 1}


async def test_what_is_retried_until_it_is_given_up_is_dead(world: World) -> None:
    world.providers["hook"].always = Retry(BUSY)
    world.orders(1)
    retry = {"first": "10ms", "cap": "20ms", "give_up": "100ms"}
    async with running(world, HOOK, sinks("hook", retry=retry)) as run:
        await run.until(lambda: world.letters.published)
        await run.ended()
        assert await run.states() == {"dead gave_up": 1}


async def test_in_doubt_is_sent_again_and_counted(world: World) -> None:
    provider = world.providers["hook"]
    provider.answers.append(InDoubt(Reason("timeout")))
    world.orders(1)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: provider.accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1}
        assert b'router_repeats_total{sink="hook"} 1.0' in run.metrics.render()


async def test_in_doubt_is_dead_where_the_route_says_so(world: World) -> None:
    world.providers["hook"].answers.append(InDoubt(Reason("timeout")))
    world.orders(1)
    made = rules(route(request_step(in_doubt="dead_letter")))
    async with running(world, made, sinks("hook")) as run:
        await run.until(lambda: world.letters.published)
        await run.ended()
        assert await run.states() == {"dead in_doubt": 1}
    assert len(world.providers["hook"].sent) == 1


async def test_a_bug_of_a_sink_ends_its_delivery_after_some_attempts(world: World) -> None:
    world.providers["hook"].always = ValueError("a plugin's bug")
    world.orders(1)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: world.letters.published)
        await run.ended()
        assert await run.states() == {"dead sink_bug": 1}
    assert len(world.providers["hook"].sent) == 5


async def test_a_sink_that_gives_no_outcome_has_a_bug(world: World) -> None:
    provider = world.providers["hook"]
    provider.answers.append(lambda _: None)  # type: ignore[arg-type, return-value]
    world.orders(1)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: provider.accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1}


async def test_batches_are_answered_one_by_one(world: World) -> None:
    provider = world.providers["hook"]
    provider.answers += [Delivered(), Rejected(BUSY), Retry(BUSY), InDoubt(BUSY)]
    world.orders(20)
    async with running(world, HOOK, sinks("hook", batch=True)) as run:
        await run.ended()
        assert await run.states() == {"delivered": 19, "dead busy": 1}
    assert max(provider.batches) > 1


async def test_a_bug_of_a_batch_sink_is_everybodys(world: World) -> None:
    provider = world.providers["hook"]
    provider.answers.append(ValueError("a plugin's bug"))
    world.orders(5)
    async with running(world, HOOK, sinks("hook", batch=True)) as run:
        await run.ended()
        assert await run.states() == {"delivered": 5}
        assert b'router_repeats_total{sink="hook"} 5.0' in run.metrics.render()


async def test_the_same_event_twice_is_sent_once(world: World) -> None:
    event = {"id": "e-1", "user": "u-1"}
    world.publish(event, event)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.settled()
        world.publish(event)
        await run.settled()
        assert await run.states() == {"delivered": 1}
        assert run.metrics.balance().duplicate == 2
        assert b"router_duplicate_event_total 2.0" in run.metrics.render()
    assert len(world.providers["hook"].sent) == 1


async def test_unreachable_is_suppressed_once_for_the_same_event_twice(world: World) -> None:
    event = {"id": "e-1", "user": "u-1"}
    world.publish(event, event)
    world.people.known["u-1"] = Recipient("u-1")
    async with running(world, rules(route(step("mail"))), sinks("mail")) as run:
        await run.ended()
        assert await run.states() == {"suppressed unreachable": 1}


async def test_a_settlement_whose_answer_was_lost_is_booked_once(world: World) -> None:
    world.orders(20)
    async with running(world, HOOK, sinks("hook")) as run:
        run.outage.loses = {"settle"}
        await run.ended()
        assert not run.outage.loses
        assert await run.states() == {"delivered": 20}
        assert run.metrics.balance().duplicate == 0


async def test_two_halts_keep_every_message(world: World) -> None:
    provider = world.providers["hook"]
    provider.always = Halt(Reason("unauthorized"))
    world.orders(300)
    async with running(world, HOOK, sinks("hook", concurrency=4)) as run:
        await run.until(lambda: run.worker.lanes["hook"].gates.closed(world.clock.now()))
        await _spilled(run, 300)
        assert set(await run.states()) <= {"scheduled unauthorized", "scheduled lease"}
        assert len(provider.sent) <= 8
        if not world.store.is_durable:
            assert world.log.committed.get(ORDERS, 0) == 0
            return
    assert world.letters.published == []


async def _spilled(run: Running, count: int) -> None:
    with anyio.fail_after(10):
        while len(await run.rows(state=State.SCHEDULED)) < count:  # noqa: ASYNC110
            await anyio.sleep(0.01)
