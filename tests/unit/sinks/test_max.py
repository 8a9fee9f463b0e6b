"""MAX: the call that is made, and what every answer means."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router.messages import (
    Button,
    ChatMessage,
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Scope,
)
from router.sinks.max import Denials, MaxConfig, outcome, request
from router.transport import HttpRequest, HttpResponse
from tests.unit.sinks.builders import NOW, answer, chat, config, kind, parcel

TOKEN = "planted-max-token_A"


def refusal(status: int, code: str, message: str = "", **headers: str) -> HttpResponse:
    return answer(status, {"code": code, "message": message}, **headers)


def built(message: ChatMessage, address: str = "42", **changes: Any) -> HttpRequest:
    found = request(config(MaxConfig), parcel(message, address, **changes))
    assert isinstance(found, HttpRequest)
    return found


def fields(message: ChatMessage, **changes: Any) -> dict[str, Any]:
    return orjson.loads(built(message, **changes).body or b"")


GONE, OURS = True, False
NOT_PROCESSED = "Key: errors.process.attachment.file.not.processed"

TABLE: list[tuple[HttpResponse, tuple[Any, ...]]] = [
    (answer(200, {"message": {"body": {"mid": "mid.1"}}}), (Delivered, "mid.1")),
    (answer(200, {"message": {}}), (Delivered, None)),
    (answer(200, b'{"message":{"body":{"mi'), (Delivered, None)),
    (answer(200, b"<html>proxy</html>"), (InDoubt, "answer_unreadable")),
    (answer(200, {"hello": 1}), (InDoubt, "answer_unreadable")),
    (
        answer(200, {"success": False, "code": "proto.payload"}),
        (Rejected, "bad_request", OURS),
    ),
    (refusal(403, "verify.token", "Invalid access_token"), (Halt, "token_refused")),
    (refusal(401, "verify.token", "Invalid access_token"), (Halt, "token_refused")),
    (answer(401, b"Unauthorized", content_type="text/plain"), (Halt, "token_refused")),
    (refusal(403, "chat.denied", "error.dialog.suspended"), (Rejected, "chat_closed", GONE)),
    (refusal(403, "chat.denied", "other"), (Rejected, "chat_closed", GONE)),
    (refusal(403, "", "error.dialog.suspended"), (Rejected, "chat_closed", GONE)),
    (refusal(403, "access.denied"), (Rejected, "no_rights", GONE)),
    (refusal(403, "something.new"), (Retry, "forbidden", None, Scope.MESSAGE)),
    (
        answer(403, b"denied", content_type="text/plain"),
        (Retry, "forbidden", None, Scope.MESSAGE),
    ),
    (refusal(404, "chat.not.found"), (Rejected, "chat_not_found", GONE)),
    (refusal(404, "dialog.not.found"), (Rejected, "chat_not_found", GONE)),
    (refusal(404, "", "error.dialog.notfound"), (Rejected, "chat_not_found", GONE)),
    (refusal(404, "not.found", "Path /x is not recognized"), (Halt, "method_unknown")),
    (answer(404, b"Not Found", content_type="text/plain"), (Halt, "method_unknown")),
    (
        refusal(400, "attachment.not.ready", NOT_PROCESSED),
        (Retry, "attachment_not_ready", None, Scope.MESSAGE),
    ),
    (
        refusal(400, "other", NOT_PROCESSED),
        (Retry, "attachment_not_ready", None, Scope.MESSAGE),
    ),
    (refusal(400, "proto.payload", "text: must be string"), (Rejected, "bad_request", OURS)),
    (
        refusal(400, "proto.payload", "text: size must be between 0 and 4000"),
        (Rejected, "too_long", OURS),
    ),
    (refusal(400, "something.new"), (Rejected, "bad_request", OURS)),
    (answer(400, b"bad", content_type="text/plain"), (Rejected, "bad_request", OURS)),
    (
        HttpResponse(400, {}, b'{"code":"at', truncated=True),
        (Retry, "answer_cut", None, Scope.MESSAGE),
    ),
    (refusal(405, "method.not.allowed"), (Halt, "method_unknown")),
    (answer(415), (Halt, "method_unknown")),
    (answer(413), (Rejected, "too_large", OURS)),
    (refusal(429, "too.many.requests"), (Retry, "rate_limited", 1, Scope.TARGET)),
    (
        refusal(429, "too.many.requests", retry_after="7"),
        (Retry, "rate_limited", 7, Scope.TARGET),
    ),
    (answer(429, b"slow", content_type="text/plain"), (Retry, "rate_limited", 1, Scope.TARGET)),
    (refusal(500, "internal.error"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (
        answer(502, b"<html>Bad Gateway</html>", content_type="text/html"),
        (Retry, "provider_error", None, Scope.MESSAGE),
    ),
    (refusal(503, "service.unavailable"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(503, retry_after="30"), (Retry, "provider_error", 30, Scope.MESSAGE)),
    (answer(504), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(302, location="https://elsewhere"), (Halt, "redirected")),
    (answer(418, b"teapot"), (Rejected, "refused", OURS)),
]


@pytest.mark.parametrize(("response", "expected"), TABLE, ids=lambda v: str(v)[:60])
def test_answer(response: HttpResponse, expected: tuple[Any, ...]) -> None:
    assert kind(outcome(response, NOW)) == expected


@pytest.mark.parametrize("response", [row[0] for row in TABLE if row[0].status != 200])
def test_reasons_quote_nothing_that_was_sent(response: HttpResponse) -> None:
    echo = f'"message":"{TOKEN} anna@example.com Hello Anna '.encode()
    body = response.body.replace(b'"message":"', echo)
    text = str(outcome(HttpResponse(response.status, response.headers, body), NOW))
    assert "anna" not in text.lower()
    assert TOKEN not in text


class TestAddress:
    @pytest.mark.parametrize(
        ("address", "query"), [("42", "user_id=42"), ("-7100", "chat_id=-7100")]
    )
    def test_people_are_users_and_negative_numbers_are_chats(
        self, address: str, query: str
    ) -> None:
        assert built(ChatMessage("x"), address).url == (
            f"https://platform-api2.max.ru/messages?{query}"
        )

    @pytest.mark.parametrize("address", ["", "@anna", "4 2", "42&chat_id=1"])
    def test_others_are_rejected(self, address: str) -> None:
        result = request(config(MaxConfig), chat(address=address))
        assert isinstance(result, Rejected)
        assert result.reason.code == "address_invalid"


def test_the_token_is_a_header_without_a_scheme() -> None:
    call = built(ChatMessage("x"))
    assert call.headers["Authorization"] == TOKEN
    assert TOKEN not in call.url
    assert TOKEN not in repr(call)
    assert call.headers["X-Request-Id"] == bytes(range(16)).hex()


def test_a_plain_message_has_nothing_optional() -> None:
    assert fields(ChatMessage("Hi <b>you</b>")) == {"text": "Hi <b>you</b>", "format": "html"}


def test_options_and_buttons() -> None:
    message = ChatMessage(
        "x",
        buttons=((Button("Pay", "https://a.example/?a=1&b=2"),),),
        silent=True,
        link_preview=False,
    )
    assert built(message).url.endswith("/messages?user_id=42&disable_link_preview=true")
    sent = fields(message)
    assert sent["notify"] is False
    assert sent["attachments"] == [
        {
            "type": "inline_keyboard",
            "payload": {
                "buttons": [[{"type": "link", "text": "Pay", "url": "https://a.example/?a=1&b=2"}]]
            },
        }
    ]


def test_long_rows_of_links_are_broken() -> None:
    row = tuple(Button(str(n), "https://a.example") for n in range(7))
    [keyboard] = fields(ChatMessage("x", (row,)))["attachments"]
    assert [len(r) for r in keyboard["payload"]["buttons"]] == [3, 3, 1]


@pytest.mark.parametrize(
    ("buttons", "code"),
    [
        (((Button("x" * 129, "https://a.example"),),), "button_invalid"),
        (((Button("", "https://a.example"),),), "button_invalid"),
        (((Button("x", "https://a.example"),),) * 31, "too_many_buttons"),
    ],
)
def test_keyboards_that_max_refuses_are_rejected_before_sending(
    buttons: tuple[tuple[Button, ...], ...], code: str
) -> None:
    result = request(config(MaxConfig), parcel(ChatMessage("x", buttons), "42"))
    assert isinstance(result, Rejected)
    assert result.reason.code == code


class TestMarkup:
    @pytest.mark.parametrize(
        ("html", "text"),
        [
            ("a &amp; b < c", "a &amp; b &lt; c"),
            ("<b>open <i>too", "<b>open <i>too</i></b>"),
            ("<strong>x</strong><del>y</del>", "<b>x</b><s>y</s>"),
            ("one<blockquote>two</blockquote>three", "one\ntwo\nthree"),
            ('<a href="javascript:x">y</a>', "y"),
            ('<a href="https://x.example/?a=1&amp;b=2">y</a>', None),
            ('<a href="max://user/7">Ann</a>', None),
        ],
    )
    def test_the_neutral_subset_in_max_s_dialect(self, html: str, text: str | None) -> None:
        assert fields(ChatMessage(html))["text"] == (text or html)

    @pytest.mark.parametrize("html", ["", "  \n ", "<b></b>", "<script>x</script>"])
    def test_empty_is_rejected_before_sending(self, html: str) -> None:
        result = request(config(MaxConfig), chat(html))
        assert isinstance(result, Rejected)
        assert result.reason.code == "text_empty"

    def test_4000_units_fit(self) -> None:
        assert isinstance(request(config(MaxConfig), chat("я" * 4000)), HttpRequest)

    @pytest.mark.parametrize("html", ["x" * 4001, "😀" * 2001, "&lt;" * 1001])
    def test_too_long_with_markup_is_rejected_before_sending(self, html: str) -> None:
        result = request(config(MaxConfig), chat(html))
        assert isinstance(result, Rejected)
        assert result.reason.code == "too_long"


def test_a_test_message_says_so() -> None:
    assert fields(ChatMessage("Hello"), is_test=True)["text"] == "[test] Hello"


class TestDenials:
    CLOSED = Rejected(Reason("chat_closed", "chat.denied"), recipient_gone=True)

    def judge(self, denials: Denials, *chats: str, result: Outcome = CLOSED) -> list[Outcome]:
        return [denials.judged(chat, result) for chat in chats]

    def test_people_who_left_are_given_up(self) -> None:
        assert self.judge(Denials(), "1", "2", "3") == [self.CLOSED] * 3

    def test_ten_closed_chats_in_a_row_halt_the_bot(self) -> None:
        judged = self.judge(Denials(), *(str(n) for n in range(11)))
        assert judged[:9] == [self.CLOSED] * 9
        assert [kind(result) for result in judged[9:]] == [(Halt, "every_chat_closed")] * 2

    def test_one_chat_closed_often_is_one(self) -> None:
        assert self.judge(Denials(), *["1"] * 20) == [self.CLOSED] * 20

    def test_whatever_arrives_between_them_acquits_the_bot(self) -> None:
        denials = Denials()
        self.judge(denials, *(str(n) for n in range(9)))
        self.judge(denials, "a", result=Delivered())
        assert self.judge(denials, "10", "11") == [self.CLOSED] * 2

    def test_other_refusals_neither_count_nor_acquit(self) -> None:
        denials = Denials()
        self.judge(denials, *(str(n) for n in range(9)))
        self.judge(denials, "a", result=Retry(Reason("provider_error")))
        assert kind(self.judge(denials, "b")[0]) == (Halt, "every_chat_closed")


class TestConfig:
    def test_defaults_are_max_s_limits(self) -> None:
        built_config = config(MaxConfig)
        assert (str(built_config.rate), str(built_config.target_rate)) == ("30/s", "2/s")
        assert built_config.base_url == "https://platform-api2.max.ru"

    @pytest.mark.parametrize(
        "changes",
        [
            {"token": "Bearer abc"},
            {"token": "a\nb"},
            {"base_url": "platform-api2.max.ru"},
            {"base_url": "https://platform-api2.max.ru?access_token=x"},
        ],
    )
    def test_what_can_not_work_is_refused(self, changes: dict[str, str]) -> None:
        with pytest.raises(ValidationError):
            config(MaxConfig, **changes)

    @settings(max_examples=200)
    @given(st.text())
    def test_any_text_gives_a_call_or_a_rejection(self, text: str) -> None:
        result = request(config(MaxConfig), chat(text))
        assert isinstance(result, HttpRequest | Rejected)
