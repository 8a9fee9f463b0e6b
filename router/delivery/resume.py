"""Work out of the schedule: deliveries, dead letters, events whose directory was away.

Each has a loop of its own, so that a dead-letter topic or a directory that does not answer keeps
back nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from random import Random
from typing import final

import anyio

from router.clock import Clock
from router.delivery.dead_letters import DEAD_LETTERS
from router.delivery.digest_rows import DIGESTS
from router.delivery.digests import Digests
from router.delivery.dispatch import Dispatcher, with_fallbacks
from router.delivery.due import DueDeliveries
from router.delivery.endpoints import complete
from router.delivery.feedback import FEEDBACK
from router.delivery.input_rows import INPUTS
from router.delivery.inputs import Inputs
from router.delivery.job import Job, render_job
from router.delivery.kept_events import digest_events
from router.delivery.outbox import Outbox
from router.delivery.queue import BULK_EVERY
from router.delivery.readings import Readings
from router.delivery.removed import without_sink
from router.delivery.settling import Settler
from router.delivery.signal import Signal
from router.events import DeadLetter, Event, Feedback
from router.ledger import LedgerDown, Row, Settle
from router.messages import Reason
from router.planning import (
    ENDPOINT,
    NO_ENDPOINT,
    Dead,
    Delivery,
    Planned,
    Ruleset,
    Scheduled,
    Settlement,
    Suppressed,
    UnknownTenant,
    barred,
    draft_for,
    plan,
    select,
)
from router.planning.policies import Rank
from router.recipients import Unavailable
from router.telemetry import Metrics

_AT_ONCE = 200
_LOOK_S = 0.25
_EXPIRE_EVERY_S = 1.0
_SHORTEST_LEASE_S = 30.0
_DIRECTORY_S = 30.0
_STOPPED = Reason("stopped", "the process stops")
_NOT_PLANNED = Reason("not_planned", "the route does not plan this delivery any more")


@final
class Resumer:
    """Pulls due rows and sends each where it belongs.

    Args:
        feedback: None where nobody wants any; what waits then stays where it is.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        readings: Readings,
        settler: Settler,
        letters: Outbox[DeadLetter],
        feedback: Outbox[Feedback] | None,
        clock: Clock,
        metrics: Metrics,
        random: Random,
        *,
        batch: int,
    ) -> None:
        self._dispatcher = dispatcher
        self._settler = settler
        self._ledger = settler.ledger
        self._letters_out = letters
        self._feedback_out = feedback
        self._inputs = Inputs(dispatcher, readings, settler, clock, random)
        self._digests = Digests(dispatcher, readings, settler, clock, metrics, random)
        self._due = DueDeliveries(settler, clock, metrics)
        self._readings = readings
        self._clock = clock
        self._random = random
        self._batch = batch
        self._stopping = False
        self._takes = 0
        self._at_work = anyio.Lock()
        self._inputs_scope = anyio.CancelScope()
        self._inputs_ended = anyio.Event()
        self._unplanned: deque[Job] = deque()
        self._has_unplanned = Signal()

    async def run(self) -> None:
        """Pulls what is due, for ever; deliveries only for lanes that have room."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                partial(
                    self._pull,
                    self._lanes_with_room,
                    self._deliveries,
                    self._at_work,
                    are_lanes=True,
                )
            )
            tasks.start_soon(self._pull, lambda: {DEAD_LETTERS: _AT_ONCE}, self._letters)
            tasks.start_soon(self._pull_inputs)
            if self._feedback_out is not None:
                tasks.start_soon(self._pull, lambda: {FEEDBACK: _AT_ONCE}, self._feedback)
            tasks.start_soon(self._plan_again)
            tasks.start_soon(self._expire)

    async def stop(self) -> None:
        """Takes nothing out of the schedule any more; returns once no delivery is on its way."""
        self._stopping = True
        self._inputs_scope.cancel()
        await self._inputs_ended.wait()
        async with self._at_work:
            for job in self._unplanned:
                self._settler.settle(job, Scheduled(self._clock.now(), _STOPPED))
            self._unplanned.clear()

    # Loops --------------------------------------------------------------------------------------

    async def _pull_inputs(self) -> None:
        """Ends at once when told to: a row that is being looked up comes back later."""
        try:
            with self._inputs_scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._pull, lambda: {INPUTS: _AT_ONCE}, self._directory)
                    tasks.start_soon(self._pull, lambda: {DIGESTS: _AT_ONCE}, self._collected)
        finally:
            self._inputs_ended.set()

    async def _pull(
        self,
        wanted: Callable[[], Mapping[str, int]],
        work: Callable[[Sequence[Row], float], Awaitable[None]],
        lock: anyio.Lock | None = None,
        *,
        are_lanes: bool = False,
    ) -> None:
        """Looks when something may have become due; of lanes, also when one may have room again."""
        while True:
            changed, wrote = self._settler.changed.next, self._settler.wrote.next
            pause, sinks = _LOOK_S, {}
            async with lock or nullcontext():
                try:
                    if sinks := wanted():
                        asked = self._clock.monotonic()
                        rows = await self._take(sinks, by_rank=are_lanes)
                        if rows:
                            await work(rows, asked)
                        pause = await self._pause(sinks, rows)
                except LedgerDown:
                    pause = 2 * _LOOK_S
            lacks_room = are_lanes and not self._dispatcher.lanes.keys() <= sinks.keys()
            with anyio.move_on_after(pause):
                await (wrote if lacks_room else changed).wait()

    async def _take(self, sinks: Mapping[str, int], *, by_rank: bool) -> Sequence[Row]:
        """What is due, urgent rows first; where there are none, bulk ones have a few places now
        and then, so that they are slow and not stuck."""
        self._takes += by_rank
        if by_rank and self._takes % BULK_EVERY == 0:
            few = {sink: max(1, count // BULK_EVERY) for sink, count in sinks.items()}
            ranks = [Rank.URGENT, Rank.BULK]
            if rows := await self._ledger.due(few, self._lease, ranks=ranks):
                return rows
        return await self._ledger.due(sinks, self._lease)

    async def _pause(self, wanted: Mapping[str, int], rows: Sequence[Row]) -> float:
        """Seconds until it is worth looking again."""
        if rows:
            return 0.005
        due = await self._ledger.next_due(list(wanted))
        return _LOOK_S if due is None else min(_LOOK_S, max(0.01, due - self._clock.now()))

    @property
    def _lease(self) -> float:
        leases = (lane.lease_s for lane in self._dispatcher.lanes.values())
        return max(_SHORTEST_LEASE_S, *leases, 0.0)

    def _lanes_with_room(self) -> Mapping[str, int]:
        if self._stopping or not self._ledger.may_take_over(self._lease):
            return {}
        lanes = self._dispatcher.lanes
        wanted = {
            name: min(room, self._batch)
            for name, lane in lanes.items()
            if (room := lane.room_for_due()) > 0
        }
        for name in self._dispatcher.rules.removed:
            if name not in lanes:
                wanted[name] = self._batch
        return wanted

    async def _letters(self, rows: Sequence[Row], asked: float) -> None:
        for row in await self._letters_out.publish(rows):
            self._settler.write(Settle(row))

    async def _feedback(self, rows: Sequence[Row], asked: float) -> None:
        assert self._feedback_out is not None
        for row in await self._feedback_out.publish(rows):
            self._settler.write(Settle(row))

    async def _directory(self, rows: Sequence[Row], asked: float) -> None:
        await self._inputs.resume(rows)

    async def _collected(self, rows: Sequence[Row], asked: float) -> None:
        await self._digests.flush(rows)

    async def _expire(self) -> None:
        """Ends deliveries at their time also where nobody looks at them: before a closed sink or
        one that is gone, behind another one in order, in a backlog."""
        while True:
            rows: Sequence[Row] = ()
            async with self._at_work:
                if not self._stopping and self._ledger.may_take_over(self._lease):
                    with suppress(LedgerDown):
                        rows = await self._ledger.expired(self._batch, self._lease)
                    self._due.expire(rows)
            await self._clock.sleep(_LOOK_S if len(rows) == self._batch else _EXPIRE_EVERY_S)

    # Deliveries ---------------------------------------------------------------------------------

    async def _deliveries(self, rows: Sequence[Row], asked: float) -> None:
        dues = {row.key: row.due for row in rows}
        for job in await self._due.sift(rows, asked):
            if job.sink not in self._dispatcher.lanes:
                self._put(job, dues[job.key])
            elif job.message is None or job.target.kind == ENDPOINT:
                self._unplanned.append(job)
                self._has_unplanned.give()
            else:
                self._put(job)

    def _put(self, job: Job, due: float | None = None) -> None:
        if lane := self._dispatcher.lanes.get(job.sink):
            lane.put_resumed(job)
        else:
            removed, now = self._dispatcher.rules.removed, self._clock.now()
            self._settler.settle(job, without_sink(job, removed, now, due))

    # Unrendered ---------------------------------------------------------------------------------

    async def _plan_again(self) -> None:
        """Completes deliveries that lack something, one after the other; it asks the directory.

        Without a message they died unrendered and were replayed, or are fallbacks that could not
        be rendered when they were put to wait. To a customer's endpoint they have no secrets.
        """
        while True:
            more = self._has_unplanned.next
            while self._unplanned:
                job = self._unplanned[0]
                settlement = await self._complete(job)
                if not self._unplanned or self._unplanned[0] is not job:
                    continue
                self._unplanned.popleft()
                if settlement is None:
                    self._put(job)
                else:
                    self._settler.settle(job, settlement)
            await more.wait()

    async def _complete(self, job: Job) -> Settlement | None:
        """What becomes of a delivery that can't be completed; None once it is."""
        if job.target.kind == ENDPOINT:
            person = (job.tenant, job.recipient)
            profile = (await self._dispatcher.profiles.of([person]))[person]
            if isinstance(profile, Unavailable):
                return Scheduled(self._clock.now() + _DIRECTORY_S, profile.reason)
            events = self._readings.all_of(job.record)
            if not complete(job, profile, events, self._dispatcher.rules):
                return Suppressed(NO_ENDPOINT)
        return await self._render_again(job) if job.message is None else None

    async def _render_again(self, job: Job) -> Settlement | None:
        """Plans a delivery anew, under today's rules, and renders it; else what becomes of it."""
        rules = self._dispatcher.rules
        for event in self._events(job, rules):
            planned = await self._plan(job, event, rules)
            delivery = _find(planned, job.key)
            if delivery is not None and delivery.barred is not None:
                return barred(delivery.barred)
            if delivery is not None and delivery.target is not None:
                job.delivery, job.rules = delivery, rules
                reason = render_job(job, self._clock.now())
                job.delivery = job.rules = None
                return Dead(reason) if reason else None
            if planned.waiting and planned.why_waiting is not None:
                return Scheduled(self._clock.now() + _DIRECTORY_S, planned.why_waiting)
        return Dead(_NOT_PLANNED)

    def _events(self, job: Job, rules: Ruleset) -> Iterable[Event]:
        """The event that it is of, once for each way in which it can be read."""
        if job.kept is None:
            return self._readings.all_of(job.record)
        route = rules.routes.get(job.route)
        if route is None:
            return ()
        who = job.recipient
        return digest_events(job.kept, job.identity, job.record, route, who, self._readings)

    async def _plan(self, job: Job, event: Event, rules: Ruleset) -> Planned:
        route, tenant = rules.routes.get(job.route), rules.tenants.of(event)
        if route is None or isinstance(tenant, UnknownTenant):
            return Planned()
        is_digest = event.collected is not None
        drafts = [d for d in select(route, event).drafts if d.id == job.recipient]
        if is_digest:
            drafts = [draft_for(route, event, job.recipient)]
        people = [(tenant.name, draft.id) for draft in drafts]
        known = await self._dispatcher.profiles.of(people)
        profiles = [known[person] for person in people]
        return plan(
            route, event, drafts, profiles, rules.divert, is_digest=is_digest, tenant=tenant
        )


def _find(planned: Planned, key: bytes) -> Delivery | None:
    for primary in planned.deliveries:
        for delivery in with_fallbacks(primary):
            if delivery.key == key:
                return delivery
    return None
