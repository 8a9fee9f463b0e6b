"""From matched events to jobs on lanes: profiles, plan, look-up by key."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from router.clock import Clock
from router.delivery.admission import admit, try_shadows
from router.delivery.cancelling import late
from router.delivery.failures import Failures
from router.delivery.fallbacks import unreachable_starts
from router.delivery.gone import Address
from router.delivery.hops import note_hops
from router.delivery.input_rows import input_row
from router.delivery.job import Job, event_hash, job_of, render_job
from router.delivery.lane import Lane
from router.delivery.members import Joining, Members
from router.delivery.offsets import Ticket
from router.delivery.profiles import Person, Profiles
from router.delivery.removed import without_sink
from router.delivery.settling import Settler
from router.delivery.silences import Silences
from router.delivery.stages import Stage, reached
from router.delivery.told import revive_told
from router.events import Event, Replay
from router.ledger import Fact, Row, Settle, State
from router.messages import Target
from router.planning import (
    GONE,
    UNREACHABLE,
    Cause,
    Dead,
    Delivery,
    Draft,
    Member,
    Planned,
    Route,
    Ruleset,
    Suppressed,
    Tenant,
    barred,
    plan,
)
from router.planning.admission import SHADOW, Refused, is_free
from router.planning.policies import OPTED_OUT, Mode, RoutePolicy
from router.recipients import Directory, Found
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")


@dataclass(frozen=True, slots=True)
class Work:
    """A route that matched an event, for some of its recipients.

    Attributes:
        rules: The configuration that matched it; it ends under the same.
        source: The source's name.
        replay: What a replay asked for, or None.
        tenant: Whose event it is.
        with_event_steps: Steps that run once per event belong to it too.
        is_resumed: Its row is in the ledger already, and waits on where it has to.
        is_digest: Its event stands for a digest that has closed.
    """

    event: Event
    route: Route
    rules: Ruleset
    drafts: tuple[Draft, ...]
    ticket: Ticket
    source: str
    replay: Replay | None
    tenant: Tenant
    with_event_steps: bool
    is_resumed: bool = False
    is_digest: bool = False


@dataclass(frozen=True, slots=True)
class _Head:
    """A delivery that starts now, and what the ledger knows of it."""

    delivery: Delivery
    work: Work
    row: Row | None = None

    @property
    def policy(self) -> RoutePolicy:
        return self.delivery.route.policy


@final
class Dispatcher:
    """Plans work and hands it to lanes; holds what all sources share.

    Attributes:
        lanes: By the sink's name.
        retiring: Lanes that were replaced and still send what they have claimed.
        failures: Settles what can't be planned.
        profiles: Of people, from the directory.
    """

    def __init__(
        self,
        rules: Ruleset,
        directory: Directory,
        settler: Settler,
        silences: Silences,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.rules = rules
        self.profiles = Profiles(directory)
        self.settler = settler
        self.silences = silences
        self.lanes: dict[str, Lane] = {}
        self.retiring: set[Lane] = set()
        self.ledger = settler.ledger
        self._clock = clock
        self._metrics = metrics
        self.failures = Failures(settler, clock, metrics)
        self._members = Members(settler, clock, metrics)
        self._counted: tuple[Ruleset, Counter[Hashable]] = (rules, Counter())
        settler.contested = self._claim_first

    @property
    def has_room(self) -> bool:
        """No lane is over its capacity, and the ledger takes outcomes."""
        return self.ledger.is_up and not any(lane.is_full for lane in self.lanes.values())

    # Marks --------------------------------------------------------------------------------------

    async def mark(self, marks: Sequence[Fact]) -> None:
        """Writes what events end, and counts what they come too late for.

        Raises:
            LedgerDown: some may be written, some not; write them again.
        """
        await self.ledger.put_facts(marks)
        for lane in [*self.lanes.values(), *self.retiring]:
            if missed := late(lane.claimed, marks):
                self._metrics.sink(lane.name).cancel_late(len(missed))

    # Plan ---------------------------------------------------------------------------------------

    async def plan(self, works: Sequence[Work]) -> list[Planned]:
        """Plans, looks up what the ledger knows, and puts the rest on lanes.

        Each work's ticket hold is released once its deliveries hold the ticket themselves.

        Returns:
            What each work came to.

        Raises:
            LedgerDown: nothing was put anywhere; plan again later.
        """
        profiles = await self.profiles.of((w.tenant.name, d.id) for w in works for d in w.drafts)
        outcomes = await self._plan_all(works, profiles)
        starting = [
            _Head(delivery, work)
            for work, planned in outcomes
            for delivery in _asked_for(work, planned)
        ]
        heads: list[_Head] = []
        while starting:
            known = await self._look_up(starting)
            heads += known
            starting = [follower for head in known for follower in _started_with(head)]
        joining = await self._members.look_up(_joining(outcomes))
        revived = await self._revive(heads)
        await self._revive_told(works, heads)
        refused = await self._admit(heads, joining)
        await self._members.join(joining, refused)
        for work, planned in outcomes:
            self._settle_unplanned(work, planned)
        self._put(heads, revived, refused)
        for work in works:
            work.ticket.release()
        return [planned for _, planned in outcomes]

    async def _plan_all(
        self, works: Sequence[Work], profiles: Mapping[Person, Found]
    ) -> list[tuple[Work, Planned]]:
        """Plans around dead addresses: where one is found, a step may choose another device."""
        gone: set[Address] = set()
        while True:
            of_tenant: dict[str, set[tuple[str, str]]] = defaultdict(set)
            for tenant, sink, address in gone:
                of_tenant[tenant].add((sink, address))
            outcomes = [
                (
                    work,
                    plan(
                        work.route,
                        work.event,
                        work.drafts,
                        [profiles[work.tenant.name, d.id] for d in work.drafts],
                        work.rules.divert,
                        with_event_steps=work.with_event_steps,
                        gone=of_tenant[work.tenant.name],
                        is_digest=work.is_digest,
                        tenant=work.tenant,
                    ),
                )
                for work in works
            ]
            found = await self.settler.gone.among(_addresses(outcomes))
            if found <= gone:
                return outcomes
            gone |= found

    async def _look_up(self, heads: Sequence[_Head]) -> list[_Head]:
        rows = await self.ledger.lookup([head.delivery.key for head in heads])
        reached(Stage.LOOKED_UP)
        return [_Head(h.delivery, h.work, row) for h, row in zip(heads, rows, strict=True)]

    async def _revive(self, heads: Sequence[_Head]) -> set[bytes]:
        """A replay revives the dead deliveries it asks for; their keys."""
        hops = {
            head.delivery.key: head.work.replay.hop
            for head in heads
            if head.work.replay is not None and head.row and head.row.state is State.DEAD
        }
        if not hops:
            return set()
        keys, now = list(hops), self._clock.now()
        await note_hops(self.ledger, hops, now)
        answers = await self.ledger.reschedule(keys, now)
        self.settler.changed.give()
        return {key for key, is_revived in zip(keys, answers, strict=True) if is_revived}

    async def _revive_told(self, works: Sequence[Work], heads: Sequence[_Head]) -> None:
        """The messages of digests that replays ask for."""
        planned = {head.delivery.key for head in heads}
        asked = {
            replay.delivery_key: replay.hop
            for replay in (work.replay for work in works)
            if replay is not None and replay.delivery_key and replay.delivery_key not in planned
        }
        told = await revive_told(self.ledger, asked, self._clock.now())
        for job in told:
            account = self._metrics.route(job.route).sink(job.sink)
            account.planned()
            account.scheduled("replay")
        if told:
            self.settler.changed.give()

    async def _admit(
        self, heads: Sequence[_Head], joining: Sequence[Joining]
    ) -> dict[bytes, Refused]:
        """Why what the ledger does not know yet is suppressed, by key."""
        silences = self.silences.active
        held = [h for h in heads if h.row is None and (silences or not is_free(h.policy))]
        subjects = [h.delivery for h in held if not h.work.is_digest]
        subjects += [one.member for one in joining if one.row is None]
        if not held and not subjects:
            return {}
        verdicts = await admit(self.ledger, subjects, silences, self._clock.now())
        refused = {s.key: v for s, v in zip(subjects, verdicts, strict=True) if v is not None}
        for head in held:
            if head.work.is_digest and head.policy.mode is Mode.SHADOW:
                refused[head.delivery.key] = Refused(SHADOW)
        shadows = [
            (head.delivery, head.work.rules)
            for head in held
            if head.policy.mode is Mode.SHADOW and head.delivery.barred is None
        ]
        await try_shadows(shadows, self._clock, self._metrics)
        return refused

    def _put(
        self, heads: Sequence[_Head], revived: set[bytes], refused: Mapping[bytes, Refused]
    ) -> None:
        by_sink: dict[str, list[Job]] = defaultdict(list)
        for head in heads:
            delivery, row, ticket = head.delivery, head.row, head.work.ticket
            account = self._metrics.route(delivery.route.id).sink(delivery.step.sink)
            account.planned()
            if row is not None and row.state.settles:
                if delivery.key in revived:
                    account.scheduled("replay")
                else:
                    account.duplicate()
                    self._note_duplicate(row, head.work)
                continue
            ticket.hold()
            job = job_of(delivery, head.work.rules, ticket)
            job.hop = head.work.replay.hop if head.work.replay else 0
            job.is_contested = row is not None
            if row is None and (refusal := refused.get(delivery.key)):
                self.settler.settle(job, Suppressed(refusal.reason))
            elif delivery.barred is not None and row is None:
                self.settler.settle(job, barred(delivery.barred))
            else:
                by_sink[job.sink].append(job)
        for sink, jobs in by_sink.items():
            self.put(sink, jobs)

    def put(self, sink: str, jobs: Sequence[Job]) -> None:
        """Hands jobs to their lane; without one they wait in the schedule."""
        if lane := self.lanes.get(sink):
            lane.put(jobs)
            return
        now = self._clock.now()
        for job in jobs:
            if job.message is None and (reason := render_job(job, now)):
                self.settler.settle(job, Dead(reason))
            else:
                self.settler.settle(job, without_sink(job, self.rules.removed, now))

    def _claim_first(self, job: Job) -> None:
        """Somebody has a claim of it: only a claim of our own can tell what becomes of it."""
        job.is_contested = True
        if lane := self.lanes.get(job.sink):
            lane.put([job])
        else:
            log.error("a delivery waits for sink %s, which is gone: restart", job.sink)

    def _note_duplicate(self, row: Row, work: Work) -> None:
        if row.event_hash and row.event_hash != event_hash(work.event):
            self._metrics.duplicate_event()
        work.ticket.hold()
        self.settler.duplicate(row.key, row.state, work.ticket)

    # What can't be planned ----------------------------------------------------------------------

    def _settle_unplanned(self, work: Work, planned: Planned) -> None:
        event, ticket, replay, tenant = work.event, work.ticket, work.replay, work.tenant.name
        self.failures.fail_all(planned.failures, event, ticket, replay, tenant)
        for failure in planned.suppressed:
            self.failures.fail(
                failure,
                event,
                ticket,
                replay,
                tenant,
                state=State.SUPPRESSED,
                is_told=not work.is_digest,
            )
        if planned.waiting and planned.why_waiting is not None and not work.is_resumed:
            row = input_row(
                event,
                work.route,
                planned.waiting,
                source=work.source,
                replay=replay,
                tenant=tenant,
                reason=planned.why_waiting,
                now=self._clock.now(),
            )
            ticket.hold()
            self.settler.write(Settle(row), ticket)

    # Letting go ---------------------------------------------------------------------------------

    async def let_go(self) -> None:
        """Drops unclaimed work of partitions that leave, waits for their claimed work."""
        lanes = [*self.lanes.values(), *self.retiring]
        for lane in lanes:
            lane.withdraw()
        for lane in lanes:
            await lane.drained(withdrawn=True)
        await self.settler.flush()

    def count_expression_errors(self) -> None:
        """Conditions that could not be evaluated since last asked, into the routes' metrics."""
        rules = self.rules
        counted = self._counted[1] if self._counted[0] is rules else Counter[Hashable]()
        found = Counter(rules.matcher.expression_errors_by_route)
        for route, count in (found - counted).items():
            self._metrics.route(str(route)).expression_error(count)
        self._counted = rules, found


def with_fallbacks(delivery: Delivery) -> Iterable[Delivery]:
    """A delivery and everything that could start after it."""
    yield delivery
    for fallback in delivery.fallbacks:
        yield from with_fallbacks(fallback)


def _addresses(outcomes: Iterable[tuple[Work, Planned]]) -> Iterator[tuple[Address, Target]]:
    """Every address that a sink could find dead."""
    for _, planned in outcomes:
        for primary in planned.deliveries:
            for delivery in with_fallbacks(primary):
                target = delivery.target
                if target is not None and target.address:
                    yield Address(delivery.tenant, delivery.step.sink, target.address), target


def _asked_for(work: Work, planned: Planned) -> list[Delivery]:
    """The deliveries to start with: all primaries, or exactly what a replay names."""
    replay = work.replay
    if replay is None:
        return list(planned.deliveries)
    everything = [d for primary in planned.deliveries for d in with_fallbacks(primary)]
    if replay.delivery_key is not None:
        return [d for d in everything if d.key == replay.delivery_key]
    if not replay.routes or work.route.id in replay.routes:
        return list(planned.deliveries)
    return [d for d in everything if f"{work.route.id}/{d.step.id}" in replay.routes]


def _joining(outcomes: Iterable[tuple[Work, Planned]]) -> list[Joining]:
    """The members of digests, but for those that a replay does not ask for."""
    return [
        Joining(member, work.source, work.ticket)
        for work, planned in outcomes
        for member in planned.members
        if work.replay is None or _asks_for(work.replay, member)
    ]


def _asks_for(replay: Replay, member: Member) -> bool:
    if replay.delivery_key is not None:
        return replay.delivery_key == member.key
    return not replay.routes or member.route.id in replay.routes


def _started_with(head: _Head) -> list[_Head]:
    """Fallbacks of a delivery that is unreachable, or was when an earlier run met it, which may
    have ended before it started them."""
    row = head.row
    if row is None or not row.state.settles:
        # Those of a dead address, or of an unwanted message, are written with its end.
        has_end = head.delivery.barred in (GONE, OPTED_OUT)
        followers = [] if has_end else unreachable_starts(head.delivery)
    elif _was_unreachable(row):
        followers = [f for f in head.delivery.fallbacks if Cause.UNREACHABLE in f.step.causes]
    else:
        followers = []
    return [_Head(follower, head.work) for follower in followers]


def _was_unreachable(row: Row) -> bool:
    is_suppressed = row.state is State.SUPPRESSED
    return is_suppressed and row.reason is not None and row.reason.code == UNREACHABLE.code
