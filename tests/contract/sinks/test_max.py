"""The max sink against a look-alike that refuses what MAX refuses."""

from __future__ import annotations

import logging
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
    MaxSettings,
    Sandbox,
    SandboxSettings,
    answer,
    bad_gateway,
    lost_answer,
    sandbox,
)
from tests.contract.sinks.harness import Open, opened

pytestmark = pytest.mark.anyio

HI = ChatMessage("Hi <b>you</b>")


@asynccontextmanager
async def max_sink(
    api: MaxSettings | None = None, **options: object
) -> AsyncGenerator[tuple[Sandbox, Open]]:
    async with sandbox(SandboxSettings(max=api or MaxSettings())) as box:
        given_options = {
            "base_url": box.addresses["max"],
            "token": box.credentials["max_token"],
            "ca_file": str(box.ca_file),
            **options,
        }
        async with opened("max", **given_options) as sink:
            yield box, sink


async def test_a_message_arrives_as_it_was_meant() -> None:
    message = ChatMessage(
        'Hi <b>you</b> & <a href="https://acme.example/?a=1&amp;b=2">see</a>',
        ((Button("Pay", "https://acme.example/pay"),),),
        silent=True,
        link_preview=False,
    )
    async with max_sink() as (box, sink):
        sent = await sink.send(message, "42")
        [received] = box.record
    assert isinstance(sent, Delivered)
    assert sent.provider_id == received.details["message_id"]
    assert (received.recipient, received.text) == ("42", "Hi you & see")
    assert received.html is not None
    assert received.html.startswith("Hi <b>you</b> &amp; <a href=")
    assert received.buttons == message.buttons
    assert (received.details["silent"], received.details["link_preview"]) == ("yes", "no")
    assert received.key == (1).to_bytes(16, "big").hex()


async def test_a_group_is_reached_by_its_negative_id() -> None:
    async with max_sink() as (box, sink):
        assert isinstance(await sink.send(HI, "-7100"), Delivered)
        assert [entry.recipient for entry in box.record] == ["-7100"]


async def test_without_the_authority_nothing_is_sent() -> None:
    async with max_sink(ca_file=None) as (box, sink):
        refused = await sink.send(HI, "42")
        assert len(box.record) == 0
    assert isinstance(refused, Retry)
    assert refused.reason.code == "certificate_invalid"


@pytest.mark.parametrize(
    ("address", "state", "code"),
    [
        ("42", "suspended", "chat_closed"),
        ("42", "unknown", "chat_not_found"),
        ("-71", "unknown", "chat_not_found"),
        ("-71", "no_rights", "no_rights"),
    ],
)
async def test_chats_that_are_gone(address: str, state: str, code: str) -> None:
    async with max_sink() as (box, sink):
        box.max.set_state(address, state)
        refused = await sink.send(HI, address)
    assert isinstance(refused, Rejected)
    assert (refused.reason.code, refused.recipient_gone) == (code, True)


async def test_a_bot_that_is_not_moderated_halts_before_everybody_is_given_up() -> None:
    async with max_sink(MaxSettings(is_moderated=False, has_limits=False)) as (_, sink):
        outcomes = [await sink.send(HI, str(user)) for user in range(1, 16)]
    assert [type(each) for each in outcomes] == [Rejected] * 9 + [Halt] * 6


async def test_a_wrong_token_halts() -> None:
    async with max_sink(token="planted-wrong-token") as (box, sink):
        halted = await sink.send(HI, "42")
        assert len(box.record) == 0
    assert isinstance(halted, Halt)


async def test_refusals_in_plain_text_are_understood_by_their_status() -> None:
    async with max_sink(MaxSettings(plain_errors=True), token="planted-wrong") as (_, sink):
        assert isinstance(await sink.send(HI, "42"), Halt)


async def test_an_attachment_that_is_not_ready_is_tried_again() -> None:
    async with max_sink() as (box, sink):
        box.max.set_state("42", "not_ready:1")
        first = await sink.send(HI, "42")
        assert isinstance(first, Retry)
        assert first.reason.code == "attachment_not_ready"
        assert isinstance(await sink.send(HI, "42"), Delivered)


async def test_the_real_limit_of_a_chat() -> None:
    async with max_sink() as (_, sink):
        outcomes = [await sink.send(HI, "42", number) for number in range(4)]
        elsewhere = await sink.send(HI, "43")
    limited = [each for each in outcomes if isinstance(each, Retry)]
    assert len(limited) == 2
    assert all((each.after, each.scope) == (1, Scope.TARGET) for each in limited)
    assert isinstance(elsewhere, Delivered)


async def test_a_second_chats_limit_is_the_bots() -> None:
    async with max_sink() as (box, sink):
        box.max.faults.plan("*", always=answer(429, '{"code":"too.many.requests"}'))
        first, other = await sink.send(HI, "1"), await sink.send(HI, "2")
    assert isinstance(first, Retry)
    assert first.scope is Scope.TARGET
    assert isinstance(other, Retry)
    assert other.scope is Scope.SINK


@pytest.mark.parametrize("fault", [lost_answer("reset"), lost_answer("close")])
async def test_after_a_lost_answer_a_repeat_shows_the_person_two_messages(fault: Fault) -> None:
    async with max_sink() as (box, sink):
        box.max.faults.plan("42", on={1: fault})
        lost = await sink.send(HI, "42", attempt=1)
        again = await sink.send(HI, "42", attempt=2)
        texts = [entry.text for entry in box.record.of("max", "42")]
        keys = {entry.key for entry in box.record}
    assert isinstance(lost, InDoubt)
    assert isinstance(again, Delivered)
    assert texts == ["Hi you", "Hi you"]
    assert len(keys) == 1


async def test_an_answer_that_takes_too_long_is_in_doubt() -> None:
    async with max_sink(timeout="400ms") as (box, sink):
        box.max.faults.plan("42", on={1: lost_answer("stall", 5)})
        lost = await sink.send(HI, "42")
    assert isinstance(lost, InDoubt)
    assert lost.reason.code == "answer_timeout"


@pytest.mark.parametrize("kind", ["cut", "truncate", "html"])
async def test_a_spoiled_answer_with_status_200_is_still_an_acceptance(kind: str) -> None:
    async with max_sink() as (box, sink):
        box.max.faults.plan("42", on={1: Fault(kind)})  # type: ignore[arg-type]
        assert isinstance(await sink.send(HI, "42"), Delivered)
        assert len(box.record) == 1


async def test_a_proxys_error_page_is_tried_again() -> None:
    async with max_sink() as (box, sink):
        box.max.faults.plan("42", on={1: bad_gateway()})
        assert isinstance(await sink.send(HI, "42"), Retry)
        assert isinstance(await sink.send(HI, "42"), Delivered)


async def test_the_token_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    async with max_sink() as (box, sink):
        token = box.credentials["max_token"]
        faults = {
            1: answer(401, f"bad token {token}"),
            2: answer(400, f'{{"code":"{token}","message":"{token}"}}'),
            3: lost_answer("reset"),
        }
        box.max.faults.plan("42", on=faults)
        for number in range(3):
            shown.append(repr(await sink.send(HI, "42", number)))
    shown.append(caplog.text)
    assert not any(token in text for text in shown)


_pieces = st.sampled_from(
    ["<b>", "</b>", "<i>", "</i>", "<u>", "<s>", "</s>", '<a href="https://x.example">', "</a>",
     "<code>", "</code>", "<pre>", "</pre>", "<blockquote>", "</blockquote>", "<x>", "&amp;",
     "&nbsp;", "<", "&", "word", " ", "\n", "😀", "<br>", "<p>", "</p>", "<h1>", "<mark>"]
)  # fmt: skip


async def test_whatever_a_template_says_max_can_parse_it() -> None:
    async with max_sink(MaxSettings(has_limits=False)) as (box, sink):
        for html in _examples():
            sent = await sink.send(ChatMessage(html), "42")
            assert isinstance(sent, Delivered) or (
                isinstance(sent, Rejected) and sent.reason.code == "text_empty"
            ), (html, sent, box.record.refused)


def _examples() -> list[str]:
    found: list[str] = []

    @settings(
        max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.lists(_pieces, max_size=12).map("".join))
    def collect(html: str) -> None:
        found.append(html)

    collect()
    return found
