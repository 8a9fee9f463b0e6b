"""A day in miniature: random events, routes, answers, outages, stops and kills.

Whatever happens, in the end every delivery is delivered, suppressed or dead; what was delivered was
accepted, what was accepted twice was counted, and nothing is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from router.delivery.dispatch import with_fallbacks
from router.events import Event, TopicPartition, decode
from router.ledger import Row, State
from router.messages import (
    Channel,
    Delivered,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    Rejected,
    Retry,
    Scope,
)
from router.planning import Ruleset, plan, select
from router.recipients import Device, Unknown
from tests.contract.delivery.harness import DECODE, QuickClock, Running, World, running, sinks
from tests.contract.delivery.sources import ORDERS
from tests.contract.delivery.stores import MemoryStore, SqliteStore
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

PLACES = (ORDERS, TopicPartition("orders", 1))
PUSH = step("push", channel=Channel.PUSH, address_kind="device")
ROUTES = [
    route(request_step("hook"), id="hooked"),
    route(request_step("once", in_doubt="dead_letter"), id="once"),
    route(PUSH, step("mail", fallback_for="push"), id="told"),
    route(
        step("chat", address_kind="telegram"),
        step("mail", fallback_for="chat"),
        step("sms", fallback_for="mail", to=None, address_kind="telegram"),
        id="chain",
        select=selection("data.to", id="item"),
        match={"data.kind": "many"},
        on_unknown="suppress",
    ),
    route(request_step("hook", content=broken()), id="broken", match={"data.kind": "odd"}),
]
SINKS = ("hook", "once", "push", "mail", "chat", "sms")


@dataclass
class Day:
    """One day's world, and the dice that rule it.

    Attributes:
        lost: Answers that never came, though the message was taken.
    """

    random: Random
    world: World
    kills: int = 0
    lost: Counter[bytes] = field(default_factory=Counter[bytes])

    @property
    def rules(self) -> Ruleset:
        return rules(*ROUTES)

    def script(self) -> None:
        for name in SINKS:
            self.world.providers[name].always = self._answer(name)
            self.world.providers[name].lag = 0.001
        for number in range(12):
            devices = tuple(Device(f"d{d}", f"t-{number}-{d}", "ios") for d in range(number % 4))
            who = person(
                f"u-{number}",
                devices=devices,
                email=None if number % 5 == 0 else f"u-{number}@example.org",
                telegram=None if number % 3 == 0 else str(1000 + number),
            )
            if number != 11:
                self.world.people.known[who.id] = who

    def _answer(self, name: str) -> Callable[[Parcel], Outcome]:
        dice = Random(self.random.random())
        provider = self.world.providers[name]

        def answer(parcel: Parcel) -> Outcome:
            roll = dice.random()
            if roll < 0.6 or parcel.attempt > 4:
                return Delivered()
            if roll < 0.75:
                scope = dice.choice([*Scope])
                return Retry(Reason("busy"), dice.choice([None, 0.01, 0.03]), scope)
            if roll < 0.85:
                return Rejected(Reason("invalid"), recipient_gone=False)
            if roll < 0.9:
                return Rejected(Reason("gone"), recipient_gone=name not in ("hook", "once"))
            if dice.random() < 0.5:
                provider.accepted.append(parcel.key)
                self.lost[parcel.key] += 1
            return InDoubt(Reason("timeout"))

        return answer

    def publish(self) -> None:
        dice, world = self.random, self.world
        for _ in range(dice.randint(5, 25)):
            place = dice.choice(PLACES)
            roll = dice.random()
            if roll < 0.05:
                world.publish(b"{", place=place)
                continue
            to = [f"u-{dice.randrange(12)}" for _ in range(dice.randrange(5))]
            world.publish(
                {
                    "id": f"e-{dice.randrange(60)}",
                    "type": "order.paid" if roll < 0.9 else "other",
                    "user": f"u-{dice.randrange(12)}",
                    "kind": dice.choice(["one", "many", "many", "odd"]),
                    "to": to,
                },
                place=place,
            )

    async def live(self, *, is_last: bool) -> None:
        """One process: it works for a while, with things going wrong around it."""
        dice, world = self.random, self.world
        dies = not is_last and world.store.is_durable and dice.random() < 0.6
        self.kills += dies
        configs = sinks(*SINKS, concurrency=3, retry={"first": "5ms", "cap": "20ms"})
        async with running(
            world, self.rules, configs, places=PLACES, dies=dies, checks=False
        ) as run:
            for _ in range(dice.randint(1, 4)):
                self.publish()
                run.outage.is_down = dice.random() < 0.2
                if dice.random() < 0.2:
                    run.outage.loses.add(dice.choice(["settle", "claim", "lookup", "put_facts"]))
                world.people.is_away = dice.random() < 0.3
                world.letters.is_down = dice.random() < 0.3
                await anyio.sleep(dice.random() * 0.05)
                if dice.random() < 0.3:
                    await self._rebalance(run)
            run.outage.is_down = False
            run.outage.loses.clear()
            world.people.is_away = world.letters.is_down = False
            if is_last:
                await run.ended(25)
                await self.check(run)

    async def _rebalance(self, run: Running) -> None:
        run.outage.is_down = False
        place = self.random.choice(PLACES)
        await run.source.revoke(place)
        await run.source.assign(place)

    # What has to hold -----------------------------------------------------------------------

    async def check(self, run: Running) -> None:
        rows = {row.key: row for row in await run.rows()}
        assert all(row.state.is_final for row in rows.values())
        self._nothing_is_missing(rows)
        self._delivered_is_what_was_accepted(rows)
        self._repeats_are_counted(rows)
        self._the_dead_are_published(rows)
        ends = {place: len(self.world.log.records.get(place, ())) for place in PLACES}
        assert {p: self.world.log.committed.get(p, 0) for p in PLACES} == ends
        if not self.kills:
            await run.balanced()

    def _nothing_is_missing(self, rows: dict[bytes, Row]) -> None:
        """Every primary of every event is there, and a fallback of every one that failed."""
        for record in (r for records in self.world.log.records.values() for r in records):
            event = decode(record, DECODE)
            if not isinstance(event, Event):
                continue
            for made in self.rules.matching(event):
                drafts = select(made, event).drafts
                found = [self.world.people.known.get(d.id) or Unknown(d.id) for d in drafts]
                for primary in plan(made, event, drafts, found).deliveries:
                    assert primary.key in rows, (made.id, record.position)
                    family = [*with_fallbacks(primary)]
                    if rows[primary.key].state is State.DEAD and "invalid" in str(
                        rows[primary.key].reason
                    ):
                        assert len(family) == 1 or any(d.key in rows for d in family[1:])

    def _delivered_is_what_was_accepted(self, rows: dict[bytes, Row]) -> None:
        accepted = {key for name in SINKS for key in self.world.providers[name].accepted}
        delivered = {key for key, row in rows.items() if row.state is State.DELIVERED}
        assert delivered <= accepted
        for key in accepted - delivered:
            row = rows[key]
            is_doubtful = row.reason is not None and row.reason.code in ("in_doubt",)
            assert is_doubtful or self.lost[key] or self.kills, row

    def _repeats_are_counted(self, rows: dict[bytes, Row]) -> None:
        for name in SINKS:
            repeats = self.world.providers[name].repeats
            counted = sum(_repeats(metrics, name) for metrics in self.world.lives)
            assert repeats <= counted, name
        assert self.world.providers["once"].repeats == 0

    def _the_dead_are_published(self, rows: dict[bytes, Row]) -> None:
        letters = {letter.delivery_key for letter in self.world.letters.published}
        dead = {key for key, row in rows.items() if row.state is State.DEAD and row.blob}
        assert dead <= letters


def _repeats(metrics: Any, sink: str) -> int:
    (family,) = metrics.families.repeats.labels(sink).collect()
    return int(sum(s.value for s in family.samples if s.name.endswith("_total")))


@pytest.mark.parametrize("start", range(0, 24, 8))
async def test_days_with_restarts(start: int, tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        for seed in range(start, start + 8):
            tasks.start_soon(_a_day, seed, tmp_path / str(seed))


async def test_days_without_a_durable_ledger(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        for seed in range(100, 104):
            tasks.start_soon(_a_day, seed, None)


async def _a_day(seed: int, folder: Path | None) -> None:
    dice = Random(seed)
    if folder is None:
        day = Day(dice, World(MemoryStore(), clock=QuickClock(20)))
    else:
        folder.mkdir()  # noqa: ASYNC240
        day = Day(dice, World(SqliteStore(folder), clock=QuickClock(20)))
    day.script()
    lives = dice.randint(1, 4) if folder else 1
    try:
        for life in range(lives):
            await day.live(is_last=life == lives - 1)
    except BaseException as error:
        error.add_note(f"seed {seed}, {day.kills} kills")
        raise
