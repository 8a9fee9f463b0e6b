"""The telegram sink against a look-alike that refuses what Telegram refuses."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.messages import (
    Button,
    ChatMessage,
    Delivered,
    Halt,
    InDoubt,
    Rejected,
    Retry,
    Scope,
)
from router.sandbox import (
    Fault,
    Sandbox,
    SandboxSettings,
    TelegramSettings,
    answer,
    bad_gateway,
    lost_answer,
    sandbox,
)
from tests.contract.sinks.harness import Open, opened

pytestmark = pytest.mark.anyio

HI = ChatMessage("Hi <b>you</b>")


@asynccontextmanager
async def telegram(
    box_settings: SandboxSettings | None = None, **options: object
) -> AsyncGenerator[tuple[Sandbox, Open]]:
    async with sandbox(box_settings or SandboxSettings()) as box:
        given_options = {
            "base_url": box.addresses["telegram"],
            "token": box.credentials["telegram_token"],
            **options,
        }
        async with opened("telegram", **given_options) as sink:
            yield box, sink


async def test_a_message_arrives_with_its_buttons() -> None:
    message = ChatMessage("Hi <b>you</b>", ((Button("Pay", "https://acme.example/pay"),),))
    async with telegram() as (box, sink):
        sent = await sink.send(message, "42")
        [received] = box.record
    assert isinstance(sent, Delivered)
    assert sent.provider_id is not None
    assert (received.recipient, received.text) == ("42", "Hi you")
    assert received.buttons == message.buttons


async def test_tls_with_a_private_authority() -> None:
    async with sandbox(SandboxSettings(http_tls=True)) as box:
        options = {
            "base_url": box.addresses["telegram"],
            "token": box.credentials["telegram_token"],
        }
        async with opened("telegram", **options, ca_file=str(box.ca_file)) as sink:
            assert isinstance(await sink.send(HI, "42"), Delivered)
        async with opened("telegram", **options) as sink:
            refused = await sink.send(HI, "42")
    assert isinstance(refused, Retry)
    assert refused.reason.code == "certificate_invalid"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("blocked", "chat_closed"),
        ("deactivated", "chat_closed"),
        ("kicked", "chat_closed"),
        ("not_member", "chat_closed"),
        ("never_started", "chat_closed"),
        ("unknown", "chat_not_found"),
        ("no_rights", "no_rights"),
    ],
)
async def test_chats_that_are_gone(state: str, code: str) -> None:
    async with telegram() as (box, sink):
        box.telegram.set_state("42", state)
        refused = await sink.send(HI, "42")
    assert isinstance(refused, Rejected)
    assert (refused.reason.code, refused.recipient_gone) == (code, True)


async def test_a_migrated_group_gets_the_message_at_its_new_id() -> None:
    async with telegram() as (box, sink):
        box.telegram.set_state("-42", "migrated:-10042")
        sent = await sink.send(HI, "-42")
        [received] = box.record
    assert isinstance(sent, Delivered)
    assert sent.note is not None
    assert sent.note.code == "chat_migrated"
    assert received.recipient == "-10042"


async def test_a_migrated_group_whose_new_id_is_closed_is_gone() -> None:
    async with telegram() as (box, sink):
        box.telegram.set_state("-42", "migrated:-10042")
        box.telegram.set_state("-10042", "kicked")
        refused = await sink.send(HI, "-42")
    assert isinstance(refused, Rejected)
    assert refused.recipient_gone


async def test_a_wrong_token_halts() -> None:
    async with telegram(token="1:planted-wrong-token") as (box, sink):
        halted = await sink.send(HI, "42")
    assert isinstance(halted, Halt)
    assert len(box.record) == 0


async def test_one_chats_limit_is_the_chats_and_a_second_ones_is_the_bots() -> None:
    limited = answer(429, '{"ok":false,"error_code":429,"parameters":{"retry_after":7}}')
    async with telegram() as (box, sink):
        box.telegram.faults.plan("*", always=limited)
        first = await sink.send(HI, "1")
        again = await sink.send(HI, "1")
        other = await sink.send(HI, "2")
    assert isinstance(first, Retry)
    assert (first.after, first.scope) == (7, Scope.TARGET)
    assert isinstance(again, Retry)
    assert again.scope is Scope.TARGET
    assert isinstance(other, Retry)
    assert other.scope is Scope.SINK


async def test_the_real_limit_of_a_chat() -> None:
    async with telegram() as (_, sink):
        outcomes = [await sink.send(HI, "42", number) for number in range(8)]
    limited = [o for o in outcomes if isinstance(o, Retry)]
    assert limited
    assert all(o.after is not None and o.after > 0 for o in limited)


@pytest.mark.parametrize("fault", [lost_answer("reset"), lost_answer("close")])
async def test_after_a_lost_answer_a_repeat_shows_the_person_two_messages(fault: Fault) -> None:
    async with telegram() as (box, sink):
        box.telegram.faults.plan("42", on={1: fault})
        lost = await sink.send(HI, "42", attempt=1)
        again = await sink.send(HI, "42", attempt=2)
        texts = [entry.text for entry in box.record.of("telegram", "42")]
    assert isinstance(lost, InDoubt)
    assert isinstance(again, Delivered)
    assert texts == ["Hi you", "Hi you"]


async def test_an_answer_that_takes_too_long_is_in_doubt() -> None:
    async with telegram(timeout="300ms") as (box, sink):
        box.telegram.faults.plan("42", on={1: lost_answer("stall", 5)})
        lost = await sink.send(HI, "42")
    assert isinstance(lost, InDoubt)
    assert lost.reason.code == "answer_timeout"


@pytest.mark.parametrize("kind", ["cut", "truncate", "html"])
async def test_a_spoiled_answer_with_status_200_is_still_an_acceptance(kind: str) -> None:
    async with telegram() as (box, sink):
        box.telegram.faults.plan("42", on={1: Fault(kind)})  # type: ignore[arg-type]
        sent = await sink.send(HI, "42")
        assert len(box.record) == 1
    assert isinstance(sent, Delivered)


async def test_a_proxys_error_page_is_tried_again() -> None:
    async with telegram() as (box, sink):
        box.telegram.faults.plan("42", on={1: bad_gateway()})
        assert isinstance(await sink.send(HI, "42"), Retry)
        assert isinstance(await sink.send(HI, "42"), Delivered)


async def test_the_token_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    async with telegram(timeout="300ms") as (box, sink):
        token = box.credentials["telegram_token"]
        faults = {
            1: answer(401, f"bad token {token}"),
            2: answer(500, token),
            3: lost_answer("reset"),
            4: lost_answer("stall", 1),
        }
        box.telegram.faults.plan("42", on=faults)
        for number in range(4):
            shown.append(repr(await sink.send(HI, "42", number)))
        try:
            await sink.send("not a message", "42")  # type: ignore[arg-type]
        except TypeError as error:
            shown.append("".join(traceback.format_exception(error)))
    shown.append(caplog.text)
    assert len(shown) == 6
    assert not any(token in text for text in shown)


_pieces = st.sampled_from(
    ["<b>", "</b>", "<i>", "</i>", "<u>", "<s>", "</s>", '<a href="https://x.example">', "</a>",
     "<code>", "</code>", "<pre>", "</pre>", "<blockquote>", "</blockquote>", "<x>", "&amp;",
     "&nbsp;", "<", "&", "word", " ", "\n", "😀", "<br>", "<p>", "</p>"]
)  # fmt: skip


async def test_whatever_a_template_says_telegram_can_parse_it() -> None:
    async with telegram(SandboxSettings(telegram=TelegramSettings(has_limits=False))) as (
        box,
        sink,
    ):
        for html in _examples():
            sent = await sink.send(ChatMessage(html), "42")
            assert isinstance(sent, Delivered) or (
                isinstance(sent, Rejected) and sent.reason.code == "text_empty"
            ), (html, sent, box.record.refused)


def _examples() -> list[str]:
    found: list[str] = []

    @settings(
        max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.lists(_pieces, max_size=12).map("".join))
    def collect(html: str) -> None:
        found.append(html)

    collect()
    return found
