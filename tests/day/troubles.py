"""What goes wrong in a day: seeded, one thing on top of another."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, final

from router.planning.silences import silence_of
from tests.day.process import PLACES, Process
from tests.day.project import VARIANTS, variant
from tests.day.providers import Mood

_SINKS: Final = ("phones", "iphones", "mail", "bot", "product", "accounting", "crm")
_LOST: Final = ("settle", "claim", "lookup", "put_facts", "admit", "join", "due", "put_progress")
_SILENCES: Final[tuple[dict[str, Any], ...]] = (
    {"route": "tip"},
    {"category": "offers"},
    {"sink": "bot"},
    {"channel": "push"},
    {"recipient": "u1"},
    {"match": {"data.shop": "s1"}},
    {"category": "security"},
)


@final
class Troubles:
    """Brings them on, and ends them when their time is over.

    Args:
        share: How likely one comes with each step; 1 is a day that nobody forgets.
    """

    def __init__(self, dice: Random, share: float = 0.12) -> None:
        self._dice = dice
        self._share = share
        self._ends: list[tuple[float, Callable[[Process], None]]] = []
        self._number = 0

    async def meet(self, process: Process) -> None:
        """Ends what is over, and brings on what is next, if anything is."""
        now = process.around.clock.now()
        over = [end for until, end in self._ends if until <= now]
        self._ends = [(until, end) for until, end in self._ends if until > now]
        for end in over:
            end(process)
        if self._dice.random() < self._share:
            bring_on = self._dice.choice(_KINDS)
            process.around.journal.troubles[bring_on.__name__.replace("_", " ")] += 1
            await bring_on(self, process)

    def all_over(self, process: Process) -> None:
        """As if nothing had been."""
        for _, end in self._ends:
            end(process)
        self._ends.clear()

    def _until(self, process: Process, seconds: float, end: Callable[[Process], None]) -> float:
        until = process.around.clock.now() + seconds
        self._ends.append((until, end))
        return until

    # One by one ---------------------------------------------------------------------------------

    async def _mood(self, process: Process, mood: Mood, longest: float) -> None:
        sink = self._dice.choice(_SINKS)
        provider = process.around.providers[sink]

        def end(_: Process) -> None:
            provider.mood = Mood.WELL

        seconds = self._dice.uniform(20, longest)
        provider.mood, provider.until = mood, self._until(process, seconds, end)

    async def sink_down(self, process: Process) -> None:
        await self._mood(process, Mood.DOWN, 3600)

    async def sink_limits(self, process: Process) -> None:
        await self._mood(process, Mood.LIMITING, 1200)

    async def answers_lost(self, process: Process) -> None:
        await self._mood(process, Mood.LOSING, 600)

    async def sink_hangs(self, process: Process) -> None:
        await self._mood(process, Mood.HANGING, 300)

    async def token_wrong(self, process: Process) -> None:
        await self._mood(process, Mood.REFUSING, 2400)

    async def addresses_gone(self, process: Process) -> None:
        for person in self._dice.sample(sorted(process.around.people.known), 5):
            for device in process.around.people.known[person].devices[:1]:
                for sink in ("phones", "iphones"):
                    process.around.providers[sink].gone.add(device.token)

    async def directory_away(self, process: Process) -> None:
        process.around.people.is_away, since = True, process.around.clock.now()

        def end(process: Process) -> None:
            process.around.people.is_away = False
            process.around.journal.away.append((since, process.around.clock.now()))

        self._until(process, self._dice.uniform(30, 900), end)

    async def letters_down(self, process: Process) -> None:
        process.around.letters.is_down = True

        def end(process: Process) -> None:
            process.around.letters.is_down = False

        self._until(process, self._dice.uniform(30, 1800), end)

    async def ledger_outage(self, process: Process) -> None:
        process.way.is_down = True

        def end(process: Process) -> None:
            process.way.is_down = False

        self._until(process, self._dice.choice([1.0, 10.0, 120.0]), end)

    async def ledger_answer_lost(self, process: Process) -> None:
        process.way.loses.update(self._dice.sample(_LOST, 2))

    async def rebalance(self, process: Process) -> None:
        if process.way.is_down:
            return
        place = self._dice.choice(PLACES)
        await process.source.revoke(place)
        await process.source.assign(place)

    async def reload(self, process: Process) -> None:
        chosen = variant(self._dice.randrange(len(VARIANTS)))
        if not process.way.is_down:
            await process.apply(chosen)

    async def silence(self, process: Process) -> None:
        if process.way.is_down:
            return
        now = process.around.clock.now()
        self._number += 1
        named = {"id": f"s{self._number}", "author": "ops", "comment": "noise", "created": now}
        until = now + self._dice.uniform(60, 7200)
        made = silence_of({**named, "until": until, **self._dice.choice(_SILENCES)})
        await process.insist(lambda: process.worker.silences.add(made))
        process.around.journal.silences.append(made)


_KINDS: Final = (
    Troubles.sink_down,
    Troubles.sink_limits,
    Troubles.answers_lost,
    Troubles.sink_hangs,
    Troubles.token_wrong,
    Troubles.addresses_gone,
    Troubles.directory_away,
    Troubles.letters_down,
    Troubles.ledger_outage,
    Troubles.ledger_answer_lost,
    Troubles.rebalance,
    Troubles.reload,
    Troubles.silence,
)
