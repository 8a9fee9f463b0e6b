"""What is true of every built-in sink kind."""

from __future__ import annotations

import orjson
import pytest

from router.messages import Channel, ChatMessage, EmailMessage
from router.sinks import KINDS, SinkType
from router.sinks.console import frame
from router.sinks.file import line
from tests.unit.sinks.builders import KEY, NOW, call, chat, mail, parcel, smallest


@pytest.mark.parametrize(
    ("name", "channel", "address_kind"),
    [
        ("apns", Channel.PUSH, "device"),
        ("carrotquest", Channel.ANALYTICS, "request"),
        ("console", Channel.CHAT, "any"),
        ("fcm", Channel.PUSH, "device"),
        ("file", Channel.CHAT, "any"),
        ("http", Channel.REQUEST, "request"),
        ("kafka", Channel.REQUEST, "request"),
        ("max", Channel.CHAT, "max"),
        ("mixpanel", Channel.ANALYTICS, "request"),
        ("smtp", Channel.EMAIL, "email"),
        ("telegram", Channel.CHAT, "telegram"),
        ("webhook", Channel.REQUEST, "request"),
    ],
)
def test_channel_and_address(name: str, channel: Channel, address_kind: str) -> None:
    kind: SinkType = KINDS.load(name)
    assert kind.name == name
    assert kind.channel(smallest(name)) is channel
    assert kind.address_kind == address_kind


@pytest.mark.parametrize("name", KINDS.names())
def test_every_option_is_described(name: str) -> None:
    model = KINDS.load(name).config
    assert model.__doc__
    schema = model.model_json_schema()
    for owner, part in [(name, schema), *schema.get("$defs", {}).items()]:
        for option, spec in part.get("properties", {}).items():
            assert spec.get("description"), f"{owner}.{option}"


@pytest.mark.parametrize("name", ["console", "file"])
def test_sinks_for_development_are_not_real(name: str) -> None:
    assert smallest(name).real is False
    assert KINDS.load(name).channel(smallest(name, channel="email")) is Channel.EMAIL


class TestConsole:
    def test_a_chat_message(self) -> None:
        shown = frame("crm", chat("<b>Hi</b> you"), width=60, is_coloured=False)
        assert shown == f"┌─ crm · 42 · payment.failed\n│ Hi you\n└─ {KEY.hex()}\n"

    def test_a_mail(self) -> None:
        shown = frame(
            "mail", parcel(mail(text="one\n\ntwo"), "a@b.example"), width=60, is_coloured=False
        )
        assert "│ subject: Order\n│ one\n│ \n│ two\n" in shown

    def test_colours_are_only_added(self) -> None:
        plain = frame("crm", chat(), width=60, is_coloured=False)
        coloured = frame("crm", chat(), width=60, is_coloured=True)
        for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[36m"):
            coloured = coloured.replace(code, "")
        assert coloured == plain

    def test_messages_can_not_drive_the_terminal(self) -> None:
        message = EmailMessage("\x1b[2Jsubject", None, "a\x1b]0;title\x07b\x9b1m")
        shown = frame("mail", parcel(message, "x\x1b[1m\n"), width=60, is_coloured=False)
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "\x9b" not in shown

    def test_long_lines_are_wrapped(self) -> None:
        shown = frame("crm", parcel(ChatMessage("word " * 100), "1"), width=40, is_coloured=False)
        assert max(map(len, shown.splitlines()[1:-1])) <= 40

    def test_requests_show_their_body(self) -> None:
        assert '│ {"a":1}' in frame("x", call(b'{"a":1}'), width=60, is_coloured=False)


def test_a_line_of_the_file_is_whole_json() -> None:
    written = line(chat("a\nb"), NOW)
    assert written.count(b"\n") == 1
    fields = orjson.loads(written)
    assert fields["key"] == KEY.hex()
    assert fields["time"] == "2026-01-02T03:04:05+00:00"
    assert fields["address"] == "42"
    assert fields["message"]["html"] == "a\nb"
