"""Analytics steps: one event to several sinks, tables of events, changes of profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.authoring.rehearsed import Verdict
from router.messages import AnalyticsEvent, ProfileUpdate
from router.recipients import Recipient
from tests.contract.planning.builders import NOW, lines_of, load, record, rehearsed

SINKS = """\
product: {type: console, channel: analytics}
growth: {type: console, channel: analytics}
mail: {type: console, channel: email}
"""
TRACK = """\
failed:
  match: {type: payment.failed}
  deliver:
    - id: tracked
      sink: [product, growth]
      track: Payment Failed
      distinct_id: data.user_id
      properties:
        amount: "{{ data.amount / 100 }}"
        currency: "{{ data.currency }}"
        plan: pro
        coupon: "{{ data.coupon | default(none) }}"
"""
TABLE = """\
payments:
  match: {topic: payments}
  deliver:
    - sink: product
      distinct_id: data.user.id
      map: !include maps/payments.yaml
"""
MAP = {
    "config/maps/payments.yaml": """\
        payment.failed: {track: Payment Failed, properties: [amount, user.country]}
        payment.paid:
          track: Payment Paid
          distinct_id: data.payer
          rename: {plan: data.sub.plan, skus: "data.items[*].sku", topic: topic}
        """
}


def test_one_step_tracks_in_several_sinks(tmp_path: Path) -> None:
    project = load(tmp_path, SINKS, TRACK)
    data = {"user_id": 7, "amount": 1050, "currency": "RUB"}
    found = lines_of(project, record("payment.failed", data))
    assert [(line.step, line.sink, line.verdict) for line in found] == [
        ("tracked/product", "product", Verdict.NOW),
        ("tracked/growth", "growth", Verdict.NOW),
    ]
    expected = AnalyticsEvent(
        "Payment Failed", "7", NOW, {"amount": 10.5, "currency": "RUB", "plan": "pro"}
    )
    assert [line.message for line in found] == [expected, expected]
    assert found[0].key != found[1].key


def test_one_more_sink_leaves_the_others_keys_alone(tmp_path: Path) -> None:
    event = record("payment.failed", {"user_id": "7", "amount": 1, "currency": "RUB"})
    one = lines_of(
        load(tmp_path / "a", SINKS, TRACK.replace("[product, growth]", "[growth]")), event
    )
    two = lines_of(load(tmp_path / "b", SINKS, TRACK), event)
    assert one[0].key == two[1].key


def test_the_time_is_the_events_so_that_a_repeat_is_the_same(tmp_path: Path) -> None:
    project = load(tmp_path, SINKS, TRACK)
    event = record("payment.failed", {"user_id": "7", "amount": 1, "currency": "RUB"})
    first, later = (rehearsed(project, event, now=NOW + wait) for wait in (0, 3600))
    assert [line.message for line in first[0].routes[0].lines] == [
        line.message for line in later[0].routes[0].lines
    ]


@pytest.mark.parametrize("user", [None, "", " ", True, {"id": 1}])
def test_without_an_id_of_a_person_the_delivery_is_dead(tmp_path: Path, user: Any) -> None:
    project = load(tmp_path, SINKS, TRACK)
    event = record("payment.failed", {"user_id": user, "amount": 1, "currency": "RUB"})
    assert {line.verdict for line in lines_of(project, event)} == {Verdict.DEAD}


class TestTables:
    def test_each_type_has_its_event(self, tmp_path: Path) -> None:
        project = load(tmp_path, SINKS, TABLE, MAP)
        failed = record("payment.failed", {"user": {"id": "u"}, "amount": 5, "secret": 1})
        paid = record("payment.paid", {"payer": 9, "sub": {"plan": "pro"}, "items": [{"sku": "a"}]})
        assert [line.message for line in lines_of(project, failed)] == [
            AnalyticsEvent("Payment Failed", "u", NOW, {"amount": 5})
        ]
        assert [line.message for line in lines_of(project, paid)] == [
            AnalyticsEvent(
                "Payment Paid", "9", NOW, {"plan": "pro", "skus": ["a"], "topic": "payments"}
            )
        ]

    def test_other_types_do_not_match(self, tmp_path: Path) -> None:
        project = load(tmp_path, SINKS, TABLE, MAP)
        (found,) = rehearsed(project, record("payment.refunded"))
        assert found.routes == ()
        values = project.routes["payments"].match.equalities()["type"]
        assert values == ("payment.failed", "payment.paid")

    def test_beside_other_steps_only_its_own_step_is_narrowed(self, tmp_path: Path) -> None:
        routes = TABLE + "    - {id: all, sink: growth, track: Any, distinct_id: data.user.id}\n"
        project = load(tmp_path, SINKS, routes, MAP)
        found = lines_of(project, record("payment.refunded", {"user": {"id": "u"}}))
        assert [line.step for line in found] == ["all"]


class TestProfiles:
    ROUTES = """\
paid:
  match: {type: payment.paid}
  recipient: {id: data.user_id}
  deliver:
    - sink: product
      per: recipient
      profile:
        set: {plan: "{{ data.plan }}", note: "{{ none }}"}
        set_once: {first_paid_at: "{{ event.time }}"}
        add: {paid: "{{ data.amount }}"}
        union: {plans: ["{{ data.plan }}"]}
        unset: [trial]
"""

    def test_changes_are_for_the_recipient(self, tmp_path: Path) -> None:
        project = load(tmp_path, SINKS, self.ROUTES)
        event = record("payment.paid", {"user_id": "u1", "plan": "pro", "amount": 5})
        (line,) = lines_of(project, event, {"u1": Recipient("u1")})
        assert line.message == ProfileUpdate(
            "u1",
            NOW,
            set={"plan": "pro"},
            set_once={"first_paid_at": NOW},
            add={"paid": 5},
            union={"plans": ["pro"]},
            unset=("trial",),
        )

    def test_only_numbers_are_added(self, tmp_path: Path) -> None:
        project = load(tmp_path, SINKS, self.ROUTES)
        event = record("payment.paid", {"user_id": "u1", "plan": "pro", "amount": "5"})
        (line,) = lines_of(project, event, {"u1": Recipient("u1")})
        assert line.verdict is Verdict.DEAD
        assert line.reason is not None
        assert "add.paid" in line.reason.text
