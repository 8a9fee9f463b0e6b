"""Events that wait for the directory: planned once profiles can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, final

from router.clock import Clock
from router.delivery.blobs import pack_record, unpack_record
from router.delivery.dead_letters import event_dead_letter_row
from router.delivery.dispatch import Dispatcher, Work
from router.delivery.input_rows import INPUT_WAITS, asked_again, replay_of
from router.delivery.offsets import Ticket
from router.delivery.readings import Readings
from router.delivery.settling import Settler
from router.delivery.under_way import UnderWay
from router.events import Event, Record
from router.ledger import Row, Settle, State
from router.messages import Reason
from router.planning import Route, Ruleset, UnknownTenant, select

_AT_ONCE = 500
_GONE = Reason("route_gone", "its route or source is not configured any more")


@dataclass(slots=True)
class _Input:
    """A row that came out of the schedule, and what it says.

    Attributes:
        waiting: Ids of recipients who could not be looked up this time either.
        why: Why not.
    """

    row: Row
    head: Mapping[str, Any]
    record: Record
    route: Route
    event: Event
    waiting: list[str] = field(default_factory=list[str])
    why: Reason | None = None


@final
class Inputs:
    """Asks the directory again for the recipients of rows that came out of the schedule.

    Such a row is worked on as a record is; see :class:`UnderWay`.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        readings: Readings,
        settler: Settler,
        clock: Clock,
        random: Random,
    ) -> None:
        self._readings = readings
        self._dispatcher = dispatcher
        self._settler = settler
        self._clock = clock
        self._random = random
        self._under_way = UnderWay(dispatcher, clock)

    async def resume(self, rows: Sequence[Row]) -> None:
        """Plans what can be planned now; the rest waits on, up to three days.

        Raises:
            LedgerDown: some rows stay as they are, and come back when their claim has ended.
        """
        rules = self._dispatcher.rules
        inputs: list[tuple[_Input, Work]] = []
        for row in rows:
            if row.key not in self._under_way and (read := self._read(row, rules)):
                inputs.append(read)
                if sum(len(work.drafts) for _, work in inputs) >= _AT_ONCE:
                    await self._plan(inputs)
                    inputs = []
        await self._plan(inputs)

    def _read(self, row: Row, rules: Ruleset) -> tuple[_Input, Work] | None:
        """What a row says; one that can't be read any more is dead."""
        assert row.blob is not None
        head, record = unpack_record(row.blob)
        route = rules.routes.get(head["route"])
        event = self._readings.of(head["source"], record)
        if route is None or event is None:
            self._die(row, head, record, _GONE)
            return None
        tenant = rules.tenants.of(event)
        if isinstance(tenant, UnknownTenant):
            self._die(row, head, record, tenant.reason)
            return None
        ids = set(head["ids"])
        given = _Input(row, head, record, route, event)
        work = Work(
            event,
            route,
            rules,
            tuple(draft for draft in select(route, event).drafts if draft.id in ids),
            Ticket(lambda _: self._end(given)),
            head["source"],
            replay_of(head),
            tenant,
            with_event_steps=head.get("whole", False),
            is_resumed=True,
        )
        return given, work

    async def _plan(self, inputs: Sequence[tuple[_Input, Work]]) -> None:
        planned = await self._under_way.plan({given.row.key: work for given, work in inputs})
        for (given, work), result in zip(inputs, planned, strict=True):
            given.waiting = [draft.id for draft in result.waiting]
            given.why = result.why_waiting
            work.ticket.release()

    def _end(self, given: _Input) -> None:
        """All that was planned of it is settled: the row ends, or waits for who is left."""
        row, now = given.row, self._clock.now()
        self._under_way.end(row.key)
        first_at = row.first_at if row.first_at is not None else now
        if not given.waiting:
            done = replace(row, state=State.DELIVERED, blob=None, reason=None)
            self._settler.write(Settle(done))
        elif now - first_at > INPUT_WAITS.give_up:
            reason = given.why or Reason("directory")
            self._die(row, {**given.head, "ids": given.waiting}, given.record, reason)
        else:
            head = {**given.head, "ids": given.waiting, "whole": False}
            blob = pack_record(head, given.record)
            again = asked_again(row, given.why, now, self._random.random())
            self._settler.write(Settle(replace(again, first_at=first_at, blob=blob)))

    def _die(self, row: Row, head: Mapping[str, Any], record: Record, reason: Reason) -> None:
        replay = replay_of(head)
        letter = event_dead_letter_row(
            record,
            reason,
            self._clock.now(),
            stage="recipients",
            route=head["route"],
            member=row.key.hex(),
            hop=replay.hop if replay else 0,
            tenant=head.get("tenant", ""),
        )
        self._settler.write(
            Settle(replace(row, state=State.DEAD, reason=reason), follow_ups=(letter,))
        )
