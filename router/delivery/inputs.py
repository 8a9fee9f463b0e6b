"""Events that wait for the directory: as ledger rows, and planned once profiles can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, final

import anyio

from router.clock import Clock
from router.delivery.dead_letters import event_dead_letter_row
from router.delivery.dispatch import Dispatcher
from router.delivery.fallbacks import started_rows
from router.delivery.input_rows import INPUT_WAITS
from router.delivery.job import pack_record, unpack_record
from router.delivery.settling import Settler
from router.events import DecodeConfig, Event, Poison, Record, Replay, decode
from router.ledger import Row, Settle, State
from router.messages import Reason
from router.planning import Draft, Route, Ruleset, backoff, plan, select
from router.recipients import Found

_YIELD_EVERY = 20
_GONE = Reason("route_gone", "its route or source is not configured any more")


@dataclass(frozen=True, slots=True)
class _Input:
    """A row, and what it says."""

    row: Row
    head: Mapping[str, Any]
    record: Record
    route: Route
    event: Event
    drafts: Sequence[Draft]


@final
class Inputs:
    """Asks the directory again for the recipients of rows that came out of the schedule.

    Attributes:
        decodings: Of each source, to read kept records again.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        decodings: Mapping[str, DecodeConfig],
        settler: Settler,
        clock: Clock,
        random: Random,
    ) -> None:
        self.decodings = decodings
        self._dispatcher = dispatcher
        self._settler = settler
        self._clock = clock
        self._random = random

    async def resume(self, rows: Sequence[Row]) -> None:
        """Plans what can be planned now; the rest waits on, up to three days."""
        rules = self._dispatcher.rules
        inputs = [i for row in rows if (i := self._read(row, rules)) is not None]
        profiles = await self._dispatcher.profiles(d.id for i in inputs for d in i.drafts)
        for given in inputs:
            await self._plan(given, [profiles[d.id] for d in given.drafts], rules)

    def _read(self, row: Row, rules: Ruleset) -> _Input | None:
        """What a row says; one that can't be read any more is dead."""
        assert row.blob is not None
        head, record = unpack_record(row.blob)
        route = rules.routes.get(head["route"])
        decoding = self.decodings.get(head["source"])
        event = decode(record, decoding) if decoding else None
        if route is None or event is None or isinstance(event, Poison):
            self._end(row, head, record, _GONE)
            return None
        ids = set(head["ids"])
        drafts = tuple(d for d in select(route, event).drafts if d.id in ids)
        return _Input(row, head, record, route, event, drafts)

    async def _plan(self, given: _Input, found: Sequence[Found], rules: Ruleset) -> None:
        row, route, event, now = given.row, given.route, given.event, self._clock.now()
        planned = plan(route, event, given.drafts, found, rules.divert, with_event_steps=False)
        follow_ups: list[Row] = []
        for number, delivery in enumerate(planned.deliveries, 1):
            follow_ups += started_rows(delivery, rules, now)
            if number % _YIELD_EVERY == 0:
                await anyio.lowlevel.checkpoint()
        replay = Replay(frozenset(), None, given.head["hop"]) if given.head["hop"] else None
        self._dispatcher.fail_all(planned.failures, event, None, replay)
        for failure in planned.suppressed:
            self._dispatcher.fail(failure, event, None, replay, state=State.SUPPRESSED)
        first_at = row.first_at if row.first_at is not None else now
        if not planned.waiting:
            after = replace(row, state=State.DELIVERED, blob=None, reason=None)
        elif now - first_at > INPUT_WAITS.give_up:
            reason = planned.why_waiting or Reason("directory")
            self._end(row, given.head, given.record, reason, follow_ups)
            return
        else:
            head = {**given.head, "ids": [draft.id for draft in planned.waiting]}
            after = replace(
                row,
                state=State.SCHEDULED,
                attempts=row.attempts + 1,
                first_at=first_at,
                due=now + backoff(row.attempts + 1, INPUT_WAITS, self._random.random()),
                reason=planned.why_waiting,
                blob=pack_record(head, given.record),
            )
        self._settler.write(Settle(after, follow_ups=tuple(follow_ups)), route=route.id)

    def _end(
        self,
        row: Row,
        head: Mapping[str, Any],
        record: Record,
        reason: Reason,
        follow_ups: Sequence[Row] = (),
    ) -> None:
        letter = event_dead_letter_row(
            record,
            reason,
            self._clock.now(),
            stage="recipients",
            route=head["route"],
            member=row.key.hex(),
            hop=head["hop"],
        )
        dead = replace(row, state=State.DEAD, reason=reason)
        settle = Settle(dead, follow_ups=(*follow_ups, letter))
        self._settler.write(settle, route=head["route"])
