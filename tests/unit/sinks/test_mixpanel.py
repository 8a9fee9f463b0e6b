"""Mixpanel: what is sent, how it is cut, and what every answer means for every record."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router.messages import (
    AnalyticsEvent,
    ChatMessage,
    Delivered,
    Halt,
    InDoubt,
    Parcel,
    ProfileUpdate,
    Reason,
    Rejected,
    Retry,
    Scope,
    dump_message,
    load_message,
)
from router.sinks._mixpanel.answers import Refused
from router.sinks._mixpanel.records import Call, Item, Kind, calls, insert_id, item
from router.sinks.mixpanel import MixpanelConfig, answered, request, unanswered
from router.transport import HttpResponse
from tests.unit.sinks.builders import KEY, NOW, answer, config, kind, parcel, tracked

TOKEN = "planted0mixpanel0token"


def made(*parcels: Parcel) -> list[Item]:
    found = [item(n, replace(p, key=n.to_bytes(16, "big")), TOKEN) for n, p in enumerate(parcels)]
    assert all(isinstance(entry, Item) for entry in found)
    return [entry for entry in found if isinstance(entry, Item)]


def events(count: int = 3) -> Call:
    [call] = calls(made(*[tracked(f"E{n}") for n in range(count)]))
    return call


def profiles(**changes: Any) -> Call:
    update = ProfileUpdate("u-1", NOW, **(changes or {"set": {"plan": "pro"}}))
    [call] = calls(made(parcel(update), *([parcel(update)] if "add" not in changes else [])))
    return call


def failed(*records: dict[str, Any], status: int = 400) -> HttpResponse:
    body = {"code": status, "failed_records": list(records), "num_records_imported": 1}
    return answer(status, body)


def kinds(result: Sequence[Any] | Refused) -> list[tuple[Any, ...]] | str:
    """Every record's outcome, or why the call was refused as a whole."""
    return result.reason.code if isinstance(result, Refused) else [kind(each) for each in result]


IDS = [insert_id(n.to_bytes(16, "big")) for n in range(3)]
STORED = [(Delivered, one) for one in IDS]
INVALID = (Rejected, "record_invalid", False)


def retry(code: str, after: float | None = None, scope: Scope = Scope.MESSAGE) -> Any:
    return [(Retry, code, after, scope)] * 3


IMPORT: list[tuple[HttpResponse, Any]] = [
    (answer(200, {"code": 200, "num_records_imported": 3, "status": "OK"}), STORED),
    (answer(200, b'{"code":200,"num'), retry("answer_unreadable")),
    (answer(200, b"<html>"), retry("answer_unreadable")),
    (
        failed({"index": 1, "insert_id": IDS[1], "field": "properties.time", "message": "x"}),
        [STORED[0], INVALID, STORED[2]],
    ),
    (failed({"index": 0}), [INVALID, STORED[1], STORED[2]]),
    (failed({"index": 0, "insert_id": IDS[2]}), [STORED[0], STORED[1], INVALID]),
    (failed({"index": 0}, {"index": 1}, {"index": 2}), [INVALID] * 3),
    (failed({"index": 1}, status=200), [STORED[0], INVALID, STORED[2]]),
    (failed({"index": 7, "insert_id": "other"}), "bad_request"),
    (failed({"index": True}), "bad_request"),
    (failed(), "bad_request"),
    (answer(400, {"code": 400, "error": "invalid JSON"}), "bad_request"),
    (answer(400, b"<html>"), "bad_request"),
    (HttpResponse(400, {}, b'{"failed_rec', truncated=True), "bad_request"),
    (answer(401, {"code": 401}), [(Halt, "credentials_refused")] * 3),
    (answer(403, {"code": 403}), [(Halt, "credentials_refused")] * 3),
    (answer(404), [(Halt, "method_unknown")] * 3),
    (answer(405), [(Halt, "method_unknown")] * 3),
    (answer(413, {"code": 413}), "too_large"),
    (answer(429, {"code": 429}), retry("rate_limited", 2, Scope.SINK)),
    (answer(429, {"code": 429}, retry_after="9"), retry("rate_limited", 9, Scope.SINK)),
    (answer(500), retry("provider_error")),
    (answer(502, b"<html>", content_type="text/html"), retry("provider_error")),
    (answer(503, retry_after="30"), retry("provider_error", 30)),
    (answer(408), retry("provider_error")),
    (answer(302, location="https://elsewhere"), [(Halt, "redirected")] * 3),
    (answer(418), "refused"),
]

ENGAGE: list[tuple[HttpResponse, Any]] = [
    (answer(200, {"status": 1, "error": None}), [(Delivered, None)] * 2),
    (answer(200, b"1"), [(Delivered, None)] * 2),
    (answer(200, {"status": 0, "error": "data, missing or empty"}), "update_invalid"),
    (answer(200, b"0"), "update_invalid"),
    (answer(200, b"<html>"), [(Retry, "answer_unreadable", None, Scope.MESSAGE)] * 2),
    (answer(400), "refused"),
    (answer(401), [(Halt, "credentials_refused")] * 2),
    (answer(413), "too_large"),
    (answer(429), [(Retry, "rate_limited", 2, Scope.SINK)] * 2),
    (answer(500), [(Retry, "provider_error", None, Scope.MESSAGE)] * 2),
]


@pytest.mark.parametrize(("response", "expected"), IMPORT, ids=lambda v: str(v)[:60])
def test_answer_to_an_import(response: HttpResponse, expected: Any) -> None:
    assert kinds(answered(events(), response, NOW)) == expected


@pytest.mark.parametrize(("response", "expected"), ENGAGE, ids=lambda v: str(v)[:60])
def test_answer_to_profile_updates(response: HttpResponse, expected: Any) -> None:
    assert kinds(answered(profiles(), response, NOW)) == expected


def test_an_unreadable_answer_to_an_addition_is_in_doubt() -> None:
    addition = profiles(add={"paid": 1})
    assert kinds(answered(addition, answer(200, b"<html>"), NOW)) == [
        (InDoubt, "answer_unreadable")
    ]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (events(1), (Retry, "answer_timeout", None, Scope.MESSAGE)),
        (profiles(), (Retry, "answer_timeout", None, Scope.MESSAGE)),
        (profiles(add={"paid": 1}), (InDoubt, "answer_timeout")),
    ],
    ids=["events", "profiles", "additions"],
)
def test_a_lost_answer_is_in_doubt_only_where_a_repeat_shows(
    call: Call, expected: tuple[Any, ...]
) -> None:
    assert kind(unanswered(call, InDoubt(Reason("answer_timeout")))) == expected


@pytest.mark.parametrize(("attempt", "after"), [(1, 2), (2, 4), (5, 32), (6, 60), (90, 60)])
def test_limits_without_a_time_double_the_wait(attempt: int, after: float) -> None:
    [call] = calls(made(replace(tracked(), attempt=attempt)))
    [outcome] = answered(call, answer(429), NOW)  # type: ignore[misc]
    assert kind(outcome) == (Retry, "rate_limited", after, Scope.SINK)


def test_reasons_name_a_field_and_quote_nothing() -> None:
    record = {"index": 0, "field": "properties.time", "message": "anna@example.com"}
    strange = {"index": 1, "field": "anna@example.com", "message": ""}
    result = answered(events(), failed(record, strange), NOW)
    assert not isinstance(result, Refused)
    assert [str(each.reason) for each in result[:2]] == [  # type: ignore[union-attr]
        "record_invalid: properties.time",
        "record_invalid",
    ]


class TestEvent:
    def test_its_record(self) -> None:
        [record] = made(tracked("Paid", amount=12.5, items=["a"]))[0].records
        assert orjson.loads(record) == {
            "event": "Paid",
            "properties": {
                "amount": 12.5,
                "items": ["a"],
                "time": 1_767_323_045_000,
                "distinct_id": "u-1",
                "$insert_id": "00000000-0000-0000-0000-000000000000",
            },
        }

    def test_what_identifies_it_can_not_be_overwritten(self) -> None:
        properties = {"time": 1, "distinct_id": "x", "$insert_id": "y"}
        [record] = made(parcel(AnalyticsEvent("Paid", "u-1", NOW, properties)))[0].records
        kept = orjson.loads(record)["properties"]
        assert kept["distinct_id"] == "u-1"
        assert kept["time"] == 1_767_323_045_000
        assert kept["$insert_id"] != "y"

    def test_insert_ids_are_36_characters_of_the_key(self) -> None:
        assert insert_id(KEY) == "00010203-0405-0607-0809-0a0b0c0d0e0f"

    @settings(max_examples=300)
    @given(
        st.dictionaries(
            st.text(max_size=8),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=5,
            ),
            max_size=5,
        ),
        st.floats(0, 4e9),
    )
    def test_an_attempt_out_of_the_ledger_sends_the_same_bytes(
        self, properties: dict[str, Any], time: float
    ) -> None:
        first = parcel(AnalyticsEvent("Paid", "u-1", time, properties))
        later = replace(first, message=load_message(dump_message(first.message)), attempt=7)
        assert made(first)[0].records == made(later)[0].records

    def test_a_test_event_says_so(self) -> None:
        [record] = made(replace(tracked(), is_test=True))[0].records
        assert orjson.loads(record)["properties"]["router_test"] is True

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (tracked(""), "name_invalid"),
            (tracked(**{f"p{n}": n for n in range(252)}), "too_many_properties"),
            (tracked(nested={"a": {f"p{n}": n for n in range(255)}}), "too_many_properties"),
            (tracked(listed=[[0] * 255]), "too_many_properties"),
            (tracked(long="x" * 1_000_000), "too_large"),
            (tracked(n=2**70), "not_json"),
            (parcel(ProfileUpdate("", NOW, set={"a": 1})), "person_missing"),
            (parcel(ProfileUpdate("u-1", NOW)), "nothing_to_change"),
        ],
    )
    def test_what_mixpanel_would_refuse_is_rejected_before_sending(
        self, sent: Parcel, code: str
    ) -> None:
        result = item(0, sent, TOKEN)
        assert isinstance(result, Rejected)
        assert result.reason.code == code

    def test_251_properties_of_one_s_own_fit(self) -> None:
        assert isinstance(item(0, tracked(**{f"p{n}": n for n in range(251)}), TOKEN), Item)


def test_a_profile_update_is_one_record_an_operation() -> None:
    update = ProfileUpdate(
        "u-1",
        NOW,
        set={"$email": "a@b.example"},
        set_once={"first": 1},
        add={"paid": 5},
        append={"tags": "x"},
        union={"plans": ["a"]},
        remove={"old": "y"},
        unset=("gone",),
    )
    person = {"$token": TOKEN, "$distinct_id": "u-1", "$ip": "0", "$ignore_time": True}
    assert [orjson.loads(record) for record in made(parcel(update))[0].records] == [
        person | {"$set": {"$email": "a@b.example"}},
        person | {"$set_once": {"first": 1}},
        person | {"$add": {"paid": 5}},
        person | {"$append": {"tags": "x"}},
        person | {"$union": {"plans": ["a"]}},
        person | {"$remove": {"old": "y"}},
        person | {"$unset": ["gone"]},
    ]


class TestCalls:
    def test_events_and_profiles_apart_and_every_addition_alone(self) -> None:
        settled = ProfileUpdate("u-1", NOW, set={"a": 1})
        added = ProfileUpdate("u-1", NOW, append={"a": 1})
        parcels = [
            tracked(),
            parcel(settled),
            parcel(added),
            tracked(),
            parcel(settled),
            parcel(added),
        ]
        cut = [(call.kind, [entry.place for entry in call.items]) for call in calls(made(*parcels))]
        assert cut == [
            (Kind.EVENTS, [0, 3]),
            (Kind.PROFILES, [1, 4]),
            (Kind.ADDITIONS, [2]),
            (Kind.ADDITIONS, [5]),
        ]

    def test_2000_events_fit_into_one(self) -> None:
        assert [len(call.items) for call in calls(made(*[tracked()] * 2001))] == [2000, 1]

    @settings(max_examples=50)
    @given(st.lists(st.integers(0, 900_000), min_size=1, max_size=12))
    def test_no_call_is_over_the_limit_and_nothing_is_lost(self, sizes: list[int]) -> None:
        cut = list(calls(made(*[tracked(pad="x" * size) for size in sizes])))
        assert all(len(call.body) <= 2_000_000 for call in cut)
        assert [entry.place for call in cut for entry in call.items] == list(range(len(sizes)))
        assert all(orjson.loads(call.body) for call in cut)

    def test_halves_are_whole(self) -> None:
        first, second = events(3).halves()
        assert first.items + second.items == events(3).items


class TestRequest:
    def test_an_import_by_token(self) -> None:
        call = request(config(MixpanelConfig), events(2), 9.0)
        assert call.url == "https://api.mixpanel.com/import?strict=1"
        assert call.headers["Authorization"] == _basic(f"{TOKEN}:")
        assert call.headers["Content-Encoding"] == "gzip"
        assert orjson.loads(gzip.decompress(call.body or b""))[1]["event"] == "E1"
        assert call.timeout_s == 9.0
        assert TOKEN not in repr(call)

    def test_an_import_by_a_service_account(self) -> None:
        account = {"username": "router.mp", "secret": "planted-secret", "project_id": 7}
        options = config(MixpanelConfig, service_account=account, residency="eu")
        call = request(options, events(), 9.0)
        assert call.url == "https://api-eu.mixpanel.com/import?strict=1&project_id=7"
        assert call.headers["Authorization"] == _basic("router.mp:planted-secret")

    def test_the_same_events_give_the_same_bytes(self) -> None:
        bodies = {request(config(MixpanelConfig), events(), 9.0).body for _ in range(2)}
        assert len(bodies) == 1

    def test_profiles_go_uncompressed_and_ask_for_a_verdict(self) -> None:
        call = request(config(MixpanelConfig), profiles(), 9.0)
        assert call.url == "https://api.mixpanel.com/engage?verbose=1"
        assert "Content-Encoding" not in call.headers
        assert "Authorization" not in call.headers
        assert len(orjson.loads(call.body or b"")) == 2

    def test_other_messages_are_a_mistake_of_planning(self) -> None:
        with pytest.raises(TypeError):
            item(0, parcel(ChatMessage("x")), TOKEN)


@pytest.mark.parametrize(
    ("residency", "host"),
    [("us", "api.mixpanel.com"), ("eu", "api-eu.mixpanel.com"), ("in", "api-in.mixpanel.com")],
)
def test_residency(residency: str, host: str) -> None:
    assert config(MixpanelConfig, residency=residency).address == f"https://{host}"


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "a b"},
        {"base_url": "api.mixpanel.com"},
        {"residency": "ru"},
        {"service_account": {"username": "a:b", "secret": "x", "project_id": 1}},
        {"service_account": {"username": "a", "secret": "x"}},
    ],
)
def test_configurations_that_can_not_work_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(MixpanelConfig, **changes)


def _basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
