"""What is told of deliveries that have ended, and when nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time

import pytest

from router.config import Project
from router.delivery import FEEDBACK, PublishFailed, Reporting
from router.events import Feedback, FeedbackType, Record
from router.ledger import Kind
from router.messages import Delivered, Outcome, Parcel, Reason, Rejected
from router.recipients import Device, Recipient
from tests.contract.planning.builders import People, load, record
from tests.contract.planning.running import Sent, ledger_file, memory_ledger, run

pytestmark = pytest.mark.anyio

EVERYTHING: tuple[FeedbackType, ...] = (
    "delivered",
    "suppressed",
    "recipient_gone",
    "rejected",
    "dead",
)


@dataclass(slots=True)
class Heard:
    """Feedback as published; the first ``failures`` attempts fail."""

    failures: int = 0
    feedback: list[Feedback] = field(default_factory=list[Feedback])

    async def publish(self, items: Sequence[Feedback], /) -> None:
        if self.failures:
            self.failures -= 1
            raise PublishFailed("the topic is down")
        self.feedback += items

    def reporting(
        self, events: Sequence[FeedbackType] = EVERYTHING, max_waiting: int = 100
    ) -> Reporting:
        return Reporting(self, events, max_waiting)


def project(root: Path) -> Project:
    return load(
        root,
        """\
        mobile: {type: console, channel: push}
        phones: {type: by_platform, android: mobile}
        mail: {type: console, channel: email}
        """,
        """\
        failed:
          match: {type: payment.failed}
          recipient: {id: data.user_id}
          template: failed
          deliver: [phones, {sink: mail, template: broken, with: {amount: "{{ data.amount }}"}}]
        """,
        {
            "templates/failed/template.yaml": "description: Failed\n",
            "templates/failed/push.txt": "---\ntitle: Payment failed\n---\nTry again\n",
            "templates/broken/template.yaml": "variables: {amount: {type: integer}}\n",
            "templates/broken/email.txt": "---\nsubject: S\n---\n{{ amount }}\n",
        },
    )


def event(**data: object) -> Record:
    return record("payment.failed", {"user_id": "u1", "amount": 5, **data}, at=time())


PHONE = Device("phone", "token-a", "android")
PEOPLE = People({"u1": Recipient("u1", email="u1@acme.example", devices=(PHONE,))})
HOMELESS = People({"u1": Recipient("u1")})


def answering(outcome: Outcome) -> Sent:
    def answer(sink: str, parcel: Parcel) -> Outcome:
        return outcome if sink == "mobile" else Delivered()

    return Sent(answer)


async def told(
    root: Path, outcome: Outcome, people: People = PEOPLE, **data: object
) -> dict[str, Feedback]:
    """By step, what was told of its delivery."""
    heard = Heard()
    async with memory_ledger() as ledger:
        await run(
            project(root),
            [event(**data)],
            answering(outcome),
            people,
            ledger,
            reporting=heard.reporting(),
        )
    return {feedback.data["step"]: feedback for feedback in heard.feedback}


async def test_what_arrives_is_told(tmp_path: Path) -> None:
    found = await told(tmp_path, Delivered())
    assert {step: f.type for step, f in found.items()} == {
        "phones": "delivered",
        "mail": "delivered",
    }
    assert found["phones"].subject == "u1"
    assert found["phones"].data["sink"] == "mobile"
    assert found["phones"].data["device"] == "phone"
    assert "token-a" not in str(found["phones"])


async def test_a_dead_address_is_told_and_named(tmp_path: Path) -> None:
    found = await told(tmp_path, Rejected(Reason("unregistered"), recipient_gone=True))
    assert found["phones"].type == "recipient_gone"
    assert found["phones"].data["address"] == {"kind": "device", "value": "token-a"}


async def test_a_refusal_is_told_apart_from_other_deaths(tmp_path: Path) -> None:
    found = await told(tmp_path, Rejected(Reason("malformed")), amount="many")
    assert {step: (f.type, f.data["reason"]["code"]) for step, f in found.items()} == {
        "phones": ("rejected", "malformed"),
        "mail": ("dead", "render_failed"),
    }


async def test_what_a_rule_keeps_back_is_told(tmp_path: Path) -> None:
    found = await told(tmp_path, Delivered(), HOMELESS)
    assert found["phones"].type == "suppressed"
    assert found["phones"].data["reason"]["code"] == "unreachable"


async def test_only_what_is_asked_for_is_told(tmp_path: Path) -> None:
    heard = Heard()
    async with memory_ledger() as ledger:
        reporting = heard.reporting(["dead"])
        await run(
            project(tmp_path),
            [event(amount="x")],
            answering(Delivered()),
            PEOPLE,
            ledger,
            reporting=reporting,
        )
    assert [feedback.type for feedback in heard.feedback] == ["dead"]


async def test_a_topic_that_is_down_keeps_back_nothing_and_loses_nothing(tmp_path: Path) -> None:
    heard, sent = Heard(failures=1), answering(Delivered())
    async with ledger_file(tmp_path / "ledger.db") as ledger:
        await run(
            project(tmp_path),
            [event()],
            sent,
            PEOPLE,
            ledger,
            reporting=heard.reporting(),
            until=lambda: len(heard.feedback) == 2,
        )
        (first, _) = await ledger.rows(kind=Kind.FEEDBACK)
    assert len(sent.parcels) == 2
    assert first.sink == FEEDBACK


async def test_past_its_cap_only_what_arrived_goes_untold(tmp_path: Path) -> None:
    heard = Heard()
    async with memory_ledger() as ledger:
        ran = await run(
            project(tmp_path),
            [event(amount="x")],
            answering(Delivered()),
            PEOPLE,
            ledger,
            reporting=heard.reporting(max_waiting=0),
        )
    assert [feedback.type for feedback in heard.feedback] == ["dead"]
    assert b"router_feedback_dropped_total 1.0" in ran.metrics.render()
