"""From a route, an event and profiles to deliveries."""

from __future__ import annotations

from typing import Any

import pytest

from router.messages import Channel, Reason, Target
from router.planning import (
    DIVERTED,
    UNREACHABLE,
    Cause,
    Delivery,
    Divert,
    Draft,
    Planned,
    Route,
    plan,
    select,
)
from router.planning.model import OnUnknown
from router.recipients import Device, Found, Recipient, Unavailable, Unknown
from tests.unit.planning.builders import (
    NOW,
    event,
    person,
    request_step,
    route,
    selection,
    step,
)

WATCHERS = selection("data.watchers", id="item")
DOWN = Unavailable(Reason("timeout"))


def planned(made: Route, *profiles: Found, divert: Divert | None = None, **data: Any) -> Planned:
    happened = event({"user": "u-1", **data})
    return plan(made, happened, select(made, happened).drafts, profiles, divert)


def lines(deliveries: tuple[Delivery, ...]) -> list[tuple[str, str | None]]:
    return [(d.step.id, d.target.address if d.target else None) for d in deliveries]


def tree(delivery: Delivery) -> Any:
    return delivery.step.id, [tree(follower) for follower in delivery.fallbacks]


# Steps ---------------------------------------------------------------------------------------


def test_person_steps_run_for_each_recipient_and_request_steps_once() -> None:
    made = route(step(), request_step(), select=WATCHERS)
    found = planned(made, person("u-1"), person("u-2"), watchers=["u-1", "u-2"])
    assert lines(found.deliveries) == [
        ("hook", ""),
        ("mail", "u-1@example.org"),
        ("mail", "u-2@example.org"),
    ]
    assert [d.recipient.id if d.recipient else "" for d in found.deliveries] == ["", "u-1", "u-2"]


def test_event_steps_are_left_out_where_only_recipients_are_planned_again() -> None:
    made = route(step(), request_step())
    again = plan(made, event(), [Draft("u-1", {})], [person()], with_event_steps=False)
    assert lines(again.deliveries) == [("mail", "u-1@example.org")]


def test_nobody_selected_leaves_the_event_steps() -> None:
    assert lines(planned(route(step(), request_step(), select=WATCHERS)).deliveries) == [
        ("hook", "")
    ]


def test_a_fixed_target_needs_no_address() -> None:
    made = route(step(to=Target("-1001", "telegram")))
    assert lines(planned(made, person(email=None)).deliveries) == [("mail", "-1001")]


def test_a_push_goes_to_every_device_of_one_family() -> None:
    devices = (Device("a", "token-a", "ios"), Device("b", "token-b", "android"))
    made = route(step("push", channel=Channel.PUSH, address_kind="device"))
    found = planned(made, person(devices=devices)).deliveries
    assert lines(found) == [("push", "token-a"), ("push", "token-b")]
    assert [d.endpoint for d in found] == ["a", "b"]
    assert [d.siblings for d in found] == [2, 2]
    assert found[0].family == found[1].family
    assert found[0].key != found[1].key


def test_expiry_counts_from_the_event() -> None:
    (delivery,) = planned(route(step(expires=60)), person()).deliveries
    assert delivery.expires_at == NOW + 60
    (delivery,) = planned(route(step()), person()).deliveries
    assert delivery.expires_at is None


def test_no_address_is_no_attempt() -> None:
    (delivery,) = planned(route(step()), person(email=None)).deliveries
    assert (delivery.target, delivery.barred) == (None, UNREACHABLE)


# Fallbacks -----------------------------------------------------------------------------------


def test_fallbacks_hang_on_their_primary_wherever_they_stand() -> None:
    made = route(
        step("sms", fallback_for="mail"),
        step("chat", fallback_for="push"),
        step("push"),
        step("mail", fallback_for="push"),
        step("log"),
    )
    found = planned(made, person()).deliveries
    assert [tree(d) for d in found] == [
        ("push", [("chat", []), ("mail", [("sms", [])])]),
        ("log", []),
    ]


def test_a_fallback_has_its_own_address_and_key() -> None:
    chat = step("chat", address_kind="telegram", fallback_for="mail", causes=[Cause.REJECTED])
    (primary,) = planned(route(step(), chat), person()).deliveries
    (fallback,) = primary.fallbacks
    assert (fallback.target, fallback.barred) == (Target("1001", "telegram"), None)
    assert fallback.key != primary.key


def test_every_device_carries_the_same_fallback() -> None:
    devices = (Device("a", "token-a", "ios"), Device("b", "token-b", "android"))
    push = step("push", channel=Channel.PUSH, address_kind="device")
    made = route(push, step(fallback_for="push"))
    first, second = planned(made, person(devices=devices)).deliveries
    assert first.fallbacks == second.fallbacks != ()


# Directory -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "where", "code"),
    [
        ("dead_letter", "failures", "recipient_unknown"),
        ("suppress", "suppressed", "recipient_unknown"),
    ],
)
def test_an_unknown_recipient_ends_by_the_routes_rule(
    rule: OnUnknown, where: str, code: str
) -> None:
    found = planned(route(step(), on_unknown=rule), Unknown("u-1"))
    (failure,) = getattr(found, where)
    assert (failure.reason.code, failure.member) == (code, "u-1")
    assert (found.deliveries, found.waiting) == ((), ())


def test_an_unknown_recipient_may_be_waited_for() -> None:
    found = planned(route(step(), on_unknown="wait"), Unknown("u-1"))
    assert [draft.id for draft in found.waiting] == ["u-1"]
    assert found.why_waiting is not None
    assert found.why_waiting.code == "recipient_unknown"


@pytest.mark.parametrize("rule", ["dead_letter", "suppress", "wait"])
def test_an_unknown_recipient_whose_address_the_event_gives_is_reached(rule: OnUnknown) -> None:
    made = route(step(), select=selection(id="data.user", email="data.mail"), on_unknown=rule)
    found = planned(made, Unknown("u-1"), mail="a@example.org")
    assert lines(found.deliveries) == [("mail", "a@example.org")]


@pytest.mark.parametrize("rule", ["dead_letter", "suppress", "wait"])
def test_a_directory_that_does_not_answer_is_waited_for_under_every_rule(rule: OnUnknown) -> None:
    found = planned(route(step(), request_step(), on_unknown=rule), DOWN)
    assert lines(found.deliveries) == [("hook", "")]
    assert [draft.id for draft in found.waiting] == ["u-1"]
    assert found.why_waiting == DOWN.reason
    assert found.failures == ()


def test_one_recipient_waits_without_the_others() -> None:
    made = route(step(), select=WATCHERS)
    found = planned(made, person("u-1"), DOWN, Unknown("u-3"), watchers=["u-1", "u-2", "u-3"])
    assert lines(found.deliveries) == [("mail", "u-1@example.org")]
    assert [draft.id for draft in found.waiting] == ["u-2"]
    assert [failure.member for failure in found.failures] == ["u-3"]


def test_fields_of_the_route_win_over_the_directory() -> None:
    made = route(step(), select=selection(id="data.user", email="data.mail"))
    profile = Recipient("u-1", email="old@example.org", locale="ru")
    (delivery,) = planned(made, profile, mail="new@example.org").deliveries
    assert delivery.recipient is not None
    assert (delivery.recipient.email, delivery.recipient.locale) == ("new@example.org", "ru")


# Divert --------------------------------------------------------------------------------------


def test_a_diverted_channel_goes_to_the_one_address() -> None:
    divert = Divert({Channel.EMAIL: "dev@example.org"})
    made = route(step(), request_step(), select=WATCHERS)
    found = planned(made, person("u-1"), person("u-2"), divert=divert, watchers=["u-1", "u-2"])
    assert lines(found.deliveries) == [
        ("hook", ""),
        ("mail", "dev@example.org"),
        ("mail", "dev@example.org"),
    ]


def test_a_channel_diverted_to_nobody_is_suppressed_and_starts_no_fallback() -> None:
    divert = Divert({Channel.EMAIL: None})
    (delivery,) = planned(route(step()), person(), divert=divert).deliveries
    assert delivery.barred is DIVERTED


def test_a_kind_of_address_is_diverted_before_its_channel() -> None:
    divert = Divert({Channel.CHAT: "elsewhere"}, {"telegram": "-1001", "max": None})
    telegram = step("telegram", address_kind="telegram", channel=Channel.CHAT)
    other = step("max", address_kind="max", channel=Channel.CHAT)
    matrix = step("matrix", address_kind="matrix", channel=Channel.CHAT)
    who = person(telegram="7", max="8", attributes={"matrix": "@anna:example.org"})
    first, second, third = planned(route(telegram, other, matrix), who, divert=divert).deliveries
    assert first.target == Target("-1001", "telegram")
    assert second.barred is DIVERTED
    assert third.target == Target("elsewhere", "matrix")


def test_who_has_no_address_is_unreachable_in_a_diverted_environment_too() -> None:
    divert = Divert({Channel.EMAIL: "dev@example.org"})
    (delivery,) = planned(route(step()), person(email=None), divert=divert).deliveries
    assert delivery.barred is UNREACHABLE
