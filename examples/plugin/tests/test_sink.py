"""The matrix sink: the router's conformance suite, and what is Matrix's own."""

from __future__ import annotations

import pytest
from homeserver import ROOM, TOKEN, Homeserver, running
from router_matrix.sink import SINK, MatrixConfig, content, outcome, request

from router.messages import Button, ChatMessage, Parcel, Target
from router.sinks import (
    Delivered,
    Halt,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
    Scope,
)
from router.testing import SinkConformance, SinkScenario
from router.testing.sinks import running as open_sink

HI = ChatMessage("Hi <b>you</b>")
SCENARIO = SinkScenario(
    kind=SINK,
    message=HI,
    address=ROOM,
    provider=running,
    secrets=(TOKEN,),
    has_key=True,
    is_idempotent=True,
)


class TestMatrix(SinkConformance):
    """Everything that the router asks of a sink."""

    @pytest.fixture
    def scenario(self) -> SinkScenario:
        return SCENARIO


def parcel(message: ChatMessage = HI, room: str = ROOM, **changes: object) -> Parcel:
    return Parcel(bytes(16), message, Target(room, "matrix"), **changes)  # type: ignore[arg-type]


def config() -> MatrixConfig:
    return MatrixConfig.model_validate(
        {"type": "matrix", "homeserver": "https://matrix.acme.example", "token": TOKEN}
    )


def said(status: int, body: str = "{}", **headers: str) -> Outcome:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return outcome(HttpResponse(status, names, body.encode()), now=0.0)


@pytest.mark.anyio
async def test_a_repeat_is_said_once() -> None:
    homeserver = Homeserver()
    scenario = SinkScenario(SINK, HI, lambda: running(homeserver.answer), ROOM)
    async with open_sink(scenario) as sink:
        first, again = await sink.send(1, attempt=1), await sink.send(1, attempt=2)
    assert first == again == Delivered("$event0")
    assert [room for room, _ in homeserver.said] == [ROOM]


def test_markup_lines_and_buttons() -> None:
    message = ChatMessage(
        "<b>A &lt; B</b>\n<s>old</s><pre>a\nb</pre>",
        ((Button("Open", "https://acme.example/?a=1&b=2"),),),
        silent=True,
    )
    assert content(message) == {
        "msgtype": "m.notice",
        "body": "A < B\nolda\nb\nOpen: https://acme.example/?a=1&b=2",
        "format": "org.matrix.custom.html",
        "formatted_body": "<b>A &lt; B</b><br>\n<del>old</del><pre>a\nb</pre><br>\n"
        '<a href="https://acme.example/?a=1&amp;b=2">Open</a>',
    }


def test_a_test_is_marked() -> None:
    marked = content(HI, is_test=True)
    assert marked["body"] == "[test] Hi you"
    assert marked["formatted_body"] == "[test] Hi <b>you</b>"


@pytest.mark.parametrize("room", ["", "ops", "#ops:acme.example", "!a b:acme.example"])
def test_what_is_no_room_is_not_asked_for(room: str) -> None:
    refused = request(config(), parcel(room=room))
    assert isinstance(refused, Rejected)
    assert (refused.reason.code, refused.recipient_gone) == ("address_invalid", True)


def test_a_message_too_large_is_not_sent() -> None:
    refused = request(config(), parcel(ChatMessage("x" * 40_000)))
    assert isinstance(refused, Rejected)
    assert refused.reason.code == "too_large"


@pytest.mark.parametrize(
    ("status", "body", "cls", "code"),
    [
        (401, '{"errcode":"M_UNKNOWN_TOKEN"}', Halt, "token_refused"),
        (403, '{"errcode":"M_FORBIDDEN"}', Rejected, "not_in_room"),
        (403, '{"errcode":"M_USER_DEACTIVATED"}', Halt, "account_refused"),
        (404, '{"errcode":"M_UNRECOGNIZED"}', Halt, "homeserver_wrong"),
        (400, '{"errcode":"M_BAD_JSON"}', Rejected, "refused"),
        (413, '{"errcode":"M_TOO_LARGE"}', Rejected, "too_large"),
        (302, "", Halt, "redirected"),
        (502, "<html>", Retry, "provider_error"),
    ],
)
def test_answers(status: int, body: str, cls: type, code: str) -> None:
    result = said(status, body)
    assert isinstance(result, cls)
    assert result.reason.code == code  # type: ignore[union-attr]


def test_how_long_to_wait() -> None:
    assert said(429, retry_after="3") == Retry(said(429).reason, 3.0, Scope.SINK)  # type: ignore[union-attr]
    for body, after in (('{"retry_after_ms":1500}', 1.5), ("{}", 60.0)):
        limited = said(429, body)
        assert isinstance(limited, Retry)
        assert limited.after == after
