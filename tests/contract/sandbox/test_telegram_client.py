"""The Telegram look-alike, as python-telegram-bot meets it: a client that knows Telegram alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity
from telegram.constants import ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
)
from telegram.request import HTTPXRequest

from router.messages import Button
from router.sandbox import Sandbox, answer, bad_gateway, sandbox
from router.sandbox.telegram.server import TOKEN

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def bot(box: Sandbox, token: str = TOKEN) -> AsyncGenerator[Bot]:
    """Started, which asks the server who the bot is."""
    request = HTTPXRequest(httpx_kwargs={"trust_env": False})
    client = Bot(token, base_url=f"{box.addresses['telegram']}/bot", request=request)
    async with client:
        yield client


async def test_a_message_with_a_keyboard() -> None:
    keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Open", url="https://x.test/o/1")]])
    async with sandbox() as box, bot(box) as client:
        sent = await client.send_message(
            42, "<b>Paid</b> 5 &lt; 6", parse_mode=ParseMode.HTML, reply_markup=keyboard
        )
        [entry] = box.record
        assert client.id == int(TOKEN.partition(":")[0])
    assert (sent.chat.id, sent.message_id, sent.text) == (42, 1, "Paid 5 < 6")
    assert [sent.parse_entity(entity) for entity in sent.entities] == ["Paid"]
    assert sent.entities[0].type == MessageEntity.BOLD
    assert (entry.recipient, entry.text) == ("42", "Paid 5 < 6")
    assert entry.buttons == ((Button("Open", "https://x.test/o/1"),),)


async def test_a_chat_that_is_full_says_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")
    async with sandbox() as box, bot(box) as client:
        for _ in range(3):
            await client.send_message(42, "hi")
        with pytest.raises(RetryAfter) as caught:
            await client.send_message(42, "hi")
        assert isinstance(caught.value.retry_after, timedelta)
        box.clock.advance(caught.value.retry_after.total_seconds())
        await client.send_message(42, "hi")


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("blocked", Forbidden, "bot was blocked by the user"),
        ("deactivated", Forbidden, "user is deactivated"),
        ("kicked", Forbidden, "bot was kicked"),
        ("never_started", Forbidden, "can't initiate conversation"),
        ("unknown", BadRequest, "chat not found"),
        ("no_rights", BadRequest, "rights"),
    ],
)
async def test_chats_that_take_nothing(state: str, kind: type[Exception], words: str) -> None:
    async with sandbox() as box, bot(box) as client:
        box.telegram.set_state("42", state)
        with pytest.raises(kind, match=f"(?i){words}"):
            await client.send_message(42, "hi")


async def test_a_group_that_moved_names_its_new_id() -> None:
    async with sandbox() as box, bot(box) as client:
        box.telegram.set_state("-42", "migrated:-10042")
        with pytest.raises(ChatMigrated) as caught:
            await client.send_message(-42, "hi")
        assert caught.value.new_chat_id == -10042
        await client.send_message(caught.value.new_chat_id, "hi")


@pytest.mark.parametrize(
    ("text", "words"),
    [("<b>open", "parse entities"), ("x" * 4097, "too long"), ("", "text is empty")],
)
async def test_texts_that_are_refused(text: str, words: str) -> None:
    async with sandbox() as box, bot(box) as client:
        with pytest.raises(BadRequest, match=f"(?i){words}"):
            await client.send_message(42, text, parse_mode=ParseMode.HTML)


async def test_a_revoked_token() -> None:
    async with sandbox() as box:
        with pytest.raises(InvalidToken):
            async with bot(box, "7000000001:" + "x" * 35):
                pass


async def test_a_server_that_fails() -> None:
    async with sandbox() as box, bot(box) as client:
        box.telegram.faults.plan("42", on={1: bad_gateway(), 2: answer(500)})
        for _ in range(2):
            with pytest.raises(NetworkError):
                await client.send_message(42, "hi")
        await client.send_message(42, "hi")
