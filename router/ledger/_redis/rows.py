"""Rows and facts as scripts take and give them: MessagePack, with False for None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from router.ledger._model import Fact, Join, Kind, ProgressKey, Row, State
from router.messages import Reason

KINDS = {kind.value.encode(): kind for kind in Kind}
STATES = {state.value.encode(): state for state in State}

_NORMAL = 1
"""The rank of a row that was written before there were ranks."""


def packed(row: Row) -> list[Any]:
    """A row, and its message or False."""
    reason, blob = row.reason, row.blob
    fields = [
        row.key,
        row.kind.value,
        row.state.value,
        to_store(row.sink),
        row.epoch,
        row.owner,
        row.lease_until,
        row.due,
        row.attempts,
        row.first_at,
        row.expires_at,
        row.family,
        row.wait_on,
        row.waits_for,
        ",".join(row.starts_on),
        None if row.order_scope is None else to_store(row.order_scope),
        row.seq,
        None if row.cancel_scope is None else to_store(row.cancel_scope),
        row.event_time,
        row.event_hash,
        to_store(row.position),
        None if reason is None else reason.code,
        None if reason is None else to_store(reason.text),
        row.updated,
        row.doubtful,
        None if blob is None else len(blob),
        0,
        row.rank,
    ]
    return [[False if field is None else field for field in fields], or_false(blob)]


def packed_join(join: Join) -> list[Any]:
    return [
        to_store(join.scope),
        join.key,
        *packed(join.member),
        to_store(join.sink),
        join.window,
        join.most,
        join.extend,
        or_false(join.at_most),
        join.blob,
    ]


def packed_reason(reason: Reason) -> list[bytes]:
    return [to_store(reason.code), to_store(reason.text)]


def row_of(answer: Sequence[Any]) -> Row:
    """The row from what :func:`packed` gave, as a script sends it back."""
    fields, blob = answer
    (
        key,
        kind,
        state,
        sink,
        epoch,
        owner,
        lease_until,
        due,
        attempts,
        first_at,
        expires_at,
        family,
        wait_on,
        waits_for,
        starts_on,
        order_scope,
        seq,
        cancel_scope,
        event_time,
        event_hash,
        position,
        code,
        text,
        updated,
        doubtful,
        _,
        _,
        *rank,
    ) = fields
    return Row(
        key=key,
        kind=KINDS[kind],
        state=STATES[state],
        sink=from_store(sink),
        epoch=epoch,
        owner=None if owner is False else from_store(owner),
        lease_until=seconds(lease_until),
        due=seconds(due),
        attempts=attempts,
        first_at=seconds(first_at),
        expires_at=seconds(expires_at),
        family=or_none(family),
        wait_on=or_none(wait_on),
        waits_for=waits_for,
        starts_on=tuple(from_store(starts_on).split(",")) if starts_on else (),
        order_scope=None if order_scope is False else from_store(order_scope),
        seq=None if seq is False else seq,
        cancel_scope=None if cancel_scope is False else from_store(cancel_scope),
        event_time=float(event_time),
        event_hash=event_hash,
        position=from_store(position),
        reason=None if code is False else Reason(from_store(code), from_store(text)),
        blob=or_none(blob),
        updated=float(updated),
        doubtful=doubtful,
        rank=rank[0] if rank else _NORMAL,
    )


def fact_of(answer: Sequence[Any]) -> Fact:
    """A fact from (scope, member, value, until, at, blob)."""
    scope, member, value, until, at, blob = answer
    return Fact(
        from_store(scope),
        from_store(member),
        from_store(value),
        seconds(until),
        float(at),
        or_none(blob),
    )


def progress_field(key: ProgressKey) -> bytes:
    return to_store(f"{key.group}\0{key.topic}\0{key.partition}")


def to_store(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def from_store(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def or_false(value: Any) -> Any:
    return False if value is None else value


def or_none(value: Any) -> Any:
    return None if value is False else value


def seconds(value: Any) -> float | None:
    """A time; scripts send whole ones as integers."""
    return None if value is False else float(value)
