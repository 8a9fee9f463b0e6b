"""A job as bytes, so that another process can finish it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from router.delivery.blobs import pack_record, unpack_record
from router.delivery.job import Job, job_of, render_job, unpack
from router.delivery.offsets import Offsets
from router.events import Record
from router.ledger import State
from router.messages import (
    AnalyticsEvent,
    Button,
    ChatMessage,
    EmailMessage,
    Message,
    PushMessage,
    Request,
    Target,
)
from router.planning import Draft, plan
from tests.unit.delivery.builders import job
from tests.unit.planning.builders import broken, event, person, request_step, route, rules, step

_VOLATILE = {"delivery", "rules", "ticket", "claimed_at", "is_contested", "is_unheard", "barred"}
"""What a job that comes out of the schedule does not have."""

texts = st.text(max_size=20)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(EmailMessage, texts, st.none() | texts, texts, st.none() | texts),
    st.builds(
        ChatMessage,
        texts,
        st.lists(st.lists(st.builds(Button, texts, texts), max_size=2).map(tuple), max_size=2).map(
            tuple
        ),
    ),
    st.builds(PushMessage, texts, texts),
    st.builds(AnalyticsEvent, texts, texts, st.floats(0, 2e9)),
    st.builds(Request, body=st.none() | st.text().map(str.encode), query=st.just((("a", "b"),))),
)
records = st.builds(
    Record,
    texts,
    st.integers(0, 2**31),
    st.integers(0, 2**53),
    st.floats(0, 2e9),
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=50),
    st.lists(st.tuples(texts, st.binary(max_size=9)), max_size=3).map(tuple),
)
keys = st.binary(min_size=16, max_size=16)
jobs = st.builds(
    job,
    st.integers(0, 2**64),
    family=keys,
    siblings=st.integers(1, 9),
    target=st.builds(Target, texts, texts, st.none() | st.floats(0, 2e9)),
    record=records,
    identity=texts,
    event_type=texts,
    event_hash=keys,
    in_doubt=st.sampled_from(["resend", "dead_letter"]),
    expires_at=st.none() | st.floats(0, 2e9),
    recipient=texts,
    tenant=texts,
    traceparent=st.none() | texts,
    message=st.none() | messages,
    attempts=st.integers(0, 99),
    first_at=st.none() | st.floats(0, 2e9),
    epoch=st.integers(1, 99),
    waiting=st.lists(keys, max_size=3).map(tuple),
    is_repeat=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(jobs)
def test_a_job_comes_back_as_it_was(made: Job) -> None:
    row = made.row(State.SCHEDULED, due=1.0, with_blob=True)
    assert kept(unpack(row)) == kept(made)


def kept(made: Job) -> dict[str, Any]:
    return {f.name: getattr(made, f.name) for f in fields(made) if f.name not in _VOLATILE}


@settings(max_examples=300, deadline=None)
@given(records, st.dictionaries(texts.filter(lambda name: name != "rec"), st.integers(0, 9)))
def test_a_record_comes_back_with_its_facts(record: Record, head: dict[str, int]) -> None:
    assert unpack_record(pack_record(head, record)) == (head, record)


def test_a_claim_carries_no_blob() -> None:
    assert job().row(State.CLAIMED).blob is None


def test_a_planned_delivery_as_a_job() -> None:
    made = route(step(expires=60))
    happened = event({"user": "u-1"}, headers={"traceparent": "00-a-b-01"})
    (delivery,) = plan(made, happened, [Draft("u-1", {})], [person()]).deliveries
    fresh = job_of(delivery, rules(made), None)
    assert (fresh.route, fresh.step, fresh.sink) == ("paid", "mail", "mail")
    assert (fresh.recipient, fresh.target.address) == ("u-1", "u-1@example.org")
    assert (fresh.traceparent, fresh.expires_at) == ("00-a-b-01", delivery.expires_at)
    assert render_job(fresh, 0.0) is None
    assert fresh.message is not None


def test_what_can_not_be_rendered_says_why() -> None:
    made = route(request_step(content=broken()))
    (delivery,) = plan(made, event(), (), ()).deliveries
    reason = render_job(job_of(delivery, rules(made), None), 0.0)
    assert reason is not None
    assert reason.code == "render_failed"


def test_a_bug_in_rendering_is_the_deliverys_end_not_the_workers() -> None:
    made = route(request_step())
    (delivery,) = plan(made, event({"x": object()}), (), ()).deliveries
    reason = render_job(job_of(delivery, rules(made), None), 0.0)
    assert reason is not None
    assert reason.code == "render_failed"


def test_a_job_is_withdrawn_with_its_partition() -> None:
    offsets = Offsets()
    record = job().record
    (ticket,) = offsets.open_batch([record], 0.0)
    made = job(ticket=ticket)
    assert not made.is_withdrawn
    offsets.leave([record.place])
    assert made.is_withdrawn
    assert not job(ticket=None).is_withdrawn
