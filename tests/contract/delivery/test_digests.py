"""Digests through the worker: what is collected is told of once, in one message, or not at all."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import anyio
import orjson
import pytest

from router.events import TopicPartition, wrap_replay
from router.ledger import Kind, State
from router.messages import Delivered, Parcel, Reason, Rejected, Request
from router.planning import MOST_SHOWN, RequestContent, Route, Ruleset, Step
from router.planning.policies import Bypass, CancelOn, Dedupe, Digest, RoutePolicy, Same, Throttle
from router.planning.silences import Silence, compile_silence
from tests.contract.delivery.harness import QuickClock, World, running, sinks
from tests.contract.delivery.sources import ORDERS
from tests.unit.planning.builders import (
    broken,
    condition,
    path,
    person,
    route,
    rules,
    selection,
    step,
    value,
)

pytestmark = pytest.mark.anyio

SINKS = sinks("mail", "chat")
HOUR = 3600.0
SOON = Digest(0.2)
TOLD = RequestContent(
    json=value(
        {"count": "{{ digest.count }}", "n": "{{ digest.events|map(attribute='data')|list }}"}
    )
)
CANCEL = CancelOn(
    condition({"type": "order.seen"}), (Same(path("data.user"), path("data.user")),), HOUR
)


def collecting(digest: Digest = SOON, *steps: Step, id: str = "paid", **fields: Any) -> Route:
    policy = RoutePolicy(digest=digest, **fields.pop("policy", {}))
    made = route(*(steps or (step(content=TOLD),)), id=id, **fields)
    return replace(made, policy=policy, category="social")


def told(world: World, sink: str = "mail") -> list[tuple[str, list[int]]]:
    """Whom each message that was accepted told of which events, in order."""
    found = {parcel.key: parcel for parcel in world.providers[sink].sent}
    return [read(found[key]) for key in world.providers[sink].accepted]


def read(parcel: Parcel) -> tuple[str, list[int]]:
    assert isinstance(parcel.message, Request)
    body = orjson.loads(parcel.message.body or b"")
    numbers = [data["n"] for data in body["n"]]
    assert body["count"] == len(numbers)
    return parcel.target.address.partition("@")[0], numbers


def events(*numbers: int, user: str = "u-1", **fields: Any) -> list[dict[str, Any]]:
    return [{"user": user, "n": n, "id": f"e-{n}", **fields} for n in numbers]


def silence(world: World, match: dict[str, Any] | None = None, category: str = "") -> Silence:
    return Silence(
        "s-1",
        until=world.clock.now() + HOUR,
        author="ann",
        comment="an outage",
        created=world.clock.now(),
        match=match,
        condition=compile_silence(match) if match else None,
        category=category,
    )


@pytest.fixture(autouse=True)
def people(request: pytest.FixtureRequest) -> None:
    for name in ("world", "durable"):
        if name in request.fixturenames:
            world: World = request.getfixturevalue(name)
            world.people.known = {id: person(id) for id in ("u-1", "u-2", "u-3")}


async def test_each_person_is_told_of_the_events_of_a_window_in_one_message(world: World) -> None:
    world.publish(*events(1, 2, 3), *events(4, user="u-2"))
    async with running(world, rules(collecting()), SINKS) as run:
        await run.ended()
        assert await run.states() == {"delivered": 2, "suppressed digested": 4}
        assert len(await run.rows(Kind.DIGEST, State.DELIVERED)) == 2
    assert sorted(told(world)) == [("u-1", [1, 2, 3]), ("u-2", [4])]


async def test_the_record_waits_for_its_digest_where_the_ledger_is_not_durable(
    world: World,
) -> None:
    world.publish(*events(1))
    async with running(world, rules(collecting(Digest(HOUR, most=2))), SINKS) as run:
        await run.settled()
        is_kept = run.ledger.is_durable
        assert bool(world.log.committed.get(next(iter(world.log.records)))) == is_kept
        world.publish(*events(2))
        await run.ended()
    assert told(world) == [("u-1", [1, 2])]


async def test_so_many_events_close_a_digest_at_once_and_late_ones_open_the_next(
    world: World,
) -> None:
    world.publish(*events(1, 2, 3, 4, 5))
    async with running(world, rules(collecting(Digest(HOUR, most=2))), SINKS) as run:
        await run.until(lambda: len(world.providers["mail"].accepted) == 2)
        await run.settled()
        await run.until(lambda: run.worker.is_idle)
        world.publish(*events(6))
        await run.ended()
    assert sorted(told(world)) == [("u-1", [1, 2]), ("u-1", [3, 4]), ("u-1", [5, 6])]


async def test_digests_of_several_keys_and_routes_are_apart(world: World) -> None:
    by_board = collecting(replace(SOON, key=path("data.board")))
    again = collecting(Digest(HOUR, most=3), id="again")
    world.publish(*events(1, 2, board="a"), *events(3, board="b"))
    async with running(world, rules(by_board, again), SINKS) as run:
        await run.ended()
        assert await run.states() == {"delivered": 3, "suppressed digested": 6}
    assert sorted(told(world)) == [("u-1", [1, 2]), ("u-1", [1, 2, 3]), ("u-1", [3])]


async def test_a_digest_that_grows_ends_at_its_longest(world: World) -> None:
    growing = Digest(0.3, extend=True, at_most=0.9)
    async with running(world, rules(collecting(growing)), SINKS) as run:
        started = anyio.current_time()
        while not world.providers["mail"].accepted:
            world.publish(*events(len(world.log.records.get(run.intake.offsets.places[0], ()))))
            await anyio.sleep(0.05)
        assert anyio.current_time() - started >= 0.8
        await run.ended()
    assert len(told(world)[0][1]) > 2


async def test_who_asks_for_the_same_event_again_is_told_once(durable: World) -> None:
    made = rules(collecting())
    durable.publish(*events(1, 2))
    async with running(durable, made, SINKS) as run:
        await run.ended()
    durable.log.committed.clear()
    async with running(durable, made, SINKS) as run:
        await run.ended()
        assert await run.states() == {"delivered": 1, "suppressed digested": 2}
    assert told(durable) == [("u-1", [1, 2])]


# Processes that end ------------------------------------------------------------------------------


async def test_a_digest_goes_on_in_the_next_process(durable: World) -> None:
    made = rules(collecting(Digest(HOUR, most=3)))
    durable.publish(*events(1, 2))
    async with running(durable, made, SINKS) as run:
        await run.settled()
    durable.publish(*events(3))
    async with running(durable, made, SINKS) as run:
        await run.ended()
        assert await run.states() == {"delivered": 1, "suppressed digested": 3}
    assert told(durable) == [("u-1", [1, 2, 3])]


async def test_a_window_that_ends_while_no_process_runs_is_told_of_by_the_next(
    durable: World,
) -> None:
    made = rules(collecting())
    durable.publish(*events(1, 2))
    async with running(durable, made, SINKS, dies=True) as run:
        await run.settled()
    await anyio.sleep(SOON.window)
    async with running(durable, made, SINKS) as run:
        await run.ended()
    assert told(durable) == [("u-1", [1, 2])]


async def test_a_kill_while_a_digest_is_told_of_repeats_no_other_message(durable: World) -> None:
    """Its mail was delivered, its chat was not yet: the next process sends the chat alone."""
    durable.clock = QuickClock(20)
    both = (step(content=TOLD), step("chat", content=TOLD, address_kind="telegram"))
    made = rules(collecting(Digest(HOUR, most=2), *both))
    durable.publish(*events(1, 2))
    durable.providers["chat"].hangs = anyio.Event()
    async with running(durable, made, SINKS, dies=True) as run:
        await run.until(lambda: durable.providers["mail"].accepted)
        await run.worker.settler.flush()
    durable.providers["chat"].hangs = None
    async with running(durable, made, SINKS) as run:
        await run.ended()
        assert await run.states() == {"delivered": 2, "suppressed digested": 2}
    assert told(durable) == [("u-1", [1, 2])]
    assert len(durable.providers["chat"].accepted) == 1


async def test_a_ledger_that_fails_while_digests_close(world: World) -> None:
    world.publish(*events(1, 2), *events(3, user="u-2"))
    async with running(world, rules(collecting()), SINKS) as run:
        run.outage.loses |= {"join", "members", "settle", "due"}
        await run.ended(deadline_s=45.0)
        assert await run.states() == {"delivered": 2, "suppressed digested": 3}
    assert world.providers["mail"].repeats == 0


# Who leaves --------------------------------------------------------------------------------------


async def test_cancelled_events_leave_and_what_is_left_is_told_of(world: World) -> None:
    made = rules(collecting(Digest(HOUR, most=3), policy={"cancel_on": CANCEL},
                            select=selection(id="data.to")))  # fmt: skip
    async with running(world, made, SINKS) as run:
        world.publish(*events(1, user="a", to="u-1"), *events(2, user="b", to="u-1"))
        await run.settled()
        world.publish({"type": "order.seen", "user": "a"})
        await run.settled()
        world.publish(*events(3, user="c", to="u-1"))
        await run.ended()
        assert await run.states() == {
            "delivered": 1,
            "suppressed cancelled": 1,
            "suppressed digested": 2,
        }
    assert told(world) == [("u-1", [2, 3])]


async def test_a_digest_of_which_nothing_is_left_sends_nothing(world: World) -> None:
    made = rules(collecting(Digest(0.5), policy={"cancel_on": CANCEL}))
    world.publish(*events(1, 2), {"type": "order.seen", "user": "u-1"})
    async with running(world, made, SINKS) as run:
        await run.ended()
        assert await run.states() == {"suppressed cancelled": 2}
        (digest,) = await run.rows(Kind.DIGEST)
        assert (digest.state, digest.reason and digest.reason.code) == (State.SUPPRESSED, "empty")
    assert not world.providers["mail"].sent


async def test_what_is_silenced_when_a_digest_closes_is_left_out(world: World) -> None:
    async with running(world, rules(collecting(Digest(HOUR, most=3))), SINKS) as run:
        world.publish(*events(1, 2))
        await run.settled()
        await run.worker.dispatcher.silences.add(silence(world, match={"data.n": 1}))
        world.publish(*events(3))
        await run.ended()
        assert await run.states() == {
            "delivered": 1,
            "suppressed digested": 2,
            "suppressed silenced": 1,
        }
    assert told(world) == [("u-1", [2, 3])]


async def test_a_silence_over_everybody_leaves_nothing_to_tell(world: World) -> None:
    unmuted = collecting(Digest(0.6), id="unmuted", policy={"bypass": frozenset({Bypass.SILENCES})})
    world.publish(*events(1, 2))
    async with running(world, rules(collecting(Digest(0.6)), unmuted), SINKS) as run:
        await run.settled()
        await run.worker.dispatcher.silences.add(silence(world, category="social"))
        await run.ended()
        assert await run.states() == {
            "delivered": 1,
            "suppressed digested": 2,
            "suppressed silenced": 2,
        }


async def test_preferences_are_read_when_the_digest_is_told_of(world: World) -> None:
    world.publish(*events(1))
    async with running(world, rules(collecting(Digest(HOUR, most=2))), SINKS) as run:
        await run.settled()
        world.people.known["u-1"] = person("u-1", preferences={"social": False})
        world.publish(*events(2))
        await run.ended()
        assert await run.states() == {"suppressed digested": 2, "suppressed opted_out": 1}
    assert not world.providers["mail"].sent


async def test_members_are_throttled_and_their_message_is_not(world: World) -> None:
    policy = {
        "throttles": (Throttle(2, HOUR, "route:paid"),),
        "dedupe": Dedupe(path("data.n"), HOUR),
    }
    world.publish(*events(1, 2), {"user": "u-1", "n": 1}, *events(3))
    async with running(world, rules(collecting(policy=policy)), SINKS) as run:
        await run.ended()
        assert await run.states() == {
            "delivered": 1,
            "suppressed digested": 2,
            "suppressed duplicate": 1,
            "suppressed throttled": 1,
        }


# What can't be told of ---------------------------------------------------------------------------


async def test_a_directory_that_is_away_when_a_digest_closes(durable: World) -> None:
    durable.clock = QuickClock(20)
    made = rules(collecting(Digest(60.0)))
    durable.publish(*events(1, 2))
    async with running(durable, made, SINKS) as run:
        await run.settled()
        durable.people.is_away = True
        asked = durable.people.asked
        await run.until(lambda: durable.people.asked > asked + 2)
        assert not durable.providers["mail"].sent
        durable.people.is_away = False
        await run.ended()
        assert await run.states() == {"delivered": 1, "suppressed digested": 2}
    assert told(durable) == [("u-1", [1, 2])]


async def test_who_became_unknown_is_a_dead_letter(world: World) -> None:
    world.publish(*events(1, 2))
    async with running(world, rules(collecting(Digest(0.5))), SINKS) as run:
        await run.settled()
        world.people.known.clear()
        await run.ended()
        assert await run.states() == {
            "dead recipient_unknown": 1,
            "suppressed recipient_unknown": 2,
        }
    assert world.letters.reasons == ["recipient_unknown"]


async def test_a_digest_whose_route_is_gone_is_one_dead_letter(world: World) -> None:
    other = route(step(), id="other", match={"type": "other"})
    world.publish(*events(1, 2, 3))
    async with running(world, rules(collecting(Digest(0.5)), other), SINKS) as run:
        await run.settled()
        await run.apply(rules(other, hash="2"), SINKS)
        await run.ended()
        assert await run.states() == {"suppressed route_gone": 3}
    assert world.letters.reasons == ["route_gone"]


async def test_a_digest_is_planned_as_its_route_stands_today(world: World) -> None:
    world.publish(*events(1, 2))
    async with running(world, rules(collecting(Digest(0.6))), SINKS) as run:
        await run.settled()
        chat = step("chat", content=TOLD, address_kind="telegram")
        await run.apply(rules(route(chat), hash="2"), SINKS)
        await run.ended()
    assert not world.providers["mail"].sent
    assert len(world.providers["chat"].accepted) == 1


async def test_a_digest_that_can_not_be_rendered_is_dead(world: World) -> None:
    world.publish(*events(1, 2))
    async with running(world, rules(collecting(SOON, step(content=broken()))), SINKS) as run:
        await run.ended()
        assert await run.states() == {"dead render_failed": 1, "suppressed digested": 2}
    assert world.letters.reasons == ["render_failed"]


@pytest.mark.parametrize("count", [3, MOST_SHOWN + 5])
async def test_a_digest_that_could_not_be_rendered_is_told_of_by_a_replay(
    durable: World, count: int
) -> None:
    """Its events are in nobody else's hands any more; the template is mended meanwhile."""
    durable.publish(*events(*range(1, count + 1)))
    replays = TopicPartition("replay", 0)
    full = Digest(HOUR, most=count)
    mend, bad = rules(collecting(full)), rules(collecting(full, step(content=broken())))
    async with running(durable, bad, SINKS, places=(ORDERS, replays)) as run:
        await run.until(lambda: durable.letters.published)
        await run.ended()
        (letter,) = durable.letters.published
        assert letter.reason.code == "render_failed"
        await run.apply(mend, SINKS)
        durable.revivals = 1
        _, raw, headers = wrap_replay(letter.record, (), letter.delivery_key, 1)
        assert raw is not None
        durable.log.publish(raw, place=replays, timestamp=durable.clock.now(), headers=headers)
        await run.until(lambda: durable.providers["mail"].accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1, "suppressed digested": count}
    (parcel,) = durable.providers["mail"].sent
    assert isinstance(parcel.message, Request)
    body = orjson.loads(parcel.message.body or b"")
    assert body["count"] == count
    assert [data["n"] for data in body["n"]] == list(range(1, min(count, MOST_SHOWN) + 1))


async def test_a_fallback_tells_of_the_digest_too(world: World) -> None:
    chain = (step(content=TOLD), step("chat", content=TOLD, fallback_for="mail"))
    world.providers["mail"].always = Rejected(Reason("invalid"))
    world.publish(*events(1, 2))
    async with running(world, rules(collecting(SOON, *chain)), SINKS) as run:
        await run.ended()
        assert await run.states() == {
            "dead invalid": 1,
            "delivered": 1,
            "suppressed digested": 2,
        }
    assert told(world, "chat") == [("u-1", [1, 2])]


async def test_a_dead_message_of_a_digest_is_replayed_as_it_is(durable: World) -> None:
    durable.providers["mail"].always = Rejected(Reason("invalid"))
    durable.publish(*events(1, 2))
    replays = TopicPartition("replay", 0)
    async with running(durable, rules(collecting()), SINKS, places=(ORDERS, replays)) as run:
        await run.until(lambda: durable.letters.published)
        await run.ended()
        durable.providers["mail"].always = Delivered()
        durable.revivals = 1
        (letter,) = durable.letters.published
        _, raw, headers = wrap_replay(letter.record, (), letter.delivery_key, 1)
        assert raw is not None
        durable.log.publish(raw, place=replays, timestamp=durable.clock.now(), headers=headers)
        await run.until(lambda: durable.providers["mail"].accepted)
        await run.ended()
        assert await run.states() == {"delivered": 1, "suppressed digested": 2}
    assert told(durable) == [("u-1", [1, 2])]


# Whatever comes ----------------------------------------------------------------------------------


def arrivals(seed: int) -> tuple[Ruleset, list[list[dict[str, Any]]]]:
    """Rules and waves of events, some of which end others."""
    dice = random.Random(seed)
    digest = Digest(
        dice.choice((0.02, 0.1, 0.3)),
        path("data.board") if dice.random() < 0.5 else None,
        most=dice.choice((1, 2, 5, 100)),
        extend=(extend := dice.random() < 0.5),
        at_most=0.4 if extend else None,
    )
    waves: list[list[dict[str, Any]]] = []
    for wave in range(dice.randint(1, 5)):
        waves.append([
            {"type": "order.seen", "user": f"u-{dice.randint(1, 3)}", "n": -1}
            if dice.random() < 0.1
            else {
                "user": f"u-{dice.randint(1, 3)}",
                "board": dice.randint(1, 2),
                "n": 100 * wave + n,
            }
            for n in range(dice.randint(1, 30))
        ])  # fmt: skip
    return rules(collecting(digest, policy={"cancel_on": CANCEL})), waves


@pytest.mark.parametrize("seed", range(6))
async def test_every_event_is_told_of_once_or_cancelled(world: World, seed: int) -> None:
    made, waves = arrivals(seed)
    digest = made.routes["paid"].policy.digest
    assert digest is not None
    async with running(world, made, SINKS) as run:
        for wave in waves:
            world.publish(*wave)
            await anyio.sleep(0.05)
        await run.ended(deadline_s=30.0)
        members = [row for row in await run.rows() if row.sink == "@digests"]
    sent = [(user, n) for user, numbers in told(world) for n in numbers]
    published = [(e["user"], e["n"]) for wave in waves for e in wave if e["n"] >= 0]
    assert max(Counter(sent).values(), default=0) <= 1
    assert set(sent) <= set(published)
    codes = Counter(row.reason.code for row in members if row.reason)
    assert codes["digested"] == len(sent)
    assert codes["digested"] + codes["cancelled"] == len(published)
    assert all(1 <= len(numbers) <= digest.most for _, numbers in told(world))
