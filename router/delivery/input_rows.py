"""The row of an event that waits for the directory: the record, the route, the recipients."""

from __future__ import annotations

from collections.abc import Sequence

from router.delivery.job import event_hash, pack_record
from router.events import Event
from router.ledger import Kind, Row, State
from router.messages import Reason
from router.planning import Draft, Route, Waits, derived_key, record_hash

INPUTS = "@directory"
"""The internal sink that such rows belong to."""

INPUT_WAITS = Waits(first=2.0, factor=2.0, cap=120.0, give_up=259200.0)
"""How often the directory is asked again, and when it is given up. Seconds."""


def input_row(
    event: Event,
    route: Route,
    drafts: Sequence[Draft],
    *,
    source: str,
    hop: int,
    reason: Reason,
    now: float,
) -> Row:
    """A row that keeps an event until these recipients' profiles can be had.

    Args:
        source: The source's name: its ``decode`` reads the record again.
        hop: Of the replay that brought the event, else 0.
    """
    record = event.record
    ids = [draft.id for draft in drafts]
    base = record_hash(record.position, record.timestamp)
    return Row(
        key=derived_key(base, f"input:{hop}:{route.key_id}:{ids[0]}:{len(ids)}"),
        kind=Kind.INPUT,
        state=State.SCHEDULED,
        sink=INPUTS,
        due=now + INPUT_WAITS.first,
        first_at=now,
        event_time=event.time,
        event_hash=event_hash(event),
        position=record.position,
        reason=reason,
        blob=pack_record({"route": route.id, "ids": ids, "source": source, "hop": hop}, record),
    )
