"""What dry-run says of policies: each event at its own time, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tests.contract.authoring.builders import write_project
from tests.contract.authoring.cli import Ran, run

PEOPLE = """\
u1: {name: Ann, email: ann@example.com, timezone: Europe/Moscow, preferences: {news: false}}
u2: {name: Bob, email: bob@example.com}
"""
NOON = "2026-03-24T12:00:00Z"


def routes(policy: str = "", steps: str = "[mail]", more: str = "") -> str:
    return f"""\
    defaults: {{category: orders}}
    routes:
      paid:
        match: {{type: order.paid}}
        recipient: {{id: data.user}}
        template: note
        deliver: {steps}
        {policy}
    {more}
    """


def event(time: str = NOON, user: str = "u1", type: str = "order.paid", **data: Any) -> Any:
    named = {"id": f"e-{time}-{type}", "type": type, "time": time}
    return {**named, "user": user, "total": 5, **data}


def dry_run(folder: Path, text: str, events: Sequence[Any], *options: str) -> Ran:
    config = write_project(folder, routes=text, more={"config/people.yaml": PEOPLE})
    file = folder / "events.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, events)))
    return run("dry-run", file, "--config", config, "--no-content", *options)


def lines(folder: Path, text: str, *events: Any) -> list[dict[str, Any]]:
    told = dry_run(folder, text, events, "--output", "json").json
    return [
        line for one in told["events"] for route in one["routes"] for line in route["deliveries"]
    ]


def verdicts(folder: Path, text: str, *events: Any) -> list[str]:
    found = lines(folder, text, *events)
    return [
        line["verdict"] + (f" {line['reason']['code']}" if line["reason"] else "") for line in found
    ]


def test_three_in_a_minute_meet_a_limit_of_two(tmp_path: Path) -> None:
    limited = routes("policy: {throttle: {limit: 2, per: 1m}}")
    events = [event(f"2026-03-24T12:00:{second:02}Z") for second in (0, 20, 40)]
    later = event("2026-03-24T12:01:01Z")
    assert verdicts(tmp_path, limited, *events, later) == [
        "now",
        "now",
        "suppressed throttled",
        "now",
    ]
    text = dry_run(tmp_path, limited, events).out
    assert "SUPPRESSED by  mail → ann@example.com  throttled: limit 2 within 1m" in text
    assert "routes.yaml:8" in text


def test_a_hold_ends_by_the_clock_of_the_recipient(tmp_path: Path) -> None:
    quiet = 'policy: {quiet_hours: {from: "22:00", to: "08:00", timezone: recipient}}'
    night = event("2026-03-24T20:00:00Z")
    [line] = lines(tmp_path, routes(quiet), night)
    assert (line["verdict"], line["reason"]["code"]) == ("hold", "quiet_hours")
    assert line["until"] == "2026-03-25T08:00:00+03:00"
    text = dry_run(tmp_path, routes(quiet), [night]).out
    assert "HOLD           mail → ann@example.com  until 2026-03-25 08:00 Europe/Moscow" in text


def test_a_delay_is_a_hold_and_what_ends_it_is_named(tmp_path: Path) -> None:
    waits = routes(
        "policy: {delay: 10m, cancel_on: {match: {type: order.refunded}, same: data.user}}"
    )
    paid, refunded = event(), event("2026-03-24T12:05:00Z", type="order.refunded")
    assert verdicts(tmp_path, waits, paid) == ["hold delay"]
    assert verdicts(tmp_path, waits, paid, refunded) == ["suppressed cancelled"]
    too_late = event("2026-03-24T12:15:00Z", type="order.refunded")
    assert verdicts(tmp_path, waits, paid, too_late) == ["hold delay"]
    somebody = event("2026-03-24T12:05:00Z", type="order.refunded", user="u2")
    assert verdicts(tmp_path, waits, paid, somebody) == ["hold delay"]
    text = dry_run(tmp_path, waits, [paid, refunded]).out
    ended = "CANCELLED by   mail → ann@example.com  order.refunded e-2026-03-24T12:05:00Z"
    assert ended in text
    assert "config/routes.yaml:8" in text
    assert "ends what still waits of paid" in text


def test_an_event_that_came_before_ends_it_too(tmp_path: Path) -> None:
    cancelled = routes("policy: {cancel_on: {match: {type: order.refunded}, same: data.user}}")
    refunded = event("2026-03-24T12:00:10Z", type="order.refunded")
    assert verdicts(tmp_path, cancelled, refunded, event()) == ["suppressed cancelled"]


def test_a_digest_tells_when_it_closes_and_how_many_it_has(tmp_path: Path) -> None:
    collected = routes("policy: {digest: {window: 15m}}")
    events = [event(), event("2026-03-24T12:05:00Z"), event("2026-03-24T12:20:00Z")]
    found = lines(tmp_path, collected, *events)
    assert [line["verdict"] for line in found] == ["digest"] * 3
    assert [line["collected"] for line in found] == [1, 2, 1]
    assert found[1]["until"] == "2026-03-24T15:15:00+03:00"
    text = dry_run(tmp_path, collected, events[:2]).out
    assert "DIGEST         closes at 2026-03-24 15:15 Europe/Moscow, 2 so far" in text


def test_a_duplicate_and_a_shadow_are_suppressed(tmp_path: Path) -> None:
    boards = routes("policy: {dedupe: {key: data.board, window: 1h}}")
    first, second = event(board=1), event("2026-03-24T12:30:00Z", board=1)
    assert verdicts(tmp_path, boards, first, second) == ["now", "suppressed duplicate"]
    assert verdicts(tmp_path, routes("mode: shadow"), event()) == ["suppressed shadow"]


def test_a_fallback_says_when_it_starts_and_what_ends_it(tmp_path: Path) -> None:
    steps = (
        "[mail, {sink: mail, id: again, fallback_for: mail, after: 10m,"
        " unless_event: {type: mail.opened, same: data.user}}]"
    )
    text = dry_run(tmp_path, routes(steps=steps), [event()])
    assert "unsettled 10m after, unless mail.opened" in text.out, text
