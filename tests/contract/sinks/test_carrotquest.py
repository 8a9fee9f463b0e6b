"""The carrotquest sink against a look-alike that keeps people, their events and properties."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from router.messages import (
    AnalyticsEvent,
    Delivered,
    Halt,
    InDoubt,
    Outcome,
    ProfileUpdate,
    Rejected,
    Retry,
    Scope,
)
from router.sandbox import (
    CarrotquestSettings,
    Fault,
    Sandbox,
    SandboxSettings,
    answer,
    bad_gateway,
    lost_answer,
    sandbox,
)
from tests.contract.sinks.harness import Open, opened

pytestmark = pytest.mark.anyio

AT = 1_767_323_045.25
PAID = AnalyticsEvent("Оплата", "u/1", AT, {"amount": 12.5, "ok": True, "tags": ["a"]})


@asynccontextmanager
async def carrotquest(
    api: CarrotquestSettings | None = None, **options: object
) -> AsyncGenerator[tuple[Sandbox, Open]]:
    async with sandbox(SandboxSettings(carrotquest=api or CarrotquestSettings())) as box:
        given_options = {
            "base_url": box.addresses["carrotquest"],
            "token": box.credentials["carrotquest_token"],
            **options,
        }
        async with opened("carrotquest", **given_options) as sink:
            yield box, sink


def code(result: Outcome) -> str:
    assert isinstance(result, Retry | Halt | Rejected | InDoubt)
    return result.reason.code


async def test_an_event_arrives_and_creates_the_person() -> None:
    async with carrotquest() as (box, sink):
        sent = await sink.send(PAID)
        [event] = box.carrotquest.events
        person = box.carrotquest.person("u/1")
    assert person is not None
    assert event.person == person.id
    assert (event.name, dict(event.params)) == ("Оплата", dict(PAID.properties))
    assert not event.is_automation_suppressed
    assert sent == Delivered(str(event.id))


async def test_the_time_suppresses_automatic_messages() -> None:
    async with carrotquest(send_created=True) as (box, sink):
        await sink.send(PAID)
        [event] = box.carrotquest.events
        assert box.record.of("carrotquest")[0].details["automation"] == "suppressed"
    assert event.created == AT
    assert event.is_automation_suppressed


@pytest.mark.parametrize("answers_200", [False, True])
async def test_refusals_by_status_and_in_envelopes(answers_200: bool) -> None:
    api = CarrotquestSettings(answers_200=answers_200)
    async with carrotquest(api) as (_, sink):
        strange = await sink.send(AnalyticsEvent("x", "u-1", AT, {"n": {"nested": 1}}))
    async with carrotquest(api, token="app.planted.wrong") as (_, sink):
        halted = await sink.send(PAID)
    async with carrotquest(api, by_user_id=False) as (_, sink):
        unknown = await sink.send(AnalyticsEvent("x", "77", AT))
    assert (type(strange), code(strange)) == (Rejected, "bad_request")
    assert (type(halted), code(halted)) == (Halt, "token_refused")
    assert isinstance(unknown, Rejected)
    assert (unknown.reason.code, unknown.recipient_gone) == ("person_unknown", True)


async def test_a_wrong_base_url_halts() -> None:
    async with sandbox() as box:
        url = box.addresses["carrotquest"] + "/api"
        token = box.credentials["carrotquest_token"]
        async with opened("carrotquest", base_url=url, token=token) as sink:
            assert code(await sink.send(PAID)) == "method_unknown"


@pytest.mark.parametrize("fault", [lost_answer("reset"), lost_answer("close")])
async def test_after_a_lost_answer_a_repeat_shows_two_events(fault: Fault) -> None:
    async with carrotquest() as (box, sink):
        box.carrotquest.faults.plan("u/1", on={1: fault})
        lost = await sink.send(PAID, attempt=1)
        again = await sink.send(PAID, attempt=2)
        assert [event.name for event in box.carrotquest.events] == ["Оплата", "Оплата"]
        assert len({entry.key for entry in box.record}) == 1
    assert isinstance(lost, InDoubt)
    assert isinstance(again, Delivered)


class TestProperties:
    async def test_operations_are_applied_in_order(self) -> None:
        first = ProfileUpdate(
            "u-1", AT, set={"$email": "a@b.example", "code": "007"}, add={"paid": 5}
        )
        second = ProfileUpdate(
            "u-1",
            AT,
            set_once={"code": "other", "since": 2026},
            add={"paid": 2},
            append={"tags": "a"},
            union={"plans": ["x"]},
            unset=("$email",),
        )
        third = ProfileUpdate("u-1", AT, union={"plans": ["x", "y"]}, remove={"tags": "a"})
        async with carrotquest() as (box, sink):
            for update in (first, second, third):
                assert isinstance(await sink.send(update), Delivered)
            person = box.carrotquest.person("u-1")
        assert person is not None
        assert person.props == {
            "code": "007",
            "paid": 7,
            "since": 2026,
            "tags": [],
            "plans": ["x", "y"],
        }

    async def test_a_lost_answer_is_repeated_for_settings_and_in_doubt_for_additions(
        self,
    ) -> None:
        async with carrotquest() as (box, sink):
            box.carrotquest.faults.plan("u-1", always=lost_answer("close"))
            setting = await sink.send(ProfileUpdate("u-1", AT, set={"a": 1}))
            addition = await sink.send(ProfileUpdate("u-1", AT, add={"n": 1}))
        assert isinstance(setting, Retry)
        assert isinstance(addition, InDoubt)

    async def test_values_that_carrot_quest_refuses(self) -> None:
        async with carrotquest() as (_, sink):
            for value in ("x" * 256, 2**53 + 1, ["x"] * 31, {"a": 1}):
                refused = await sink.send(ProfileUpdate("u-1", AT, set={"a": value}))
                assert code(refused) == "bad_request"


async def test_a_limit_makes_the_sink_wait() -> None:
    async with carrotquest(CarrotquestSettings(requests_per_s=1)) as (_, sink):
        assert isinstance(await sink.send(PAID), Delivered)
        limited = await sink.send(PAID)
    assert isinstance(limited, Retry)
    assert (limited.after, limited.scope) == (None, Scope.SINK)


async def test_errors_before_the_effect_are_tried_again() -> None:
    async with carrotquest() as (box, sink):
        box.carrotquest.faults.plan("u/1", on={1: bad_gateway(), 2: answer(500, "oops")})
        assert isinstance(await sink.send(PAID), Retry)
        assert isinstance(await sink.send(PAID), Retry)
        assert isinstance(await sink.send(PAID), Delivered)


async def test_an_answer_in_part_is_in_doubt() -> None:
    async with carrotquest() as (box, sink):
        box.carrotquest.faults.plan("u/1", on={1: Fault("truncate")})
        assert isinstance(await sink.send(PAID), InDoubt)
