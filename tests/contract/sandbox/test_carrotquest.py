"""The Carrot quest look-alike: parameters as documented, envelopes, people that come into being."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from router.clock import ManualClock
from router.messages import Channel
from router.sandbox import CarrotquestSettings, Sandbox, SandboxSettings, answer, sandbox
from tests.contract.sandbox.builders import Reply, call

pytestmark = pytest.mark.anyio


async def post(
    box: Sandbox,
    path: str = "/users/u-1/events",
    headers: Mapping[str, str] | None = None,
    **fields: str,
) -> Reply:
    given = {"Authorization": f"Bearer {box.credentials['carrotquest_token']}"}
    return await call(
        "POST",
        box.addresses["carrotquest"] + path,
        headers=given if headers is None else headers,
        data={"by_user_id": "true", "event": "Paid", **fields},
    )


async def props(box: Sandbox, *operations: Mapping[str, Any], **fields: str) -> Reply:
    return await post(
        box, "/users/u-1/props", operations=orjson.dumps(operations).decode(), **fields
    )


def setting(key: str, value: object) -> dict[str, object]:
    return {"op": "update_or_create", "key": key, "value": value}


async def test_an_event_creates_the_person() -> None:
    async with sandbox() as box:
        reply = await post(box, params='{"amount": 5, "tags": ["a"]}')
        (event,) = box.carrotquest.events
        (entry,) = box.record
        person = box.carrotquest.person("u-1")
    assert person is not None
    assert reply.json["meta"] == {"status": 200}
    assert reply.json["data"]["user"] == person.id
    assert reply.json["data"]["props"] == {"amount": 5, "tags": ["a"]}
    assert (event.name, event.created) == ("Paid", None)
    assert (entry.channel, entry.recipient, entry.title) == (Channel.ANALYTICS, "u-1", "Paid")
    assert entry.details["automation"] == "planned"


async def test_created_suppresses_automatic_messages() -> None:
    async with sandbox() as box:
        await post(box, created="1500000000.5")
        (event,) = box.carrotquest.events
        assert box.record.of("carrotquest")[0].details["automation"] == "suppressed"
    assert event.is_automation_suppressed
    assert event.created == 1_500_000_000.5


async def test_repeats_are_visible() -> None:
    async with sandbox() as box:
        await post(box)
        await post(box)
        assert len(box.carrotquest.events) == 2
        assert len(box.carrotquest.people) == 1


@pytest.mark.parametrize(
    ("text", "is_true"),
    [
        ("true", True),
        ("false", False),
        ("FALSE", False),
        ("0", False),
        ("", False),
        ("1", True),
        ("no", True),
        ("null", True),
    ],
)
async def test_booleans(text: str, is_true: bool) -> None:
    async with sandbox() as box:
        reply = await post(box, by_user_id=text)
        if is_true:
            assert reply.status == 200
        else:
            assert reply.json["meta"]["error"] == "LookupError"


async def test_carrot_quest_s_own_ids_must_exist() -> None:
    async with sandbox() as box:
        await post(box)
        person = box.carrotquest.person("u-1")
        assert person is not None
        known = await post(box, f"/users/{person.id}/events", by_user_id="false")
        unknown = await post(box, "/users/77/events", by_user_id="false")
    assert known.status == 200
    assert (unknown.status, unknown.json["meta"]["error"]) == (400, "LookupError")


async def test_ids_need_id_as_string_to_be_text() -> None:
    async with sandbox() as box:
        numbers = (await post(box)).json["data"]
        texts = (await post(box, id_as_string="true")).json["data"]
    assert isinstance(numbers["id"], int)
    assert numbers["id"] > 2**53
    assert isinstance(texts["id"], str)


async def test_the_id_in_the_path_is_decoded() -> None:
    async with sandbox() as box:
        await post(box, "/users/a%2Fb%20c/events")
        assert box.carrotquest.person("a/b c") is not None


async def test_the_older_path_works_too() -> None:
    async with sandbox() as box:
        assert (await post(box, "/v1/users/u-1/events")).status == 200


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "parameter"])
async def test_three_ways_to_name_the_token(scheme: str) -> None:
    async with sandbox() as box:
        token = box.credentials["carrotquest_token"]
        if scheme == "parameter":
            reply = await post(box, headers={}, auth_token=token)
        else:
            reply = await post(box, headers={"Authorization": f"{scheme} {token}"})
    assert reply.status == 200


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic x"])
async def test_a_wrong_token(header: str) -> None:
    async with sandbox() as box:
        reply = await post(box, headers={"Authorization": header} if header else {})
        assert not box.carrotquest.events
    assert (reply.status, reply.json["meta"]["error"]) == (401, "NotAuthenticated")


async def test_a_json_body_is_no_parameter() -> None:
    async with sandbox() as box:
        url = box.addresses["carrotquest"] + "/users/u-1/events"
        headers = {"Authorization": f"Token {box.credentials['carrotquest_token']}"}
        reply = await call("POST", url, headers=headers, json={"event": "Paid"})
    assert (reply.status, reply.json["meta"]["error"]) == (400, "ValidationError")
    assert "event" in reply.json["meta"]["error_fields"]


@pytest.mark.parametrize(
    "fields",
    [
        {"event": ""},
        {"event": "x" * 256},
        {"params": "not json"},
        {"params": "[]"},
        {"params": '{"n": 9007199254740993}'},
        {"params": '{"n": {"a": 1}}'},
        {"created": "yesterday"},
    ],
)
async def test_events_that_are_refused(fields: dict[str, str]) -> None:
    async with sandbox() as box:
        reply = await post(box, **fields)
        assert not box.carrotquest.events
    assert (reply.status, reply.json["meta"]["error"]) == (400, "ValidationError")


@pytest.mark.parametrize("path", ["/users/u-1/likes", "/", "/api/users/u-1/events"])
async def test_other_paths(path: str) -> None:
    async with sandbox() as box:
        reply = await post(box, path)
    assert (reply.status, reply.json["meta"]["error"]) == (404, "Error404")


async def test_refusals_can_hide_behind_status_200() -> None:
    async with sandbox(SandboxSettings(carrotquest=CarrotquestSettings(answers_200=True))) as box:
        reply = await post(box, event="")
    assert (reply.status, reply.json["meta"]["status"]) == (200, 400)


class TestProperties:
    async def test_operations_in_order(self) -> None:
        async with sandbox() as box:
            reply = await props(
                box,
                setting("$email", "a@b.example"),
                setting("n", 1),
                {"op": "add", "key": "n", "value": 2},
                {"op": "set_once", "key": "n", "value": 9},
                {"op": "append", "key": "tags", "value": "a"},
                {"op": "append", "key": "tags", "value": "a"},
                {"op": "union", "key": "tags", "value": ["a", "b"]},
                {"op": "exclude", "key": "tags", "value": "a"},
                {"op": "delete", "key": "$email"},
            )
            person = box.carrotquest.person("u-1")
        assert reply.status == 200
        assert person is not None
        assert person.props == {"n": 3, "tags": ["b"]}

    @pytest.mark.parametrize(
        ("flag", "value"), [({}, 7), ({"parse_custom_props_type": "false"}, "007")]
    )
    async def test_types_are_guessed_unless_told_not_to(
        self, flag: dict[str, str], value: object
    ) -> None:
        async with sandbox() as box:
            await props(box, setting("code", "007"), **flag)
            person = box.carrotquest.person("u-1")
        assert person is not None
        assert person.props == {"code": value}

    @pytest.mark.parametrize(
        "operations",
        [
            [],
            [setting(f"p{n}", n) for n in range(251)],
            [setting("a", "x" * 256)],
            [setting("a", 2**53 + 1)],
            [setting("a", -(2**53) - 1)],
            [setting("a", ["x"] * 31)],
            [setting("a", [1])],
            [setting("a", None)],
            [setting("a", {"b": 1})],
            [setting("", 1)],
            [{"op": "explode", "key": "a", "value": 1}],
            [{"op": "add", "key": "a", "value": "1"}],
            ["x"],
        ],
    )
    async def test_operations_that_are_refused_change_nothing(self, operations: list[Any]) -> None:
        async with sandbox() as box:
            reply = await props(box, *operations)
            assert box.carrotquest.person("u-1") is None
        assert (reply.status, reply.json["meta"]["error"]) == (400, "ValidationError")

    @pytest.mark.parametrize(
        "value", ["x" * 255, 2**53, -(2**53), ["x"] * 30, True, 1.5, "2026-01-02T03:04:05"]
    )
    async def test_values_on_the_edge_are_taken(self, value: object) -> None:
        async with sandbox() as box:
            assert (await props(box, setting("a", value))).status == 200

    async def test_250_properties_are_taken(self) -> None:
        async with sandbox() as box:
            many = [setting(f"p{n}", n) for n in range(250)]
            assert (await props(box, *many)).status == 200


async def test_a_limit_and_injected_errors() -> None:
    clock = ManualClock()
    api = CarrotquestSettings(requests_per_s=1)
    async with sandbox(SandboxSettings(clock=clock, carrotquest=api)) as box:
        assert (await post(box)).status == 200
        assert (await post(box)).json["meta"]["status"] == 429
        clock.advance(1)
        box.carrotquest.faults.plan("u-1", on={1: answer(503, "busy", {"Retry-After": "3"})})
        assert (await post(box)).status == 503
        assert (await post(box)).status == 200


async def test_people_can_be_made_known_and_forgotten() -> None:
    async with sandbox() as box:
        box.carrotquest.set_state("u-1", "known")
        assert box.carrotquest.person("u-1") is not None
        box.carrotquest.set_state("u-1", "unknown")
        assert box.carrotquest.person("u-1") is None
        with pytest.raises(ValueError, match="no state"):
            box.carrotquest.set_state("u-1", "asleep")
