"""Ledger, directory and dead-letter topic away, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from router.clock import ManualClock
from router.delivery import DEAD_LETTERS, INPUTS
from router.delivery.watched import WatchedLedger
from router.events import TopicPartition, wrap_replay
from router.ledger import Kind, LedgerDown, Row, State
from router.ledger.memory import MemoryLedger
from router.messages import Delivered, Reason, Rejected, Retry
from router.telemetry import Metrics
from tests.contract.delivery.harness import PATIENCE_S, QuickClock, World, running, sinks
from tests.contract.delivery.sources import ORDERS
from tests.unit.planning.builders import (
    broken,
    person,
    request_step,
    route,
    rules,
    selection,
    step,
)

pytestmark = pytest.mark.anyio

BUSY = Reason("busy")
HOOK = rules(route(request_step()))
MAIL = rules(route(step("mail")))


# Ledger --------------------------------------------------------------------------------------


async def test_nothing_is_taken_in_or_sent_while_the_ledger_is_down(durable: World) -> None:
    hook = durable.providers["hook"]
    async with running(durable, HOOK, sinks("hook")) as run:
        run.outage.is_down = True
        durable.orders(1000)
        await run.until(lambda: run.source.paused)
        await anyio.sleep(0.1)
        reads = run.source.reads
        await run.until(lambda: run.source.reads > reads + 5)
        assert (hook.sent, durable.log.committed.get(ORDERS, 0)) == ([], 0)
        assert not run.worker.ledger.is_up
        assert b"router_ledger_up 0.0" in run.metrics.render()
        run.outage.is_down = False
        await run.ended()
        assert await run.states() == {"delivered": 1000}
        assert run.worker.ledger.is_up
        assert b"router_ledger_up 1.0" in run.metrics.render()
    assert hook.repeats == 0


async def test_outcomes_wait_until_the_ledger_is_back(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.hangs = anyio.Event()
    durable.orders(10)
    async with running(durable, HOOK, sinks("hook", concurrency=10)) as run:
        await run.until(lambda: len(hook.sent) == 10)
        run.outage.is_down = True
        hook.hangs.set()
        await run.until(lambda: len(hook.accepted) == 10)
        await anyio.sleep(0.3)
        assert durable.log.committed.get(ORDERS, 0) == 0
        run.outage.is_down = False
        await run.ended()
        assert await run.states() == {"delivered": 10}
    assert hook.repeats == 0


async def test_an_outage_longer_than_a_lease_repeats_nothing(durable: World) -> None:
    """The claims ended meanwhile, but their holders live and are about to say what became."""
    durable.clock = QuickClock(50)
    hook = durable.providers["hook"]
    hook.always = lambda p: Retry(BUSY, after=0.1) if p.attempt == 1 else Delivered()
    durable.orders(10)
    async with running(durable, HOOK, sinks("hook", concurrency=10)) as run:
        hook.hangs = anyio.Event()
        hook.hangs_on = lambda p: p.attempt == 2
        await run.until(lambda: sum(p.attempt == 2 for p in hook.sent) == 10)
        run.outage.is_down = True
        await anyio.sleep(0.5)
        hook.hangs.set()
        await run.until(lambda: len(hook.accepted) == 10)
        await anyio.sleep(0.5)
        run.outage.is_down = False
        await run.ended()
        assert await run.states() == {"delivered": 10}
    assert hook.repeats == 0


async def test_a_ledger_that_comes_and_goes_loses_and_repeats_nothing(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.always = lambda p: Retry(BUSY) if p.attempt == 1 and p.key[0] < 100 else Delivered()
    async with running(durable, HOOK, sinks("hook")) as run:
        for _ in range(10):
            durable.orders(30)
            await anyio.sleep(0.02)
            run.outage.is_down = not run.outage.is_down
        run.outage.is_down = False
        await run.ended()
        assert await run.states() == {"delivered": 300}
    assert hook.repeats == 0


async def test_a_claim_whose_answer_was_lost_is_no_doubt(durable: World) -> None:
    """At most once, and nothing was sent yet: it must not count as perhaps sent."""
    made = rules(route(request_step(in_doubt="dead_letter")))
    durable.orders(20)
    async with running(durable, made, sinks("hook")) as run:
        run.outage.loses = {"claim"}
        await run.until(lambda: not run.outage.loses)
        await run.ended()
        assert await run.states() == {"delivered": 20}
        assert b'router_in_doubt_total{sink="hook"} 0.0' in run.metrics.render()


async def test_every_call_is_timed(durable: World) -> None:
    durable.orders(1)
    async with running(durable, HOOK, sinks("hook")) as run:
        for operation in ("lookup", "claim", "settle", "due", "put_progress"):
            count = f'router_ledger_seconds_count{{operation="{operation}"}}'
            await run.until(lambda count=count: count in run.metrics.render().decode())


@pytest.mark.parametrize(("down_for", "holds_off"), [(1.0, False), (20.0, True)])
async def test_after_a_long_outage_nothing_is_taken_over_for_a_lease(
    down_for: float, holds_off: bool
) -> None:
    clock = ManualClock()
    ledger: Any = _Switched(MemoryLedger(owner="one", clock=clock))
    watched = WatchedLedger(ledger, clock, Metrics())
    ledger.is_down = True
    with pytest.raises(LedgerDown):
        await watched.lookup([b"k" * 16])
    clock.advance(down_for)
    ledger.is_down = False
    await watched.lookup([b"k" * 16])
    assert not watched.is_up
    assert not watched.may_take_over(0)
    await watched.put_facts([])
    assert watched.is_up
    assert watched.may_take_over(30) is not holds_off
    clock.advance(30)
    assert watched.may_take_over(30)


class _Switched:
    def __init__(self, ledger: MemoryLedger) -> None:
        self.is_down = False
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            if self.is_down:
                raise LedgerDown("off")
            return await getattr(self._ledger, name)(*arguments)

        return call


# Directory -----------------------------------------------------------------------------------


async def test_who_can_not_be_looked_up_is_told_once_the_directory_is_back(world: World) -> None:
    world.clock = QuickClock(20)
    world.people.known = {f"u-{n}": person(f"u-{n}") for n in range(20)}
    world.people.is_away = True
    async with running(world, MAIL, sinks("mail")) as run:
        world.orders(20)
        await run.until(lambda: run.intake.records_read == 20 and not run.intake.is_admitting)
        await run.settled()
        assert (await run.ledger.stats()).backlog == {INPUTS: 20}
        assert world.log.committed.get(ORDERS, 0) == (20 if world.store.is_durable else 0)
        world.people.is_away = False
        await run.ended()
        assert await run.states() == {"delivered": 20}
        assert world.log.committed[ORDERS] == 20


async def test_a_directory_outage_outlives_a_restart(durable: World) -> None:
    durable.clock = QuickClock(20)
    durable.people.is_away = True
    durable.orders(5)
    async with running(durable, MAIL, sinks("mail")) as run:
        await run.settled()
    durable.people.is_away = False
    durable.people.known = {f"u-{n}": person(f"u-{n}") for n in range(4)}
    async with running(durable, MAIL, sinks("mail")) as run:
        await run.until(lambda: durable.letters.published)
        await run.ended()
        assert await run.states() == {"delivered": 4, "dead recipient_unknown": 1}


async def test_the_same_event_twice_during_an_outage_is_sent_once(durable: World) -> None:
    durable.clock = QuickClock(20)
    durable.people.is_away = True
    event = {"id": "e-1", "user": "u-1"}
    durable.publish(event, event)
    async with running(durable, MAIL, sinks("mail")) as run:
        await run.settled()
        durable.people.known["u-1"] = person("u-1")
        durable.people.is_away = False
        durable.publish(event)
        await run.ended()
        assert await run.states() == {"delivered": 1}
    assert len(durable.providers["mail"].sent) == 1


async def test_who_was_told_meanwhile_leaves_no_fallback_waiting(durable: World) -> None:
    """The event came again once the directory was back, before the first one was resumed."""
    durable.clock = QuickClock(20)
    chain = rules(route(step("push", address_kind="telegram"), step("mail", fallback_for="push")))
    event = {"id": "e-1", "user": "u-1"}
    durable.people.known["u-1"] = person("u-1")
    durable.people.is_away = True
    async with running(durable, chain, sinks("push", "mail")) as run:
        durable.publish(event)
        await run.settled()
        durable.people.is_away = False
        durable.publish(event)
        await run.ended()
        assert await run.states() == {"delivered": 1}


async def test_what_was_in_doubt_is_not_forgotten_while_the_directory_is_away(
    durable: World,
) -> None:
    """The process died while it sent; its successor can't look the recipient up at first."""
    durable.clock = QuickClock(20)
    durable.people.known["u-0"] = person("u-0")
    mail = durable.providers["mail"]
    mail.hangs = anyio.Event()
    durable.orders(1)
    async with running(durable, MAIL, sinks("mail"), dies=True) as run:
        await run.until(lambda: mail.sent)
    mail.hangs = None
    durable.people.is_away = True
    async with running(durable, MAIL, sinks("mail")) as run:
        await run.settled()
        durable.people.is_away = False
        await run.ended()
        assert await run.states() == {"delivered": 1}
        assert b'router_repeats_total{sink="mail"} 1.0' in run.metrics.render()


async def test_a_replay_of_one_delivery_waits_for_the_directory_as_such(durable: World) -> None:
    durable.clock = QuickClock(20)
    both = rules(route(step("push", address_kind="telegram"), step("mail")))
    durable.people.known["u-1"] = person("u-1")
    durable.providers["push"].always = durable.providers["mail"].always = Rejected(BUSY)
    durable.publish({"id": "e-1", "user": "u-1"})
    replays = TopicPartition("replay", 0)
    places = (ORDERS, replays)
    async with running(durable, both, sinks("push", "mail"), places=places) as run:
        await run.ended()
        (dead,) = [row for row in await run.rows(state=State.DEAD) if row.sink == "mail"]
        durable.people.is_away = True
        durable.providers["push"].always = durable.providers["mail"].always = Delivered()
        _, value, headers = wrap_replay(durable.log.records[ORDERS][0], (), dead.key, 1)
        durable.publish(value, place=replays, headers=headers)
        await run.settled()
        durable.people.is_away = False
        durable.revivals = 1
        await run.until(lambda: durable.providers["mail"].accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1, "dead busy": 1}


async def test_some_of_many_recipients_may_have_to_wait(world: World) -> None:
    world.clock = QuickClock(20)
    made = rules(route(step("mail"), select=selection("data.to", id="item"), on_unknown="wait"))
    world.people.known = {"u-1": person("u-1")}
    async with running(world, made, sinks("mail")) as run:
        world.publish({"to": ["u-1", "u-2", "u-3"]})
        await run.until(lambda: len(world.providers["mail"].accepted) == 1)
        world.people.known["u-2"] = person("u-2")
        await run.until(lambda: len(world.providers["mail"].accepted) == 2)
        world.people.known["u-3"] = person("u-3")
        await run.ended()
        assert await run.states() == {"delivered": 3}


async def test_fallbacks_of_who_had_to_wait_start_as_ever(world: World) -> None:
    world.clock = QuickClock(20)
    mail = step("mail", fallback_for="push")
    made = rules(route(step("push", address_kind="telegram"), mail))
    world.people.known = {"u-0": person("u-0", telegram=None), "u-1": person("u-1")}
    world.providers["push"].always = Rejected(BUSY)
    world.people.is_away = True
    async with running(world, made, sinks("push", "mail")) as run:
        world.orders(2)
        await run.settled()
        world.people.is_away = False
        await run.ended()
        assert await run.states() == {
            "suppressed unreachable": 1,
            "dead busy": 1,
            "delivered": 2,
        }


@pytest.mark.parametrize("trouble", ["bug", "misaligned"])
async def test_a_broken_directory_is_one_that_is_away(world: World, trouble: str) -> None:
    world.clock = QuickClock(20)
    world.people.known["u-0"] = person("u-0")
    world.people.bug = ValueError("a plugin's bug")
    async with running(world, MAIL, sinks("mail")) as run:
        world.orders(1)
        await run.settled()
        world.people.bug = None
        await run.ended()
        assert await run.states() == {"delivered": 1}


async def test_a_directory_that_is_away_holds_up_nothing_else(durable: World) -> None:
    durable.people.is_away = True
    made = rules(route(step("mail")), route(request_step(), id="other"))
    durable.providers["hook"].always = lambda p: Retry(BUSY) if p.attempt < 3 else Delivered()
    async with running(durable, made, sinks("mail", "hook")) as run:
        durable.orders(50)
        await run.until(lambda: len(durable.providers["hook"].accepted) == 50)
        await run.settled()
        assert durable.log.committed[ORDERS] == 50


async def test_a_fan_out_with_unknown_people_has_one_dead_letter(world: World) -> None:
    made = rules(route(step("mail"), select=selection("data.to", id="item")))
    world.people.known = {f"u-{n}": person(f"u-{n}") for n in range(700)}
    async with running(world, made, sinks("mail")) as run:
        world.publish({"to": [f"u-{n}" for n in range(1000)]})
        await run.until(lambda: world.letters.published)
        await run.ended()
        assert await run.states() == {"delivered": 700, "dead recipient_unknown": 300}
    (letter,) = world.letters.published
    assert "(300 recipients)" in letter.reason.text


# Dead letters --------------------------------------------------------------------------------


async def test_a_dead_letter_topic_that_is_down_blocks_nothing(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.answers += [Rejected(BUSY)] * 5
    durable.letters.is_down = True
    async with running(durable, HOOK, sinks("hook")) as run:
        durable.orders(50)
        await run.until(lambda: len(hook.accepted) == 45)
        await run.settled()
        assert durable.log.committed[ORDERS] == 50
        assert (await run.ledger.stats()).backlog == {DEAD_LETTERS: 5}
        durable.letters.is_down = False
        await run.ended()
    assert len(durable.letters.published) == 5


async def test_a_dead_letter_topic_that_hangs_holds_up_no_retry(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.answers += [Rejected(BUSY), *[Retry(BUSY)] * 10]
    durable.letters.hangs = anyio.Event()
    async with running(durable, HOOK, sinks("hook")) as run:
        durable.orders(20)
        await run.until(lambda: len(hook.accepted) == 19)
        durable.letters.hangs.set()
        await run.until(lambda: len(durable.letters.published) == 1)
        await run.ended()


async def test_without_a_durable_ledger_an_offset_waits_for_the_published_letter(
    world: World,
) -> None:
    world.letters.is_down = True
    world.publish(b"poison", {"id": "e-1"})
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: world.providers["hook"].accepted)
        await run.settled()
        assert world.log.committed.get(ORDERS, 0) == (2 if world.store.is_durable else 0)
        world.letters.is_down = False
        await run.ended()
        assert world.log.committed[ORDERS] == 2


async def test_a_letter_that_is_never_taken_keeps_back_no_other(durable: World) -> None:
    durable.clock = QuickClock(50)
    letters = durable.letters
    publish = letters.publish

    async def refuses_one(batch: Any) -> None:
        letters.is_down = any(letter.record.offset == 0 for letter in batch)
        await publish(batch)

    letters.publish = refuses_one  # type: ignore[method-assign]
    durable.publish(*[b"poison"] * 5)
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.until(lambda: len(letters.published) == 4)
        await run.settled()
        # It is claimed whenever it is tried again.
        with anyio.fail_after(PATIENCE_S):
            left: Sequence[Row] = ()
            while not left:
                await anyio.sleep(0.001)
                left = await run.rows(kind=Kind.DEAD_LETTER, state=State.SCHEDULED)
        assert [row.position for row in left] == ["orders/0/0"]


# Replays -------------------------------------------------------------------------------------


async def test_a_rendering_that_waits_for_the_directory_is_not_given_up(durable: World) -> None:
    """A dead delivery without a message, replayed while the directory is away."""
    durable.people.known["u-1"] = person("u-1")
    durable.publish({"user": "u-1"})
    async with running(durable, rules(route(step("mail", content=broken()))), sinks("mail")) as run:
        await run.ended()
        (row,) = await run.rows(state=State.DEAD)
    durable.clock = QuickClock(50)
    async with running(durable, MAIL, sinks("mail"), checks=False) as run:
        durable.people.is_away = True
        assert await run.ledger.reschedule([row.key], 0.0) == [True]
        await run.until(lambda: durable.people.asked > 2)
        durable.people.is_away = False
        await run.ended()
        assert await run.states() == {"delivered": 1}
