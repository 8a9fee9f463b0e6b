"""Telegram: the call that is made, and what every answer means."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

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
from router.sinks.telegram import TelegramConfig, moved_to, outcome, request
from router.transport import HttpRequest, HttpResponse
from tests.unit.sinks.builders import BOT_TOKEN, NOW, answer, chat, config, kind, parcel


def refusal(code: int, description: str, **parameters: int) -> HttpResponse:
    fields: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    return answer(code, {**fields, **({"parameters": parameters} if parameters else {})})


def fields(message: ChatMessage, address: str = "42", **changes: Any) -> dict[str, Any]:
    built = request(config(TelegramConfig, **changes), parcel(message, address))
    assert isinstance(built, HttpRequest)
    assert built.body is not None
    return orjson.loads(built.body)


GONE, OURS = True, False

TABLE: list[tuple[HttpResponse, tuple[Any, ...]]] = [
    (answer(200, {"ok": True, "result": {"message_id": 7}}), (Delivered, "7")),
    (answer(200, {"ok": True}), (Delivered, None)),
    (answer(200, b'{"ok":true,"result":{"mess'), (Delivered, None)),
    (answer(200, b"<html>proxy</html>"), (InDoubt, "answer_unreadable")),
    (
        refusal(429, "Too Many Requests: retry after 5", retry_after=5),
        (Retry, "rate_limited", 5, Scope.TARGET),
    ),
    (
        refusal(429, "Too Many Requests", retry_after=999_999),
        (Retry, "rate_limited", 3600, Scope.TARGET),
    ),
    (refusal(429, "Too Many Requests"), (Retry, "rate_limited", 60, Scope.SINK)),
    (answer(429, b"busy", retry_after="9"), (Retry, "rate_limited", 9, Scope.SINK)),
    (refusal(400, "Bad Request: chat not found"), (Rejected, "chat_not_found", GONE)),
    (refusal(400, "Bad Request: user not found"), (Rejected, "chat_not_found", GONE)),
    (refusal(400, "Bad Request: PEER_ID_INVALID"), (Rejected, "chat_not_found", GONE)),
    (
        refusal(400, "Bad Request: not enough rights to send text messages to the chat"),
        (Rejected, "no_rights", GONE),
    ),
    (refusal(400, "Bad Request: have no rights to send a message"), (Rejected, "no_rights", GONE)),
    (refusal(400, "Bad Request: CHAT_WRITE_FORBIDDEN"), (Rejected, "no_rights", GONE)),
    (refusal(400, "Bad Request: message is too long"), (Rejected, "too_long", OURS)),
    (refusal(400, "Bad Request: message text is empty"), (Rejected, "text_empty", OURS)),
    (
        refusal(400, "Bad Request: can't parse entities: Unsupported start tag"),
        (Rejected, "markup_invalid", OURS),
    ),
    (refusal(400, "Bad Request: BUTTON_URL_INVALID"), (Rejected, "button_invalid", OURS)),
    (refusal(400, "Bad Request: something new"), (Rejected, "bad_request", OURS)),
    (
        HttpResponse(400, {}, b'{"ok":false,"descr', truncated=True),
        (Retry, "answer_cut", None, Scope.MESSAGE),
    ),
    (refusal(401, "Unauthorized"), (Halt, "token_refused")),
    (
        refusal(403, "Forbidden: bot was blocked by the user"),
        (Rejected, "chat_closed", GONE),
    ),
    (refusal(403, "Forbidden: user is deactivated"), (Rejected, "chat_closed", GONE)),
    (
        refusal(403, "Forbidden: bot was kicked from the supergroup chat"),
        (Rejected, "chat_closed", GONE),
    ),
    (
        refusal(403, "Forbidden: bot is not a member of the channel chat"),
        (Rejected, "chat_closed", GONE),
    ),
    (
        refusal(403, "Forbidden: bot can't initiate conversation with a user"),
        (Rejected, "chat_closed", GONE),
    ),
    (
        refusal(403, "Forbidden: bot can't send messages to the user"),
        (Retry, "forbidden", None, Scope.MESSAGE),
    ),
    (answer(403, b"<html>blocked</html>"), (Retry, "forbidden", None, Scope.MESSAGE)),
    (refusal(404, "Not Found"), (Halt, "method_unknown")),
    (answer(405), (Halt, "method_unknown")),
    (refusal(409, "Conflict"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (refusal(413, "Request Entity Too Large"), (Rejected, "too_large", OURS)),
    (refusal(500, "Internal Server Error"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (
        answer(502, b"<html>Bad Gateway</html>", content_type="text/html"),
        (Retry, "provider_error", None, Scope.MESSAGE),
    ),
    (answer(503, retry_after="30"), (Retry, "provider_error", 30, Scope.MESSAGE)),
    (answer(302, location="https://elsewhere"), (Halt, "redirected")),
    (answer(418, b"teapot"), (Rejected, "refused", OURS)),
]


@pytest.mark.parametrize(("response", "expected"), TABLE, ids=lambda v: str(v)[:60])
def test_answer(response: HttpResponse, expected: tuple[Any, ...]) -> None:
    assert kind(outcome(response, NOW)) == expected


@pytest.mark.parametrize("response", [row[0] for row in TABLE if row[0].status != 200])
def test_reasons_quote_nothing_that_was_sent(response: HttpResponse) -> None:
    echo = f"{BOT_TOKEN} anna@example.com Hello Anna"
    body = response.body.replace(b"Bad Request", f"Bad Request {echo}".encode())
    text = str(outcome(HttpResponse(response.status, response.headers, body), NOW))
    assert "anna" not in text.lower()
    assert BOT_TOKEN not in text


def test_a_migrated_group_names_its_new_id() -> None:
    moved = refusal(
        400,
        "Bad Request: group chat was upgraded to a supergroup chat",
        migrate_to_chat_id=-1001234,
    )
    assert moved_to(moved) == -1001234
    assert moved_to(refusal(400, "Bad Request: chat not found")) is None


def test_the_call_goes_to_send_message_with_the_token_in_the_path() -> None:
    built = request(config(TelegramConfig, base_url="http://127.0.0.1:8081/"), chat())
    assert isinstance(built, HttpRequest)
    assert built.url == f"http://127.0.0.1:8081/bot{BOT_TOKEN}/sendMessage"
    assert built.timeout_s == 20
    assert BOT_TOKEN not in repr(built)


@pytest.mark.parametrize(
    ("address", "chat_id"), [("42", 42), ("-1001234", -1001234), ("@news", "@news")]
)
def test_chat_ids_are_numbers_and_channels_are_names(address: str, chat_id: int | str) -> None:
    assert fields(ChatMessage("x"), address)["chat_id"] == chat_id


def test_a_plain_message_has_nothing_optional() -> None:
    assert fields(ChatMessage("Hi <b>you</b>")) == {
        "chat_id": 42,
        "text": "Hi <b>you</b>",
        "parse_mode": "HTML",
    }


def test_options_and_buttons() -> None:
    message = ChatMessage(
        "x",
        buttons=((Button("Pay", "https://a.example/?a=1&b=2"),), (Button("Help", "tg://x"),)),
        silent=True,
        link_preview=False,
    )
    built = fields(message, protect_content=True)
    assert built["disable_notification"] is True
    assert built["link_preview_options"] == {"is_disabled": True}
    assert built["protect_content"] is True
    assert built["reply_markup"] == {
        "inline_keyboard": [
            [{"text": "Pay", "url": "https://a.example/?a=1&b=2"}],
            [{"text": "Help", "url": "tg://x"}],
        ]
    }


def test_a_test_message_says_so() -> None:
    built = request(config(TelegramConfig), chat(is_test=True))
    assert isinstance(built, HttpRequest)
    assert orjson.loads(built.body or b"")["text"] == "[test] Hello"


class TestLength:
    def test_counts_utf_16_units_after_parsing(self) -> None:
        fits = chat("<b>" + "я" * 4096 + "</b>" + "&amp;" * 0)
        assert isinstance(request(config(TelegramConfig), fits), HttpRequest)

    @pytest.mark.parametrize("html", ["x" * 4097, "😀" * 2049, "&lt;" * 4097])
    def test_too_long_is_rejected_before_sending(self, html: str) -> None:
        result = request(config(TelegramConfig), chat(html))
        assert isinstance(result, Rejected)
        assert result.reason.code == "too_long"

    @pytest.mark.parametrize("html", ["", "  \n ", "<b></b>", "<script>x</script>"])
    def test_empty_is_rejected_before_sending(self, html: str) -> None:
        result = request(config(TelegramConfig), chat(html))
        assert isinstance(result, Rejected)
        assert result.reason.code == "text_empty"


class TestConfig:
    def test_defaults_are_telegrams_limits(self) -> None:
        built = config(TelegramConfig)
        assert (str(built.rate), str(built.target_rate)) == ("28/s", "1/s")

    @pytest.mark.parametrize(
        "changes",
        [
            {"token": "not a token"},
            {"token": "1:a/../b"},
            {"base_url": "api.telegram.org"},
            {"base_url": "ftp://api.telegram.org"},
        ],
    )
    def test_what_can_not_work_is_refused(self, changes: dict[str, str]) -> None:
        with pytest.raises(ValidationError):
            config(TelegramConfig, **changes)

    @given(st.text(min_size=1).filter(lambda text: not text[0].isdigit()))
    def test_a_refused_token_is_not_quoted_by_the_validator(self, text: str) -> None:
        with pytest.raises(ValidationError) as caught:
            config(TelegramConfig, token=f"planted-{text}")
        assert "planted" not in caught.value.errors()[0]["msg"]
