"""Carrot quest: the call that is made, and what every answer means."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest
from pydantic import ValidationError

from router.messages import (
    AnalyticsEvent,
    ChatMessage,
    Delivered,
    Halt,
    InDoubt,
    Parcel,
    ProfileUpdate,
    Rejected,
    Retry,
    Scope,
)
from router.sinks.carrotquest import CarrotquestConfig, is_repeatable, outcome, request
from router.transport import HttpRequest, HttpResponse
from tests.unit.sinks.builders import NOW, answer, config, kind, parcel, tracked


def envelope(status: int, error: str = "", **headers: str) -> HttpResponse:
    return inner(status, status, error, **headers)


def inner(http: int, status: int, error: str = "", **headers: str) -> HttpResponse:
    meta: dict[str, Any] = {"status": status}
    if error:
        meta |= {"error": error, "error_message": "planted anna@example.com"}
    return answer(http, {"meta": meta, "data": {}}, **headers)


def built(sent: Parcel, **changes: Any) -> HttpRequest:
    found = request(config(CarrotquestConfig, **changes), sent)
    assert isinstance(found, HttpRequest)
    return found


def fields(sent: Parcel, **changes: Any) -> dict[str, str]:
    return dict(parse_qsl((built(sent, **changes).body or b"").decode(), strict_parsing=True))


GONE, OURS = True, False

TABLE: list[tuple[HttpResponse, tuple[Any, ...]]] = [
    (answer(200, {"meta": {"status": 200}, "data": {"id": "61"}}), (Delivered, "61")),
    (answer(200, {"meta": {"status": 200}, "data": {"id": 61}}), (Delivered, "61")),
    (envelope(200), (Delivered, None)),
    (envelope(400, "ValidationError"), (Rejected, "bad_request", OURS)),
    (envelope(400, "BadRequest"), (Rejected, "bad_request", OURS)),
    (envelope(400, "SomethingNew"), (Rejected, "bad_request", OURS)),
    (envelope(400, "LookupError"), (Rejected, "person_unknown", GONE)),
    (envelope(401, "NotAuthenticated"), (Halt, "token_refused")),
    (envelope(403, "PermissionDeniedError"), (Halt, "forbidden")),
    (envelope(404, "Error404"), (Halt, "method_unknown")),
    (envelope(405, "MethodNotAllowed"), (Halt, "method_unknown")),
    (envelope(429, "TooManyRequests"), (Retry, "rate_limited", None, Scope.SINK)),
    (envelope(429, retry_after="9"), (Retry, "rate_limited", 9, Scope.SINK)),
    (envelope(500, "InternalError"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (envelope(503, retry_after="9"), (Retry, "provider_error", 9, Scope.MESSAGE)),
    (inner(200, 400, "ValidationError"), (Rejected, "bad_request", OURS)),
    (inner(200, 400, "LookupError"), (Rejected, "person_unknown", GONE)),
    (inner(200, 401, "NotAuthenticated"), (Halt, "token_refused")),
    (inner(200, 403, "PermissionDeniedError"), (Halt, "forbidden")),
    (inner(200, 404, "Error404"), (Halt, "method_unknown")),
    (inner(200, 429), (Retry, "rate_limited", None, Scope.SINK)),
    (inner(200, 500), (Retry, "provider_error", None, Scope.MESSAGE)),
    (inner(500, 200), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(200, b"<html>"), (InDoubt, "answer_unreadable")),
    (answer(200, b'{"meta":{"sta'), (InDoubt, "answer_unreadable")),
    (answer(400, b"<html>"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(403, b"<html>"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(401), (Halt, "token_refused")),
    (answer(404, b"<html>"), (Halt, "method_unknown")),
    (answer(413), (Rejected, "too_large", OURS)),
    (answer(429, b"slow", retry_after="3"), (Retry, "rate_limited", 3, Scope.SINK)),
    (answer(502, b"<html>"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(302, location="https://elsewhere"), (Halt, "redirected")),
]


@pytest.mark.parametrize(("response", "expected"), TABLE, ids=lambda v: str(v)[:60])
def test_answer(response: HttpResponse, expected: tuple[Any, ...]) -> None:
    result = outcome(response, NOW)
    assert kind(result) == expected
    assert "planted" not in str(result)


def test_an_unreadable_acceptance_of_what_can_be_repeated_is_tried_again() -> None:
    result = outcome(answer(200, b"<html>"), NOW, repeatable=True)
    assert kind(result) == (Retry, "answer_unreadable", None, Scope.MESSAGE)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (AnalyticsEvent("Paid", "u-1", NOW), False),
        (ProfileUpdate("u-1", NOW, set={"a": 1}, set_once={"b": 1}, unset=("c",)), True),
        (ProfileUpdate("u-1", NOW, union={"a": ["x"]}, remove={"b": "y"}), True),
        (ProfileUpdate("u-1", NOW, set={"a": 1}, add={"n": 1}), False),
        (ProfileUpdate("u-1", NOW, append={"n": "x"}), False),
    ],
)
def test_what_can_be_repeated(message: AnalyticsEvent | ProfileUpdate, expected: bool) -> None:
    assert is_repeatable(parcel(message)) is expected


class TestEvent:
    def test_its_fields(self) -> None:
        call = built(tracked("Оплата", amount=12.5, tags=["a"], ok=True))
        assert call.url == "https://api.carrotquest.io/users/u-1/events"
        assert call.headers["Authorization"] == "Bearer app.1.planted"
        assert call.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert "planted" not in repr(call)
        sent = fields(tracked("Оплата", amount=12.5, tags=["a"], ok=True))
        assert orjson.loads(sent.pop("params")) == {"amount": 12.5, "tags": ["a"], "ok": True}
        assert sent == {"event": "Оплата", "by_user_id": "true", "id_as_string": "true"}

    def test_a_person_s_id_is_one_segment_of_the_path(self) -> None:
        url = built(tracked(person="a/b?c d")).url
        assert url.endswith("/users/a%2Fb%3Fc%20d/events")

    def test_the_time_is_sent_only_where_asked_for(self) -> None:
        assert "created" not in fields(tracked())
        assert fields(tracked(), send_created=True)["created"] == "1767323045.000"

    def test_carrot_quest_s_own_ids(self) -> None:
        assert fields(tracked(person="77"), by_user_id=False)["by_user_id"] == "false"

    def test_a_test_event_says_so(self) -> None:
        sent = fields(parcel(AnalyticsEvent("Paid", "u-1", NOW), is_test=True))
        assert orjson.loads(sent["params"]) == {"router_test": True}

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (tracked(""), "name_invalid"),
            (tracked("x" * 256), "name_invalid"),
            (tracked(person=""), "person_missing"),
            (tracked(person=".."), "person_missing"),
            (tracked(n=2**70), "not_json"),
        ],
    )
    def test_what_can_not_work_is_rejected_before_sending(self, sent: Parcel, code: str) -> None:
        result = request(config(CarrotquestConfig), sent)
        assert isinstance(result, Rejected)
        assert result.reason.code == code


class TestUpdate:
    def test_operations_in_order(self) -> None:
        update = ProfileUpdate(
            "u-1",
            NOW,
            set={"$email": "a@b.example", "code": "007"},
            set_once={"first": 1},
            add={"paid": 5},
            append={"tags": "x"},
            union={"plans": ["a"]},
            remove={"old": "y"},
            unset=("gone",),
        )
        call = built(parcel(update))
        assert call.url.endswith("/users/u-1/props")
        sent = fields(parcel(update))
        assert sent["parse_custom_props_type"] == "false"
        assert orjson.loads(sent["operations"]) == [
            {"op": "update_or_create", "key": "$email", "value": "a@b.example"},
            {"op": "update_or_create", "key": "code", "value": "007"},
            {"op": "set_once", "key": "first", "value": 1},
            {"op": "add", "key": "paid", "value": 5},
            {"op": "append", "key": "tags", "value": "x"},
            {"op": "union", "key": "plans", "value": ["a"]},
            {"op": "exclude", "key": "old", "value": "y"},
            {"op": "delete", "key": "gone"},
        ]

    @pytest.mark.parametrize("count", [0, 251])
    def test_too_few_or_too_many_properties_are_rejected(self, count: int) -> None:
        update = ProfileUpdate("u-1", NOW, set={f"p{n}": n for n in range(count)})
        result = request(config(CarrotquestConfig), parcel(update))
        assert isinstance(result, Rejected)
        assert result.reason.code == "properties_invalid"


def test_other_messages_are_a_mistake_of_planning() -> None:
    with pytest.raises(TypeError):
        request(config(CarrotquestConfig), parcel(ChatMessage("x")))


@pytest.mark.parametrize("changes", [{"token": "a b"}, {"base_url": "api.carrotquest.io"}])
def test_configurations_that_can_not_work_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        config(CarrotquestConfig, **changes)
