"""The Telegram look-alike refuses what Telegram refuses, and keeps what people see."""

from __future__ import annotations

from dataclasses import replace

import aiohttp
import pytest

from router.clock import ManualClock
from router.messages import Button, Channel
from router.sandbox import (
    Fault,
    SandboxSettings,
    TelegramSettings,
    bad_gateway,
    lost_answer,
    sandbox,
)
from tests.contract.sandbox.builders import call, send_message

pytestmark = pytest.mark.anyio

UNLIMITED = SandboxSettings(telegram=TelegramSettings(has_limits=False))


async def test_message_is_kept_as_the_person_sees_it() -> None:
    async with sandbox() as box:
        reply = await send_message(
            box,
            text="<b>Paid</b> 5 &lt; 6 <a href='https://x.test/?a=1&amp;b=2'>see</a> 😀<i>!</i>",
            parse_mode="HTML",
            reply_markup={"inline_keyboard": [[{"text": "Open", "url": "https://x.test"}]]},
            disable_notification=True,
        )

        assert reply.status == 200
        assert reply.json["result"]["entities"] == [
            {"type": "bold", "offset": 0, "length": 4},
            {"type": "text_link", "offset": 11, "length": 3, "url": "https://x.test/?a=1&b=2"},
            {"type": "italic", "offset": 17, "length": 1},
        ]
        (entry,) = box.record
        assert (entry.provider, entry.channel, entry.recipient) == ("telegram", Channel.CHAT, "42")
        assert entry.text == "Paid 5 < 6 see 😀!"
        assert entry.html is not None
        assert entry.html.startswith("<b>Paid</b> 5 &lt; 6 <a href=")
        assert entry.buttons == ((Button("Open", "https://x.test"),),)
        assert entry.details["silent"] == "yes"


async def test_form_body_is_read_like_json() -> None:
    async with sandbox() as box:
        url = f"{box.addresses['telegram']}/bot{box.credentials['telegram_token']}/sendMessage"
        keyboard = '{"inline_keyboard": [[{"text": "Go", "url": "https://x.test"}]]}'
        reply = await call(
            "POST", url, data={"chat_id": "42", "text": "hi", "reply_markup": keyboard}
        )

        assert reply.status == 200
        assert box.record.of("telegram", "42")[0].buttons[0][0].text == "Go"


async def test_message_ids_grow_per_chat() -> None:
    async with sandbox() as box:
        replies = [await send_message(box, chat) for chat in (1, 2, 1)]
        assert [reply.json["result"]["message_id"] for reply in replies] == [1, 1, 2]


@pytest.mark.parametrize(
    ("token", "method", "status", "description"),
    [
        ("7000000001:" + "x" * 35, "sendMessage", 401, "Unauthorized"),
        ("nonsense", "sendMessage", 404, "Not Found"),
        (None, "sendMassage", 404, "Not Found: method not found"),
    ],
)
async def test_wrong_token_or_method(
    token: str | None, method: str, status: int, description: str
) -> None:
    async with sandbox() as box:
        token = token or box.credentials["telegram_token"]
        url = f"{box.addresses['telegram']}/bot{token}/{method}"
        reply = await call("POST", url, json={"chat_id": 1, "text": "x"})
        assert reply.json == {"ok": False, "error_code": status, "description": description}
        assert reply.status == status
        assert not box.record.of("telegram")


async def test_get_me_names_the_bot() -> None:
    async with sandbox() as box:
        url = f"{box.addresses['telegram']}/bot{box.credentials['telegram_token']}/getMe"
        reply = await call("GET", url)
        assert reply.json["result"]["is_bot"] is True


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a <x>", 'Unsupported start tag "x" at byte offset 2'),
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("line<br/>", 'Unsupported start tag "br/" at byte offset 4'),
        ("Ж<p>x</p>", 'Unsupported start tag "p" at byte offset 2'),
        ("<b", "Unclosed start tag at byte offset 0"),
        ("<a href='x", 'Unclosed start tag "a" at byte offset 0'),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b><i>x</b></i>", 'Unmatched end tag at byte offset 7, expected "</i>", found "</b>"'),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ("<a href=x/y>l</a>", "Unexpected end of name token at byte offset 8"),
        ('<a ="x">l</a>', 'Empty attribute name in the tag "a" at byte offset 0'),
    ],
)
async def test_html_that_telegram_rejects(text: str, why: str) -> None:
    async with sandbox() as box:
        reply = await send_message(box, text=text, parse_mode="HTML")
        assert reply.status == 400
        assert reply.json["description"] == f"Bad Request: can't parse entities: {why}"
        assert box.record.refused[0].why == reply.json["description"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a &amp; b &nbsp; &#65;&#x42;", "a & b &nbsp; AB"),
        ("<pre><code class='language-python'>x &lt; y</code></pre>", "x < y"),
        ("<blockquote expandable>q</blockquote>", "q"),
        ("<B>x</B>", "x"),
        ("  <b> x</b> ", "x"),
        ("<a href='nonsense'>l</a>", "l"),
    ],
)
async def test_html_that_telegram_takes(text: str, seen: str) -> None:
    async with sandbox() as box:
        reply = await send_message(box, text=text, parse_mode="HTML")
        assert reply.json["result"]["text"] == seen


RESERVED = "is reserved and must be escaped with the preceding '\\'"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1.5", f"Character '.' {RESERVED}"),
        ("a-b", f"Character '-' {RESERVED}"),
        ("a > b", f"Character '>' {RESERVED}"),
        ("a | b", f"Character '|' {RESERVED}"),
        ("so!", f"Character '!' {RESERVED}"),
        ("(x)", f"Character '(' {RESERVED}"),
        ("*x", "Can't find end of Bold entity at byte offset 0"),
        ("Ж _x", "Can't find end of Italic entity at byte offset 3"),
        ("```x", "Can't find end of Pre entity at byte offset 0"),
        ("[l](http://x.test", "Can't find end of a URL at byte offset 4"),
    ],
)
async def test_markdown_that_telegram_rejects(text: str, why: str) -> None:
    async with sandbox() as box:
        reply = await send_message(box, text=text, parse_mode="MarkdownV2")
        assert reply.status == 400
        assert reply.json["description"] == f"Bad Request: can't parse entities: {why}"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (r"1\.5 \*", "1.5 *"),
        ("*b* _i_ __u__ ~s~", "<b>b</b> <i>i</i> <u>u</u> <s>s</s>"),
        ("*b _bi_*", "<b>b <i>bi</i></b>"),
        ("`a.b!`", "<code>a.b!</code>"),
        ("```python\nx = 1.5\n```", "<pre>x = 1.5</pre>"),
        (">q\n>r\nend", "<blockquote>q\nr</blockquote>\nend"),
        (
            r"[l](https://x.test/a\)b)",
            '<a href="https://x.test/a)b" rel="noreferrer noopener">l</a>',
        ),
    ],
)
async def test_markdown_that_telegram_takes(text: str, html: str) -> None:
    async with sandbox() as box:
        reply = await send_message(box, text=text, parse_mode="MarkdownV2")
        assert reply.status == 200, reply.json
        assert box.record.of("telegram")[0].html == html


@pytest.mark.parametrize(
    ("fields", "description"),
    [
        ({"chat": ""}, "Bad Request: chat_id is empty"),
        ({"chat": "ann"}, "Bad Request: chat not found"),
        ({"text": " \n"}, "Bad Request: message text is empty"),
        ({"text": "<b> </b>", "parse_mode": "HTML"}, "Bad Request: message text is empty"),
        ({"text": "x" * 4097}, "Bad Request: message is too long"),
        ({"text": "😀" * 2049}, "Bad Request: message is too long"),
        ({"parse_mode": "BBCode"}, "Bad Request: unsupported parse_mode"),
        (
            {"reply_markup": {"inline_keyboard": [[{"text": "x"}]]}},
            "Bad Request: text buttons are unallowed in the inline keyboard",
        ),
        (
            {"reply_markup": {"inline_keyboard": [[{"text": "x", "url": "http://localhost/"}]]}},
            "Bad Request: inline keyboard button URL 'http://localhost/' is invalid:"
            " Wrong HTTP URL",
        ),
    ],
)
async def test_fields_that_telegram_rejects(fields: dict[str, object], description: str) -> None:
    async with sandbox() as box:
        reply = await send_message(box, **fields)  # type: ignore[arg-type]
        assert (reply.status, reply.json["description"]) == (400, description)


async def test_length_counts_after_parsing() -> None:
    async with sandbox() as box:
        reply = await send_message(box, text=f"<b>{'x' * 4096}</b>", parse_mode="HTML")
        assert reply.status == 200


@pytest.mark.parametrize(
    ("state", "status", "part"),
    [
        ("blocked", 403, "bot was blocked by the user"),
        ("deactivated", 403, "user is deactivated"),
        ("kicked", 403, "bot was kicked"),
        ("not_member", 403, "bot is not a member"),
        ("never_started", 403, "bot can't initiate conversation"),
        ("unknown", 400, "chat not found"),
        ("no_rights", 400, "not enough rights"),
    ],
)
async def test_chat_state_decides_the_answer(state: str, status: int, part: str) -> None:
    async with sandbox() as box:
        box.telegram.set_state("42", state)
        reply = await send_message(box)
        assert reply.status == status
        assert part in reply.json["description"]
        assert (await send_message(box, 43)).status == 200


async def test_migrated_chat_names_its_successor() -> None:
    async with sandbox() as box:
        box.telegram.set_state("-42", "migrated:-10042")
        reply = await send_message(box, -42)
        assert reply.status == 400
        assert "group chat was upgraded to a supergroup" in reply.json["description"]
        assert reply.json["parameters"] == {"migrate_to_chat_id": -10042}


async def test_chat_limit_refills_by_the_clock() -> None:
    clock = ManualClock()
    async with sandbox(replace(SandboxSettings(), clock=clock)) as box:
        statuses = [(await send_message(box)).status for _ in range(4)]
        refused = await send_message(box)
        other = await send_message(box, 43)
        clock.advance(refused.json["parameters"]["retry_after"])
        again = await send_message(box)

    assert statuses == [200, 200, 200, 429]
    assert refused.json["parameters"] == {"retry_after": 1}
    assert (other.status, again.status) == (200, 200)


async def test_bot_limit_spans_chats() -> None:
    async with sandbox(SandboxSettings(clock=ManualClock())) as box:
        statuses = [(await send_message(box, chat)).status for chat in range(1, 32)]
        assert statuses == [200] * 30 + [429]


@pytest.mark.parametrize(("chat", "refused_at"), [(-1001, 30), (42, None)])
async def test_groups_have_twenty_a_minute_besides(chat: int, refused_at: int | None) -> None:
    clock = ManualClock()
    async with sandbox(SandboxSettings(clock=clock)) as box:
        statuses: list[int] = []
        for _ in range(40):  # one a second: the group's bucket of 20 gains one every three
            statuses.append((await send_message(box, chat)).status)
            clock.advance(1)
        first = statuses.index(429) + 1 if 429 in statuses else None
        assert first == refused_at


async def test_lost_answer_shows_as_a_second_message() -> None:
    async with sandbox(UNLIMITED) as box:
        box.telegram.faults.plan("42", {1: lost_answer()})
        with pytest.raises(aiohttp.ClientConnectionError):
            await send_message(box)
        await send_message(box)
        assert len(box.record.of("telegram", "42")) == 2


@pytest.mark.parametrize(
    ("fault", "status", "content_type"),
    [
        (bad_gateway(), 502, "text/html"),
        (Fault("html"), 200, "text/html"),
        (Fault("truncate"), 200, "application/json"),
        (Fault("drip", seconds=0.1), 200, "application/json"),
    ],
)
async def test_spoilt_answers(fault: Fault, status: int, content_type: str) -> None:
    async with sandbox() as box:
        box.telegram.faults.plan("42", {1: fault})
        reply = await send_message(box)
        assert (reply.status, reply.content_type) == (status, content_type)
        assert (reply.json is not None) == (fault.kind == "drip")
        assert len(box.record) == (0 if fault.kind == "answer" else 1)


@pytest.mark.parametrize("kind", ["reset", "close", "cut"])
async def test_broken_connections(kind: str) -> None:
    async with sandbox() as box:
        box.telegram.faults.plan("42", {1: Fault(kind)})  # type: ignore[arg-type]
        with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
            await send_message(box)
        assert len(box.record) == (1 if kind == "cut" else 0)
        assert (await send_message(box)).status == 200
