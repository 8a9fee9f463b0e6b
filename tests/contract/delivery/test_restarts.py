"""Processes that end, cleanly or not, and partitions that go to others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import orjson
import pytest

from router.delivery.crash_marks import CrashMarks, WorkStage
from router.delivery.job import job_of
from router.delivery.silences import fact_of
from router.delivery.watched import WatchedLedger
from router.events import TopicPartition, decode
from router.ledger import ProgressKey, Row, Settle, State
from router.messages import Delivered, InDoubt, Parcel, Reason, Rejected, Request, Retry
from router.planning import Ruleset, plan
from router.planning.policies import CancelOn, RoutePolicy, Same
from router.planning.silences import silence_of
from router.telemetry import Metrics
from tests.contract.delivery.harness import DECODE, LIMITS, QuickClock, World, running, sinks
from tests.contract.delivery.sources import ORDERS
from tests.unit.planning.builders import (
    broken,
    condition,
    path,
    person,
    request_step,
    route,
    rules,
    step,
)

pytestmark = pytest.mark.anyio

HOOK = rules(route(request_step()))
AT_MOST_ONCE = rules(route(request_step(in_doubt="dead_letter")))
OTHER = TopicPartition("orders", 1)


async def die_while_sending(world: World, made: Ruleset = HOOK, count: int = 10) -> None:
    """The provider has taken the messages; the process dies before it hears so."""
    hook = world.providers["hook"]
    hook.hangs = anyio.Event()
    world.orders(count)
    async with running(world, made, sinks("hook", concurrency=4), dies=True) as run:
        await run.until(lambda: len(hook.sent) == 4)
    hook.accepted += [parcel.key for parcel in hook.sent]
    hook.hangs = None


async def test_what_was_being_sent_at_a_kill_is_sent_again_and_counted(durable: World) -> None:
    await die_while_sending(durable)
    hook = durable.providers["hook"]
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"delivered": 10}
        # Four were being sent, four more were claimed and waited: in doubt, all the same.
        assert b'router_repeats_total{sink="hook"} 8.0' in run.metrics.render()
        assert b'router_in_doubt_total{sink="hook"} 8.0' in run.metrics.render()
    assert hook.repeats == 4
    assert len(set(hook.accepted)) == 10


async def test_what_was_being_sent_at_a_kill_is_not_sent_once_it_is_silenced(
    durable: World,
) -> None:
    await die_while_sending(durable)
    now = durable.clock.now()
    named = {"id": "s1", "author": "ops", "comment": "incident", "created": now}
    made = silence_of({**named, "until": now + 3600, "sink": "hook"})
    async with durable.store.open(durable.clock) as ledger:
        await ledger.put_facts([fact_of(made)])
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"suppressed silenced": 10}
    assert len(durable.providers["hook"].sent) == 4


async def test_what_was_being_sent_at_a_kill_is_not_sent_once_an_event_has_ended_it(
    durable: World,
) -> None:
    same = Same(path("data.user"), path("data.user"))
    cancel = CancelOn(condition({"type": "order.closed"}), (same,), 3600.0)
    made = rules(replace(route(request_step()), policy=RoutePolicy(cancel_on=cancel)))
    await die_while_sending(durable, made)
    durable.publish(*({"type": "order.closed", "user": f"u-{n}"} for n in range(10)))
    async with running(durable, made, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"suppressed cancelled": 10}
    assert len(durable.providers["hook"].sent) == 4


async def test_what_was_being_sent_at_a_kill_is_dead_where_the_route_says_so(
    durable: World,
) -> None:
    await die_while_sending(durable, AT_MOST_ONCE)
    hook = durable.providers["hook"]
    async with running(durable, AT_MOST_ONCE, sinks("hook")) as run:
        await run.until(lambda: len(durable.letters.published) == 8)
        await run.ended()
        assert await run.states() == {"delivered": 2, "dead in_doubt": 8}
    assert hook.repeats == 0


async def test_what_is_in_doubt_can_not_be_settled_past_the_claim(durable: World) -> None:
    """The template broke and the messages expired meanwhile: only a claim may end the row."""
    await die_while_sending(durable)
    made = rules(route(request_step(content=broken(), expires=3600)))
    async with running(durable, made, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"dead render_failed": 10}
        assert (await run.ledger.stats()).backlog == {}


async def test_who_became_unreachable_with_a_message_in_doubt(durable: World) -> None:
    durable.people.known["u-0"] = person("u-0")
    made = rules(route(step("mail")))
    mail = durable.providers["mail"]
    mail.hangs = anyio.Event()
    durable.orders(1)
    async with running(durable, made, sinks("mail"), dies=True) as run:
        await run.until(lambda: mail.sent)
    durable.people.known["u-0"] = person("u-0", email=None)
    async with running(durable, made, sinks("mail")) as run:
        await run.ended()
        assert await run.states() == {"suppressed unreachable": 1}


async def test_nothing_is_committed_past_a_claim_of_another_process(durable: World) -> None:
    """Its lease ends without a word: only then are they sent, as repeats."""
    durable.clock = QuickClock(20)
    durable.orders(3)
    hook = durable.providers["hook"]
    async with running(durable, HOOK, sinks("hook"), places=()) as run:
        await _claim_everything(durable, run.ledger, lease=20)
        await run.source.assign(ORDERS)
        await run.until(lambda: run.intake.records_read == 3)
        await anyio.sleep(0.3)
        assert (hook.sent, durable.log.committed.get(ORDERS, 0)) == ([], 0)
        await run.ended()
        assert await run.states() == {"delivered": 3}
        assert b'router_repeats_total{sink="hook"} 3.0' in run.metrics.render()


async def _claim_everything(world: World, ledger: Any, lease: float) -> None:
    made = HOOK.routes["paid"]
    for record in world.log.records[ORDERS]:
        event = decode(record, DECODE)
        (delivery,) = plan(made, event, (), ()).deliveries  # type: ignore[arg-type]
        await ledger.claim([job_of(delivery, HOOK, None).row(State.CLAIMED)], lease)


async def test_a_delivery_that_another_replica_holds_is_waited_for(world: World) -> None:
    """The other replica delivers it; ours only then goes past it."""
    world.orders(2)
    hook = world.providers["hook"]
    async with running(world, HOOK, sinks("hook"), places=()) as run:
        await _claim_everything(world, run.ledger, lease=3600)
        rows = await run.rows(state=State.CLAIMED)
        await run.source.assign(ORDERS)
        await run.until(lambda: run.intake.records_read == 2)
        await anyio.sleep(0.3)
        assert world.log.committed.get(ORDERS, 0) == 0
        assert hook.sent == []
        await run.ledger.settle([Settle(_delivered(row)) for row in rows])
        world.foreign = 2
        await run.until(lambda: world.log.committed.get(ORDERS) == 2)
        assert run.metrics.balance().duplicate == 2
    assert hook.sent == []


async def test_a_gated_or_expired_delivery_is_not_settled_past_anothers_claim(
    world: World,
) -> None:
    world.orders(2)
    made = rules(route(request_step(expires=0.01)))
    async with running(world, made, sinks("hook"), places=()) as run:
        await _claim_everything(world, run.ledger, lease=3600)
        rows = await run.rows(state=State.CLAIMED)
        await run.source.assign(ORDERS)
        await run.until(lambda: run.intake.records_read == 2)
        await anyio.sleep(0.2)
        assert world.log.committed.get(ORDERS, 0) == 0
        await run.ledger.settle([Settle(_delivered(row)) for row in rows])
        world.foreign = 2
        await run.until(lambda: world.log.committed.get(ORDERS) == 2)
        assert await run.states() == {"delivered": 2}


def _delivered(row: Row) -> Row:
    return replace(row, state=State.DELIVERED, blob=None)


async def test_a_clean_stop_leaves_nothing_in_doubt(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.seconds, slow = 0.02, sinks("hook", concurrency=4)
    for _ in range(3):
        durable.orders(40)
        async with running(durable, AT_MOST_ONCE, slow, checks=False) as run:
            await run.until(lambda: hook.at_once == 4)
    async with running(durable, AT_MOST_ONCE, sinks("hook", concurrency=16)) as run:
        await run.ended()
        assert await run.states() == {"delivered": 120}
    assert (len(hook.accepted), hook.repeats) == (120, 0)
    assert durable.letters.published == []


async def test_a_clean_stop_with_retries_under_way_leaves_nothing_in_doubt(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.seconds, slow = 0.005, sinks("hook", concurrency=4)
    hook.always = lambda p: Retry(Reason("busy")) if p.attempt < 4 else Delivered()
    durable.orders(60)
    for _ in range(4):
        async with running(durable, AT_MOST_ONCE, slow, checks=False) as run:
            sent = len(hook.sent)
            await run.until(lambda sent=sent: len(hook.sent) > sent + 30)
    async with running(durable, AT_MOST_ONCE, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"delivered": 60}
    assert hook.repeats == 0


# Revocation ----------------------------------------------------------------------------------


async def test_a_revoked_partition_is_drained_of_what_is_claimed_and_of_no_more(
    durable: World,
) -> None:
    hook = durable.providers["hook"]
    hook.hangs = anyio.Event()
    durable.orders(100)
    async with running(durable, HOOK, sinks("hook", concurrency=4)) as run:
        await run.until(lambda: len(hook.sent) == 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.source.revoke, ORDERS)
            await anyio.sleep(0.05)
            hook.hangs.set()
        assert len(hook.accepted) == durable.log.committed[ORDERS] == 8
        balance = run.metrics.balance()
        assert (balance.delivered, balance.withdrawn, balance.in_flight) == (8, 92, 0)
        await run.source.assign(ORDERS)
        await run.ended()
        assert await run.states() == {"delivered": 100}
    assert hook.repeats == 0


async def test_another_partition_goes_on_while_one_is_revoked(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.seconds = 0.001
    durable.orders(50)
    places = (ORDERS, OTHER)
    async with running(durable, HOOK, sinks("hook"), places=places) as run:
        for _ in range(5):
            _more(durable, 100)
            await run.source.revoke(ORDERS)
            await run.source.assign(ORDERS)
        await run.ended()
        assert await run.states() == {"delivered": 550}
    assert hook.repeats == 0


def _more(world: World, count: int) -> None:
    world.publish(*({"user": "u-1", "n": n} for n in range(count)), place=OTHER)


async def test_a_drain_that_takes_too_long_gives_the_partition_up_all_the_same(
    durable: World,
) -> None:
    hook = durable.providers["hook"]
    hook.hangs = anyio.Event()
    durable.orders(5)
    limits = replace(LIMITS, drain_s=0.1)
    async with running(durable, HOOK, sinks("hook"), limits=limits) as run:
        await run.until(lambda: len(hook.sent) == 5)
        with anyio.fail_after(2):
            await run.source.revoke(ORDERS)
        assert durable.log.committed.get(ORDERS, 0) == 0
        await run.source.assign(ORDERS)
        hook.hangs.set()
        await run.ended()
        assert await run.states() == {"delivered": 5}
    assert hook.repeats == 0


async def test_a_commit_that_fails_is_made_again(durable: World) -> None:
    async with running(durable, HOOK, sinks("hook")) as run:
        run.source.refuses_commits = True
        durable.orders(5)
        await run.until(lambda: run.intake.is_idle)
        await anyio.sleep(0.1)
        assert durable.log.committed == {}
        run.source.refuses_commits = False
        await run.settled()
        assert b"router_commit_failures_total" in run.metrics.render()


async def test_progress_is_stored_with_each_commit(durable: World) -> None:
    durable.orders(7)
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.settled()
        assert await run.ledger.progress([ProgressKey("group", *ORDERS)]) == [7]


async def test_how_far_behind_a_partition_is_shows(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.hangs, hook.hangs_on = anyio.Event(), lambda parcel: _number(parcel) == 3
    durable.orders(10)
    async with running(durable, HOOK, sinks("hook")) as run:

        def shown(name: str) -> float | None:
            labels = {"topic": "orders", "partition": "0"}
            return run.metrics.registry.get_sample_value(f"router_{name}", labels)

        await run.until(lambda: shown("lag_records") == 7)
        assert shown("unsettled_records") == 1
        await run.until(lambda: (shown("oldest_unsettled_seconds") or 0) > 0)
        hook.hangs.set()
        await run.until(lambda: shown("lag_records") == 0)
        assert shown("unsettled_records") == 0


# Rewind --------------------------------------------------------------------------------------


async def test_what_was_settled_beyond_the_window_is_not_sent_again_after_a_rewind(
    durable: World,
) -> None:
    week = 7 * 86400
    durable.publish({"id": "old"}, timestamp=durable.clock.now() - week - 60)
    durable.publish({"id": "young"})
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"delivered": 2}
        # The ledger forgets; the group's offset is set back.
        await run.ledger.purge(durable.clock.now() + 1)
        durable.purged = 2
    durable.log.committed[ORDERS] = 0
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.ended()
        assert await run.states() == {"delivered": 1, "suppressed beyond_window": 1}
        durable.publish({"id": "late"}, timestamp=durable.clock.now() - week - 60)
        await run.ended()
        assert (await run.states())["delivered"] == 2


# Crash marks ---------------------------------------------------------------------------------


async def test_a_record_that_kills_the_process_three_times_is_dead_lettered(
    durable: World,
) -> None:
    durable.orders(3)
    hook = durable.providers["hook"]
    hook.hangs = anyio.Event()
    hook.hangs_on = lambda parcel: _number(parcel) == 1
    for _ in range(4):
        async with running(durable, HOOK, sinks("hook"), dies=True) as run:
            await run.until(lambda: any(_number(parcel) == 1 for parcel in hook.sent))
            await run.worker.settler.flush()
        hook.sent.clear()
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.until(lambda: durable.letters.published)
        await run.ended()
        assert await run.states() == {"delivered": 2, "dead crashed": 1}
    assert [(x.reason.code, x.record.offset) for x in durable.letters.published] == [("crashed", 1)]


def _number(parcel: Parcel) -> int:
    assert isinstance(parcel.message, Request)
    return orjson.loads(parcel.message.body or b"")["data"]["n"]


async def test_after_a_second_unclean_stop_in_a_row_records_go_one_by_one_for_a_while(
    durable: World,
) -> None:
    hook = durable.providers["hook"]
    durable.orders(20)
    for _ in range(2):
        hook.sent.clear()
        async with running(durable, HOOK, sinks("hook", concurrency=4), dies=True) as run:
            hook.hangs = anyio.Event()
            await run.until(lambda: len(hook.sent) == 4)
    hook.hangs, hook.most_at_once, hook.seconds = None, 0, 0.002
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.ended()
        assert hook.most_at_once == 1
        durable.orders(50, later=True)
        await run.ended()
        assert hook.most_at_once > 1
    hook.most_at_once = 0
    durable.orders(50)
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.ended()
        assert hook.most_at_once > 1


async def test_after_one_unclean_stop_work_goes_on_as_usual(durable: World) -> None:
    hook = durable.providers["hook"]
    durable.orders(20)
    async with running(durable, HOOK, sinks("hook"), dies=True) as run:
        hook.hangs = anyio.Event()
        await run.until(lambda: hook.sent)
    hook.hangs, hook.most_at_once, hook.seconds = None, 0, 0.01
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.ended()
        assert hook.most_at_once > 1


async def test_stops_between_which_everything_was_settled_are_not_in_a_row(
    durable: World,
) -> None:
    for settled, watched in [(0, False), (0, False), (99, True), (99, True)]:
        record = _record(durable)
        async with durable.store.open(durable.clock) as ledger:
            marks = await _marks(durable, ledger, settled)
            assert marks.is_watched(record) is watched
    async with durable.store.open(durable.clock) as ledger:
        assert not (await _marks(durable, ledger, 5_000)).is_watched(record)
    async with durable.store.open(durable.clock) as ledger:
        assert (await _marks(durable, ledger, 5_099)).is_watched(record)


async def test_work_as_usual_writes_nothing_for_single_records(durable: World) -> None:
    record = _record(durable)
    async with durable.store.open(durable.clock) as ledger:
        await _marks(durable, ledger)
    async with durable.store.open(durable.clock) as ledger:
        marks = await _marks(durable, ledger)
        before = await ledger.facts(["crash:main"])
        await marks.enter(record, WorkStage.MATCH)
        marks.leave(record)
        await marks.rest()
        assert await ledger.facts(["crash:main"]) == before


async def test_a_record_that_happened_to_be_under_way_is_not_deadly(durable: World) -> None:
    """By itself it was worked on in one death; the next one finds another record."""
    durable.orders(2)
    first, second = durable.log.records[ORDERS]
    deaths: list[list[Any]] = [[], [], [first], [second], [second], [first]]
    for alone in deaths:
        async with durable.store.open(durable.clock) as ledger:
            marks = await _marks(durable, ledger)
            assert not marks.is_deadly(first)
            assert not marks.is_deadly(second)
            for record in alone:
                await marks.enter(record, WorkStage.DELIVER)


async def test_between_two_records_the_deaths_in_a_row_are_remembered(durable: World) -> None:
    record = _record(durable)
    for _ in range(2):
        async with durable.store.open(durable.clock) as ledger:
            await _marks(durable, ledger)
    for _ in range(2):
        async with durable.store.open(durable.clock) as ledger:
            marks = await _marks(durable, ledger)
            assert marks.is_watched(record)
            await marks.enter(record, WorkStage.DELIVER)
            marks.leave(record)
            await marks.rest()


async def test_marks_count_deaths_in_a_row_at_one_stage(durable: World) -> None:
    record = _record(durable)
    for stages, deadly in [
        ([WorkStage.MATCH], False),
        ([WorkStage.MATCH, WorkStage.DELIVER], False),
        ([WorkStage.MATCH, WorkStage.DELIVER], False),
        ([WorkStage.MATCH, WorkStage.DELIVER], False),
        ([], True),
    ]:
        async with durable.store.open(durable.clock) as ledger:
            marks = await _marks(durable, ledger)
            assert marks.is_deadly(record) is deadly
            for stage in stages:
                if marks.is_watched(record):
                    await marks.enter(record, stage)


async def test_a_clean_end_forgets_suspects(durable: World) -> None:
    record = _record(durable)
    async with durable.store.open(durable.clock) as ledger:
        await _marks(durable, ledger)
    async with durable.store.open(durable.clock) as ledger:
        await _marks(durable, ledger)
    async with durable.store.open(durable.clock) as ledger:
        marks = await _marks(durable, ledger)
        assert marks.is_watched(record)
        await marks.enter(record, WorkStage.MATCH)
        await marks.end([ORDERS])
    async with durable.store.open(durable.clock) as ledger:
        marks = await _marks(durable, ledger)
        assert not marks.is_watched(record)


def _record(world: World) -> Any:
    world.orders(1)
    return world.log.records[ORDERS][0]


async def _marks(world: World, ledger: Any, settled: int = 0) -> CrashMarks:
    watched = WatchedLedger(ledger, world.clock, Metrics())
    marks = CrashMarks(watched, "main", 100, world.clock.now())
    await marks.begin({ORDERS: settled})
    return marks


# Leases --------------------------------------------------------------------------------------


async def test_an_outcome_that_comes_after_the_lease_still_counts_if_it_is_delivered(
    world: World,
) -> None:
    hook = world.providers["hook"]
    hook.hangs = anyio.Event()
    world.orders(1)
    async with running(world, HOOK, sinks("hook")) as run:
        await run.until(lambda: hook.sent)
        (row,) = await run.rows(state=State.CLAIMED)
        # Another replica took over, and was told that it has to wait.
        await run.ledger.settle(
            [Settle(replace(row, state=State.SCHEDULED, blob=b"", due=world.clock.now() + 3600))]
        )
        hook.hangs.set()
        await run.until(lambda: not run.worker.lanes["hook"].in_flight)
        await run.worker.settler.flush()
        (row,) = await run.rows()
        assert row.state in (State.DELIVERED, State.SCHEDULED)


async def test_in_doubt_once_more_is_a_repeat_once_more(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.answers += [InDoubt(Reason("timeout")), InDoubt(Reason("timeout"))]
    durable.orders(1)
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.ended()
        assert b'router_repeats_total{sink="hook"} 2.0' in run.metrics.render()


async def test_rejected_after_a_restart_is_still_rejected(durable: World) -> None:
    hook = durable.providers["hook"]
    hook.always = Rejected(Reason("invalid"))
    durable.orders(1)
    durable.letters.is_down = True
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.settled()
    durable.letters.is_down = False
    durable.log.committed[ORDERS] = 0
    async with running(durable, HOOK, sinks("hook")) as run:
        await run.until(lambda: durable.letters.published)
        await run.ended()
        assert await run.states() == {"dead invalid": 1}
    assert len(durable.letters.published) == len(hook.sent) == 1
