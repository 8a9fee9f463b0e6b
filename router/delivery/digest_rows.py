"""The rows of digests: one for each member, which waits, and one for the digest, which closes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from router.delivery.blobs import pack_record, unpack_record
from router.delivery.job import event_hash
from router.events import Record
from router.ledger import Kind, Row, State
from router.messages import Reason
from router.planning import Member, derived_key
from router.planning.policies import Bypass

DIGESTS = "@digests"
"""The internal sink that digests and their members belong to."""

COLLECTED = Reason("digest", "it is told of in a digest")


@dataclass(frozen=True, slots=True)
class DigestHead:
    """What the flush of a digest has to know of it, or of one of its members.

    Attributes:
        route, recipient, source: Names; the source's ``decode`` reads records again.
        category: Of the route, for silences, which ``is_unsilenceable`` members pass by.
        cancel_scopes: See ``Member``; a digest has none of its own.
        waits_since: Of a digest whose recipient could not be looked up: when that began.
    """

    route: str
    recipient: str
    source: str
    tenant: str = ""
    category: str = ""
    is_unsilenceable: bool = False
    cancel_scopes: tuple[tuple[str, float], ...] = ()
    waits_since: float | None = None


def digest_key(member: Member) -> bytes:
    """The key of the digest that this member opens, if it opens one."""
    return derived_key(member.key, "digest")


def member_row(member: Member, source: str, now: float) -> Row:
    """The row of a member, which waits until its digest has closed.

    Args:
        source: The name of the source that the event came from.
    """
    event = member.event
    return Row(
        key=member.key,
        kind=Kind.DELIVERY,
        state=State.WAITING,
        sink=DIGESTS,
        first_at=now,
        cancel_scope=member.cancel_scopes[0][0] if member.cancel_scopes else None,
        event_time=event.time,
        event_hash=event_hash(event),
        position=event.record.position,
        reason=COLLECTED,
        blob=pack_record(_facts(_head(member, source)), event.record),
    )


def digest_blob(member: Member, source: str) -> bytes:
    """The blob of the digest that this member opens."""
    head = _head(member, source)
    return orjson.dumps(_facts(DigestHead(head.route, head.recipient, head.source, head.tenant)))


def waiting_blob(head: DigestHead, since: float) -> bytes:
    """The blob of a digest that waits for the directory since then."""
    return orjson.dumps(_facts(replace(head, waits_since=since)))


def read_member(row: Row) -> tuple[DigestHead, Record]:
    """What :func:`member_row` was given."""
    assert row.blob is not None
    facts, record = unpack_record(row.blob)
    return _read(facts), record


def read_digest(row: Row) -> DigestHead:
    """What :func:`digest_blob` was given."""
    assert row.blob is not None
    return _read(orjson.loads(row.blob))


def _head(member: Member, source: str) -> DigestHead:
    return DigestHead(
        route=member.route.id,
        recipient=member.recipient.id,
        source=source,
        tenant=member.tenant,
        category=member.route.category or "",
        is_unsilenceable=Bypass.SILENCES in member.route.policy.bypass,
        cancel_scopes=member.cancel_scopes,
    )


def _facts(head: DigestHead) -> dict[str, Any]:
    facts = {
        "route": head.route,
        "recipient": head.recipient,
        "source": head.source,
        "tenant": head.tenant,
        "category": head.category,
        "unsilenceable": head.is_unsilenceable,
        "cancel": head.cancel_scopes,
        "waits_since": head.waits_since,
    }
    return {name: fact for name, fact in facts.items() if fact}


def _read(facts: Mapping[str, Any]) -> DigestHead:
    return DigestHead(
        route=facts["route"],
        recipient=facts["recipient"],
        source=facts["source"],
        tenant=facts.get("tenant", ""),
        category=facts.get("category", ""),
        is_unsilenceable=facts.get("unsilenceable", False),
        cancel_scopes=tuple((scope, within) for scope, within in facts.get("cancel", ())),
        waits_since=facts.get("waits_since"),
    )
