"""What providers saw on the wire tells which delivery it was."""

from __future__ import annotations

from uuid import UUID

import pytest

from router.demo.witness import Origin, Witness
from router.messages import Channel
from router.sandbox import Received

KEY = bytes(range(16)).hex()
OTHER = bytes(range(1, 17)).hex()


def received(provider: str, key: str | None, recipient: str = "somebody") -> Received:
    return Received(provider, Channel.REQUEST, recipient, "title", "text", key=key)


@pytest.mark.parametrize(
    ("provider", "seen"),
    [
        ("smtp", f"<{KEY}@kolibri.example>"),
        ("webhook", f"msg_{KEY}"),
        ("telegram", KEY),
        ("fcm", KEY),
        ("apns", str(UUID(KEY))),
        ("mixpanel", str(UUID(KEY))),
        ("kafka", KEY),
    ],
)
def test_a_key_is_known_in_each_providers_own_form(provider: str, seen: str) -> None:
    assert Witness({}, {}).keys_of([received(provider, seen)]) == [KEY]


def test_changes_of_profiles_are_told_by_the_person() -> None:
    origins = {
        KEY: Origin("e-1", "profile", "product", profile_of="anna"),
        OTHER: Origin("e-1", "profile", "carrot", profile_of="anna"),
    }
    witness = Witness({"product": "mixpanel", "carrot": "carrotquest"}, origins)
    entries = [
        received("mixpanel", None, "anna"),
        received("mixpanel", None, "anna"),
        received("mixpanel", None, "boris"),
        received("carrotquest", None, "anna"),
    ]
    assert witness.keys_of(entries) == [KEY, "", "", ""]
    assert witness.origin_of(KEY, entries[0]).sink == "product"


def test_what_nobody_planned_is_named_after_its_provider() -> None:
    assert Witness({}, {}).origin_of("", received("http", None)) == Origin(sink="http")
