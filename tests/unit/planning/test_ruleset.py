"""What a rule set wants of an event: routes that send, and what it ends."""

from __future__ import annotations

from dataclasses import replace

from router.planning import Cause, Ruleset
from router.planning.policies import (
    CancelOn,
    Digest,
    Mode,
    QuietHours,
    RoutePolicy,
    Same,
    StepPolicy,
)
from router.routing import Operator, Predicate, parse_path
from tests.unit.planning.builders import AT, event, route, step

HOUR = 3600.0


def of_type(name: str) -> Predicate:
    return Predicate(parse_path("type"), Operator.EQ, name, AT)


def ended_by(name: str, within: float = HOUR) -> CancelOn:
    same = parse_path("data.id")
    return CancelOn(of_type(name), (Same(same, same),), within)


def test_one_look_finds_what_is_sent_and_what_is_ended() -> None:
    failed = replace(
        route(id="failed"),
        match=of_type("failed"),
        was="old",
        policy=RoutePolicy(cancel_on=ended_by("paid")),
    )
    thanks = replace(route(id="thanks"), match=of_type("paid"))
    rules = Ruleset.build([failed, thanks], {})

    found = rules.interest(event(type="paid"))

    assert [one.id for one in found.routes] == ["thanks"]
    assert [one.name for one in found.marks] == ["old"]
    assert rules.matching(event(type="paid")) == list(found.routes)
    assert not rules.interest(event(type="other")).marks


def test_a_type_that_only_ends_something_is_wanted() -> None:
    failed = replace(
        route(id="failed"), match=of_type("failed"), policy=RoutePolicy(cancel_on=ended_by("paid"))
    )
    rules = Ruleset.build([failed], {})

    assert rules.matcher.wants("payments", "paid")
    assert not rules.matcher.wants("payments", "opened")


def test_a_fallback_that_an_event_spares_has_a_mark_of_its_own() -> None:
    push = replace(step(), id="push", was="p")
    mail = replace(
        step(),
        id="mail",
        fallback_for="push",
        causes=frozenset({Cause.UNSETTLED}),
        after=600.0,
        unless=ended_by("opened"),
    )
    rules = Ruleset.build([replace(route(id="r"), match=of_type("sent"), steps=(push, mail))], {})

    marks = rules.interest(event(type="opened")).marks

    assert [(mark.name, mark.hold_s) for mark in marks] == [("r/mail", 24 * HOUR)]


def test_marks_are_kept_as_long_as_something_can_wait() -> None:
    night = QuietHours(22 * 60, 8 * 60)
    waits = replace(step(), policy=StepPolicy(delay=40 * HOUR, quiet_hours=night))
    policy = RoutePolicy(
        cancel_on=ended_by("paid"), digest=Digest(window=HOUR, extend=True, at_most=3 * HOUR)
    )
    rules = Ruleset.build([replace(route(id="r"), steps=(waits,), policy=policy)], {})

    assert [mark.hold_s for mark in rules.interest(event(type="paid")).marks] == [53 * HOUR]


def test_routes_that_are_off_are_not_in_force() -> None:
    off = replace(route(id="off"), policy=RoutePolicy(mode=Mode.OFF, cancel_on=ended_by("paid")))
    shadow = replace(route(id="shadow"), policy=RoutePolicy(mode=Mode.SHADOW))
    rules = Ruleset.build([off, shadow], {})

    assert set(rules.routes) == {"shadow"}
    assert not rules.interest(event(type="paid")).marks
