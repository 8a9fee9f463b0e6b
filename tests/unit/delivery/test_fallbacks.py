"""Fallbacks as ledger rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from router.delivery.fallbacks import started_rows, unneeded_rows, waiting_rows
from router.delivery.job import job_of, unpack
from router.ledger import Kind, Row, State
from router.messages import Channel
from router.planning import Cause, Delivery, Draft, Route, Ruleset, Step, plan
from router.recipients import Device, Recipient
from tests.unit.delivery.builders import NOW
from tests.unit.planning.builders import broken, event, person, route, rules, step

MAIL = step("mail", fallback_for="push")
SMS = step("sms", fallback_for="mail", address_kind="telegram")


def planned(made: Route, recipient: Recipient) -> tuple[Delivery, ...]:
    return plan(made, event({"user": "u-1"}), [Draft("u-1", {})], [recipient]).deliveries


def primary(*followers: Step, **fields: Any) -> tuple[Delivery, Ruleset]:
    """A push to one device, with fallbacks; ``fields`` are the recipient's."""
    made = route(step("push", channel=Channel.PUSH, address_kind="device"), *followers)
    devices = (Device("phone", "token", "ios"),)
    (delivery,) = planned(made, person(**{"devices": devices, **fields}))
    return delivery, rules(made)


def shown(rows: Sequence[Row]) -> list[tuple[str, State, str]]:
    return [(row.sink, row.state, row.reason.code if row.reason else "") for row in rows]


def test_a_started_fallback_is_due_at_once_and_can_be_sent_from_its_row() -> None:
    delivery, under = primary(MAIL)
    (row,) = started_rows(delivery.fallbacks[0], under, NOW)
    assert shown([row]) == [("mail", State.SCHEDULED, "fallback")]
    assert row.due == NOW
    made = unpack(row)
    assert (made.target.address, made.route, made.step) == ("u-1@example.org", "paid", "mail")
    assert made.message is not None


def test_its_own_fallback_waits_for_it() -> None:
    delivery, under = primary(MAIL, SMS)
    mail, sms = started_rows(delivery.fallbacks[0], under, NOW)
    assert shown([mail, sms]) == [
        ("mail", State.SCHEDULED, "fallback"),
        ("sms", State.WAITING, "fallback"),
    ]
    assert sms.wait_on == mail.family
    assert unpack(mail).waiting == (sms.key,)


def test_an_unreachable_fallback_starts_its_own_at_once() -> None:
    delivery, under = primary(MAIL, SMS, email=None)
    rows = started_rows(delivery.fallbacks[0], under, NOW)
    assert shown(rows) == [
        ("mail", State.SUPPRESSED, "unreachable"),
        ("sms", State.SCHEDULED, "fallback"),
    ]


def test_a_fallback_that_can_not_be_rendered_is_dead_with_a_letter() -> None:
    delivery, under = primary(step("mail", fallback_for="push", content=broken()))
    dead, letter = started_rows(delivery.fallbacks[0], under, NOW)
    assert shown([dead]) == [("mail", State.DEAD, "render_failed")]
    assert dead.blob is not None
    assert letter.kind is Kind.DEAD_LETTER


def test_waiting_rows_wait_for_the_primary_by_its_causes() -> None:
    delivery, under = primary(step("mail", fallback_for="push", causes=[Cause.REJECTED]), SMS)
    made = job_of(delivery, under, None)
    mail, sms = waiting_rows(made, delivery.fallbacks, under, NOW)
    assert shown([mail, sms]) == [
        ("mail", State.WAITING, "fallback"),
        ("sms", State.WAITING, "fallback"),
    ]
    assert (mail.wait_on, mail.waits_for, mail.starts_on) == (made.family, 1, ("rejected",))
    assert (sms.wait_on, sms.starts_on) == (mail.family, ("rejected", "unreachable"))
    assert made.waiting == (mail.key, sms.key)


def test_what_stands_in_for_an_unreachable_fallback_waits_in_its_place() -> None:
    mail = step("mail", fallback_for="push", causes=[Cause.REJECTED])
    delivery, under = primary(mail, SMS, email=None)
    made = job_of(delivery, under, None)
    unreachable, sms = waiting_rows(made, delivery.fallbacks, under, NOW)
    assert shown([unreachable]) == [("mail", State.SUPPRESSED, "unreachable")]
    assert (sms.state, sms.wait_on, sms.starts_on) == (State.WAITING, made.family, ("rejected",))
    assert made.waiting == (unreachable.key, sms.key)


def test_a_waiting_fallback_that_can_not_be_rendered_dies_only_if_it_starts() -> None:
    delivery, under = primary(step("mail", fallback_for="push", content=broken()))
    (row,) = waiting_rows(job_of(delivery, under, None), delivery.fallbacks, under, NOW)
    assert row.state is State.WAITING
    assert unpack(row).message is None


def test_a_fallback_of_several_devices_waits_for_all_of_them() -> None:
    made = route(step("push", channel=Channel.PUSH, address_kind="device"), MAIL)
    devices = tuple(Device(n, f"token-{n}", "ios") for n in "abc")
    first, second, _ = planned(made, person(devices=devices))
    rows = [
        waiting_rows(job_of(d, rules(made), None), d.fallbacks, rules(made), NOW)
        for d in (first, second)
    ]
    assert rows[0] == rows[1]
    assert rows[0][0].waits_for == 3


def test_what_nothing_will_start_is_not_needed_down_to_the_last() -> None:
    delivery, _ = primary(MAIL, SMS)
    assert shown(unneeded_rows(delivery.fallbacks)) == [
        ("mail", State.SUPPRESSED, "not_needed"),
        ("sms", State.SUPPRESSED, "not_needed"),
    ]
