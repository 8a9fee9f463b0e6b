"""Members of digests: put to wait in the ledger, where their digest collects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from router.clock import Clock
from router.delivery.books import book_once
from router.delivery.digest_rows import COLLECTED, DIGESTS, digest_blob, digest_key, member_row
from router.delivery.feedback import of_member
from router.delivery.job import event_hash
from router.delivery.offsets import Ticket
from router.delivery.settling import Settler
from router.ledger import Done, Join, Joined, LedgerDown, Row, Settle, State
from router.messages import Reason
from router.planning import Member, Suppressed
from router.planning.admission import Refused
from router.telemetry import Account, Metrics


@dataclass(frozen=True, slots=True)
class Joining:
    """A member on its way into a digest.

    Attributes:
        source: The name of the source that its event came from.
        ticket: Holds its record's offset.
        row: What the ledger knows of it.
    """

    member: Member
    source: str
    ticket: Ticket
    row: Row | None = None


@final
class Members:
    """Puts members into digests, once each.

    A call whose answer was lost may have put them there all the same: the next look-up tells, and
    they are in the books once.
    """

    def __init__(self, settler: Settler, clock: Clock, metrics: Metrics) -> None:
        self._settler = settler
        self._ledger = settler.ledger
        self._clock = clock
        self._metrics = metrics
        self._unheard: set[bytes] = set()

    async def look_up(self, joining: Sequence[Joining]) -> list[Joining]:
        """With what the ledger knows of each.

        Raises:
            LedgerDown: nobody knows.
        """
        if not joining:
            return []
        rows = await self._ledger.lookup([one.member.key for one in joining])
        return [replace(one, row=row) for one, row in zip(joining, rows, strict=True)]

    async def join(self, joining: Sequence[Joining], refused: Mapping[bytes, Refused]) -> None:
        """Puts those into digests that are let in, and settles the others.

        Raises:
            LedgerDown: nothing is settled; look up and join again.
        """
        if not joining:
            return
        new = [one for one in joining if one.row is None and one.member.key not in refused]
        answers = await self._join(new)
        for one, answer in zip(new, answers, strict=True):
            self._enter(one, answer)
        for one in joining:
            if one.row is not None:
                self._known(one, one.row)
            elif one.member.key in refused:
                self._suppress(one, refused[one.member.key].reason)

    async def _join(self, joining: Sequence[Joining]) -> Sequence[Joined | Done]:
        if not joining:
            return []
        now = self._clock.now()
        try:
            return await self._ledger.join([join_of(o.member, o.source, now) for o in joining])
        except LedgerDown:
            self._unheard |= {one.member.key for one in joining}
            raise

    def _enter(self, one: Joining, answer: Joined | Done) -> None:
        account = self._account(one)
        account.planned()
        if isinstance(answer, Joined) and answer.is_new:
            account.scheduled(COLLECTED.code)
        else:
            account.duplicate()
        state = answer.state if isinstance(answer, Done) else State.WAITING
        self._hold(one, state)

    def _known(self, one: Joining, row: Row) -> None:
        account = self._account(one)
        account.planned()
        if one.member.key in self._unheard:
            account.scheduled(COLLECTED.code)
        else:
            account.duplicate()
            if row.event_hash and row.event_hash != event_hash(one.member.event):
                self._metrics.duplicate_event()
        self._hold(one, row.state)

    def _hold(self, one: Joining, state: State) -> None:
        self._unheard.discard(one.member.key)
        one.ticket.hold()
        self._settler.duplicate(one.member.key, state, one.ticket)

    def _suppress(self, one: Joining, reason: Reason) -> None:
        event, account = one.member.event, self._account(one)
        row = Row(
            key=one.member.key,
            state=State.SUPPRESSED,
            sink=DIGESTS,
            event_time=event.time,
            event_hash=event_hash(event),
            position=event.record.position,
            reason=reason,
        )

        reports = self._settler.reports(of_member(one.member), Suppressed(reason))
        one.ticket.hold()
        self._settler.write(
            Settle(row, follow_ups=reports),
            one.ticket,
            route=one.member.route.id,
            done=lambda is_ours: book_once(account, row, is_ours=is_ours),
        )

    def _account(self, one: Joining) -> Account:
        return self._metrics.route(one.member.route.id).sink(DIGESTS)


def join_of(member: Member, source: str, now: float) -> Join:
    """What asks for a member's place in its digest.

    Args:
        source: The name of the source that its event came from.
    """
    digest = member.route.policy.digest
    assert digest is not None
    return Join(
        scope=member.scope,
        key=digest_key(member),
        member=member_row(member, source, now),
        sink=DIGESTS,
        window=digest.window,
        most=digest.most,
        extend=digest.extend,
        at_most=digest.at_most,
        blob=digest_blob(member, source),
    )
