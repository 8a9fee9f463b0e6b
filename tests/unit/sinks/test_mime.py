"""Mail as bytes: any mail parses back to what it was, and headers can't be broken."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage as Parsed
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.sinks._mime import (
    Heading,
    UnsafeMail,
    mailbox,
    message_id,
    parse_mailbox,
    serialise,
    wire_address,
)
from tests.unit.sinks.builders import KEY, NOW, mail

ID = message_id(KEY, "acme.example")


def heading(**changes: Any) -> Heading:
    values: dict[str, Any] = {
        "sender": mailbox("Acme", "no-reply@acme.example"),
        "recipient": "anna@example.com",
        "message_id": ID,
        "date": NOW,
    }
    return Heading(**{**values, **changes})


def written(eight_bit: bool = True, is_test: bool = False, **changes: Any) -> bytes:
    return serialise(mail(**changes), heading(is_test=is_test), eight_bit=eight_bit)


def parsed(data: bytes) -> Parsed:
    return cast("Parsed", message_from_bytes(data, policy=policy.SMTP))


def part(message: Parsed, kind: str) -> str:
    found = message.get_body((kind,))
    assert found is not None
    return str(found.get_content())


def normal(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def test_headers_of_a_mail() -> None:
    message = parsed(written(subject="Заказ №12", reply_to="help@acme.example", locale="ru"))
    assert message["From"] == "Acme <no-reply@acme.example>"
    assert message["To"] == "anna@example.com"
    assert message["Subject"] == "Заказ №12"
    assert message["Date"] == "Fri, 02 Jan 2026 03:04:05 -0000"
    assert message["Message-ID"] == ID
    assert message["Reply-To"] == "help@acme.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "ru"
    assert message["MIME-Version"] == "1.0"
    assert message.get_content_type() == "multipart/alternative"


def test_attempts_of_one_delivery_are_the_same_bytes() -> None:
    assert written() == written()
    assert message_id(KEY, "acme.example") != message_id(KEY[::-1], "acme.example")


def test_a_mail_without_html_has_one_part() -> None:
    message = parsed(written(html=None, text="Привет"))
    assert message.get_content_type() == "text/plain"
    assert message.get_content().strip() == "Привет"


def test_text_comes_before_html() -> None:
    kinds = [p.get_content_type() for p in parsed(written()).iter_parts()]
    assert kinds == ["text/plain", "text/html"]


def test_one_click_unsubscription_is_one_unfolded_line() -> None:
    url = "https://acme.example/unsubscribe?" + "token=" + "a1b2c3d4" * 40
    lines = written(unsubscribe_url=url).split(b"\r\n")
    assert f"List-Unsubscribe: <{url}>".encode() in lines
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines


def test_a_test_mail_says_so() -> None:
    message = parsed(written(is_test=True))
    assert message["Subject"] == "[test] Order"
    assert message["X-Router-Test"] == "true"


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "a\r\nBcc: eve@example.com"},
        {"subject": "a\nb"},
        {"subject": "a\x00b"},
        {"reply_to": "a@example.com\r\nBcc: b@example.com"},
        {"reply_to": "nobody"},
        {"locale": "ru\r\nX: y"},
        {"unsubscribe_url": "https://a.example/\r\nX: y"},
        {"unsubscribe_url": "https://a.example/> <https://b.example/"},
        {"unsubscribe_url": "https://a.example/я"},
        {"unsubscribe_url": "javascript:alert(1)"},
        {"unsubscribe_url": "https://a.example/" + "a" * 1000},
    ],
)
def test_what_would_break_a_header_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(UnsafeMail):
        written(**changes)


@pytest.mark.parametrize(
    ("address", "wire"),
    [
        ("anna@example.com", "anna@example.com"),
        ("Anna.B+tag@Example.com", "Anna.B+tag@Example.com"),
        ("anna@почта.рф", "anna@xn--80a1acny.xn--p1ai"),
        ("анна@почта.рф", "анна@xn--80a1acny.xn--p1ai"),
    ],
)
def test_addresses_on_the_wire(address: str, wire: str) -> None:
    assert wire_address(address) == wire


@pytest.mark.parametrize(
    "address",
    ["", "anna", "anna@", "@example.com", "a b@example.com", "a@b@c", "<a@example.com>", "a@b\r\nc",
     "a@b,c@d", "a@..", "a@.b", "x" * 65 + "@example.com", "a@" + "b" * 254, 'a"b@example.com'],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UnsafeMail):
        wire_address(address)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("a@b.example", "", "a@b.example"),
        ("<a@b.example>", "", "a@b.example"),
        ("Acme Inc. <a@b.example>", "Acme Inc.", "a@b.example"),
        ('"Acme, \\"Inc\\"" <a@b.example>', 'Acme, "Inc"', "a@b.example"),
        ("Почта <a@почта.рф>", "Почта", "a@xn--80a1acny.xn--p1ai"),
    ],
)
def test_mailboxes_are_read(text: str, name: str, address: str) -> None:
    assert parse_mailbox(text) == (name, address)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "<a@b.example>"),
        ("Acme", "Acme <a@b.example>"),
        ("Acme, Inc.", '"Acme, Inc." <a@b.example>'),
        ('Say "hi"', '"Say \\"hi\\"" <a@b.example>'),
        ("Почта", "=?utf-8?B?0J/QvtGH0YLQsA==?= <a@b.example>"),
    ],
)
def test_display_names(name: str, value: str) -> None:
    assert mailbox(name, "a@b.example") == value


_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=200) | st.text(
    "ab .=\n\r-ж", max_size=2000
)
_line = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=200
)


@settings(max_examples=600, deadline=None)
@given(text=_text, html=_text, eight_bit=st.booleans())
@example(text="", html="00000000\x1f\x1f\x08" + "\x80" * 10, eight_bit=False)
@example(
    text="no line is broken here, so it is the soft breaks alone: " * 3 + "é",
    html="é\n" * 99,
    eight_bit=False,
)
def test_bodies_survive_every_transfer_encoding(text: str, html: str, eight_bit: bool) -> None:
    data = written(eight_bit, text=text, html=html)
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert b"\0" not in data
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert eight_bit or data.isascii()
    message = parsed(data)
    for kind, original in (("plain", text), ("html", html)):
        found = message.get_body((kind,))
        assert found is not None
        content = found.get_payload(decode=True)
        assert isinstance(content, bytes)
        assert normal(content.decode()) == normal(original)


@settings(max_examples=600, deadline=None)
@given(subject=_line)
def test_subjects_survive_and_stay_within_lines(subject: str) -> None:
    data = written(subject=subject)
    head = data.split(b"\r\n\r\n")[0]
    assert head.isascii()
    found = parsed(data)["Subject"]
    assert str(found) == subject or subject.strip() != subject or "=?" in subject
    assert max(map(len, head.split(b"\r\n"))) <= 998


@settings(max_examples=300, deadline=None)
@given(subject=st.text(max_size=50), reply_to=st.text(max_size=30), url=st.text(max_size=50))
def test_no_input_adds_a_header(subject: str, reply_to: str, url: str) -> None:
    allowed = {"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Auto-Submitted",
               "Reply-To", "List-Unsubscribe", "List-Unsubscribe-Post", "Content-Type"}  # fmt: skip
    try:
        data = written(subject=subject, reply_to=reply_to, unsubscribe_url=url)
    except UnsafeMail:
        return
    assert set(parsed(data).keys()) <= allowed
