"""The MAX look-alike refuses what MAX refuses, and keeps what people see."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from maxapi import Bot
from maxapi.client.default import DefaultConnectionProperties
from maxapi.enums.parse_mode import TextFormat
from maxapi.exceptions.max import InvalidToken, MaxApiError, MaxConnection
from maxapi.types.attachments.buttons import LinkButton
from maxapi.utils.inline_keyboard import InlineKeyboardBuilder

from router.clock import ManualClock
from router.messages import Button, Channel
from router.sandbox import MaxSettings, Sandbox, SandboxSettings, lost_answer, sandbox
from tests.contract.sandbox.builders import Reply, call

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def max_box(**settings: Any) -> AsyncGenerator[Sandbox]:
    async with sandbox(SandboxSettings(max=MaxSettings(**settings))) as box:
        yield box


async def post(
    box: Sandbox,
    query: str = "user_id=42",
    body: object = None,
    headers: Mapping[str, str] | None = None,
    path: str = "/messages",
    method: str = "POST",
    **fields: object,
) -> Reply:
    given = {"Authorization": box.credentials["max_token"]} if headers is None else headers
    return await call(
        method,
        f"{box.addresses['max']}{path}?{query}",
        headers=given,
        json={"text": "hi", **fields} if body is None else body,
        ca_file=box.ca_file,
    )


async def test_a_message_is_kept_as_the_person_sees_it() -> None:
    async with max_box() as box:
        text = "<b>Paid</b> 5 &lt; 6 <a href='https://x.test/?a=1&amp;b=2'>see</a> 😀<i>!</i>"
        reply = await post(box, text=text, format="html", notify=False)
        (entry,) = box.record
    assert reply.status == 200
    message = reply.json["message"]
    assert message["body"]["text"] == "Paid 5 < 6 see 😀!"
    assert message["body"]["markup"] == [
        {"type": "strong", "from": 0, "length": 4},
        {"type": "link", "from": 11, "length": 3, "url": "https://x.test/?a=1&b=2"},
        {"type": "emphasized", "from": 17, "length": 1},
    ]
    assert message["recipient"]["user_id"] == 42
    assert message["recipient"]["chat_type"] == "dialog"
    assert (entry.provider, entry.channel, entry.recipient) == ("max", Channel.CHAT, "42")
    assert entry.html is not None
    assert entry.html.startswith("<b>Paid</b> 5 &lt; 6 <a href=")
    assert entry.details["silent"] == "yes"
    assert entry.details["message_id"] == message["body"]["mid"]


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, "user_id=42"),
        ({"Authorization": "Bearer TOKEN"}, "user_id=42"),
        ({"Authorization": "wrong"}, "user_id=42"),
        ({}, "user_id=42&access_token=TOKEN"),
        ({"Authorization": "TOKEN"}, "user_id=42&access_token=TOKEN"),
    ],
)
async def test_only_the_bare_token_in_the_header_opens_it(
    headers: dict[str, str], query: str
) -> None:
    async with max_box() as box:
        token = box.credentials["max_token"]
        given = {name: value.replace("TOKEN", token) for name, value in headers.items()}
        reply = await post(box, query.replace("TOKEN", token), headers=given)
        assert len(box.record) == 0
    assert (reply.status, reply.json["code"]) == (401, "verify.token")


async def test_its_authority_is_in_no_default_store() -> None:
    async with max_box() as box:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await call("GET", f"{box.addresses['max']}/me")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "proto.payload"),
        ("user_id=1&chat_id=-2", 400, "proto.payload"),
        ("user_id=abc", 400, "proto.payload"),
        ("user_id=9223372036854775808", 400, "proto.payload"),
        ("chat_id=42", 404, "chat.not.found"),
        ("user_id=-42", 404, "dialog.not.found"),
    ],
)
async def test_users_and_chats_are_named_apart(query: str, status: int, code: str) -> None:
    async with max_box() as box:
        reply = await post(box, query)
    assert (reply.status, reply.json["code"]) == (status, code)


async def test_a_dialog_s_own_chat_id_leads_nowhere() -> None:
    async with max_box() as box:
        chat_id = (await post(box)).json["message"]["recipient"]["chat_id"]
        assert chat_id != 42
        assert (await post(box, f"chat_id={chat_id}")).json["code"] == "chat.not.found"
        assert (await post(box, f"user_id={chat_id}")).json["code"] == "dialog.not.found"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"text": "x" * 4001}, "text: size must be between 0 and 4000"),
        ({"text": "😀" * 2001}, "text: size must be between 0 and 4000"),
        ({"text": 5}, "text: must be string"),
        ({"text": ""}, "text or attachments: must not be empty"),
        ({"format": "MarkdownV2"}, "format: must be one of html, markdown"),
        ({"notify": "no"}, "notify: must be boolean"),
        ({"text": "<b>x", "format": "html"}, "text: tag b is not closed"),
        (
            {"text": "<b><i>x</b></i>", "format": "html"},
            "text: tag b is closed where it was not opened",
        ),
        ({"attachments": [{}]}, "attachments: each needs a type"),
        ({"attachments": [{"type": "image"}] * 13}, "attachments: size must be between 0 and 12"),
    ],
)
async def test_bodies_that_break_the_schema(fields: dict[str, Any], why: str) -> None:
    async with max_box() as box:
        reply = await post(box, **fields)
        assert box.record.refused[0].why == f"proto.payload: {why}"
    assert (reply.status, reply.json) == (400, {"code": "proto.payload", "message": why})


LINK = {"type": "link", "text": "x", "url": "https://x.test"}


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[]],
        [[LINK] * 4],
        [[LINK]] * 31,
        [[{**LINK, "text": "x" * 129}]],
        [[{**LINK, "url": "not a url"}]],
        [[{**LINK, "type": "mystery"}]],
    ],
)
async def test_keyboards_that_max_refuses(rows: list[Any]) -> None:
    async with max_box() as box:
        keyboard = {"type": "inline_keyboard", "payload": {"buttons": rows}}
        reply = await post(box, attachments=[keyboard])
    assert (reply.status, reply.json["code"]) == (400, "proto.payload")


@pytest.mark.parametrize(
    ("text", "plain", "marks"),
    [
        ("*a* _b_ **c** __d__", "a b c d", ["emphasized", "emphasized", "strong", "strong"]),
        ("~~a~~ ++b++ ^^c^^", "a b c", ["strikethrough", "underline", "highlighted"]),
        ("`a\nb` *c", "a b *c", ["monospaced"]),
        ("[t](https://x.test) [u](nope)", "t [u](nope)", ["link"]),
        ("[Ann](max://user/7)", "Ann", ["link"]),
        ("# Head\n1 # 2", "Head\n1 # 2", ["heading"]),
        ("**a *b* c**", "a b c", ["strong", "emphasized"]),
    ],
)
async def test_markdown_of_max_s_flavour(text: str, plain: str, marks: list[str]) -> None:
    async with max_box() as box:
        body = (await post(box, text=text, format="markdown")).json["message"]["body"]
    assert body["text"] == plain
    assert [mark["type"] for mark in body["markup"]] == marks


async def test_tags_that_max_does_not_know_are_stripped() -> None:
    async with max_box() as box:
        reply = await post(box, text="a<x>b</x><blockquote>c</blockquote>", format="html")
    assert reply.json["message"]["body"]["text"] == "abc"


@pytest.mark.parametrize(
    ("address", "query", "state", "status", "code"),
    [
        ("42", "user_id=42", "suspended", 403, "chat.denied"),
        ("42", "user_id=42", "unknown", 404, "dialog.not.found"),
        ("-7", "chat_id=-7", "unknown", 404, "chat.not.found"),
        ("-7", "chat_id=-7", "no_rights", 403, "access.denied"),
        ("42", "user_id=42", "not_ready:1", 400, "attachment.not.ready"),
    ],
)
async def test_states(address: str, query: str, state: str, status: int, code: str) -> None:
    async with max_box() as box:
        box.max.set_state(address, state)
        reply = await post(box, query)
        assert len(box.record) == 0
    assert (reply.status, reply.json["code"]) == (status, code)


async def test_unknown_states_are_refused() -> None:
    async with max_box() as box:
        with pytest.raises(ValueError, match="no state 'asleep'"):
            box.max.set_state("42", "asleep")


async def test_a_bot_that_is_not_moderated_reaches_nobody() -> None:
    async with max_box(is_moderated=False) as box:
        assert (await post(box)).json["code"] == "chat.denied"


async def test_limits_name_no_time_to_wait() -> None:
    clock = ManualClock()
    async with sandbox(SandboxSettings(clock=clock)) as box:
        statuses = [(await post(box)).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        limited = await post(box)
        assert limited.json["code"] == "too.many.requests"
        assert "Retry-After" not in limited.headers
        clock.advance(1)
        assert (await post(box)).status == 200

        clock.advance(1)
        spread = [(await post(box, f"user_id={100 + n}")).status for n in range(31)]
        assert spread == [200] * 30 + [429]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/messagez", 404, "not.found"),
        ("PUT", "/messages", 405, "method.not.allowed"),
    ],
)
async def test_paths_and_methods(method: str, path: str, status: int, code: str) -> None:
    async with max_box() as box:
        reply = await post(box, path=path, method=method)
    assert (reply.status, reply.json["code"]) == (status, code)


async def test_other_bodies_than_json_are_refused() -> None:
    async with max_box() as box:
        headers = {"Authorization": box.credentials["max_token"]}
        url = f"{box.addresses['max']}/messages?user_id=42"
        reply = await call("POST", url, headers=headers, data={"text": "x"}, ca_file=box.ca_file)
    assert reply.status == 415


async def test_errors_can_come_as_plain_text() -> None:
    async with max_box(plain_errors=True) as box:
        reply = await post(box, headers={})
    assert (reply.status, reply.content_type) == (401, "text/plain")
    assert reply.body.startswith(b"verify.token")


class TestPublicClient:
    """The most used client of the real API, pointed here by address and authority alone."""

    @asynccontextmanager
    async def bot(self, box: Sandbox, token: str | None = None) -> AsyncGenerator[Bot]:
        context = ssl.create_default_context(cafile=str(box.ca_file))
        connection = DefaultConnectionProperties(
            timeout=5, max_retries=0, connector=aiohttp.TCPConnector(ssl=context)
        )
        bot = Bot(token or box.credentials["max_token"], default_connection=connection)
        bot.set_api_url(box.addresses["max"])
        try:
            yield bot
        finally:
            await bot.close_session()
            await connection.kwargs["connector"].close()

    async def test_sends_and_reads_back_what_it_sent(self) -> None:
        keyboard = InlineKeyboardBuilder().row(LinkButton(text="Pay", url="https://x.test/pay"))
        async with max_box() as box, self.bot(box) as bot:
            me = await bot.get_me()
            sent = await bot.send_message(
                user_id=42,
                text="Hi <b>you</b>",
                format=TextFormat.HTML,
                attachments=[keyboard.as_markup()],
                notify=False,
            )
            (entry,) = box.record
        assert me.is_bot
        assert sent is not None
        assert sent.message.body is not None
        assert sent.message.body.html_text == "Hi <b>you</b>"
        assert sent.message.recipient.user_id == 42
        assert entry.text == "Hi you"
        assert entry.buttons == ((Button("Pay", "https://x.test/pay"),),)

    async def test_understands_the_refusals(self) -> None:
        async with max_box() as box:
            async with self.bot(box, "wrong") as bot:
                with pytest.raises(InvalidToken):
                    await bot.send_message(user_id=42, text="x")
            async with self.bot(box) as bot:
                box.max.set_state("42", "suspended")
                with pytest.raises(MaxApiError) as denied:
                    await bot.send_message(user_id=42, text="x")
        assert denied.value.code == 403
        assert denied.value.raw == {"code": "chat.denied", "message": "error.dialog.suspended"}

    async def test_does_not_hear_of_what_was_stored_all_the_same(self) -> None:
        async with max_box() as box, self.bot(box) as bot:
            box.max.faults.plan("42", on={1: lost_answer("reset")})
            with pytest.raises(MaxConnection):
                await bot.send_message(user_id=42, text="x")
            await bot.send_message(user_id=42, text="x")
            assert [entry.text for entry in box.record] == ["x", "x"]
