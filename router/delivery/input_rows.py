"""The row of an event that waits for the directory: the record, the route, the recipients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from router.delivery.job import event_hash, pack_record
from router.events import Event, Replay
from router.ledger import Kind, Row, State
from router.messages import Reason
from router.planning import Draft, Route, Waits, backoff, derived_key, record_hash

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
    replay: Replay | None,
    tenant: str,
    reason: Reason,
    now: float,
) -> Row:
    """A row that keeps an event until these recipients' profiles can be had.

    Args:
        source: The source's name: its ``decode`` reads the record again.
        replay: The replay that brought the event, if one did.
        tenant: Whose event it is; empty where no tenants are configured.
    """
    record = event.record
    ids = [draft.id for draft in drafts]
    asked = _asked(replay)
    base = record_hash(record.position, record.timestamp)
    return Row(
        key=derived_key(base, f"input:{asked}:{route.key_id}:{ids[0]}:{len(ids)}"),
        kind=Kind.INPUT,
        state=State.SCHEDULED,
        sink=INPUTS,
        due=now + INPUT_WAITS.first,
        first_at=now,
        event_time=event.time,
        event_hash=event_hash(event),
        position=record.position,
        reason=reason,
        blob=pack_record(
            {"route": route.id, "ids": ids, "source": source, "replay": asked, "tenant": tenant},
            record,
        ),
    )


def _asked(replay: Replay | None) -> list[Any] | None:
    if replay is None:
        return None
    key = replay.delivery_key.hex() if replay.delivery_key else None
    return [sorted(replay.routes), key, replay.hop]


def asked_again(row: Row, reason: Reason | None, now: float, jitter: float) -> Row:
    """The row of what waits for the directory, which gave no answer this time either.

    Args:
        now: Seconds since the epoch.
        jitter: Uniform in [0, 1).
    """
    attempts = row.attempts + 1
    due = now + backoff(attempts, INPUT_WAITS, jitter)
    return replace(row, state=State.SCHEDULED, attempts=attempts, due=due, reason=reason)


def replay_of(head: Mapping[str, Any]) -> Replay | None:
    """What brought the event of an input row, from the facts in its blob."""
    if head["replay"] is None:
        return None
    routes, key, hop = head["replay"]
    return Replay(frozenset(routes), bytes.fromhex(key) if key else None, hop)
