"""Customers' endpoints: what is read of them, which events they take, which hosts are theirs."""

from __future__ import annotations

from typing import Any

import pytest

from router.recipients import Endpoint, Recipient, is_allowed, merge, read_endpoints, wants
from router.values import Secret

URL = "https://hooks.acme.example/in"


def test_a_directorys_secrets_are_taken_as_they_are() -> None:
    (found,) = read_endpoints(
        {"url": URL, "id": 7, "secrets": "one", "types": ["a"], "registered_at": 5},
        from_event=False,
    )
    assert found == Endpoint(URL, "7", (Secret("one"),), ("a",), 5.0)


def test_an_events_secrets_are_taken_only_where_they_are_declared() -> None:
    declared, exposed = read_endpoints(
        [{"url": URL, "secrets": [Secret("one")]}, {"url": URL, "secrets": ["one"]}],
        from_event=True,
    )
    assert declared == Endpoint(URL, secrets=(Secret("one"),), is_from_event=True)
    assert exposed == Endpoint(URL, is_from_event=True, is_exposed=True)


@pytest.mark.parametrize("value", [None, "https://a", 5, [None], [{"url": ""}], [{"url": 5}], {}])
def test_what_is_no_endpoint_is_left_out(value: Any) -> None:
    assert read_endpoints(value, from_event=True) == ()


def test_the_events_endpoints_win_over_the_directorys() -> None:
    profile = Recipient("u", endpoints=(Endpoint("https://b"),))
    assert merge({"id": "u"}, profile).endpoints == profile.endpoints
    (given,) = merge({"id": "u", "endpoints": [{"url": URL}]}, profile).endpoints
    assert (given.url, given.is_from_event) == (URL, True)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((), True),
        (("invoice.paid",), True),
        (("invoice.*",), True),
        (("payment.*", "invoice.pai?"), True),
        (("invoice",), False),
        (("Invoice.paid",), False),
        (("[i]nvoice.paid",), False),
    ],
)
def test_types(types: tuple[str, ...], expected: bool) -> None:
    assert wants(Endpoint(URL, types=types), "invoice.paid") is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URL, True),
        ("https://HOOKS.acme.example./in", True),
        ("https://a.b.shop.example:8443/", True),
        ("https://shop.example/", False),
        ("https://evilshop.example/", False),
        ("https://hooks.acme.example.evil.io/", False),
        ("https://hooks.acme.example@evil.io/", False),
        ("https://evil.io/?hooks.acme.example", False),
        ("https://evil.io#hooks.acme.example", False),
        ("//hooks.acme.example/", True),
        ("https://[::1", False),
        ("", False),
    ],
)
def test_hosts(url: str, expected: bool) -> None:
    hosts = ("hooks.acme.example", "*.shop.example")
    assert is_allowed(Endpoint(url, is_from_event=True), hosts) is expected
