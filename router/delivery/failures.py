"""Routes and recipients that can't be planned: settled without a delivery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import final

from router.clock import Clock
from router.delivery.books import book_once
from router.delivery.dead_letters import event_dead_letter_row
from router.delivery.feedback import of_event
from router.delivery.job import event_hash
from router.delivery.offsets import Ticket
from router.delivery.settling import Settler
from router.events import Event, Replay
from router.ledger import Row, Settle, State
from router.messages import Reason
from router.planning import Failure, Suppressed, derived_key, record_hash
from router.telemetry import Metrics


@final
class Failures:
    """Settles what can't be planned."""

    def __init__(self, settler: Settler, clock: Clock, metrics: Metrics) -> None:
        self._settler = settler
        self._clock = clock
        self._metrics = metrics

    def fail_all(
        self,
        failures: Sequence[Failure],
        event: Event,
        ticket: Ticket | None,
        replay: Replay | None,
        tenant: str,
    ) -> None:
        """Settles recipients that can't be planned: those that die for one reason share a dead
        letter."""
        grouped: dict[Reason, list[Failure]] = defaultdict(list)
        for failure in failures:
            grouped[failure.reason].append(failure)
        for group in grouped.values():
            for index, failure in enumerate(group):
                dying = 0 if index else len(group)
                self.fail(failure, event, ticket, replay, tenant, dying=dying)

    def fail(
        self,
        failure: Failure,
        event: Event,
        ticket: Ticket | None,
        replay: Replay | None,
        tenant: str,
        *,
        state: State = State.DEAD,
        dying: int = 1,
        is_told: bool = True,
    ) -> None:
        """Settles a route, or one recipient of it, that can't be planned.

        Args:
            dying: How many recipients its dead letter stands for; 0 writes none.
            is_told: Of a recipient who is left out, others hear here.
        """
        route = failure.route
        account = self._metrics.route(route.id).sink("")
        hop = replay.hop if replay else 0
        base = record_hash(event.record.position, event.record.timestamp)
        row = Row(
            key=derived_key(base, f"failure:{hop}:{route.key_id}:{failure.member}"),
            state=state,
            event_time=event.time,
            event_hash=event_hash(event),
            position=event.record.position,
            reason=failure.reason,
        )
        beside: tuple[Row, ...] = ()
        if state is State.DEAD and dying:
            letter = event_dead_letter_row(
                event.record,
                _shared(failure.reason, dying),
                self._clock.now(),
                stage="recipients",
                identity=event.identity,
                route=route.id,
                member=failure.member,
                hop=hop,
                tenant=tenant,
            )
            beside = (letter,)
        elif state is State.SUPPRESSED and failure.member and is_told:
            subject = of_event(row.key, event, route.id, failure.member, tenant)
            beside = self._settler.reports(subject, Suppressed(failure.reason))
        if ticket is not None:
            ticket.hold()

        self._settler.write(
            Settle(row, follow_ups=beside),
            ticket,
            done=lambda is_ours: book_once(account, row, is_ours=is_ours),
        )


def _shared(reason: Reason, count: int) -> Reason:
    return reason if count == 1 else Reason(reason.code, f"{reason.text} ({count} recipients)")
