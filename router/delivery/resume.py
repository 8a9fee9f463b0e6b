"""Work out of the schedule: deliveries, dead letters, events whose directory was away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import final

import anyio

from router.clock import Clock
from router.delivery.dead_letters import DEAD_LETTERS, Outbox, event_dead_letter_row
from router.delivery.dispatch import Dispatcher
from router.delivery.fallbacks import started_rows
from router.delivery.inputs import INPUT_WAITS, INPUTS
from router.delivery.job import Job, pack_record, unpack, unpack_record
from router.delivery.settling import Settler, book_row
from router.events import DecodeConfig, Event, Poison, Record, decode
from router.ledger import Kind, LedgerDown, Row, Settle, State
from router.messages import Reason
from router.planning import (
    Dead,
    Delivery,
    Scheduled,
    backoff,
    plan,
    render,
    select,
)
from router.telemetry import Metrics
from router.templating import RenderError

_AT_ONCE = 200


@final
class Resumer:
    """Pulls due rows and sends each where it belongs.

    Args:
        decodings: Of each source, to read kept records again.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        decodings: Mapping[str, DecodeConfig],
        settler: Settler,
        outbox: Outbox,
        clock: Clock,
        metrics: Metrics,
        random: Random,
        *,
        batch: int,
    ) -> None:
        self._dispatcher = dispatcher
        self._decodings = decodings
        self._settler = settler
        self._ledger = settler.ledger
        self._outbox = outbox
        self._clock = clock
        self._metrics = metrics
        self._random = random
        self._resume_batch = batch

    async def run(self) -> None:
        """Pulls what is due for lanes that have room, for ever."""
        while True:
            self._settler.soon_due = anyio.Event()
            wanted = {
                name: min(room, self._resume_batch)
                for name, lane in self._dispatcher.lanes.items()
                if (room := lane.room_for_due()) > 0
            }
            wanted |= {DEAD_LETTERS: _AT_ONCE, INPUTS: _AT_ONCE}
            asked = self._clock.monotonic()
            lease = max([30.0, *(lane.lease_s for lane in self._dispatcher.lanes.values())])
            try:
                rows = await self._ledger.due(wanted, lease)
                await self._resume_rows(rows, asked)
                pause = await self._pause(wanted, rows)
            except LedgerDown as error:
                self._dispatcher.ledger_failed(error)
                pause = 0.5
            with anyio.move_on_after(pause):
                await self._settler.soon_due.wait()

    async def _pause(self, wanted: Mapping[str, int], rows: Sequence[Row]) -> float:
        """Seconds until it is worth looking again."""
        if rows:
            return 0.005
        due = await self._ledger.next_due(list(wanted))
        return 0.25 if due is None else min(0.25, max(0.01, due - self._clock.now()))

    async def _resume_rows(self, rows: Sequence[Row], asked: float) -> None:
        letters = [row for row in rows if row.kind is Kind.DEAD_LETTER]
        if letters:
            for row in await self._outbox.publish(letters, self._random.random()):
                self._settler.write(Settle(row))
        for row in rows:
            if row.kind is Kind.INPUT:
                await self._resume_input(row)
            elif row.kind is Kind.DELIVERY:
                await self._resume_delivery(row, asked)

    async def _resume_delivery(self, row: Row, asked: float) -> None:
        job = unpack(row)
        job.claimed_at = asked
        self._metrics.route(job.route).sink(job.sink).resumed()
        lane = self._dispatcher.lanes.get(job.sink)
        if row.state is State.CLAIMED:
            self._metrics.sink(job.sink).in_doubt()
            job.is_repeat = True
            if job.in_doubt == "dead_letter":
                self._settler.settle(job, Dead(Reason("in_doubt", "an earlier attempt broke off")))
                return
        if job.message is None and not await self._render_again(job):
            return
        if lane is None:
            self._settler.settle(job, Scheduled(self._clock.now() + 60, Reason("no_sink")))
        else:
            lane.put_resumed(job)

    async def _render_again(self, job: Job) -> bool:
        """A delivery that died unrendered and was replayed: planned anew, under today's rules."""
        reason = Reason("not_planned", "the route does not plan this delivery any more")
        rules = self._dispatcher.rules
        route = rules.routes.get(job.route)
        event = self._decode(job.record)
        if route is not None and event is not None:
            drafts = [d for d in select(route, event).drafts if d.id == job.recipient]
            profiles = await self._dispatcher.profiles(d.id for d in drafts)
            planned = plan(
                route,
                event,
                drafts,
                [profiles[d.id] for d in drafts],
                self._dispatcher.rules.divert,
            )
            for head in planned.deliveries:
                for delivery in with_fallbacks(head):
                    if delivery.key == job.key and delivery.target is not None:
                        try:
                            now = self._clock.now()
                            job.message = render(delivery, rules.templates, now)
                        except RenderError as error:
                            reason = Reason("render_failed", str(error))
                        else:
                            return True
        self._settler.settle(job, Dead(reason))
        return False

    def _decode(self, record: Record) -> Event | None:
        for decoding in self._decodings.values():
            decoded = decode(record, decoding)
            if not isinstance(decoded, Poison):
                return decoded
        return None

    async def _resume_input(self, row: Row) -> None:
        """Recipients whose profile could not be had: asks the directory again."""
        assert row.blob is not None
        head, record = unpack_record(row.blob)
        now = self._clock.now()
        rules = self._dispatcher.rules
        route = rules.routes.get(head["route"])
        decoding = self._decodings.get(head["source"])
        event = decode(record, decoding) if decoding else None
        if route is None or event is None or isinstance(event, Poison):
            reason = Reason("route_gone", "its route or source is not configured any more")
            self._end_input(row, record, head["route"], reason, now)
            return
        ids = set(head["ids"])
        drafts = tuple(d for d in select(route, event).drafts if d.id in ids)
        profiles = await self._dispatcher.profiles(d.id for d in drafts)
        found = [profiles[d.id] for d in drafts]
        planned = plan(
            route, event, drafts, found, self._dispatcher.rules.divert, with_event_steps=False
        )
        follow_ups = [r for d in planned.deliveries for r in started_rows(d, rules, now)]
        for failure in planned.failures:
            self._dispatcher.fail(failure, event, None, None)
        for failure in planned.suppressed:
            self._dispatcher.fail(failure, event, None, None, state=State.SUPPRESSED)
        books = self._metrics.route(route.id)
        for follow_up in follow_ups:
            if follow_up.kind is Kind.DELIVERY:
                book_row(books.sink(follow_up.sink), follow_up)
        if not planned.waiting:
            done = replace(row, state=State.DELIVERED, blob=None, reason=None)
            self._settler.write(Settle(done, follow_ups=tuple(follow_ups)))
            return
        first_at = row.first_at if row.first_at is not None else now
        if now - first_at > INPUT_WAITS.give_up:
            reason = planned.why_waiting or Reason("directory")
            self._end_input(row, record, route.id, reason, now)
            return
        again = replace(
            row,
            state=State.SCHEDULED,
            attempts=row.attempts + 1,
            first_at=first_at,
            due=now + backoff(row.attempts + 1, INPUT_WAITS, self._random.random()),
            reason=planned.why_waiting,
            blob=pack_record({**head, "ids": [d.id for d in planned.waiting]}, record),
        )
        self._settler.write(Settle(again, follow_ups=tuple(follow_ups)))

    def _end_input(self, row: Row, record: Record, route: str, reason: Reason, now: float) -> None:
        letter = event_dead_letter_row(
            record, reason, now, stage="recipients", route=route, member=row.key.hex()
        )
        dead = replace(row, state=State.DEAD, reason=reason)
        self._settler.write(Settle(dead, follow_ups=(letter,)))


def with_fallbacks(delivery: Delivery) -> Iterable[Delivery]:
    """A delivery and everything that could start after it."""
    yield delivery
    for fallback in delivery.fallbacks:
        yield from with_fallbacks(fallback)
