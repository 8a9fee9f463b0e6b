"""Digests of a rehearsal: what they collect, and the message that goes when one closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from router.authoring.rehearsal_lines import Lines, Telling, heads, unplanned, zone_of
from router.authoring.rehearsed import DigestRehearsal, Rehearsed, Verdict
from router.clock import ManualClock
from router.delivery.cancelling import end_of, times
from router.delivery.digest_rows import DIGESTS
from router.delivery.digests import DIGESTED
from router.delivery.members import join_of
from router.events import Event
from router.ledger import Joined, Row, Settle, State
from router.ledger.memory import MemoryLedger
from router.messages import Reason
from router.planning import (
    Delivery,
    Member,
    Planned,
    Route,
    Ruleset,
    Tenant,
    Told,
    UnknownTenant,
    digest_event,
    draft_for,
    plan,
)
from router.planning.admission import SHADOW, Refused
from router.planning.policies import Mode
from router.planning.silences import Silence, silence_over
from router.recipients import Directory

_AT_ONCE: Final = 1000
_LEASE_S: Final = 60.0
_TOLD_ALREADY: Final = Reason("duplicate_event", "it was told of already")


@dataclass(frozen=True, slots=True)
class _Place:
    """A member, and where its line is."""

    member: Member
    lines: Lines
    index: int

    def leave_out(self, reason: Reason) -> None:
        line = self.lines.lines[self.index]
        if line.verdict is Verdict.DIGEST:
            told = replace(line, verdict=Verdict.SUPPRESSED, reason=reason)
            self.lines.lines[self.index] = told


@final
class RehearsedDigests:
    """What is collected, and told of when its time has come.

    Attributes:
        told: The digests that have closed, in the order in which they did.
    """

    def __init__(
        self,
        rules: Ruleset,
        directory: Directory,
        ledger: MemoryLedger,
        clock: ManualClock,
        silences: Sequence[Silence],
    ) -> None:
        self.told: list[tuple[DigestRehearsal, Lines]] = []
        self._rules = rules
        self._directory = directory
        self._ledger = ledger
        self._clock = clock
        self._silences = silences
        self._members: dict[bytes, _Place] = {}

    async def join(self, member: Member, now: float, lines: Lines) -> None:
        """Gives a member its place in a digest, and its line."""
        line = Rehearsed(Verdict.DIGEST, member.recipient.id, key=member.key.hex())
        [joined] = await self._ledger.join([join_of(member, "", now)])
        if not isinstance(joined, Joined):
            lines.add(replace(line, verdict=Verdict.SUPPRESSED, reason=_TOLD_ALREADY))
            return
        place = len(lines.lines)
        self._members[member.key] = _Place(member, lines, place)
        if member.cancel_scopes:
            # No time: how long it can still be cancelled, its digest decides.
            lines.wait(place, member.event.time, member.cancel_scopes, None)
        lines.add(
            replace(
                line,
                until=joined.closes_at,
                zone=zone_of(member.recipient),
                collected=joined.members,
                digest=joined.digest.hex(),
            )
        )

    async def close(self, until: float | None, after: int) -> list[Lines]:
        """Closes the digests whose time comes by then, each at its own.

        Args:
            until: Seconds since the epoch; None: all of them.
            after: How many events there were so far.

        Returns:
            The lines that were told.
        """
        found: list[Lines] = []
        while (due := await self._ledger.next_due([DIGESTS])) is not None:
            if until is not None and due > until:
                break
            self._clock.advance(max(0.0, due - self._clock.now()))
            for row in await self._ledger.due({DIGESTS: _AT_ONCE}, _LEASE_S):
                found.append(await self._close(row, after))
        return found

    async def _close(self, row: Row, after: int) -> Lines:
        now = self._clock.now()
        [rows] = await self._ledger.members([row.key])
        places = [self._members.pop(member.key) for member in rows]
        ended = await self._ended([place.member for place in places], now)
        left: list[Member] = []
        for place in places:
            if reason := ended.get(place.member.key):
                place.leave_out(reason)
            else:
                left.append(place.member)
        await self._ledger.settle(
            [Settle(replace(row, state=State.DELIVERED), "drop", dropped_as=DIGESTED)]
        )
        one = places[0].member
        lines = Lines(one.route)
        if left:
            await self._tell(row.key, left, now, lines)
        told = DigestRehearsal(
            key=row.key.hex(),
            route=one.route,
            recipient=one.recipient.id,
            tenant=one.tenant,
            closed_at=now,
            zone=zone_of(one.recipient),
            after=after,
            events=tuple(member.event for member in left),
            left_out=tuple(
                (place.member.event, ended[place.member.key])
                for place in places
                if place.member.key in ended
            ),
            lines=(),
        )
        self.told.append((told, lines))
        return lines

    async def _ended(self, members: Sequence[Member], now: float) -> dict[bytes, Reason]:
        """Members that are not told of, and why."""
        scopes = sorted({scope for member in members for scope, _ in member.cancel_scopes})
        marks = times(await self._ledger.facts(scopes)) if scopes else {}
        found: dict[bytes, Reason] = {}
        for member in members:
            if end := end_of(_Endable(member.event.time, member.cancel_scopes), marks):
                found[member.key] = end.reason
            elif silence := silence_over(self._silences, member, now):
                found[member.key] = silence.reason
        return found

    async def _tell(self, key: bytes, members: Sequence[Member], now: float, lines: Lines) -> None:
        """Plans the message of a digest, as the daemon does."""
        route, recipient = members[0].route, members[0].recipient.id
        drafts = [draft_for(route, member.event, recipient) for member in members]
        told = [
            Told(member.key, member.event, draft.item)
            for member, draft in zip(members, drafts, strict=True)
        ]
        event, item = digest_event(key, told)
        tenant = self._rules.tenants.of(event)
        assert not isinstance(tenant, UnknownTenant)
        planned = await self._plan(route, event, recipient, item, tenant)
        refused = self._refused(planned, now)
        scopes = sorted({s for d in planned.deliveries for s, _ in d.cancel_scopes})
        marks = times(await self._ledger.facts(scopes)) if scopes else {}
        telling = Telling(self._rules, now, refused, marks, self._silences, lines)
        telling.deliveries(planned.deliveries)
        lines.lines += unplanned(planned)

    async def _plan(
        self, route: Route, event: Event, recipient: str, item: object, tenant: Tenant
    ) -> Planned:
        draft = replace(draft_for(route, event, recipient), item=item)
        profiles = await self._directory.lookup([recipient], tenant.name)
        return plan(
            route,
            event,
            [draft],
            profiles,
            self._rules.divert,
            with_event_steps=False,
            is_digest=True,
            tenant=tenant,
        )

    def _refused(self, planned: Planned, now: float) -> Mapping[bytes, Refused]:
        """What a digest's message is held to: it was let in when its members were."""
        return {
            delivery.key: refused
            for delivery in heads(planned.deliveries)
            if (refused := self._refusal(delivery, now))
        }

    def _refusal(self, delivery: Delivery, now: float) -> Refused | None:
        if delivery.route.policy.mode is Mode.SHADOW:
            return Refused(SHADOW, delivery.route.at)
        silence = silence_over(self._silences, delivery, now)
        return Refused(silence.reason) if silence else None


@dataclass(frozen=True, slots=True)
class _Endable:
    """A member, as marks look at it."""

    event_time: float
    cancel_scopes: tuple[tuple[str, float], ...]
