"""What people have opted out of is not sent to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from router.messages import Channel, Target
from router.planning import Cause, Delivery, Divert, Draft, Step, Suppressed, barred, plan
from router.planning.policies import OPTED_OUT, Bypass, RoutePolicy, has_opted_out
from tests.unit.planning.builders import event, person, request_step, route, step


@pytest.mark.parametrize(
    ("preferences", "is_out"),
    [
        ({}, False),
        ({"billing": True}, False),
        ({"billing": False}, True),
        ({"billing/email": False}, True),
        ({"billing/push": False}, False),
        ({"billing": False, "billing/email": True}, False),
        ({"billing": True, "billing/email": False}, True),
        ({"social": False, "email": False}, False),
    ],
)
def test_the_nearer_preference_counts(preferences: Mapping[str, bool], is_out: bool) -> None:
    assert has_opted_out(preferences, "billing", Channel.EMAIL) is is_out


def planned(
    *steps: Step,
    category: str | None = "billing",
    bypass: frozenset[Bypass] = frozenset(),
    divert: Divert | None = None,
    **fields: Any,
) -> Delivery:
    made = replace(route(*steps), category=category, policy=RoutePolicy(bypass=bypass))
    who = person(preferences={"billing": False}, **fields)
    return plan(made, event(), [Draft(who.id, {})], [who], divert).deliveries[0]


def test_what_is_not_wanted_is_barred() -> None:
    assert planned(step()).barred is OPTED_OUT


def test_it_is_not_wanted_even_where_there_is_no_address() -> None:
    assert planned(step(), email=None).barred is OPTED_OUT


def test_a_route_without_category_is_nothing_to_opt_out_of() -> None:
    assert planned(step(), category=None).barred is None


def test_a_category_that_passes_by_preferences_is_sent() -> None:
    assert planned(step(), bypass=frozenset({Bypass.PREFERENCES})).barred is None


def test_a_fixed_target_is_no_person() -> None:
    assert planned(step(to=Target("ops@example.org", "email"))).barred is None


def test_a_diverted_message_reaches_no_person() -> None:
    divert = Divert({Channel.EMAIL: "qa@example.org"})
    assert planned(step(), divert=divert).barred is None


def test_requests_are_no_concern_of_people() -> None:
    assert planned(request_step()).barred is None
    assert planned(request_step(per_recipient=True)).barred is None


def test_it_starts_only_a_fallback_that_names_it() -> None:
    assert barred(OPTED_OUT) == Suppressed(OPTED_OUT, frozenset({Cause.OPTED_OUT}))
