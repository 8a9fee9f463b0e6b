"""Lanes: one sink's trouble is its own."""

from __future__ import annotations

import logging
from dataclasses import replace

import anyio
import pytest

from router.delivery.gates import By, Gates
from router.ledger import LedgerDown, State
from router.messages import Delivered, Halt, Reason, Rejected, Retry, Scope, Target
from tests.contract.delivery.harness import LIMITS, QuickClock, Running, World, running, sinks
from tests.unit.planning.builders import person, request_step, route, rules, step

pytestmark = pytest.mark.anyio

BUSY = Reason("busy")
WRONG = Reason("unauthorized")
HOOK = rules(route(request_step()))
BOTH = rules(route(request_step("dead"), request_step("alive")))
SMALL = replace(LIMITS, lane_capacity=20)


def gate(run: Running, sink: str = "hook") -> By | None:
    found = run.worker.lanes[sink].gates.closed(run.world.clock.now())
    return found.by if found else None


async def scheduled(run: Running, count: int, sink: str) -> None:
    with anyio.fail_after(10):
        while (await run.ledger.stats()).backlog.get(sink, 0) < count:  # noqa: ASYNC110
            await anyio.sleep(0.01)


# Isolation -----------------------------------------------------------------------------------


async def test_a_sink_that_hangs_does_not_hold_up_another(durable: World) -> None:
    """The lane spills once it was full for a second; the other goes on all the while."""
    durable.clock = QuickClock(20)
    dead, alive = durable.providers["dead"], durable.providers["alive"]
    dead.hangs = anyio.Event()
    async with running(durable, BOTH, sinks("dead", "alive", concurrency=2), limits=SMALL) as run:
        durable.orders(1000)
        await run.until(lambda: len(alive.accepted) == 1000)
        assert dead.accepted == []
        dead.hangs.set()
        await run.ended()
        assert await run.states() == {"delivered": 2000}
    assert durable.providers["dead"].repeats == 0
    assert b'router_spilled_total{sink="alive"}' in run.metrics.render()


@pytest.mark.parametrize("trouble", ["retry_after", "halted", "not_open"])
async def test_a_sink_that_is_closed_does_not_hold_up_another(durable: World, trouble: str) -> None:
    dead, alive = durable.providers["dead"], durable.providers["alive"]
    if trouble == "retry_after":
        dead.always = Retry(BUSY, after=3600, scope=Scope.SINK)
    elif trouble == "halted":
        dead.always = Halt(WRONG)
    else:
        dead.refuses = 100
    async with running(durable, BOTH, sinks("dead", "alive", concurrency=2), limits=SMALL) as run:
        durable.orders(1000)
        await run.until(lambda: len(alive.accepted) == 1000, 5)
        await scheduled(run, 1000, "dead")
        await run.settled()
        assert (await run.ledger.stats()).backlog == {"dead": 1000}
    assert len(dead.sent) <= 8


async def test_a_sink_that_can_not_be_opened_is_opened_later(world: World) -> None:
    world.clock = QuickClock(20)
    world.providers["hook"].refuses = 2
    world.orders(20)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: len(world.providers["hook"].accepted) == 20)
        await run.ended()
    assert world.providers["hook"].opens == world.providers["hook"].closes == 1


async def test_a_single_sink_that_is_slow_slows_reading_down_instead_of_spilling(
    durable: World,
) -> None:
    durable.clock = QuickClock(20)
    hook = durable.providers["hook"]
    hook.hangs = anyio.Event()
    async with running(durable, HOOK, sinks("hook", concurrency=2), limits=SMALL) as run:
        durable.orders(800)
        await run.until(lambda: run.source.paused)
        await anyio.sleep(0.2)
        assert (await run.ledger.stats()).backlog == {"hook": 4}
        hook.hangs.set()
        await run.ended()
        assert await run.states() == {"delivered": 800}


async def test_past_its_spill_budget_a_sink_pauses_reading(
    durable: World, caplog: pytest.LogCaptureFixture
) -> None:
    dead = durable.providers["dead"]
    dead.always = Retry(BUSY, after=3600, scope=Scope.SINK)
    limits = replace(SMALL, spill_rows=100)
    configs = sinks("dead", "alive", concurrency=2)
    async with running(durable, BOTH, configs, limits=limits, checks=False) as run:
        durable.orders(1000)
        await run.until(lambda: run.source.paused)
        await anyio.sleep(0.2)
        assert run.source.paused
        assert (await run.ledger.stats()).backlog["dead"] <= 100
        assert len(durable.providers["alive"].accepted) < 1000
        assert "spill budget" in caplog.text


async def test_memory_without_a_durable_ledger_is_bounded_by_the_window(world: World) -> None:
    world.providers["hook"].hangs = anyio.Event()
    window = replace(LIMITS.window, records=100)
    limits = replace(LIMITS, window=window)
    async with running(world, HOOK, sinks("hook"), limits=limits) as run:
        world.orders(5000)
        await run.until(lambda: run.source.paused)
        reads = run.source.reads
        await run.until(lambda: run.source.reads > reads + 3)
        assert run.intake.offsets.open_records <= 100 + 500
        world.providers["hook"].hangs.set()
        await run.ended()


# Waiting -------------------------------------------------------------------------------------

CHATS = [Target(f"chat-{n}", "telegram") for n in range(2)]
TWO_CHATS = rules(*(route(request_step("hook", to=t), id=t.address) for t in CHATS))


async def test_one_target_that_has_to_wait_does_not_hold_up_another(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.by_target["chat-0"] = Retry(BUSY, after=3600, scope=Scope.TARGET)
    async with running(durable, TWO_CHATS, sinks("hook", concurrency=2), limits=SMALL) as run:
        durable.orders(300)
        await run.until(lambda: len(hook.accepted) == 300, 5)
        await run.settled()
        states = await run.states()
        assert (states["delivered"], sum(states.values())) == (300, 600)
    assert len([p for p in hook.sent if p.target.address == "chat-0"]) <= 4


async def test_a_target_that_was_told_to_wait_waits_after_a_restart_too(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.by_target["chat-0"] = Retry(BUSY, after=3600, scope=Scope.TARGET)
    durable.orders(1)
    async with running(durable, TWO_CHATS, sinks("hook")):
        pass
    durable.orders(1)
    async with running(durable, TWO_CHATS, sinks("hook")) as run:
        await run.settled()
    assert [p.target.address for p in hook.sent].count("chat-0") == 1
    assert len(hook.accepted) == 2


async def test_a_targets_rate_holds_and_others_go_on(durable: World) -> None:
    hook = durable.providers["hook"]
    configs = sinks("hook", target_rate="20/s")
    async with running(durable, TWO_CHATS, configs) as run:
        durable.orders(30)
        started = anyio.current_time()
        await run.ended()
        assert anyio.current_time() - started > 0.4
        assert await run.states() == {"delivered": 60}
    assert hook.repeats == 0


async def test_a_sinks_rate_holds(world: World) -> None:
    async with running(world, HOOK, sinks("hook", rate="50/s")) as run:
        world.orders(75)
        started = anyio.current_time()
        await run.ended()
        assert 0.4 < anyio.current_time() - started < 3
        assert await run.states() == {"delivered": 75}


async def test_retries_obey_the_rate_as_well(world: World) -> None:
    hook = world.providers["hook"]
    hook.answers += [Retry(BUSY)] * 20
    async with running(world, HOOK, sinks("hook", rate="20/s")) as run:
        world.orders(20)
        started = anyio.current_time()
        await run.ended()
        assert anyio.current_time() - started > 0.8
    assert len(hook.sent) == 40


async def test_concurrency_is_bounded(world: World) -> None:
    hook = world.providers["hook"]
    hook.seconds = 0.002
    async with running(world, HOOK, sinks("hook", concurrency=3)) as run:
        world.orders(100)
        await run.ended()
    assert hook.most_at_once == 3


async def test_retry_after_is_obeyed_and_ends(world: World) -> None:
    hook = world.providers["hook"]
    hook.answers.append(Retry(BUSY, after=0.3, scope=Scope.SINK))
    async with running(world, HOOK, sinks("hook", concurrency=1)) as run:
        world.orders(20)
        await run.until(lambda: len(hook.sent) == 1)
        started = anyio.current_time()
        await run.ended()
        assert anyio.current_time() - started >= 0.25
        assert await run.states() == {"delivered": 20}
    assert len(hook.sent) == 21


# Gates ---------------------------------------------------------------------------------------


async def test_a_halted_sink_is_probed_and_goes_on_with_everything_it_kept(world: World) -> None:
    world.clock = QuickClock(200)
    hook = world.providers["hook"]
    hook.always = Halt(WRONG)
    async with running(world, HOOK, sinks("hook", concurrency=2)) as run:
        world.orders(50)
        await run.until(lambda: gate(run) is By.HALT)
        await run.until(lambda: len(hook.sent) >= 4)
        hook.always = Delivered()
        await run.ended()
        assert await run.states() == {"delivered": 50}
        assert gate(run) is None
    assert world.letters.published == []


async def test_one_delivery_that_halts_dies_alone(world: World) -> None:
    hook = world.providers["hook"]
    hook.by_target["chat-0"] = Halt(WRONG)
    async with running(world, TWO_CHATS, sinks("hook", concurrency=1)) as run:
        for _ in range(20):
            world.orders(1, match="x")
            await run.settled() if world.store.is_durable else await anyio.sleep(0.01)
        await run.until(lambda: len(world.letters.published) >= 1)
        hook.by_target.clear()
        await run.ended()
    assert set(world.letters.reasons) == {"unauthorized"}


async def test_a_breaker_opens_and_probes_until_the_sink_works(world: World) -> None:
    hook = world.providers["hook"]
    hook.always = Retry(BUSY)
    breaker = {"at_least": 5, "failures": 0.7, "window": "10s", "half_open": "100ms"}
    async with running(world, HOOK, sinks("hook", breaker=breaker, concurrency=2)) as run:
        world.orders(100)
        await run.until(lambda: gate(run) is By.BREAKER)
        sent = len(hook.sent)
        await run.until(lambda: len(hook.sent) >= sent + 3)
        assert len(hook.sent) < 40
        hook.always = Delivered()
        await run.ended()
        assert await run.states() == {"delivered": 100}


async def test_a_probe_that_comes_back_late_does_not_close_the_sink_for_good(world: World) -> None:
    """The delivery that was to probe expires in the worker's hands."""
    world.clock = QuickClock(100)
    hook = world.providers["hook"]
    hook.always = Halt(WRONG)
    made = rules(route(request_step(expires=45)))
    async with running(world, made, sinks("hook", concurrency=2)) as run:
        world.orders(3)
        await run.until(lambda: gate(run) is By.HALT)
        hook.always = Delivered()
        await anyio.sleep(0.6)
        world.orders(5)
        await run.ended()
        assert gate(run) is None
    assert len(hook.accepted) >= 5


async def test_what_is_claimed_is_not_sent_to_a_sink_that_was_just_closed(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.hangs = anyio.Event()
    async with running(durable, HOOK, sinks("hook", concurrency=2)) as run:
        durable.orders(20)
        await run.until(lambda: len(hook.sent) == 2)
        gates = run.worker.lanes["hook"].gates
        gates.pause(Reason("maintenance"), durable.clock.now())
        hook.hangs.set()
        await scheduled(run, 18, "hook")
        await run.settled()
        assert len(hook.sent) == 2
        gates.resume(durable.clock.now())
        await run.ended()
        assert await run.states() == {"delivered": 20}


async def test_a_gate_written_by_another_process_is_obeyed(durable: World) -> None:
    durable.clock = QuickClock(50)
    hook = durable.providers["hook"]
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.until(lambda: hook.opens)
        other = Gates("hook", "", "another")
        other.pause(Reason("maintenance"), durable.clock.now())
        await run.ledger.put_facts(other.take_changes())
        await run.until(lambda: gate(run) is By.PAUSE)
        durable.orders(10)
        await scheduled(run, 10, "hook")
        assert hook.sent == []
        other.resume(durable.clock.now())
        await run.ledger.put_facts(other.take_changes())
        await run.until(lambda: gate(run) is None)
        await run.ended()
        assert await run.states() == {"delivered": 10}


# Reload --------------------------------------------------------------------------------------


async def test_a_lane_that_is_unchanged_goes_on_undisturbed(world: World) -> None:
    configs = sinks("hook")
    async with running(world, HOOK, configs) as run:
        for number in range(20):
            world.orders(20)
            await run.apply(rules(route(request_step()), hash=str(number)), configs)
        await run.ended()
        assert await run.states() == {"delivered": 400}
    assert world.providers["hook"].opens == 1


async def test_a_changed_sink_takes_over_what_waited_and_the_old_one_finishes(
    world: World,
) -> None:
    old, new = world.providers["old"], world.providers["new"]
    old.hangs = anyio.Event()
    before, after = sinks("hook", name="old", concurrency=2), sinks("hook", name="new")
    async with running(world, HOOK, before) as run:
        world.orders(50)
        await run.until(lambda: len(old.sent) == 2)
        await run.apply(HOOK, after)
        await run.until(lambda: len(new.accepted) >= 46)
        old.hangs.set()
        await run.ended()
        assert await run.states() == {"delivered": 50}
        await run.until(lambda: old.closes == 1)
    assert len(old.accepted) + len(new.accepted) == 50
    assert old.repeats == new.repeats == 0


async def test_a_hundred_reloads_under_load_lose_and_repeat_nothing(world: World) -> None:
    async with running(world, HOOK, sinks("hook")) as run:
        for version in range(100):
            world.orders(5)
            await run.apply(HOOK, sinks("hook", version=version))
            await anyio.lowlevel.checkpoint()
        await run.ended()
        assert await run.states() == {"delivered": 500}
    assert len(world.providers["hook"].accepted) == 500
    assert world.providers["hook"].repeats == 0


async def test_a_reload_while_the_ledger_is_down_changes_nothing(durable: World) -> None:
    hook = durable.providers["hook"]
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.until(lambda: hook.opens)
        run.outage.is_down = True
        with pytest.raises(LedgerDown):
            await run.apply(HOOK, sinks("hook", version=2))
        run.outage.is_down = False
        durable.orders(10)
        await run.ended()
        assert await run.states() == {"delivered": 10}
    assert hook.opens == 1


async def test_a_removed_sink_keeps_its_backlog_and_says_so(
    durable: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    hook = durable.providers["dead"]
    hook.always = Retry(BUSY, after=3600, scope=Scope.SINK)
    alive = rules(route(request_step("alive")))
    async with running(durable, BOTH, sinks("dead", "alive")) as run:
        durable.orders(30)
        await scheduled(run, 30, "dead")
        await run.apply(alive, sinks("alive"))
        await run.worker.look()
        await run.worker.look()
        await run.settled()
        assert caplog.text.count("30 deliveries are parked") == 1
        durable.orders(5)
        await run.settled()
    hook.always = Delivered()
    async with running(durable, BOTH, sinks("dead", "alive")) as run:
        assert (await run.ledger.stats()).backlog == {"dead": 30}


async def test_work_that_was_planned_ends_under_the_rules_that_planned_it(world: World) -> None:
    hook = world.providers["hook"]
    hook.hangs = anyio.Event()
    async with running(world, HOOK, sinks("hook", concurrency=1)) as run:
        world.orders(50)
        await run.until(lambda: hook.sent)
        await run.apply(rules(route(request_step(), id="other")), sinks("hook", concurrency=1))
        hook.hangs.set()
        await run.ended()
        assert await run.states() == {"delivered": 50}
        assert run.metrics.balance(route="paid").delivered == 50


async def test_rejected_of_one_sink_is_not_the_others(world: World) -> None:
    world.providers["dead"].always = Rejected(BUSY)
    async with running(world, BOTH, sinks("dead", "alive")) as run:
        world.orders(20)
        await run.until(lambda: len(world.letters.published) == 20)
        await run.ended()
        assert await run.states() == {"delivered": 20, "dead busy": 20}
        assert [row.sink for row in await run.rows(state=State.DEAD)] == ["dead"] * 20


async def test_a_person_step_and_an_event_step_go_their_own_ways(world: World) -> None:
    world.people.known = {f"u-{n}": person(f"u-{n}") for n in range(10)}
    async with running(
        world, rules(route(step("mail"), request_step())), sinks("mail", "hook")
    ) as run:
        world.orders(10)
        await run.ended()
        assert await run.states() == {"delivered": 20}
