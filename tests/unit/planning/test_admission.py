"""Who is let in, against a model that keeps a plain list of what was let in before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from router.messages import Target
from router.planning import Delivery, Draft, Member, Route, Step, plan
from router.planning.admission import Admission, Ask, Refused, is_drawn, is_free, notification_key
from router.planning.fan_out import GONE
from router.planning.policies import (
    FREE,
    Bypass,
    Dedupe,
    Digest,
    Mode,
    Rollout,
    RoutePolicy,
    Throttle,
)
from router.planning.silences import Silence
from tests.unit.planning.builders import NOW, event, path, person, request_step, route, step

HOUR = 3600.0


@dataclass
class Places:
    """A ledger's buckets, as plainly as can be: who asked when, and was told what."""

    taken: dict[str, dict[str, tuple[float, bool]]] = field(
        default_factory=dict[str, dict[str, tuple[float, bool]]]
    )

    def answer(self, ask: Ask, now: float) -> bool:
        bucket = self.taken.setdefault(ask.bucket, {})
        if ask.member in bucket and bucket[ask.member][0] > now - ask.window:
            return bucket[ask.member][1]
        count = sum(granted and at > now - ask.window for at, granted in bucket.values())
        bucket[ask.member] = (now, count < ask.limit)
        return bucket[ask.member][1]


def policy(**fields: Any) -> RoutePolicy:
    return RoutePolicy(**fields)


def made(*steps: Step, id: str = "paid", **fields: Any) -> Route:
    return replace(route(*(steps or (step(),)), id=id), policy=policy(**fields))


def throttle(limit: int, per: float = HOUR, scope: str = "route:paid", **fields: Any) -> Throttle:
    return Throttle(limit, per, scope, **fields)


def deliveries(
    route: Route, data: Any = None, *, who: str = "u-1", **fields: Any
) -> list[Delivery]:
    someone = person(who, **fields.pop("person", {}))
    happened = event(data, **fields)
    return list(plan(route, happened, [Draft(who, {})], [someone]).deliveries)


def admitted(
    subjects: Sequence[Delivery | Member],
    places: Places | None = None,
    now: float = NOW,
    silences: Sequence[Silence] = (),
) -> list[str]:
    """Verdicts by code; empty where something is let in."""
    places = places or Places()
    admission = Admission(subjects, silences, now)
    while asks := admission.next_asks():
        admission.answer([places.answer(ask, now) for ask in asks])
    return [refused.reason.code if refused else "" for refused in admission.verdicts]


def one(route: Route, places: Places | None = None, now: float = NOW, **fields: Any) -> str:
    return admitted(deliveries(route, **fields), places, now)[0]


# Modes and rollouts ------------------------------------------------------------------------------


def test_a_plain_route_is_free_and_asks_nothing() -> None:
    assert is_free(FREE)
    assert Admission(deliveries(made())).next_asks() == []
    for held in (
        {"mode": Mode.SHADOW},
        {"rollout": Rollout(5)},
        {"dedupe": Dedupe(path("data.n"), 1)},
        {"throttles": (throttle(1),)},
    ):
        assert not is_free(policy(**held))


def test_a_shadow_sends_nothing_and_takes_no_places() -> None:
    shadow = made(mode=Mode.SHADOW, throttles=(throttle(1),))
    admission = Admission(deliveries(shadow))
    assert admission.next_asks() == []
    assert admission.verdicts[0] is not None
    assert admission.verdicts[0].reason.code == "shadow"


def drawn(percent: float, who: str, **fields: Any) -> bool:
    rollout = Rollout(percent, fields.pop("by", None))
    return is_drawn(rollout, deliveries(made(rollout=rollout), who=who, **fields)[0])


@given(st.text(min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_a_growing_rollout_only_adds_people(who: str, some: float, more: float) -> None:
    some, more = sorted((some, more))
    assert not drawn(some, who) or drawn(more, who)
    assert drawn(some, who, id="e-2") == drawn(some, who)
    assert drawn(100, who)
    assert not drawn(0, who)


def test_a_rollout_draws_about_as_many_as_it_says() -> None:
    count = sum(drawn(20, f"u-{n}") for n in range(2000))
    assert 320 < count < 480


def test_rollouts_of_two_routes_draw_different_people() -> None:
    def who(id: str) -> set[int]:
        rollout = Rollout(50)
        found = made(id=id, rollout=rollout)
        return {n for n in range(200) if is_drawn(rollout, deliveries(found, who=f"u-{n}")[0])}

    assert 30 < len(who("paid") & who("refunded")) < 70


def test_a_rollout_may_draw_by_a_value() -> None:
    by = path("data.team")
    teams = {team: drawn(50, "u-1", by=by, data={"team": team}) for team in range(40)}
    assert len(set(teams.values())) == 2
    assert all(drawn(50, "u-2", by=by, data={"team": t}) == is_in for t, is_in in teams.items())
    assert drawn(50, "u-1", by=by) == drawn(50, "u-1")


# Silences ----------------------------------------------------------------------------------------

QUIET = Silence("s-1", NOW + HOUR, "ops", "incident", NOW, route="paid")


def test_a_silence_comes_before_everything_that_takes_places() -> None:
    places = Places()
    assert admitted(deliveries(made(throttles=(throttle(1),))), places, NOW, [QUIET]) == [
        "silenced"
    ]
    assert not places.taken


# Duplicates --------------------------------------------------------------------------------------

DEDUPE = Dedupe(path("data.board"), HOUR)


def test_the_first_of_a_key_is_sent() -> None:
    boards, places = made(dedupe=DEDUPE), Places()
    assert one(boards, places, data={"board": 1}, id="a") == ""
    assert one(boards, places, data={"board": 1}, id="b") == "duplicate"
    assert one(boards, places, data={"board": "1"}, id="c") == ""
    assert one(boards, places, data={"board": 1}, id="d", who="u-2") == ""
    assert one(boards, places, NOW + HOUR, data={"board": 1}, id="e") == ""


def test_an_event_without_the_key_repeats_nothing() -> None:
    boards, places = made(dedupe=DEDUPE), Places()
    assert [one(boards, places, id=id) for id in "ab"] == ["", ""]


def test_requests_are_deduplicated_too() -> None:
    boards, places = made(request_step(), dedupe=DEDUPE), Places()
    assert one(boards, places, data={"board": 1}, id="a") == ""
    assert one(boards, places, data={"board": 1}, id="b") == "duplicate"


def test_a_duplicate_takes_no_place_of_a_throttle() -> None:
    boards, places = made(dedupe=DEDUPE, throttles=(throttle(2),)), Places()
    assert one(boards, places, data={"board": 1}, id="a") == ""
    assert one(boards, places, data={"board": 1}, id="b") == "duplicate"
    assert one(boards, places, data={"board": 2}, id="c") == ""
    assert one(boards, places, data={"board": 3}, id="d") == "throttled"


# Throttles ---------------------------------------------------------------------------------------


def test_a_notification_counts_once_on_however_many_channels() -> None:
    both = made(step("mail"), step("chat", address_kind="telegram"), throttles=(throttle(1),))
    places = Places()
    assert admitted(deliveries(both, id="a"), places) == ["", ""]
    assert admitted(deliveries(both, id="b"), places) == ["throttled", "throttled"]


def test_requests_go_although_their_notification_is_throttled() -> None:
    both = made(step("mail"), request_step("crm", per_recipient=True), throttles=(throttle(0),))
    assert admitted(deliveries(both)) == ["throttled", ""]
    fixed = made(step(to=Target("ops@example.org", "email")), throttles=(throttle(0),))
    assert admitted(deliveries(fixed)) == [""]


def test_a_notification_without_any_address_takes_no_place() -> None:
    places, limited = Places(), made(throttles=(throttle(1),))
    assert one(limited, places, id="a", person={"email": None}) == ""
    assert not places.taken


def test_a_dead_address_takes_a_place_where_something_stands_in_for_it() -> None:
    limited = made(step("push"), step("mail", fallback_for="push"), throttles=(throttle(0),))
    head = replace(deliveries(limited)[0], barred=GONE)
    assert admitted([head]) == ["throttled"]
    assert admitted([replace(head, fallbacks=())]) == [""]


def test_the_narrow_throttle_is_asked_first_and_keeps_its_places() -> None:
    narrow, wide = throttle(1), throttle(1, scope="all")
    both, other, places = (
        made(throttles=(narrow, wide)),
        made(id="other", throttles=(wide,)),
        Places(),
    )
    assert one(other, places, id="a") == ""
    assert one(both, places, id="b") == "throttled"
    assert [len(members) for members in places.taken.values()] == [2, 1]


def test_within_a_batch_earlier_events_get_the_places_of_a_throttle_that_routes_share() -> None:
    wide = throttle(1, scope="all")
    first = made(throttles=(throttle(9), throttle(9, scope="category:x"), wide))
    second = made(id="second", throttles=(wide,))
    batch = [*deliveries(first, id="a"), *deliveries(second, id="b")]
    assert admitted(batch) == ["", "throttled"]


def test_a_category_may_pass_by_throttles() -> None:
    urgent = made(bypass=frozenset({Bypass.THROTTLE}), throttles=(throttle(0),))
    assert one(urgent) == ""


def test_a_throttle_may_count_by_a_value() -> None:
    by = made(throttles=(throttle(1, by=path("data.team")),))
    places = Places()
    assert one(by, places, data={"team": 1}, id="a") == ""
    assert one(by, places, data={"team": 2}, id="b") == ""
    assert one(by, places, data={"team": 1}, id="c") == "throttled"


def test_the_refusal_says_which_rule_it_was() -> None:
    admission = Admission(deliveries(made(throttles=(throttle(0, 86400.0),))))
    admission.answer([False] * len(admission.next_asks()))
    refused = admission.verdicts[0]
    assert isinstance(refused, Refused)
    assert refused.reason.text == "limit 0 within 1d of this route"
    assert refused.at is not None


def test_members_of_digests_are_held_to_the_same() -> None:
    collected = made(digest=Digest(60.0), throttles=(throttle(0),))
    planned = plan(collected, event(), [Draft("u-1", {})], [person()])
    assert admitted(planned.members) == ["throttled"]


# Against the model -------------------------------------------------------------------------------

ROUTES = ("paid", "shipped")
windows = st.sampled_from([10.0, 60.0, 600.0])


@st.composite
def policies(draw: st.DrawFn, id: str) -> RoutePolicy:
    scopes = draw(st.lists(st.sampled_from([f"route:{id}", "category:c", "all"]), max_size=3))
    ordered = sorted(scopes, key=lambda s: ("route", "category", "all").index(s.partition(":")[0]))
    return RoutePolicy(
        mode=draw(st.sampled_from([Mode.LIVE, Mode.LIVE, Mode.LIVE, Mode.SHADOW])),
        rollout=draw(st.sampled_from([None, None, Rollout(50)])),
        dedupe=draw(st.none() | st.builds(Dedupe, st.just(path("data.k")), windows)),
        throttles=tuple(
            Throttle(draw(st.integers(0, 3)), draw(windows), scope) for scope in ordered
        ),
        bypass=draw(st.sampled_from([frozenset[Bypass](), frozenset({Bypass.THROTTLE})])),
    )


def most(held: Iterable[RoutePolicy], rule: Throttle) -> int:
    """The highest limit of those that count the same."""
    throttles = [t for one in held for t in one.throttles]
    return max(t.limit for t in throttles if (t.scope, t.per) == (rule.scope, rule.per))


arrivals = st.lists(
    st.tuples(
        st.floats(0, 60),
        st.sampled_from(ROUTES),
        st.sampled_from(["u-1", "u-2"]),
        st.integers(0, 1),
        st.booleans(),
    ),
    max_size=25,
)


@dataclass
class Model:
    """What policies mean, by looking back over everything that was let in."""

    asked: dict[tuple[str, float, str], list[float]] = field(
        default_factory=dict[tuple[str, float, str], list[float]]
    )
    keys: dict[tuple[str, str, int], float] = field(
        default_factory=dict[tuple[str, str, int], float]
    )

    def verdict(self, held: RoutePolicy, route: str, who: str, key: int, now: float) -> str:
        if held.mode is Mode.SHADOW:
            return "shadow"
        if held.rollout and not drawn_of(route, who, held.rollout):
            return "rollout"
        if held.dedupe:
            last = self.keys.get((route, who, key))
            if last is not None and last > now - held.dedupe.window:
                return "duplicate"
            self.keys[route, who, key] = now
        if Bypass.THROTTLE in held.bypass:
            return ""
        for scope, per in dict.fromkeys((rule.scope, rule.per) for rule in held.throttles):
            limit = min(t.limit for t in held.throttles if (t.scope, t.per) == (scope, per))
            taken = self.asked.setdefault((scope, per, who), [])
            if sum(at > now - per for at in taken) >= limit:
                return "throttled"
            taken.append(now)
        return ""


def drawn_of(id: str, who: str, rollout: Rollout) -> bool:
    return is_drawn(rollout, deliveries(made(id=id, rollout=rollout), who=who)[0])


@settings(max_examples=300, deadline=None)
@given(policies("paid"), policies("shipped"), arrivals)
def test_verdicts_are_those_of_the_model(
    paid: RoutePolicy, shipped: RoutePolicy, arriving: list[tuple[float, str, str, int, bool]]
) -> None:
    held = {"paid": paid, "shipped": shipped}
    model, places, now = Model(), Places(), NOW
    granted: dict[tuple[str, float, str], dict[str, float]] = {}
    for number, (pause, name, who, key, is_repeated) in enumerate(arriving):
        now += pause + 0.001
        limited = replace(route(step(), request_step(), id=name), policy=held[name])
        planned = deliveries(limited, {"k": key}, id=f"e-{number}", who=who)
        people = [delivery for delivery in planned if delivery.step.is_for_people]
        expected = model.verdict(held[name], name, who, key, now)
        found = admitted(people, places, now)
        assert found == [expected], (name, who, key, held[name])
        if is_repeated:
            assert admitted(people, places, now) == found
        if not expected and Bypass.THROTTLE not in held[name].bypass:
            for rule in held[name].throttles:
                within = granted.setdefault((rule.scope, rule.per, who), {})
                within[notification_key(people[0])] = now
                recent = [at for at in within.values() if at > now - rule.per]
                assert len(recent) <= most(held.values(), rule)


@settings(max_examples=200, deadline=None)
@given(policies("paid"), arrivals)
def test_what_runs_once_per_event_is_no_matter_of_people(
    held: RoutePolicy, arriving: list[tuple[float, str, str, int, bool]]
) -> None:
    held = replace(held, mode=Mode.LIVE, rollout=None, dedupe=None)
    limited, places = replace(route(step(), request_step()), policy=held), Places()
    for number, (pause, _, who, key, _) in enumerate(arriving):
        planned = deliveries(limited, {"k": key}, id=f"e-{number}", who=who)
        events = [d for d in planned if not d.step.is_for_people]
        assert admitted(events, places, NOW + pause) == [""]
    assert not places.taken


@settings(max_examples=200, deadline=None)
@given(policies("paid"), st.lists(st.sampled_from(["u-1", "u-2"]), max_size=8))
def test_a_batch_is_decided_as_its_events_one_by_one_are(held: RoutePolicy, who: list[str]) -> None:
    limited = replace(route(step()), policy=held)
    planned = [deliveries(limited, {"k": 0}, id=f"e-{n}", who=w)[0] for n, w in enumerate(who)]
    one_by_one = Places()
    singly = [admitted([delivery], one_by_one)[0] for delivery in planned]
    assert admitted(planned) == singly
