from __future__ import annotations

import orjson
import pytest

from router.messages import Channel
from router.sandbox.contents import Property, body, framed_html, headline, platform, properties
from router.sandbox.record import Received


def analytics(value: object, title: str = "Opened", kind: str = "event") -> Received:
    text = orjson.dumps(value).decode()
    return Received("mixpanel", Channel.ANALYTICS, "u-1", title, text, details={"kind": kind})


def sent(raw: bytes) -> Received:
    return Received("http", Channel.REQUEST, "/", "", "", raw=raw)


def mail(html: str) -> Received:
    return Received("smtp", Channel.EMAIL, "ann@post.example", "", "", html)


def test_properties_are_those_of_the_event_alone() -> None:
    entry = analytics({"plan": "Team", "seats": 3, "time": 1, "$insert_id": "x", "of": [1]})
    assert properties(entry) == [
        Property("plan", "Team"),
        Property("seats", "3"),
        Property("of", "[1]"),
    ]


@pytest.mark.parametrize(
    ("value", "title", "expected"),
    [
        ({"plan": "Team"}, "$set", [Property("plan", "Team", "$set")]),
        (["plan"], "$unset", [Property("plan", "", "$unset")]),
        (
            [{"op": "add", "key": "seats", "value": 2}],
            "props",
            [Property("seats", "2", "add")],
        ),
    ],
)
def test_changes_of_a_profile_say_what_is_done(
    value: object, title: str, expected: list[Property]
) -> None:
    assert list(properties(analytics(value, title, "profile"))) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"a":[1]}', '{\n  "a": [\n    1\n  ]\n}'),
        (b"event=Paid&params=%7B%22a%22%3A1%7D", 'event = Paid\nparams = {"a":1}'),
        (b"plain text", "plain text"),
        (b"\xff", "\ufffd"),
        (b"x" * 40_001, "x" * 40_000 + "\n… 1 characters more"),
    ],
)
def test_bodies_are_laid_out_for_people(raw: bytes, expected: str) -> None:
    assert body(sent(raw)) == expected


@pytest.mark.parametrize("name", ["iframe", "IFRAME", "object", "embed", "link", "frame"])
def test_elements_for_which_browsers_connect_ahead_become_inert(name: str) -> None:
    shown = framed_html(mail(f"<p>a</p><{name}/src=x></{name}\n>"))
    assert f"<x-{name}/src=x></x-{name}\n>" in shown
    assert f"<{name}" not in shown


def test_other_elements_stay_as_they_are() -> None:
    html = "<framework></framework><img alt='<object'>"
    assert framed_html(mail(html)).startswith("<framework></framework><img")


@pytest.mark.parametrize(
    ("provider", "address", "expected"),
    [("apns", "token", "iOS"), ("fcm", "pixel, android", "Android"), ("fcm", "token", "")],
)
def test_the_platform_is_named_where_it_is_known(
    provider: str, address: str, expected: str
) -> None:
    entry = Received(provider, Channel.PUSH, "t", "", "")
    assert platform(entry, address) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            analytics([{"op": "set", "key": "plan", "value": "Team"}], "props", "profile"),
            "profile: plan Team",
        ),
        (analytics({"plan": "Team", "token": "t"}, "$set", "profile"), "profile: plan Team"),
        (analytics(["trial"], "$unset", "profile"), "profile: trial"),
        (analytics({"plan": "Team"}, "Paid", "event"), "Paid"),
        (Received("telegram", Channel.CHAT, "42", "", "\n Hi \nyou"), "Hi"),
    ],
)
def test_a_line_says_what_an_entry_is_about(entry: Received, expected: str) -> None:
    assert headline(entry) == expected
