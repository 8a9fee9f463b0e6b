"""The apns sink on the wire: tokens and certificates, environments, connections that end."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from router.messages import (
    Delivered,
    Halt,
    InDoubt,
    PushMessage,
    Rejected,
    Retry,
    Scope,
    Target,
)
from router.sandbox import ApnsSettings, Fault, SandboxSettings, answer, lost_answer, sandbox
from tests.contract.sinks.harness import apns_options, opened

pytestmark = pytest.mark.anyio

PUSH = PushMessage("Order 12", "Оплачен — спасибо", data={"order": "12"}, ttl=3600, badge=1)
ANNA = "a1" * 32
BORIS = "b2" * 32


def settings(**changes: Any) -> SandboxSettings:
    return SandboxSettings(apns=ApnsSettings(**changes))


def device(token: str = ANNA, **changes: Any) -> Target:
    return Target(token, "device", platform="ios", **changes)


async def test_a_push_arrives_as_it_was_meant() -> None:
    message = PushMessage(
        "Order 12", "Оплачен — спасибо", badge=3, sound="coins.caf", ttl=3600, collapse="order-12"
    )
    async with sandbox() as box:
        async with opened("apns", **apns_options(box)) as sink:
            sent = await sink.send(message, ANNA, key=7)
        [received] = box.record
    assert sent == Delivered("00000000-0000-0000-0000-000000000007")
    assert (received.title, received.text) == ("Order 12", "Оплачен — спасибо")
    assert received.provider == "apns"
    assert received.key == "00000000-0000-0000-0000-000000000007"
    assert received.details["push_type"] == "alert"
    assert received.details["priority"] == "10"
    assert received.details["badge"] == "3"
    assert received.details["sound"] == "coins.caf"
    assert received.details["collapse_id"] == "order-12"
    assert int(received.details["expiration"]) == pytest.approx(received.at + 3600, abs=5)


async def test_silent_pushes_are_of_the_background() -> None:
    async with sandbox() as box:
        async with opened("apns", **apns_options(box)) as sink:
            sync = PushMessage("", "", data={"sync": "orders"}, silent=True)
            assert isinstance(await sink.send(sync, ANNA), Delivered)
        [received] = box.record
        assert not box.apns.shown(ANNA)
    assert received.details["push_type"] == "background"
    assert received.details["priority"] == "5"


async def test_a_client_certificate_does_instead_of_a_key() -> None:
    async with sandbox() as box:
        changes: dict[str, Any] = dict.fromkeys(("key_file", "key_id", "team_id", "topic"))
        changes["cert_file"] = box.credentials["apns_cert_file"]
        async with opened("apns", **apns_options(box, **changes)) as sink:
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(sink.send, PUSH, ANNA, number)
        assert len(box.record) == 20


class TestEnvironments:
    async def test_each_device_is_sent_to_through_its_own(self) -> None:
        async with sandbox() as box:
            box.apns_sandbox.set_state(BORIS, "alive")
            async with opened("apns", **apns_options(box)) as sink:
                for target in (
                    device(ANNA),
                    device(ANNA, environment="production"),
                    device(BORIS, environment="sandbox"),
                ):
                    assert isinstance(await sink.send(PUSH, target=target), Delivered)
        assert [entry.provider for entry in box.record] == ["apns", "apns", "apns-sandbox"]

    async def test_the_sinks_own_holds_for_devices_that_do_not_say(self) -> None:
        async with sandbox() as box:
            box.apns_sandbox.set_state(BORIS, "alive")
            async with opened("apns", **apns_options(box, environment="sandbox")) as sink:
                assert isinstance(await sink.send(PUSH, BORIS), Delivered)

    async def test_a_token_of_the_other_one_is_not_given_up(self) -> None:
        async with sandbox() as box:
            box.apns_sandbox.set_state(BORIS, "alive")
            async with opened("apns", **apns_options(box)) as sink:
                result = await sink.send(PUSH, BORIS)
        assert isinstance(result, Rejected)
        assert not result.recipient_gone


class TestStates:
    async def test_a_bad_token(self) -> None:
        async with sandbox() as box:
            box.apns.set_state(ANNA, "bad")
            async with opened("apns", **apns_options(box)) as sink:
                result = await sink.send(PUSH, target=device(environment="production"))
        assert isinstance(result, Rejected)
        assert result.recipient_gone

    @pytest.mark.parametrize("state", ["unregistered", "expired"])
    async def test_a_token_that_died_before_or_after_it_was_registered(self, state: str) -> None:
        async with sandbox() as box:
            died = box.clock.now()
            box.apns.set_state(ANNA, f"{state}:{int(died * 1000)}")
            async with opened("apns", **apns_options(box)) as sink:
                gone = await sink.send(PUSH, target=device(registered_at=died - 10))
                since = await sink.send(PUSH, target=device(registered_at=died + 10))
        assert isinstance(gone, Rejected)
        assert gone.recipient_gone
        assert isinstance(since, Retry)
        assert since.scope is Scope.TARGET

    async def test_a_device_of_another_app_among_many_of_this_one(self) -> None:
        async with sandbox() as box:
            box.apns.set_state(BORIS, "other_topic")
            async with opened("apns", **apns_options(box)) as sink:
                await sink.send(PUSH, ANNA)
                result = await sink.send(PUSH, BORIS)
        assert isinstance(result, Rejected)
        assert result.recipient_gone

    async def test_a_wrong_topic_gives_nobody_up(self) -> None:
        async with sandbox() as box:
            async with opened("apns", **apns_options(box, topic="com.example.other")) as sink:
                assert isinstance(await sink.send(PUSH, ANNA), Halt)
            box.apns.set_state(BORIS, "other_topic")
            async with opened("apns", **apns_options(box)) as sink:
                assert isinstance(await sink.send(PUSH, BORIS), Halt)

    async def test_a_device_that_gets_too_many(self) -> None:
        async with sandbox() as box:
            async with opened("apns", **apns_options(box)) as sink:
                async with anyio.create_task_group() as tasks:
                    for number in range(100):
                        tasks.start_soon(sink.send, PUSH, ANNA, number)
                limited = await sink.send(PUSH, ANNA)
                assert isinstance(limited, Retry)
                assert limited.scope is Scope.TARGET
                assert isinstance(await sink.send(PUSH, BORIS), Delivered)


class TestProviderTokens:
    async def test_one_stream_until_the_token_was_found_good(self) -> None:
        async with sandbox() as box:
            async with opened("apns", **apns_options(box)) as sink:
                async with anyio.create_task_group() as tasks:
                    for number in range(100):
                        tasks.start_soon(sink.send, PUSH, f"{number:064x}", number)
        assert len(box.record) == 100
        assert not box.record.refused

    async def test_it_is_renewed_within_the_hour_and_not_too_soon(self) -> None:
        async with sandbox() as box:
            async with opened("apns", box.clock, **apns_options(box)) as sink:
                for _ in range(30):
                    assert isinstance(await sink.send(PUSH, ANNA), Delivered)
                    box.clock.advance(600)
        assert not box.record.refused

    async def test_two_sinks_share_it_without_knowing_each_other(self) -> None:
        async with sandbox() as box:
            async with opened("apns", **apns_options(box)) as first:
                async with opened("apns", **apns_options(box)) as second:
                    assert isinstance(await first.send(PUSH, ANNA), Delivered)
                    assert isinstance(await second.send(PUSH, ANNA), Delivered)
        assert not box.record.refused

    @pytest.mark.parametrize(
        "changes", [{"key_id": "ABC123DEFG"}, {"team_id": "ABC123DEFG"}], ids=str
    )
    async def test_wrong_ids_halt(self, changes: dict[str, str]) -> None:
        async with sandbox() as box:
            async with opened("apns", **apns_options(box, **changes)) as sink:
                assert isinstance(await sink.send(PUSH, ANNA), Halt)

    async def test_a_key_of_another_team_halts(self) -> None:
        async with sandbox() as box, sandbox() as other:
            options = apns_options(box, key_file=other.credentials["apns_key_file"])
            async with opened("apns", **options) as sink:
                assert isinstance(await sink.send(PUSH, ANNA), Halt)

    async def test_a_clock_that_is_behind_halts(self) -> None:
        async with sandbox() as box:
            box.clock.advance(4000)
            async with opened("apns", **apns_options(box)) as sink:
                halted = await sink.send(PUSH, ANNA)
        assert isinstance(halted, Halt)
        assert "ExpiredProviderToken" in halted.reason.text

    async def test_too_many_updates_pause_the_sink(self) -> None:
        async with sandbox() as box:
            refusal = answer(429, '{"reason":"TooManyProviderTokenUpdates"}')
            box.apns.faults.plan(ANNA, on={1: refusal})
            async with opened("apns", **apns_options(box)) as sink:
                paused = await sink.send(PUSH, ANNA)
        assert isinstance(paused, Retry)
        assert paused.scope is Scope.SINK

    async def test_a_key_that_can_not_be_used_is_told_at_once(self) -> None:
        async with sandbox() as box:
            for path in (str(box.ca_file), "none.p8"):
                with pytest.raises(OSError):  # noqa: PT011
                    async with opened("apns", **apns_options(box, key_file=path)):
                        pass


class TestConnections:
    async def test_thousands_of_dead_tokens_on_one_connection(self) -> None:
        async with sandbox() as box:
            box.apns.faults.plan("*", always=answer(400, '{"reason":"BadDeviceToken"}'))
            async with opened("apns", **apns_options(box)) as sink:

                async def work() -> None:
                    for _ in range(60):
                        assert isinstance(await sink.send(PUSH, ANNA), Rejected)

                with anyio.fail_after(30):
                    async with anyio.create_task_group() as tasks:
                        for _ in range(50):
                            tasks.start_soon(work)

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (Fault("rst_stream", code=7), "stream_refused"),
            (Fault("goaway", body='{"reason":"Shutdown"}'), "going_away"),
            (answer(503, '{"reason":"Shutdown"}'), "provider_error"),
            (answer(500, '{"reason":"InternalServerError"}'), "provider_error"),
            (answer(503), "provider_error"),
        ],
        ids=str,
    )
    async def test_what_was_not_accepted_is_tried_again(self, fault: Fault, code: str) -> None:
        async with sandbox() as box:
            box.apns.faults.plan(ANNA, on={1: fault})
            async with opened("apns", **apns_options(box)) as sink:
                failed = await sink.send(PUSH, ANNA)
                assert isinstance(failed, Retry)
                assert failed.reason.code == code
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)
            assert len(box.record) == 1

    async def test_an_answer_comes_even_as_the_connection_ends(self) -> None:
        async with sandbox() as box:
            box.apns.faults.plan(ANNA, on={1: Fault("goaway", after_effect=True)})
            async with opened("apns", **apns_options(box)) as sink:
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)

    async def test_a_connection_closed_for_idleness_is_replaced(self) -> None:
        async with sandbox(settings(idle_s=0.05)) as box:
            async with opened("apns", **apns_options(box)) as sink:
                for _ in range(3):
                    assert isinstance(await sink.send(PUSH, ANNA), Delivered)
                    await anyio.sleep(0.15)

    @pytest.mark.parametrize(
        "fault",
        [
            lost_answer("reset"),
            lost_answer("close"),
            lost_answer("stall", seconds=5),
            Fault("rst_stream", code=2, after_effect=True),
        ],
        ids=lambda fault: fault.kind,
    )
    @pytest.mark.parametrize("collapse", ["order-12", None])
    async def test_after_a_lost_answer_a_collapsing_push_is_seen_once(
        self, fault: Fault, collapse: str | None
    ) -> None:
        message = PushMessage("Order 12", "Paid", collapse=collapse)
        async with sandbox() as box:
            box.apns.faults.plan(ANNA, on={1: fault})
            async with opened("apns", **apns_options(box, timeout="0.5s")) as sink:
                assert isinstance(await sink.send(message, ANNA), InDoubt)
                assert isinstance(await sink.send(message, ANNA, attempt=2), Delivered)
            assert len(box.record) == 2
            assert len(box.apns.shown(ANNA)) == (1 if collapse else 2)
