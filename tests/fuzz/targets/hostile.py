"""Events whose values are what nobody expects."""

from __future__ import annotations

from typing import Any, Final

from router.events import Event, Record
from router.recipients import Recipient

_NOW: Final = 1_780_000_000.0


def _nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


VALUES: Final[dict[str, Any]] = {
    "a": "<script>alert(1)</script>",
    "b": "{{ data.a }}{% for x in data %}",
    "x": None,
    "xs": [1, "2", None, [], {}, True, 1.5, "\u202e\x00\x1b[2J\r\nBcc: x@x.example"],
    "name": "\U0001f600" * 500 + "\ud7ff\ufdfa\u0301" * 50,
    "number": 2**63 - 1,
    "big": 10**4000,
    "small": 5e-324,
    "huge": 1.7976931348623157e308,
    "amount": {"minor": -(2**63), "currency": "XXX"},
    "time": "9999-12-31T23:59:60+23:59",
    "empty": "",
    "deep": _nested(45),
    "long": "y" * 100_000,
    "items": [{"a": n, "name": str(n)} for n in range(300)],
    "url": "javascript:alert(1)",
    "__class__": "c",
    "id": True,
    "email": "a@b.example\r\nBcc: evil@x.example",
    "user": {"id": -0.0, "name": ["n"], "email": {"a": 1}, "locale": "xx-YY-zz-12345678901"},
}

EVENTS: Final = tuple(
    Event(
        id="e\u2028",
        type=kind,
        source="s",
        subject=subject,
        time=time,
        data=data,
        headers={"a": "b", "": "\x00"},
        identity="i",
        record=Record("t", 0, 2**60, _NOW, key, b"{}"),
    )
    for kind, subject, time, data, key in (
        ("payment.failed", None, _NOW, VALUES, b"\xff"),
        ("", "s" * 1024, 0.0, [VALUES], None),
        ("a.b.c" * 100, "", 1e11, None, b""),
        ("order.paid", "\U0001f600", -1e10, "text", b"k"),
    )
)

PEOPLE: Final = (
    None,
    Recipient(id="u", locale="en"),
    Recipient(id="\U0001f600", name="<b>", locale="nonsense-", timezone="Nowhere/../etc"),
    Recipient(id="u", locale="ar", timezone="Pacific/Apia", attributes={"x": VALUES}),
)
