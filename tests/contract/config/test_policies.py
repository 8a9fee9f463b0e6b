"""Policies as they are linked: which level wins, what adds up, what switches off."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent

import pytest

from router.config import Loaded, load_project
from router.planning import Cause, Route, Step
from router.planning.policies import (
    Bypass,
    Dedupe,
    Digest,
    Mode,
    QuietHours,
    Rank,
    Rollout,
    StepPolicy,
    Throttle,
)
from router.routing import parse_path

BASE = Path(__file__).parents[2] / "config" / "base"
ENVIRON = {
    "BOT_TOKEN": "123456:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "PARTNER_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
DAY = 86400.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(BASE, tmp_path, dirs_exist_ok=True)
    return tmp_path


def load(root: Path, routes: str, router: str = "") -> Loaded:
    """The base project with these routes, and with this below its ``router.yaml``."""
    path = root / "config/router.yaml"
    path.write_text((BASE / "config/router.yaml").read_text("utf-8") + router, "utf-8")
    (root / "config/routes/payments.yaml").write_text(dedent(routes), "utf-8")
    return load_project(root, environ=ENVIRON)


def linked(root: Path, routes: str, router: str = "") -> Mapping[str, Route]:
    loaded = load(root, routes, router)
    assert loaded.project is not None, [problem.render() for problem in loaded.problems]
    return loaded.project.routes


def one(root: Path, text: str, router: str = "", defaults: str = "{}") -> Route:
    """A route with these keys beside ``match``, ``recipient`` and ``template``."""
    head = (
        f"defaults: {defaults}\nroutes:\n  r:\n    match: {{type: a}}\n"
        "    recipient: {id: data.user_id}\n    template: payment-failed\n"
    )
    text = dedent(text)
    if "deliver:" not in text:
        text += "\ndeliver: [mail]\n"
    return linked(root, head + indent(text, "    "), router)["r"]


def step(route: Route, id: str) -> Step:
    return next(step for step in route.steps if step.id == id)


def test_every_policy_of_a_route_is_linked(root: Path) -> None:
    found = one(
        root,
        """
        mode: shadow
        rollout: {percent: 5, by: data.team}
        policy:
          throttle: {limit: 3, per: 1d}
          dedupe: {key: data.board_id, window: 10m}
          digest: {key: data.board_id, window: 15m, max: 50, extend: true, at_most: 1h}
          cancel_on: {match: {type: payment.succeeded}, same: data.subscription_id, within: 1h}
          delay: 5m
          quiet_hours: {from: 22:00, to: "08:30", otherwise: Europe/Moscow, then: suppress}
          priority: urgent
        """,
    )
    policy = found.policy
    assert policy.mode is Mode.SHADOW
    assert policy.rollout == Rollout(5.0, parse_path("data.team"))
    assert policy.throttles == (Throttle(3, DAY, "route:r"),)
    assert policy.dedupe == Dedupe(parse_path("data.board_id"), 600.0)
    assert policy.digest == Digest(900.0, parse_path("data.board_id"), 50, True, 3600.0)
    assert policy.cancel_on is not None
    assert policy.cancel_on.within == 3600.0
    hours = QuietHours(22 * 60, 8 * 60 + 30, None, "Europe/Moscow", "suppress")
    assert found.steps[0].policy == StepPolicy(300.0, hours, False, Rank.URGENT)
    assert policy.throttles[0].at is not None
    assert policy.throttles[0].at.excerpt() is not None


def test_a_route_without_policies_is_free(root: Path) -> None:
    found = one(root, "deliver: [mail, {sink: mobile, fallback_for: mail}]")
    assert found.policy.throttles == ()
    assert found.policy == type(found.policy)()
    assert all(step.policy == StepPolicy() for step in found.steps)
    assert step(found, "mobile").causes == {Cause.UNREACHABLE, Cause.REJECTED}


def test_the_nearest_level_wins(root: Path) -> None:
    router = """
  night: {description: At night, delay: 3m, priority: urgent}
defaults: {delay: 1m, priority: bulk, ordering: key}
"""
    text = """
        category: night
        policy: {delay: 4m, ordering: none}
        deliver: [mail, {sink: mobile, delay: 5m, priority: normal}]
    """
    found = one(root, text, router, defaults="{delay: 2m}")
    assert step(found, "mail").policy == StepPolicy(240.0, None, False, Rank.URGENT)
    assert step(found, "mobile").policy == StepPolicy(300.0, None, False, Rank.NORMAL)


def test_inherited_policies_are_switched_off(root: Path) -> None:
    router = """
defaults:
  delay: 1m
  quiet_hours: {from: "22:00", to: "08:00"}
  digest: {window: 5m}
  dedupe: {key: data.id, window: 5m}
  throttle: {limit: 3, per: 1h}
  cancel_on: {match: {type: b}, same: data.id}
"""
    inherits = one(root, "", router)
    assert inherits.policy.digest is not None
    assert inherits.policy.throttles == (Throttle(3, 3600.0, "all"),)
    off = """
        policy:
          delay: 0s
          quiet_hours: none
          digest: none
          dedupe: none
          throttle: none
          cancel_on: none
    """
    found = one(root, off, router)
    assert found.policy == type(found.policy)()
    assert found.steps[0].policy == StepPolicy()


def test_throttles_of_all_levels_add_up(root: Path) -> None:
    router = """
  promo: {description: Offers, throttle: {limit: 5, per: 1d, by: data.shop}}
defaults: {throttle: {limit: 20, per: 1d}}
"""
    found = one(root, "category: promo\npolicy: {throttle: {limit: 2, per: 1d}}", router)
    assert found.policy.throttles == (
        Throttle(2, DAY, "route:r"),
        Throttle(5, DAY, "category:promo", parse_path("data.shop")),
        Throttle(20, DAY, "all"),
    )
    own = one(root, "category: promo\npolicy: {throttle: none}", router)
    assert own.policy.throttles == ()


def test_a_throttle_by_category_counts_with_the_category(root: Path) -> None:
    text = "policy: {throttle: {limit: 2, per: 1h, by: category}}"
    found = one(root, f"category: billing\n{text}")
    assert [throttle.scope for throttle in found.policy.throttles] == ["category:billing"]


def test_a_default_by_category_leaves_routes_without_one_alone(root: Path) -> None:
    router = "defaults: {throttle: {limit: 2, per: 1h, by: category}}\n"
    assert one(root, "", router).policy.throttles == ()
    found = one(root, "category: billing", router)
    assert [throttle.scope for throttle in found.policy.throttles] == ["category:billing"]


def test_counts_survive_a_rename(root: Path) -> None:
    found = one(root, "was: former\npolicy: {throttle: {limit: 2, per: 1h}}")
    assert [throttle.scope for throttle in found.policy.throttles] == ["route:former"]


def test_a_category_bypasses_what_it_says_and_what_is_compulsory_asks_nobody(root: Path) -> None:
    router = """
  security: {description: Safety, optional: false, bypass: [quiet_hours, silences]}
defaults: {quiet_hours: {from: "22:00", to: "08:00"}}
"""
    found = one(root, "category: security", router)
    assert found.policy.bypass == {Bypass.QUIET_HOURS, Bypass.SILENCES, Bypass.PREFERENCES}
    assert found.steps[0].policy.quiet_hours is None
    assert one(root, "category: billing", router).policy.bypass == frozenset()


def test_policies_for_people_are_only_inherited_by_steps_to_people(root: Path) -> None:
    router = """
defaults:
  quiet_hours: {from: "22:00", to: "08:00"}
  digest: {window: 5m}
  throttle: {limit: 3, per: 1h}
"""
    found = one(root, 'deliver: [partner, {sink: ops, to: {chat: "-1"}}]', router)
    assert found.policy.digest is None
    assert found.policy.throttles == ()
    assert all(step.policy.quiet_hours is None for step in found.steps)


def test_a_fallback_after_some_time(root: Path) -> None:
    found = one(
        root,
        """
        deliver:
          - mobile
          - sink: mail
            fallback_for: mobile
            after: 10m
            unless_event: {type: push.opened, data.kind: a, same: {data.id: data.push.id}}
          - id: other
            sink: mail
            fallback_for: mobile
            causes: [opted_out]
        """,
    )
    mail = step(found, "mail")
    assert mail.after == 600.0
    assert mail.causes == {Cause.UNREACHABLE, Cause.REJECTED, Cause.UNSETTLED}
    assert mail.unless is not None
    assert [(s.own.text, s.other.text) for s in mail.unless.same] == [("data.id", "data.push.id")]
    assert {path.text for path in mail.unless.match.paths()} == {"type", "data.kind"}
    assert mail.unless.within == DAY
    assert step(found, "other").causes == {Cause.OPTED_OUT}


def test_a_cancelling_event_counts_for_as_long_as_something_waits(root: Path) -> None:
    text = """
        policy:
          delay: 40h
          quiet_hours: {from: "22:00", to: "08:00"}
          cancel_on: {match: {type: b}, same: [data.id, data.part]}
    """
    cancel = one(root, text).policy.cancel_on
    assert cancel is not None
    assert cancel.within == 50 * 3600.0
    assert [same.own.text for same in cancel.same] == ["data.id", "data.part"]


def test_keys_may_be_of_the_element_that_a_person_was_found_in(root: Path) -> None:
    text = """
        routes:
          r:
            match: {type: a}
            recipients: {each: data.watchers, id: item.id}
            template: payment-failed
            policy: {dedupe: {key: item.board, window: 1h}, digest: {key: item.board, window: 1h}}
            deliver: [mail]
    """
    found = linked(root, text)["r"]
    assert found.policy.dedupe is not None
    assert found.policy.dedupe.key.text == "item.board"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("policy: {delay: 1m}", "policy: {delay: 2m}"),
        ("mode: live", "mode: shadow"),
        (
            "deliver: [mobile, {sink: mail, fallback_for: mobile, after: 1m}]",
            "deliver: [mobile, {sink: mail, fallback_for: mobile, after: 2m}]",
        ),
    ],
)
def test_a_changed_policy_is_another_route(root: Path, before: str, after: str) -> None:
    assert one(root, before).digest != one(root, after).digest
    assert one(root, before).digest == one(root, before).digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("defaults: {delay: 1m}\n", "defaults: {delay: 2m}\n"),
        ("  x: {description: X, throttle: {limit: 1, per: 1h}}\n", "  x: {description: X}\n"),
        ("  x: {description: X}\n", "  x: {description: X, bypass: [silences]}\n"),
        ("  x: {description: X}\n", "  x: {description: X, optional: false}\n"),
        (
            "defaults: {throttle: {limit: 1, per: 1h}}\n",
            "defaults: {throttle: {limit: 2, per: 1h}}\n",
        ),
    ],
)
def test_what_it_inherits_is_part_of_a_route(root: Path, before: str, after: str) -> None:
    text = "category: x" if "x:" in before else ""
    assert one(root, text, before).digest != one(root, text, after).digest


def test_where_a_policy_stands_is_no_part_of_it(root: Path) -> None:
    moved = one(root, "\n\n\npolicy: {delay: 1m}", "\n\n")
    assert moved.digest == one(root, "policy: {delay: 1m}").digest


def test_a_source_says_what_becomes_of_events_that_nobody_wants(root: Path) -> None:
    path = root / "config/router.yaml"
    loaded = load_project(root, environ=ENVIRON)
    assert loaded.project is not None
    assert loaded.project.sources["main"].unmatched == "count"
    text = path.read_text("utf-8").replace("type: kafka", "type: kafka\n    unmatched: dead_letter")
    path.write_text(text, "utf-8")
    loaded = load_project(root, environ=ENVIRON)
    assert loaded.project is not None
    assert loaded.project.sources["main"].unmatched == "dead_letter"
