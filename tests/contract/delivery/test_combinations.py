"""Fallbacks, devices, delays, cancellations and answers in every combination.

However they meet, every delivery ends, the books agree with the ledger, and nobody is told by a
fallback of what the primary has told already, unless an attempt of the primary was in doubt. Each
end but that of a fallback which was not needed is reported once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.ledger import Row, State
from router.messages import Channel, Delivered, InDoubt, Outcome, Parcel, Reason, Rejected, Retry
from router.planning import Cause, Route, Step
from router.planning.policies import CancelOn, RoutePolicy, Same, StepPolicy
from router.recipients import Device
from tests.contract.delivery.harness import SteppedClock, World, running, sinks
from tests.contract.delivery.stores import MemoryStore
from tests.contract.delivery.test_feedback import Heard
from tests.unit.planning.builders import condition, path, person, route, rules, step

MINUTE = 60.0
SINKS = sinks(
    "push", "mail", "sms", concurrency=4, retry={"first": "1m", "cap": "5m", "give_up": "2h"}
)
UNTIL_OVER = 40 * MINUTE


@dataclass(frozen=True)
class Trial:
    """One run: a route's steps, what happens, and the dice for the providers' answers."""

    steps: tuple[Step, ...]
    devices: int
    is_reachable: bool
    cancels_at: int | None
    opens_at: int | None
    seed: int


def links(ids: list[str]) -> st.SearchStrategy[Step]:
    id, of = ids[-1], ids[-2]
    kind = "email" if id == "mail" else "telegram"
    causes = st.sets(st.sampled_from(list(Cause)), min_size=1)
    opened = CancelOn(
        condition({"type": "opened"}), (Same(path("data.user"), path("data.user")),), 1e6
    )
    return st.builds(
        lambda causes, after, is_unless: replace(
            step(id, fallback_for=of, causes=tuple(causes), address_kind=kind),
            after=after if Cause.UNSETTLED in causes or is_unless else None,
            unless=opened if is_unless else None,
        ),
        causes,
        st.sampled_from([5 * MINUTE, 20 * MINUTE]),
        st.booleans(),
    )


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    first = draw(
        st.sampled_from(
            [
                step("push", channel=Channel.PUSH, address_kind="device"),
                step("push", address_kind="telegram"),
            ]
        )
    )
    first = replace(first, policy=StepPolicy(delay=draw(st.sampled_from([0.0, 10 * MINUTE]))))
    rule = draw(st.sampled_from(["resend", "dead_letter"]))
    ids = draw(st.sampled_from([["push", "mail"], ["push", "mail", "sms"]]))
    chain = [draw(links(ids[: n + 1])) for n in range(1, len(ids))]
    moments = st.none() | st.integers(0, 6)
    return Trial(
        (replace(first, in_doubt=rule), *chain),
        draw(st.integers(0, 3)),
        draw(st.booleans()),
        draw(moments),
        draw(moments),
        draw(st.integers(0, 2**16)),
    )


def answers(dice: Random, doubtful: set[bytes]) -> object:
    def answer(parcel: Parcel) -> Outcome:
        roll = dice.random()
        if roll < 0.35:
            return Delivered()
        if roll < 0.75:
            return Retry(Reason("busy"))
        if roll < 0.85:
            doubtful.add(parcel.key)
            return InDoubt(Reason("lost"))
        return Rejected(Reason("invalid"), recipient_gone=roll > 0.95)

    return answer


async def run_of(trial: Trial) -> None:
    world = World(MemoryStore(), clock=SteppedClock())
    devices = tuple(Device(f"d{n}", f"token-{n}", "ios") for n in range(trial.devices))
    email = "u-1@example.org" if trial.is_reachable else None
    world.people.known["u-1"] = person("u-1", devices=devices, email=email)
    doubtful: set[bytes] = set()
    heard = Heard()
    dice = Random(trial.seed)
    for name in SINKS:
        world.providers[name].always = answers(dice, doubtful)  # type: ignore[assignment]
    cancel = CancelOn(
        condition({"type": "closed"}), (Same(path("data.user"), path("data.user")),), 1e6
    )
    made: Route = replace(route(*trial.steps), policy=RoutePolicy(cancel_on=cancel))
    async with running(world, rules(made), SINKS, reporting=heard.reporting) as run:
        world.publish({"user": "u-1"})
        for moment in range(8):
            if moment == trial.cancels_at:
                world.publish({"type": "closed", "user": "u-1"})
            if moment == trial.opens_at:
                world.publish({"type": "opened", "user": "u-1"})
            await run.later(3 * MINUTE)
        with anyio.fail_after(20):
            while (await run.ledger.stats()).backlog:
                await run.later(UNTIL_OVER)
        await run.balanced()
        rows = await run.rows()
        check(trial, rows, doubtful)
        told = sorted(one.data["delivery"] for one in heard.feedback)
        assert told == sorted(row.key.hex() for row in rows if is_news(row)), (trial, rows)


def is_news(row: Row) -> bool:
    return row.reason is None or row.reason.code != "not_needed"


def check(trial: Trial, rows: list[Row], doubtful: set[bytes]) -> None:
    assert all(row.state.is_final for row in rows), rows
    for at, follower in enumerate(trial.steps[1:]):
        primary = trial.steps[at]
        ends = [row for row in rows if row.sink == primary.sink]
        sure = [r for r in ends if r.state is State.DELIVERED and r.key not in doubtful]
        stand_ins = [row for row in rows if row.sink == follower.sink]
        if sure and follower.unless is None:
            assert not [r for r in stand_ins if r.state is State.DELIVERED], (trial, rows)
        superseded = [r for r in ends if r.reason and r.reason.code == "superseded"]
        assert not (superseded and sure and follower.unless is None), (trial, rows)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(trial=trials())
def test_nothing_is_told_twice_and_everything_ends(trial: Trial) -> None:
    anyio.run(run_of, trial)
