"""What would happen to events: the daemon's own match, plan, admission and render, with nothing
sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import final

from router.authoring.rehearsal_digests import RehearsedDigests
from router.authoring.rehearsal_lines import Lines, Telling, Waiting, heads, left_out, unplanned
from router.authoring.rehearsed import (
    DigestRehearsal,
    EventRehearsal,
    Rehearsed,
    RouteRehearsal,
    Verdict,
)
from router.clock import ManualClock
from router.config import Project
from router.delivery.admission import admit
from router.delivery.cancelling import Marks, end_of, marks_of, merged, times
from router.delivery.dispatch import with_fallbacks
from router.events import DecodeConfig, Event, Poison, Record, decode
from router.ledger.memory import MemoryLedger
from router.messages import Reason
from router.planning import Planned, Route, Ruleset, Tenant, UnknownTenant, plan, select
from router.planning.admission import Refused
from router.planning.silences import Silence
from router.recipients import Directory


@dataclass(slots=True)
class _Played:
    """An event that was tried."""

    event: Event | Poison
    dead: Reason | None = None
    tenant: str = ""
    ends: tuple[str, ...] = ()
    routes: list[Lines] = field(default_factory=list[Lines])


@final
class Rehearsal:
    """Events one after the other, each at its own time: what policies remember of one counts for
    the next. It has a ledger in memory, and a clock that the events move on.

    Args:
        silences: In force from the beginning, each until it ends.
    """

    def __init__(
        self, rules: Ruleset, directory: Directory, silences: Sequence[Silence] = ()
    ) -> None:
        self._rules = rules
        self._directory = directory
        self._silences = silences
        self._clock = ManualClock(0.0)
        self._ledger = MemoryLedger(owner="rehearsal", clock=self._clock)
        self._digests = RehearsedDigests(rules, directory, self._ledger, self._clock, silences)
        self._played: list[_Played] = []
        self._waiting: list[Waiting] = []

    @property
    def told(self) -> list[EventRehearsal]:
        """What would happen to each event, so far: a later one may end what waits."""
        return [
            EventRehearsal(
                one.event,
                tuple(RouteRehearsal(found.route, tuple(found.lines)) for found in one.routes),
                one.ends,
                one.tenant,
                one.dead,
            )
            for one in self._played
        ]

    @property
    def digests(self) -> list[DigestRehearsal]:
        """Those that have closed, in the order in which they did."""
        return [replace(told, lines=tuple(found.lines)) for told, found in self._digests.told]

    async def play(self, event: Event | Poison, now: float) -> None:
        """Tries the next event; digests whose time has come by then close first.

        Args:
            now: When it arrives, seconds since the epoch. Time never goes back.
        """
        await self._close_digests(now)
        now = max(now, self._clock.now())
        self._clock.advance(now - self._clock.now())
        played = _Played(event)
        self._played.append(played)
        if isinstance(event, Poison):
            played.dead = event.reason
            return
        await self._play(event, played, now)
        await self._close_digests(now)

    async def finish(self) -> None:
        """Lets the time pass at which the last digest closes."""
        await self._close_digests(None)

    async def _play(self, event: Event, played: _Played, now: float) -> None:
        interest = self._rules.interest(event)
        tenant = self._rules.tenants.of(event)
        if isinstance(tenant, UnknownTenant):
            played.dead = tenant.reason if interest.routes or interest.marks else None
            return
        played.tenant = tenant.name
        played.ends = tuple(sorted(str(ending) for ending in interest.marks))
        marks = merged(marks_of(event, interest.marks, now, tenant.name))
        await self._ledger.put_facts(marks)
        self._end_what_waits(event, [mark.scope for mark in marks], now)
        for route in interest.routes:
            found = await self._route(route, event, tenant, now)
            self._waiting += found.waiting
            played.routes.append(found)

    async def _close_digests(self, until: float | None) -> None:
        for found in await self._digests.close(until, len(self._played)):
            self._waiting += found.waiting

    def _end_what_waits(self, event: Event, scopes: Sequence[str], now: float) -> None:
        marks = dict.fromkeys(scopes, event.time)
        if not marks:
            return
        for waiting in list(self._waiting):
            if not waiting.is_gone(now) and (end := end_of(waiting, marks)):
                self._waiting.remove(waiting)
                waiting.end(Reason(end.reason.code, f"{event.type} {event.id}".strip()))

    # A route ------------------------------------------------------------------------------------

    async def _route(self, route: Route, event: Event, tenant: Tenant, now: float) -> Lines:
        selected = select(route, event)
        ids = [draft.id for draft in selected.drafts]
        profiles = await self._directory.lookup(ids, tenant.name) if ids else []
        planned = plan(route, event, selected.drafts, profiles, self._rules.divert, tenant=tenant)
        found = Lines(route)
        found.lines += left_out(selected)
        refused = await self._refused(planned, now)
        marks = await self._marks(planned)
        telling = Telling(self._rules, now, refused, marks, self._silences, found)
        telling.deliveries(planned.deliveries)
        for member in planned.members:
            if no := refused.get(member.key):
                found.add(
                    Rehearsed(
                        Verdict.SUPPRESSED,
                        member.recipient.id,
                        reason=no.reason,
                        key=member.key.hex(),
                        at=no.at,
                    )
                )
            else:
                await self._digests.join(member, now, found)
        found.lines += unplanned(planned, selected)
        return found

    async def _refused(self, planned: Planned, now: float) -> dict[bytes, Refused]:
        subjects = [*heads(planned.deliveries), *planned.members]
        verdicts = await admit(self._ledger, subjects, self._silences, now)
        return {s.key: v for s, v in zip(subjects, verdicts, strict=True) if v is not None}

    async def _marks(self, planned: Planned) -> Marks:
        """What events that came before have ended."""
        everything = [d for primary in planned.deliveries for d in with_fallbacks(primary)]
        scopes = {scope for d in everything for scope, _ in d.cancel_scopes}
        return times(await self._ledger.facts(sorted(scopes))) if scopes else {}


# All at once ------------------------------------------------------------------------------------


async def rehearse(
    project: Project,
    records: Iterable[Record],
    decoding: DecodeConfig,
    directory: Directory,
    now: float,
) -> list[EventRehearsal]:
    """Tries every record at one time; asks the directory, sends nothing."""
    events = [(decode(record, decoding), now) for record in records]
    return (await rehearse_events(project.rules(), events, directory)).told


async def rehearse_events(
    rules: Ruleset,
    events: Iterable[tuple[Event | Poison, float]],
    directory: Directory,
    silences: Sequence[Silence] = (),
) -> Rehearsal:
    """Tries events one after the other, each at the time given, until all digests have closed."""
    rehearsal = Rehearsal(rules, directory, silences)
    for event, now in events:
        await rehearsal.play(event, now)
    await rehearsal.finish()
    return rehearsal


async def rehearse_event(
    rules: Ruleset, event: Event | Poison, directory: Directory, now: float
) -> EventRehearsal:
    """The same for one event."""
    return (await rehearse_events(rules, [(event, now)], directory)).told[0]
