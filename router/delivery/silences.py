"""Silences of all replicas: facts in the ledger, obeyed here within seconds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import final

import orjson

from router.clock import Clock
from router.delivery.fact_watch import LOOK_EVERY_S, FactWatch
from router.delivery.job import Job
from router.delivery.readings import Readings
from router.delivery.watched import WatchedLedger
from router.events import Event
from router.ledger import Fact, LedgerDown
from router.planning.silences import Muted, Silence, first_over, silence_of, silence_to_dict
from router.telemetry import AUDIT, Metrics
from router.telemetry import log as log_line

log = logging.getLogger("router.delivery")

PREFIX = "silence:"
"""What the scopes of silences' facts start with."""


@final
class Silences:
    """What is silenced now."""

    def __init__(
        self, ledger: WatchedLedger, readings: Readings, clock: Clock, metrics: Metrics
    ) -> None:
        self._readings = readings
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._known: dict[str, Silence] = {}
        self._watch = FactWatch(ledger, PREFIX)

    async def load(self) -> None:
        """Takes over what the ledger holds, or what has changed there since.

        Raises:
            LedgerDown: nobody knows.
        """
        await self._look()

    async def obey(self) -> None:
        """Looks for what operators silence, for ever; what is new is in the audit log."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                news = await self._look()
            except LedgerDown:
                continue
            for silence in news:
                _audit(silence)

    async def _look(self) -> list[Silence]:
        """What others have silenced, or given back its voice, since the last look."""
        facts = await self._watch.changes()
        news = [silence for fact in facts if (silence := self._hear(fact)) is not None]
        self._show()
        return news

    @property
    def active(self) -> Sequence[Silence]:
        """Those that have not ended, the oldest first."""
        if not self._known:
            return ()
        now = self._clock.now()
        active = [silence for silence in self._known.values() if silence.until > now]
        return sorted(active, key=lambda silence: (silence.created, silence.id))

    def now(self) -> float:
        """Seconds since the epoch, by the clock that ends silences."""
        return self._clock.now()

    def over(self, job: Job, now: float) -> Silence | None:
        """The silence that keeps a delivery from being sent; None: it may go."""
        if not self._known or job.is_unsilenceable:
            return None
        muted = Muted(
            route=job.route,
            category=job.category,
            sink=job.sink,
            channel=job.channel,
            recipient=job.recipient,
            events=lambda: self._events(job),
        )
        return first_over(self._known.values(), muted, now)

    async def add(self, silence: Silence) -> None:
        """Silences from now on, here and on all replicas.

        Raises:
            LedgerDown: it may or may not be silenced; do it again.
        """
        await self._put(fact_of(silence))

    async def expire(self, silence: Silence) -> None:
        """Ends a silence now.

        Raises:
            LedgerDown: it may or may not have ended; do it again.
        """
        await self._put(ended(silence, self._clock.now()))

    async def _put(self, fact: Fact) -> None:
        await self._ledger.put_facts([fact])
        self._hear(fact)
        self._show()

    def _hear(self, fact: Fact) -> Silence | None:
        """The silence, if it was not known to be so."""
        id = fact.scope.removeprefix(PREFIX)
        silence = read_fact(fact)
        if silence is None or silence.until <= self._clock.now():
            return silence if self._known.pop(id, None) else None
        before, self._known[id] = self._known.get(id), silence
        return None if before is not None and before.until == silence.until else silence

    def _show(self) -> None:
        now = self._clock.now()
        self._known = {id: s for id, s in self._known.items() if s.until > now}
        self._metrics.silences(len(self._known))

    def _events(self, job: Job) -> Iterable[Event]:
        """A delivery's event, or each way in which sources read its record."""
        if job.delivery is not None:
            return [job.delivery.event]
        return self._readings.all_of(job.record)


def _audit(silence: Silence) -> None:
    """Each replica tells of what came through the ledger: who wrote it there may keep no log."""
    log_line(
        AUDIT, logging.INFO, "silence.heard", f"silence {silence.id}",
        silence=silence.id, author=silence.author, comment=silence.comment, until=silence.until,
        route=silence.route, category=silence.category, sink=silence.sink,
    )  # fmt: skip


# As facts ----------------------------------------------------------------------------------------


def fact_of(silence: Silence) -> Fact:
    """A silence as the ledger keeps it, until it ends."""
    value = orjson.dumps(silence_to_dict(silence)).decode()
    return Fact(PREFIX + silence.id, "", value, silence.until)


def ended(silence: Silence, now: float) -> Fact:
    """The fact of a silence that ends now, for all to notice."""
    value = orjson.dumps({**silence_to_dict(silence), "until": now}).decode()
    return Fact(PREFIX + silence.id, "", value, now)


def read_fact(fact: Fact) -> Silence | None:
    """The silence of a fact; None for what this version of the router does not understand."""
    try:
        return silence_of(orjson.loads(fact.value))
    except ValueError as error:
        log.error("a silence can't be understood, so it silences nothing: %s", error)
        return None
