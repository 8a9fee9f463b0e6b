"""Which addresses a sink may use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.messages import Target
from router.recipients import Device, Recipient, is_address, targets, why_unreachable

ANNA = Recipient(
    "u-1",
    email="anna@example.ru",
    telegram="42",
    max="-7",
    devices=(
        Device("d-1", "tok-1", "android", registered_at=5.0),
        Device("d-2", "tok-2", "ios"),
        Device("d-3", "tok-1", "web"),
    ),
    attributes={"slack": "C024", "phones": ["+7999", 8999, None, "+7999"], "vip": True},
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("email", (Target("anna@example.ru", "email"),)),
        ("telegram", (Target("42", "telegram"),)),
        ("max", (Target("-7", "max"),)),
        (
            "device",
            (
                Target("tok-1", "device", 5.0, "android", id="d-1"),
                Target("tok-2", "device", platform="ios", id="d-2"),
            ),
        ),
        ("request", (Target("", "request"),)),
        ("any", (Target("anna@example.ru", "email"),)),
        ("slack", (Target("C024", "slack"),)),
        ("phones", (Target("+7999", "phones"), Target("8999", "phones"))),
        ("vip", ()),
        ("nothing", ()),
    ],
)
def test_targets_by_address_kind(kind: str, expected: tuple[Target, ...]):
    assert targets(ANNA, kind) == expected


def test_any_takes_what_there_is_and_at_last_the_id():
    assert targets(Recipient("u", telegram="5"), "any") == (Target("5", "telegram"),)
    assert targets(Recipient("u", email="broken", max="6"), "any") == (Target("6", "max"),)
    assert targets(Recipient("u"), "any") == (Target("u", "any"),)
    assert targets(Recipient(""), "any") == ()


def test_why_unreachable_tells_missing_from_malformed():
    assert why_unreachable(ANNA, "email") is None
    missing = why_unreachable(Recipient("u"), "email")
    malformed = why_unreachable(Recipient("u", email="anna"), "email")
    assert missing is not None
    assert malformed is not None
    assert missing.code == malformed.code == "unreachable"
    assert missing.text == "no email address"
    assert "anna" not in malformed.text
    assert malformed.text != missing.text


@pytest.mark.parametrize(
    ("kind", "address", "is_fine"),
    [
        ("email", "a@b.ru", True),
        ("email", "имя@пример.рф", True),
        ("email", "a+tag.b@localhost", True),
        ("email", "a@b.ru\r\nBcc: c@d.ru", False),
        ("email", "a@b.ru\n", False),
        ("email", "a b@c.ru", False),
        ("email", "a@b@c.ru", False),
        ("email", "Anna <a@b.ru>", False),
        ("email", "a@b.ru,c@d.ru", False),
        ("email", "@b.ru", False),
        ("email", "a@", False),
        ("email", "x" * 65 + "@b.ru", False),
        ("email", "a@" + "b" * 260, False),
        ("telegram", "-1001234567890", True),
        ("telegram", "@channel_1", True),
        ("telegram", "t.me/x", False),
        ("telegram", "", False),
        ("max", "12", True),
        ("max", "@x", False),
        ("device", "abc:APA91b-_", True),
        ("device", "a b", False),
        ("device", "", False),
        ("slack", "C 1", True),
        ("slack", "a\x00", False),
        ("slack", "", False),
    ],
)
def test_shapes(kind: str, address: str, is_fine: bool):
    assert is_address(address, kind) is is_fine


@given(st.text(), st.sampled_from(["email", "telegram", "max", "device", "x"]))
def test_no_address_of_any_kind_can_break_a_header(text: str, kind: str):
    if is_address(text, kind):
        assert not set(text) & {"\r", "\n", "\x00"}
        assert len(text.splitlines()) == 1
