"""The row of an event that waits for the directory: the record, the route, the recipients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from router.delivery.blobs import pack_record
from router.delivery.job import event_hash
from router.events import Event, Replay
from router.ledger import Kind, Row, State
from router.messages import Reason
from router.planning import Draft, Route, Waits, backoff, derived_key, record_hash, select

INPUTS = "@directory"
"""The internal sink that such rows belong to."""

INPUT_WAITS = Waits(first=2.0, factor=2.0, cap=120.0, give_up=259200.0)
"""How often the directory is asked again, and when it is given up. Seconds."""


REPLAYED = Reason("replay", "it is tried again")


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
    ids = [draft.id for draft in drafts]
    row = _row(event, route, ids, source=source, replay=replay, tenant=tenant, at=now)
    return replace(row, due=now + INPUT_WAITS.first, reason=reason)


def replay_row(
    event: Event,
    route: Route,
    replay: Replay,
    *,
    source: str,
    tenant: str,
    died_at: float,
    now: float,
) -> Row:
    """A row that has an event tried again for all of a route, as soon as a worker sees it.

    Args:
        source, tenant: As of :func:`input_row`.
        died_at: When its dead letter was written: each letter is tried again once.
    """
    ids = [draft.id for draft in select(route, event).drafts]
    row = _row(
        event, route, ids, source=source, replay=replay, tenant=tenant, at=now, is_whole=True
    )
    return replace(row, key=derived_key(row.key, f"replay:{died_at!r}"), reason=REPLAYED)


def _row(
    event: Event,
    route: Route,
    ids: Sequence[str],
    *,
    source: str,
    replay: Replay | None,
    tenant: str,
    at: float,
    is_whole: bool = False,
) -> Row:
    """A row that is due at once.

    Args:
        is_whole: The steps that run once per event belong to it too.
    """
    record = event.record
    asked = _asked(replay)
    base = record_hash(record.position, record.timestamp)
    head = {"route": route.id, "ids": ids, "source": source, "replay": asked, "tenant": tenant}
    return Row(
        key=derived_key(base, f"input:{asked}:{route.key_id}:{''.join(ids[:1])}:{len(ids)}"),
        kind=Kind.INPUT,
        state=State.SCHEDULED,
        sink=INPUTS,
        due=at,
        first_at=at,
        event_time=event.time,
        event_hash=event_hash(event),
        position=record.position,
        blob=pack_record(head | {"whole": True} if is_whole else head, record),
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
