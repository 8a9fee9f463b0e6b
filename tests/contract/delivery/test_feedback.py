"""Feedback through the worker: whatever ends without a message is told of once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from router.delivery import Reporting
from router.events import Feedback
from router.ledger import State
from router.messages import Channel, Reason, Rejected
from router.planning import OnUnknown, Route
from router.planning.policies import Digest, RoutePolicy, StepPolicy, Throttle
from router.recipients import Device
from tests.contract.delivery.harness import SteppedClock, World, running, sinks
from tests.contract.delivery.test_digests import CANCEL, HOUR, collecting, events, silence
from tests.unit.planning.builders import broken, person, route, rules, selection, step

pytestmark = pytest.mark.anyio

SINKS = sinks("mail", "push", "chat")
CANCELLED = {"type": "order.seen", "user": "u-1"}


@dataclass(slots=True)
class Heard:
    """What was published."""

    feedback: list[Feedback] = field(default_factory=list[Feedback])

    async def publish(self, items: Sequence[Feedback], /) -> None:
        self.feedback += items

    @property
    def reporting(self) -> Reporting:
        kinds = ("delivered", "suppressed", "recipient_gone", "rejected", "dead")
        return Reporting(self, kinds, 1000)

    @property
    def told(self) -> list[tuple[str, str, str | None]]:
        """Of each: the event's id, what became of it, and why."""
        assert len({one.id for one in self.feedback}) == len(self.feedback)
        return sorted(
            (one.data["event"]["id"] or "digest", one.type, (one.data["reason"] or {}).get("code"))
            for one in self.feedback
        )

    @property
    def steps(self) -> list[tuple[str, str, str | None]]:
        """Of each: the step, what became of it, and why."""
        assert len({one.id for one in self.feedback}) == len(self.feedback)
        return sorted(
            (one.data["step"], one.type, (one.data["reason"] or {}).get("code"))
            for one in self.feedback
        )


def known(world: World) -> Heard:
    world.people.known = {"u-1": person("u-1")}
    return Heard()


# Digests -----------------------------------------------------------------------------------------


async def test_each_member_that_leaves_a_digest_is_told_of(world: World) -> None:
    heard = known(world)
    made = rules(collecting(Digest(HOUR, most=3), policy={"cancel_on": CANCEL},
                            select=selection(id="data.to")))  # fmt: skip
    async with running(world, made, SINKS, reporting=heard.reporting) as run:
        world.publish(*events(1, user="a", to="u-1"), *events(2, user="b", to="u-1"))
        await run.settled()
        world.publish({"type": "order.seen", "user": "a"})
        await run.worker.dispatcher.silences.add(silence(world, match={"data.n": 2}))
        await run.settled()
        world.publish(*events(3, user="c", to="u-1"))
        await run.ended()
    assert heard.told == [
        ("digest", "delivered", None),
        ("e-1", "suppressed", "cancelled"),
        ("e-2", "suppressed", "silenced"),
    ]
    (silenced,) = (one for one in heard.feedback if one.data["event"]["id"] == "e-2")
    assert silenced.subject == "u-1"
    assert silenced.data["route"] == "paid"
    assert (silenced.data["step"], silenced.data["sink"]) == (None, None)


async def test_a_member_that_is_not_let_in_is_told_of_once(world: World) -> None:
    heard = known(world)
    policy = {"throttles": (Throttle(1, HOUR, "route:paid"),)}
    made = rules(collecting(Digest(HOUR, most=1), policy=policy))
    async with running(world, made, SINKS, reporting=heard.reporting) as run:
        world.publish(*events(1))
        await run.ended()
        world.publish(*events(2))
        await run.ended()
        world.publish(*events(2))
        await run.ended()
    assert heard.told == [("digest", "delivered", None), ("e-2", "suppressed", "throttled")]


@pytest.mark.parametrize(
    ("on_unknown", "end"), [("suppress", "suppressed"), ("dead_letter", "dead")]
)
async def test_members_whose_digest_finds_nobody_are_told_of(
    world: World, on_unknown: OnUnknown, end: str
) -> None:
    heard = known(world)
    made = collecting(Digest(0.5), on_unknown=on_unknown)
    world.publish(*events(1, 2))
    async with running(world, rules(made), SINKS, reporting=heard.reporting) as run:
        await run.settled()
        world.people.known.clear()
        await run.ended()
    assert heard.told == [(id, end, "recipient_unknown") for id in ("e-1", "e-2")]


async def test_members_of_a_route_that_is_gone_are_told_of(world: World) -> None:
    heard = known(world)
    world.publish(*events(1, 2))
    made = rules(collecting(Digest(0.5)))
    async with running(world, made, SINKS, reporting=heard.reporting) as run:
        await run.settled()
        await run.apply(rules(route(step(), id="other", match={"type": "other"}), hash="2"), SINKS)
        await run.ended()
    assert heard.told == [("e-1", "dead", "route_gone"), ("e-2", "dead", "route_gone")]


async def test_a_digest_nobody_wants_is_told_of_as_one_message(world: World) -> None:
    heard = known(world)
    made = rules(collecting(Digest(HOUR, most=2)))
    world.publish(*events(1))
    async with running(world, made, SINKS, reporting=heard.reporting) as run:
        await run.settled()
        world.people.known["u-1"] = person("u-1", preferences={"social": False})
        world.publish(*events(2))
        await run.ended()
    assert heard.told == [("digest", "suppressed", "opted_out")]
    assert heard.feedback[0].data["step"] == "mail"


# Fallbacks ---------------------------------------------------------------------------------------


async def test_a_fallback_that_nobody_can_be_reached_by_is_told_of(world: World) -> None:
    heard = known(world)
    world.people.known["u-1"] = person("u-1", email=None)
    world.providers["push"].always = Rejected(Reason("invalid"))
    made = rules(
        route(
            step("push", address_kind="telegram"),
            step("mail", fallback_for="push"),
            step("chat", address_kind="telegram", fallback_for="mail", content=broken()),
        )
    )
    async with running(world, made, SINKS, reporting=heard.reporting) as run:
        world.publish({"user": "u-1"})
        await run.ended()
        assert await run.states() == {
            "dead invalid": 1,
            "suppressed unreachable": 1,
            "dead render_failed": 1,
        }
    assert heard.steps == [
        ("chat", "dead", "render_failed"),
        ("mail", "suppressed", "unreachable"),
        ("push", "rejected", "invalid"),
    ]


def cancellable() -> Route:
    push = step("push", address_kind="telegram")
    push = replace(push, policy=StepPolicy(delay=HOUR))
    others = [step("mail", fallback_for="push"), step("chat", address_kind="telegram",
                                                       fallback_for="mail")]  # fmt: skip
    return replace(route(push, *others), policy=RoutePolicy(cancel_on=CANCEL))


@pytest.mark.parametrize("restarts", [False, True])
async def test_fallbacks_that_are_cancelled_with_their_message_are_told_of(
    durable: World, restarts: bool
) -> None:
    heard = known(durable)
    durable.clock = SteppedClock()
    made = rules(cancellable())
    async with running(durable, made, SINKS, reporting=heard.reporting) as run:
        durable.publish({"user": "u-1", "id": "e-1"})
        await run.rested()
        assert len(await run.rows(state=State.WAITING)) == 2
        if not restarts:
            durable.publish(CANCELLED)
            await run.later(HOUR + 1)
    if restarts:
        durable.publish(CANCELLED)
        async with running(durable, made, SINKS, reporting=heard.reporting) as run:
            await run.rested()
            await run.later(HOUR + 1)
            await run.until(lambda: len(heard.feedback) == 3)
    cancelled = [(name, "suppressed", "cancelled") for name in ("chat", "mail", "push")]
    assert heard.steps == cancelled
    assert {one.data["event"]["id"] for one in heard.feedback} == {"e-1"}


async def test_a_fallback_that_was_not_needed_is_no_news(world: World) -> None:
    heard = known(world)
    made = rules(route(step("push", address_kind="telegram"), step("mail", fallback_for="push")))
    async with running(world, made, SINKS, reporting=heard.reporting) as run:
        world.publish({"user": "u-1"})
        await run.ended()
    assert heard.steps == [("push", "delivered", None)]


async def test_a_cancelled_fallback_of_several_devices_is_told_of_once(world: World) -> None:
    heard = known(world)
    world.clock = SteppedClock()
    devices = tuple(Device(f"d-{n}", f"t-{n}", "android") for n in (1, 2))
    world.people.known["u-1"] = person("u-1", devices=devices)
    push = step("push", channel=Channel.PUSH, address_kind="device")
    push = replace(push, policy=StepPolicy(delay=HOUR))
    made = route(push, step("mail", fallback_for="push"))
    made = replace(made, policy=RoutePolicy(cancel_on=CANCEL))
    async with running(world, rules(made), SINKS, reporting=heard.reporting) as run:
        world.publish({"user": "u-1"})
        await run.rested()
        world.publish(CANCELLED)
        await run.later(HOUR + 1)
        await run.until(lambda: len(heard.feedback) == 3)
    assert [name for name, *_ in heard.steps] == ["mail", "push", "push"]
    assert {why for *_, why in heard.steps} == {"cancelled"}


# Events ------------------------------------------------------------------------------------------


async def test_who_is_left_out_as_unknown_is_told_of(world: World) -> None:
    heard = Heard()
    made = rules(route(step("mail"), on_unknown="suppress"))
    async with running(world, made, SINKS, reporting=heard.reporting) as run:
        world.publish({"user": "u-9", "id": "e-1"})
        await run.ended()
    assert heard.told == [("e-1", "suppressed", "recipient_unknown")]
    assert heard.feedback[0].subject == "u-9"


async def test_what_is_told_of_twice_has_one_id(durable: World) -> None:
    heard = known(durable)
    durable.providers["push"].always = Rejected(Reason("invalid"))
    durable.people.known["u-1"] = person("u-1", email=None)
    made = rules(route(step("push", address_kind="telegram"), step("mail", fallback_for="push")))
    async with running(durable, made, SINKS, reporting=heard.reporting) as run:
        run.outage.loses.add("settle")
        durable.publish({"user": "u-1"})
        await run.ended()
    assert len(heard.steps) == 2
