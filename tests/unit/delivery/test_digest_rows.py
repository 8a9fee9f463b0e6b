"""What a digest and its members leave in the ledger for the flush."""

from __future__ import annotations

from dataclasses import replace

from router.delivery.digest_rows import (
    DIGESTS,
    digest_blob,
    digest_key,
    member_row,
    read_digest,
    read_member,
)
from router.ledger import Kind, Row, State
from router.planning import Member
from router.planning.policies import Bypass, RoutePolicy
from tests.unit.planning.builders import NOW, event, person, route, step

ROUTE = replace(
    route(step()), category="social", policy=RoutePolicy(bypass=frozenset({Bypass.SILENCES}))
)
MEMBER = Member(
    key=b"m" * 16,
    scope="scope",
    event=event({"n": 1}),
    route=ROUTE,
    recipient=person("u-1"),
    tenant="acme",
    cancel_scopes=(("cancel:paid:x", 60.0),),
)


def test_a_members_row_waits_with_everything_that_the_flush_needs() -> None:
    row = member_row(MEMBER, "main", NOW)
    assert (row.state, row.kind, row.sink) == (State.WAITING, Kind.DELIVERY, DIGESTS)
    assert row.cancel_scope == "cancel:paid:x"
    head, record = read_member(row)
    assert (head.route, head.recipient, head.source, head.tenant) == ("paid", "u-1", "main", "acme")
    assert (head.category, head.is_unsilenceable) == ("social", True)
    assert head.cancel_scopes == MEMBER.cancel_scopes
    assert record == MEMBER.event.record


def test_a_digest_knows_whose_it_is() -> None:
    row = Row(digest_key(MEMBER), Kind.DIGEST, blob=digest_blob(MEMBER, "main"))
    assert row.key != MEMBER.key
    head = read_digest(row)
    assert (head.route, head.recipient, head.source, head.tenant) == ("paid", "u-1", "main", "acme")
