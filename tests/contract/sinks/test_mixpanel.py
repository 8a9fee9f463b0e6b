"""The mixpanel sink against a look-alike with a raw log, reports and profiles."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.messages import (
    AnalyticsEvent,
    Delivered,
    Halt,
    InDoubt,
    Message,
    Parcel,
    ProfileUpdate,
    Rejected,
    Retry,
    Scope,
)
from router.sandbox import (
    Fault,
    MixpanelSettings,
    Sandbox,
    SandboxSettings,
    answer,
    bad_gateway,
    lost_answer,
    sandbox,
)
from tests.contract.sinks.harness import Open, opened, parcel

pytestmark = pytest.mark.anyio

AT = 1_767_323_045.25


@asynccontextmanager
async def mixpanel(
    api: MixpanelSettings | None = None, **options: object
) -> AsyncGenerator[tuple[Sandbox, Open]]:
    async with sandbox(SandboxSettings(mixpanel=api or MixpanelSettings())) as box:
        given_options = {
            "base_url": box.addresses["mixpanel"],
            "token": box.credentials["mixpanel_token"],
            **options,
        }
        async with opened("mixpanel", **given_options) as sink:
            yield box, sink


def tracked(name: str = "Paid", person: str = "u-1", **properties: Any) -> AnalyticsEvent:
    return AnalyticsEvent(name, person, AT, properties)


def parcels(*messages: Message) -> Sequence[Parcel]:
    return [parcel(message, key=number) for number, message in enumerate(messages, 1)]


def names(box: Sandbox) -> list[str]:
    return sorted(identity.event for identity in box.mixpanel.raw)


async def test_events_arrive_in_one_request() -> None:
    async with mixpanel() as (box, sink):
        sent = await sink.send_batch(parcels(tracked("Paid", amount=5), tracked("Ж", person="")))
        first, second = box.record
    assert sent == [
        Delivered("00000000-0000-0000-0000-000000000001"),
        Delivered("00000000-0000-0000-0000-000000000002"),
    ]
    assert (first.title, first.recipient, second.title) == ("Paid", "u-1", "Ж")
    assert '"amount":5' in first.text
    assert first.details["time_ms"] == "1767323045250"


async def test_a_service_account_needs_the_right_project() -> None:
    async with sandbox() as box:
        account = {
            "username": box.credentials["mixpanel_username"],
            "secret": box.credentials["mixpanel_secret"],
            "project_id": int(box.credentials["mixpanel_project"]),
        }
        address = {"base_url": box.addresses["mixpanel"], "token": "unused0by0imports"}
        async with opened("mixpanel", **address, service_account=account) as sink:
            assert isinstance((await sink.send_batch(parcels(tracked())))[0], Delivered)
        wrong = {**account, "project_id": 1}
        async with opened("mixpanel", **address, service_account=wrong) as sink:
            assert isinstance((await sink.send_batch(parcels(tracked())))[0], Halt)


async def test_a_wrong_token_halts() -> None:
    async with mixpanel(token="planted0wrong") as (box, sink):
        sent = await sink.send_batch(parcels(tracked(), tracked()))
        assert len(box.record) == 0
    assert [type(each) for each in sent] == [Halt, Halt]


async def test_only_the_bad_records_of_a_batch_are_rejected() -> None:
    async with mixpanel() as (box, sink):
        sent = await sink.send_batch(
            parcels(
                tracked("A"),
                tracked("B", person="anonymous"),
                AnalyticsEvent("C", "u-1", 1.0),
                tracked("D"),
            )
        )
        assert names(box) == ["A", "D"]
    assert [type(each) for each in sent] == [Delivered, Rejected, Rejected, Delivered]
    assert str(sent[1].reason) == "record_invalid: properties.distinct_id"  # type: ignore[union-attr]
    assert str(sent[2].reason) == "record_invalid: properties.time"  # type: ignore[union-attr]


@pytest.mark.parametrize("fault", [lost_answer("reset"), lost_answer("close")])
async def test_after_a_lost_answer_a_repeat_shows_once_in_the_report(fault: Fault) -> None:
    batch = parcels(tracked("A"), tracked("B"))
    async with mixpanel() as (box, sink):
        box.mixpanel.faults.plan("/import", on={1: fault})
        lost = await sink.send_batch(batch)
        again = await sink.send_batch(batch)
        assert names(box) == ["A", "A", "B", "B"]
        assert [identity.event for identity in box.mixpanel.report] == ["A", "B"]
        first, _, repeated, _ = box.record
        assert first.raw == repeated.raw
    assert [type(each) for each in lost] == [Retry, Retry]
    assert [type(each) for each in again] == [Delivered, Delivered]


@pytest.mark.parametrize("kind", ["cut", "truncate"])
async def test_an_answer_in_part_is_asked_for_again(kind: str) -> None:
    async with mixpanel() as (box, sink):
        box.mixpanel.faults.plan("/import", on={1: Fault(kind)})  # type: ignore[arg-type]
        [first] = await sink.send_batch(parcels(tracked()))
        [again] = await sink.send_batch(parcels(tracked()))
        assert len(box.mixpanel.report) == 1
    assert isinstance(first, Retry)
    assert isinstance(again, Delivered)


async def test_a_refusal_that_names_no_record_is_narrowed_down() -> None:
    refusal = answer(400, '{"code":400,"error":"bad"}')
    async with mixpanel() as (box, sink):
        # The whole, its first half, and of that the first of two.
        box.mixpanel.faults.plan("/import", on={1: refusal, 2: refusal, 3: refusal})
        sent = await sink.send_batch(parcels(*(tracked(name) for name in "ABCD")))
        assert names(box) == ["B", "C", "D"]
    assert [type(each) for each in sent] == [Rejected, Delivered, Delivered, Delivered]


async def test_a_batch_that_is_refused_whatever_its_parts_ends() -> None:
    async with mixpanel() as (box, sink):
        box.mixpanel.faults.plan("/import", always=answer(400, "no"))
        sent = await sink.send_batch(parcels(*(tracked() for _ in range(200))))
        assert len(box.record) == 0
    rejected = sum(isinstance(each, Rejected) for each in sent)
    assert 0 < rejected < 100
    assert sum(isinstance(each, Retry) for each in sent) == 200 - rejected


async def test_too_large_for_mixpanel_is_split_and_a_single_one_rejected() -> None:
    async with mixpanel(MixpanelSettings(most_bytes=600)) as (box, sink):
        sent = await sink.send_batch(
            parcels(tracked("A"), tracked("B"), tracked("C", long="x" * 600), tracked("D"))
        )
        assert names(box) == ["A", "B", "D"]
    assert [type(each) for each in sent] == [Delivered, Delivered, Rejected, Delivered]
    assert sent[2].reason.code == "too_large"  # type: ignore[union-attr]


async def test_more_than_one_request_holds_goes_in_several() -> None:
    async with mixpanel() as (box, sink):
        sent = await sink.send_batch(parcels(*(tracked(pad="x" * 900_000) for _ in range(5))))
        assert len(box.record) == 5
    assert all(isinstance(each, Delivered) for each in sent)


async def test_the_project_s_limit_makes_the_sink_wait() -> None:
    async with mixpanel(MixpanelSettings(events_per_minute=3)) as (_, sink):
        await sink.send_batch(parcels(tracked(), tracked()))
        sent = await sink.send_batch(parcels(tracked(), tracked()))
    assert [(each.after, each.scope) for each in sent if isinstance(each, Retry)] == [
        (2, Scope.SINK)
    ] * 2


async def test_a_proxys_error_page_is_tried_again() -> None:
    async with mixpanel() as (box, sink):
        box.mixpanel.faults.plan("/import", on={1: bad_gateway()})
        [first] = await sink.send_batch(parcels(tracked()))
        [again] = await sink.send_batch(parcels(tracked()))
    assert isinstance(first, Retry)
    assert isinstance(again, Delivered)


async def test_a_batch_ends_within_the_timeout() -> None:
    async with mixpanel(timeout="600ms") as (box, sink):
        box.mixpanel.faults.plan("/import", always=lost_answer("stall", 5))
        sent = await sink.send_batch(parcels(tracked(), tracked()))
    assert [each.reason.code for each in sent] == ["answer_timeout"] * 2  # type: ignore[union-attr]


class TestProfiles:
    async def test_changes_are_applied(self) -> None:
        first = ProfileUpdate("u-1", AT, set={"plan": "pro"}, set_once={"seen": 1})
        second = ProfileUpdate(
            "u-1",
            AT,
            set={"city": "Kazan"},
            set_once={"seen": 2},
            add={"paid": 5},
            append={"tags": "a"},
            union={"kinds": ["x", "x"]},
        )
        third = ProfileUpdate("u-1", AT, remove={"tags": "zz"}, unset=("plan",))
        async with mixpanel() as (box, sink):
            for message in (first, second, third):
                [sent] = await sink.send_batch(parcels(message))
                assert isinstance(sent, Delivered)
            assert box.mixpanel.profiles["u-1"] == {
                "seen": 1,
                "city": "Kazan",
                "paid": 5,
                "tags": ["a"],
                "kinds": ["x", "x"],
            }

    async def test_events_and_profiles_in_one_batch_keep_their_places(self) -> None:
        update = ProfileUpdate("u-1", AT, set={"a": 1})
        async with mixpanel() as (box, sink):
            sent = await sink.send_batch(parcels(update, tracked(), update))
            assert len(box.record) == 3
        assert sent == [
            Delivered(),
            Delivered("00000000-0000-0000-0000-000000000002"),
            Delivered(),
        ]

    async def test_an_error_with_status_200_is_found_and_narrowed_down(self) -> None:
        good = ProfileUpdate("u-1", AT, set={"a": 1})
        bad = ProfileUpdate("u-2", AT, union={"a": "no list"})
        async with mixpanel() as (box, sink):
            sent = await sink.send_batch(parcels(good, bad, good))
            assert set(box.mixpanel.profiles) == {"u-1"}
        assert [type(each) for each in sent] == [Delivered, Rejected, Delivered]

    async def test_a_lost_answer_is_repeated_for_settings_and_in_doubt_for_additions(
        self,
    ) -> None:
        setting = ProfileUpdate("u-1", AT, set={"a": 1})
        addition = ProfileUpdate("u-1", AT, add={"n": 1})
        async with mixpanel() as (box, sink):
            box.mixpanel.faults.plan("/engage", always=lost_answer("close"))
            sent = await sink.send_batch(parcels(setting, addition))
            assert box.mixpanel.profiles["u-1"] == {"a": 1, "n": 1}
        assert [type(each) for each in sent] == [Retry, InDoubt]
