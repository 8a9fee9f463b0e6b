"""Digests that have closed: their members become one event, which is planned and sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, final

from router.clock import Clock
from router.delivery.cancelling import Marks, end_of, times
from router.delivery.dead_letters import event_dead_letter_row
from router.delivery.digest_rows import DigestHead, read_digest, read_member, waiting_blob
from router.delivery.dispatch import Dispatcher, Work
from router.delivery.feedback import of_collected
from router.delivery.input_rows import INPUT_WAITS, asked_again
from router.delivery.offsets import Ticket
from router.delivery.readings import Readings
from router.delivery.settling import Settler
from router.delivery.under_way import UnderWay
from router.events import Event, Record
from router.ledger import UNCLAIMED, Row, Settle, State
from router.messages import Reason
from router.planning import (
    Dead,
    Planned,
    Route,
    Ruleset,
    Suppressed,
    Told,
    UnknownTenant,
    digest_event,
    draft_for,
)
from router.planning.silences import Muted, Silence, first_over
from router.telemetry import Metrics

DIGESTED: Final = Reason("digested", "it was told of in a digest")
_EMPTY: Final = Reason("empty", "nothing was left to tell of")
_NOTHING: Final = Reason("nothing_to_send", "its route has nothing to send to people")
_GONE: Final = Reason("route_gone", "its route or source is not configured any more")
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class _Member:
    """A member's row, and what it says."""

    row: Row
    head: DigestHead
    record: Record

    @property
    def event_time(self) -> float:
        return self.row.event_time

    @property
    def cancel_scopes(self) -> tuple[tuple[str, float], ...]:
        return self.head.cancel_scopes


@dataclass(slots=True)
class _Digest:
    """A digest that is told of.

    Attributes:
        members: Those that it tells of.
        planned: What it came to; None until it is planned.
    """

    row: Row
    head: DigestHead
    members: tuple[_Member, ...]
    planned: Planned | None = None


@final
class Digests:
    """Tells people of what was collected for them, under today's configuration.

    Such a row is worked on as a record is (see :class:`UnderWay`); its members end with it. A
    process that takes one over plans deliveries of the same keys.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        readings: Readings,
        settler: Settler,
        clock: Clock,
        metrics: Metrics,
        random: Random,
    ) -> None:
        self._readings = readings
        self._dispatcher = dispatcher
        self._settler = settler
        self._ledger = settler.ledger
        self._clock = clock
        self._metrics = metrics
        self._random = random
        self._under_way = UnderWay(dispatcher, clock)

    async def flush(self, rows: Sequence[Row]) -> None:
        """Plans closed digests; those that it can't get to are due again at once.

        Raises:
            LedgerDown: the ledger can't be asked for members or marks.
        """
        left = {row.key: row for row in rows if row.key not in self._under_way}
        try:
            for batch in _batches(list(left.values())):
                await self._flush(batch)
                for row in batch:
                    del left[row.key]
        finally:
            for row in left.values():
                again = replace(row, state=State.SCHEDULED, due=self._clock.now())
                self._settler.write(Settle(again))

    async def _flush(self, rows: Sequence[Row]) -> None:
        found = [
            [_Member(row, *read_member(row)) for row in members]
            for members in await self._ledger.members([row.key for row in rows])
        ]
        marks = await self._marks(found)
        rules, silences = self._dispatcher.rules, self._dispatcher.silences.active
        works: list[tuple[_Digest, Work]] = []
        for row, members in zip(rows, found, strict=True):
            left = [member for member in members if not self._is_ended(member, marks, silences)]
            digest = _Digest(row, read_digest(row), tuple(left))
            if work := self._work(digest, rules):
                works.append((digest, work))
        await self._plan(works)

    async def _marks(self, found: Sequence[Sequence[_Member]]) -> Marks:
        scopes = {scope for members in found for m in members for scope, _ in m.cancel_scopes}
        return times(await self._ledger.facts(sorted(scopes))) if scopes else {}

    # Members ------------------------------------------------------------------------------------

    def _is_ended(self, member: _Member, marks: Marks, silences: Sequence[Silence]) -> bool:
        """Whether it is not to be told of; it ends alone then."""
        ended = end_of(member, marks)
        if ended is not None:
            self._drop(member, ended.reason)
            return True
        if silences and (silence := self._silence_over(member, silences)):
            self._drop(member, silence.reason)
            return True
        return False

    def _silence_over(self, member: _Member, silences: Sequence[Silence]) -> Silence | None:
        head = member.head
        if head.is_unsilenceable:
            return None
        event = self._decode(member)
        muted = Muted(
            route=head.route,
            category=head.category,
            sink="",
            channel="",
            recipient=head.recipient,
            events=lambda: [] if event is None else [event],
        )
        return first_over(silences, muted, self._clock.now())

    def _decode(self, member: _Member) -> Event | None:
        return self._readings.of(member.head.source, member.record)

    def _drop(self, member: _Member, reason: Reason, *follow_ups: Row) -> None:
        row = replace(member.row, state=State.SUPPRESSED, epoch=UNCLAIMED, reason=reason)
        account = self._metrics.route(member.head.route).sink(row.sink)

        def done(is_ours: bool) -> None:
            if is_ours:
                account.resumed()
                account.suppressed(reason.code)

        reports = self._reports(member, Suppressed(reason))
        self._settler.write(Settle(row, follow_ups=(*follow_ups, *reports)), done=done)

    def _reports(self, member: _Member, end: Suppressed | Dead) -> tuple[Row, ...]:
        if self._settler.reporter is None:
            return ()
        subject = of_collected(member.row, member.head, self._decode(member))
        return self._settler.reports(subject, end)

    def _read(self, digest: _Digest, route: Route) -> list[Told]:
        """The members' events, as they are read today; those that can't be read end alone."""
        told: list[Told] = []
        left: list[_Member] = []
        for member in digest.members:
            event = self._decode(member)
            if event is None:
                self._drop(member, _GONE, self._letter(member, _GONE))
            else:
                draft = draft_for(route, event, digest.head.recipient)
                left.append(member)
                told.append(Told(member.row.key, event, draft.item))
        digest.members = tuple(left)
        return told

    def _letter(self, member: _Member, reason: Reason) -> Row:
        return event_dead_letter_row(
            member.record,
            reason,
            self._clock.now(),
            stage="digest",
            route=member.head.route,
            member=member.row.key.hex(),
            tenant=member.head.tenant,
        )

    # Digests ------------------------------------------------------------------------------------

    def _work(self, digest: _Digest, rules: Ruleset) -> Work | None:
        """What is to be planned of it; None where nothing is, and the digest has ended."""
        route = rules.routes.get(digest.head.route)
        if not digest.members:
            self._end(digest, State.SUPPRESSED, _EMPTY)
            return None
        if route is None:
            self._end(digest, State.DEAD, _GONE, self._letter(digest.members[-1], _GONE))
            return None
        told = self._read(digest, route)
        if not told:
            self._end(digest, State.SUPPRESSED, _EMPTY)
            return None
        event, item = digest_event(digest.row.key, told)
        tenant = rules.tenants.of(event)
        if isinstance(tenant, UnknownTenant):
            letter = self._letter(digest.members[-1], tenant.reason)
            self._end(digest, State.DEAD, tenant.reason, letter)
            return None
        draft = replace(draft_for(route, event, digest.head.recipient), item=item)
        return Work(
            event,
            route,
            rules,
            (draft,),
            Ticket(lambda _: self._sent(digest)),
            digest.head.source,
            None,
            tenant,
            with_event_steps=False,
            is_resumed=True,
            is_digest=True,
        )

    async def _plan(self, works: Sequence[tuple[_Digest, Work]]) -> None:
        planned = await self._under_way.plan({digest.row.key: work for digest, work in works})
        for (digest, work), result in zip(works, planned, strict=True):
            digest.planned = result
            work.ticket.release()

    def _sent(self, digest: _Digest) -> None:
        """All that was planned of it is settled: the digest ends, or waits for the directory."""
        self._under_way.end(digest.row.key)
        planned = digest.planned
        assert planned is not None
        if planned.deliveries:
            self._end(digest, State.DELIVERED, DIGESTED)
        elif planned.waiting:
            self._wait(digest, planned.why_waiting or Reason("directory"))
        elif planned.failures:
            self._end(digest, State.DEAD, planned.failures[0].reason)
        elif planned.suppressed:
            self._end(digest, State.SUPPRESSED, planned.suppressed[0].reason)
        else:
            self._end(digest, State.SUPPRESSED, _NOTHING)

    def _end(self, digest: _Digest, state: State, reason: Reason, *letters: Row) -> None:
        """Its members end with it; that it told of them is no news of each."""
        row = replace(digest.row, state=state, reason=reason)
        reports: list[Row] = []
        if reason is not DIGESTED:
            end = Dead(reason) if state is State.DEAD else Suppressed(reason)
            reports = [row for member in digest.members for row in self._reports(member, end)]
        self._settler.write(
            Settle(row, "drop", follow_ups=(*letters, *reports), dropped_as=reason),
            route=digest.head.route,
            members=tuple(member.row.key for member in digest.members),
        )

    def _wait(self, digest: _Digest, reason: Reason) -> None:
        """Its recipient could not be looked up: it is tried again, up to three days."""
        now = self._clock.now()
        since = now if digest.head.waits_since is None else digest.head.waits_since
        if now - since > INPUT_WAITS.give_up:
            self._end(digest, State.DEAD, reason, self._letter(digest.members[-1], reason))
            return
        again = asked_again(digest.row, reason, now, self._random.random())
        self._settler.write(Settle(replace(again, blob=waiting_blob(digest.head, since))))


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Digests of so many members together that they can be held in memory."""
    batch: list[Row] = []
    members = 0
    for row in rows:
        batch.append(row)
        members += max(1, row.waits_for)
        if members >= _AT_ONCE:
            yield batch
            batch, members = [], 0
    if batch:
        yield batch
