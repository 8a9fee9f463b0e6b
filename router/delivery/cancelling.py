"""Events that end the messages of others: their marks, and what the marks end.

A mark is a fact: the time of the latest event that ends what has its scope. It is written before
the event's record is settled. A delivery that has never been claimed is looked at by the ledger in
its claim; one out of the schedule here. What is claimed already is sent, and counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from router.delivery.job import Job
from router.events import Event
from router.ledger import Fact
from router.messages import Reason
from router.planning import Suppressed
from router.planning.policies import is_of_step, mark_scope
from router.planning.ruleset import Ending

CANCELLED = Reason("cancelled", "an event that it is cancelled on came")
SEEN = Reason("seen", "an event that makes it pointless came")

Marks = Mapping[str, float]
"""The time of the latest event that ends what has a scope, by scope."""


class ReadsFacts(Protocol):
    """A ledger, as far as it is asked here."""

    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]: ...


class Endable(Protocol):
    """A delivery, or an event that a digest is to tell of."""

    @property
    def event_time(self) -> float: ...
    @property
    def cancel_scopes(self) -> tuple[tuple[str, float], ...]: ...


def marks_of(event: Event, endings: Iterable[Ending], now: float, tenant: str) -> list[Fact]:
    """The marks that an event of a tenant leaves.

    They are needed for as long as a message that they end may still be held. Where the event is
    old, because it was not read for a while, that is counted from now.
    """
    marks: list[Fact] = []
    for ending in endings:
        scope = mark_scope(ending.name, ending.cancel, event, tenant)
        if scope is not None:
            until = max(event.time, now) + max(ending.cancel.within, ending.hold_s)
            marks.append(Fact(scope, "", repr(event.time), until))
    return marks


def merged(marks: Iterable[Fact]) -> list[Fact]:
    """One mark a scope: the latest, kept for the longest."""
    by_scope: dict[str, Fact] = {}
    for mark in marks:
        known = by_scope.get(mark.scope)
        if known is not None:
            value = max(known.value, mark.value, key=float)
            until = max(known.until or 0.0, mark.until or 0.0)
            mark = Fact(mark.scope, "", value, until)
        by_scope[mark.scope] = mark
    return list(by_scope.values())


async def ended(ledger: ReadsFacts, jobs: Collection[Job]) -> dict[Job, Suppressed]:
    """Which of these deliveries an event has ended, and as what; one call for all of them.

    Raises:
        LedgerDown: nobody knows.
    """
    scopes = sorted({scope for job in jobs for scope, _ in job.cancel_scopes})
    if not scopes:
        return {}
    marks = times(await ledger.facts(scopes))
    return {job: end for job in jobs if (end := end_of(job, marks)) is not None}


def times(facts: Iterable[Fact]) -> Marks:
    """What marks say."""
    return {fact.scope: float(fact.value) for fact in facts}


def end_of(job: Endable, marks: Marks) -> Suppressed | None:
    """What marks make of a delivery: an event ends it that is not older than its own, and came
    within the policy's time after it. None: it goes on."""
    for scope, within in job.cancel_scopes:
        at = marks.get(scope)
        if at is not None and 0 <= at - job.event_time <= within:
            return Suppressed(SEEN if is_of_step(scope) else CANCELLED)
    return None


def late(jobs: Iterable[Job], marks: Iterable[Fact]) -> list[Job]:
    """Those of the claimed deliveries that these marks would have ended, had they come sooner."""
    found = times(marks)
    return [job for job in jobs if job.cancel_scopes and end_of(job, found) is not None]
