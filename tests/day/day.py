"""A day: people and systems, a router, and everything that can go wrong, in simulated time.

while the day lasts:                      a process starts on the ledger
    publish what happens now              troubles come and go
    let time pass                         … or the process is stopped, or killed
put everything right, and let all that waits come to its end
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

import anyio

from router.events import Event, decode
from router.ledger import Kind, Row
from router.planning import plan, select
from router.recipients import Unknown
from tests.contract.delivery.harness import Letters, People
from tests.contract.delivery.sources import Log
from tests.day.journal import Journal, Published
from tests.day.process import DECODE, PLACES, Ledgers, Process, Surroundings, living
from tests.day.project import VARIANTS, variant
from tests.day.providers import Providers
from tests.day.simulated import SimulatedClock, simulated_loop
from tests.day.stream import Incident, Stream, people
from tests.day.troubles import Troubles

DAY_S: Final = 86_400.0
_STARTS: Final = (
    1_774_713_600.0,  # 2026-03-28 16:00 UTC: clocks go forward in Europe
    1_792_857_600.0,  # 2026-10-24 16:00 UTC: and back
    1_798_711_200.0,  # 2026-12-31 10:00 UTC: the year ends
    1_784_030_400.0,  # 2026-07-14 12:00 UTC
)
_STEP_S: Final = 300.0
_PATIENCE_S: Final = 8.0
_LOOK_S: Final = 0.4
_END_S: Final = 8 * DAY_S


@dataclass(frozen=True, slots=True)
class Plan:
    """What kind of day.

    Attributes:
        people: How many there are.
        troubles: How likely one comes with each step.
        kills: How likely a process is killed with each step; half as often it is stopped.
    """

    seed: int
    events: int
    people: int = 400
    troubles: float = 0.25
    kills: float = 0.03
    step_s: float = _STEP_S


async def live(plan: Plan, ledgers: Ledgers) -> Journal:
    """Lets a day pass, and gives what was seen of it."""
    return await _Day(plan, ledgers).run()


class _Day:
    def __init__(self, plan: Plan, ledgers: Ledgers) -> None:
        self._plan = plan
        self._dice = Random(plan.seed)
        self._clock = SimulatedClock(self._dice.choice(_STARTS))
        self._end = self._clock.now() + DAY_S
        known = people(self._dice, plan.people)
        self._journal = Journal(variant(0).rules, known)
        providers = Providers(self._journal, self._clock, Random(self._dice.random()))
        self._around = Surroundings(
            ledgers=ledgers,
            clock=self._clock,
            log=Log(),
            people=People(*known.values()),
            letters=Letters(),
            providers=providers,
            journal=self._journal,
            dice=self._dice,
        )
        self._stream = Stream(Random(self._dice.random()), plan.people)
        self._troubles = Troubles(Random(self._dice.random()), plan.troubles)

    async def run(self) -> Journal:
        while not await self._process():
            pass
        self._journal.records = sum(map(len, self._around.log.records.values()))
        self._journal.letters = self._around.letters.published
        _expect(self._journal, self._around.log)
        return self._journal

    async def _process(self) -> bool:
        """One process; True once the day is over and everything has come to its end."""
        async with living(self._around, variant(self._dice.randrange(len(VARIANTS)))) as process:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, process, tasks.cancel_scope)
                if await self._work(process):
                    tasks.cancel_scope.cancel()
                    return False
                await self._come_to_an_end(process)
                tasks.cancel_scope.cancel()
                return True
        return False

    @staticmethod
    async def _watch(process: Process, scope: anyio.CancelScope) -> None:
        await process.way.dies.wait()
        scope.cancel()

    async def _work(self, process: Process) -> bool:
        """The process's part of the day; True if it is stopped before the day is over."""
        while self._clock.now() < self._end:
            left = self._end - self._clock.now()
            step = min(left, self._dice.uniform(0.2, 1.8) * self._plan.step_s)
            self._publish(round(self._plan.events * step / DAY_S + self._dice.random()))
            await self._troubles.meet(process)
            if self._around.ledgers.is_durable:
                if self._dice.random() < self._plan.kills:
                    self._journal.troubles["killed"] += 1
                    process.way.die_after(self._dice.randint(1, 60))
                elif self._dice.random() < self._plan.kills / 2 and not process.way.is_down:
                    self._journal.troubles["stopped"] += 1
                    return True
            await self._pass_time(process, step)
        return False

    async def _pass_time(self, process: Process, seconds: float) -> None:
        """It works until it is at rest, or for a while; then the rest of the time is gone."""
        until = self._clock.now() + seconds
        patience = min(until, self._clock.now() + _PATIENCE_S)
        while self._clock.now() < patience:
            if await process.is_at_rest():
                if await process.has_taken_all_in():
                    self._journal.rests.append(self._clock.now())
                break
            await anyio.sleep(_LOOK_S)
        left = until - self._clock.now()
        if left > 0 and process.has_nothing_in_hand and simulated_loop().is_quiet:
            simulated_loop().jump(left)

    async def _come_to_an_end(self, process: Process) -> None:
        """Everything is put right, and what waits comes to its end, days later if need be."""
        self._troubles.all_over(process)
        process.way.loses.clear()
        self._around.providers.are_well()
        end = self._clock.now() + _END_S
        ledger = process.way.direct
        while (await process.way.ask(ledger.stats())).backlog:
            assert self._clock.now() < end, "something never ends"
            await self._pass_time(process, 900.0)
        while not await process.is_at_rest():  # noqa: ASYNC110
            await anyio.sleep(_LOOK_S)
        await process.intake.commit()
        self._journal.rests.append(self._clock.now())
        log = self._around.log
        self._journal.rows = {row.key: row for row in await _all(process, Kind.DELIVERY)}
        self._journal.digests = await _all(process, Kind.DIGEST)
        ends = {place: len(log.records.get(place, ())) for place in PLACES}
        self._journal.uncommitted = sum(
            end - log.committed.get(place, 0) for place, end in ends.items()
        )

    # Events -------------------------------------------------------------------------------------

    def _publish(self, count: int) -> None:
        left = self._plan.events - self._journal_records
        for incident in self._stream.take(min(count, left)):
            self._append(incident)

    @property
    def _journal_records(self) -> int:
        return sum(map(len, self._around.log.records.values()))

    def _append(self, incident: Incident) -> None:
        now, key = self._clock.now(), incident.key
        number = self._dice.randrange(3) if key is None else sum(key) % 3
        place = PLACES[number]
        self._around.log.publish(incident.value, place=place, timestamp=now - incident.age, key=key)
        event = decode(self._around.log.records[place][-1], DECODE)
        if isinstance(event, Event) and event.id not in self._journal.events:
            self._journal.events[event.id] = Published(now, event)


async def _all(process: Process, kind: Kind) -> list[Row]:
    """Every row of a kind, without what is in it."""
    found: list[Row] = []
    after: bytes | None = None
    while page := await process.rows(kind, after=after, limit=2000):
        found += [replace(row, blob=None) for row in page]
        after = page[-1].key
    return found


def _expect(journal: Journal, log: Log) -> None:
    """What has to be in the ledger by the configuration: a family for each event, primary step and
    person (of their devices, one may be dead by now), and each member of a digest."""
    for published in journal.events.values():
        event = published.event
        for route in journal.rules.matching(event):
            drafts = select(route, event).drafts
            found = [journal.people.get(draft.id) or Unknown(draft.id) for draft in drafts]
            planned = plan(route, event, drafts, found)
            for primary in planned.deliveries:
                journal.expected[primary.family] = (route.id, event.id)
            for member in planned.members:
                journal.expected[member.key] = (route.id, event.id)
                journal.members[member.key] = (route.id, member.recipient.id, event.id)
