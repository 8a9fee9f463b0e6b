"""The fcm sink on the wire: access tokens, refusals, and what a person sees after a lost answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from router.clock import ManualClock
from router.messages import (
    Button,
    Delivered,
    Halt,
    InDoubt,
    PushMessage,
    Rejected,
    Retry,
    Scope,
    Target,
)
from router.sandbox import (
    UNREAD,
    Fault,
    FcmSettings,
    SandboxSettings,
    answer,
    bad_gateway,
    lost_answer,
    sandbox,
)
from tests.contract.sinks.harness import fcm_options, opened

pytestmark = pytest.mark.anyio

PUSH = PushMessage("Order 12", "Paid", data={"order": "12"}, ttl=3600)
ANNA = "anna-token"
TOKEN = "/token"


def settings(**changes: Any) -> SandboxSettings:
    return SandboxSettings(fcm=FcmSettings(**changes))


@pytest.mark.parametrize("http2", [True, False])
async def test_a_push_arrives_as_it_was_meant(http2: bool) -> None:
    message = PushMessage(
        "Order 12",
        "Оплачен — спасибо",
        image="https://cdn.acme.example/1.png",
        link="https://acme.example/orders/12",
        data={"order": "12"},
        actions=(Button("Open", "https://acme.example/orders/12"),),
        ttl=3600,
        collapse="order-12",
    )
    async with sandbox() as box:
        async with opened("fcm", **fcm_options(box, http2=http2)) as sink:
            sent = await sink.send(message, ANNA, key=7)
        [received] = box.record
    assert isinstance(sent, Delivered)
    assert sent.provider_id is not None
    assert sent.provider_id.startswith("projects/router-sandbox/messages/0:")
    assert (received.title, received.text) == ("Order 12", "Оплачен — спасибо")
    assert received.recipient == ANNA
    assert received.key == f"{7:032x}"
    assert received.buttons == ((Button("Open", "https://acme.example/orders/12"),),)
    assert received.details["priority"] == "high"
    assert received.details["ttl"] == "3600s"
    assert received.details["image"] == "https://cdn.acme.example/1.png"
    assert received.details["link"] == "https://acme.example/orders/12"
    assert received.details["tag"] == "order-12"


@pytest.mark.parametrize(
    "target",
    [
        Target("news", "topic"),
        Target("'news' in topics && ('ru' in topics || 'kk' in topics)", "condition"),
        Target("ios-token", "device", platform="ios"),
        Target("web-token", "device", platform="web"),
    ],
)
async def test_every_kind_of_target(target: Target) -> None:
    async with sandbox() as box:
        options = fcm_options(box, platforms=["android", "ios", "web"])
        async with opened("fcm", **options) as sink:
            assert isinstance(await sink.send(PUSH, target=target), Delivered)
        assert len(box.record) == 1


async def test_a_test_send_is_checked_and_not_delivered() -> None:
    async with sandbox() as box:
        async with opened("fcm", **fcm_options(box)) as sink:
            sent = await sink.send(PUSH, ANNA, is_test=True)
            assert isinstance(sent, Delivered)
            assert sent.note is not None
            assert sent.note.code == "validated"
            box.fcm.set_state(ANNA, "unregistered")
            assert isinstance(await sink.send(PUSH, ANNA, is_test=True), Rejected)
        assert len(box.record) == 0


async def test_silent_pushes_show_nothing() -> None:
    async with sandbox() as box:
        async with opened("fcm", **fcm_options(box)) as sink:
            sync = PushMessage("", "", data={"sync": "orders"}, silent=True)
            assert isinstance(await sink.send(sync, ANNA), Delivered)
        assert len(box.record) == 1
        assert not box.fcm.shown(ANNA)


class TestStates:
    @pytest.mark.parametrize(
        ("state", "code"),
        [
            ("unregistered", "token_unregistered"),
            ("other_project", "sender_mismatch"),
            ("invalid", "token_invalid"),
        ],
    )
    async def test_dead_tokens(self, state: str, code: str) -> None:
        async with sandbox() as box:
            box.fcm.set_state(ANNA, state)
            async with opened("fcm", **fcm_options(box)) as sink:
                result = await sink.send(PUSH, ANNA)
        assert isinstance(result, Rejected)
        assert (result.reason.code, result.recipient_gone) == (code, True)

    async def test_a_wrong_platform_key(self) -> None:
        async with sandbox() as box:
            box.fcm.set_state(ANNA, "platform_key")
            async with opened("fcm", **fcm_options(box)) as sink:
                result = await sink.send(PUSH, ANNA)
            async with opened("fcm", **fcm_options(box, platforms=["ios"])) as sink:
                halted = await sink.send(PUSH, ANNA)
        assert isinstance(result, Retry)
        assert result.scope is Scope.TARGET
        assert isinstance(halted, Halt)

    async def test_what_fcm_would_refuse_is_our_mistake(self) -> None:
        async with sandbox() as box:
            async with opened("fcm", **fcm_options(box)) as sink:
                bad = Target("'news' in nothing", "condition")
                result = await sink.send(PUSH, target=bad)
        assert isinstance(result, Rejected)
        assert not result.recipient_gone

    async def test_another_project_halts_and_gives_no_token_up(self) -> None:
        async with sandbox() as box:
            async with opened("fcm", **fcm_options(box, project_id="other")) as sink:
                result = await sink.send(PUSH, ANNA)
        assert isinstance(result, Halt)
        assert result.reason.code == "project_unknown"

    async def test_an_api_that_is_off_halts(self) -> None:
        async with sandbox(settings(is_enabled=False)) as box:
            async with opened("fcm", **fcm_options(box)) as sink:
                result = await sink.send(PUSH, ANNA)
        assert isinstance(result, Halt)
        assert result.reason.code == "permission_denied"


class TestLimits:
    async def test_the_projects_quota(self) -> None:
        async with sandbox(settings(per_minute=3)) as box:
            async with opened("fcm", **fcm_options(box)) as sink:
                for number in range(3):
                    assert isinstance(await sink.send(PUSH, f"token-{number}"), Delivered)
                limited = await sink.send(PUSH, ANNA)
                assert isinstance(limited, Retry)
                assert (limited.after, limited.scope) == (20, Scope.SINK)
                box.clock.advance(20)
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)

    async def test_a_quota_that_names_no_time(self) -> None:
        async with sandbox(settings(per_minute=1, says_when=False)) as box:
            async with opened("fcm", **fcm_options(box)) as sink:
                await sink.send(PUSH, ANNA)
                limited = await sink.send(PUSH, ANNA)
        assert isinstance(limited, Retry)
        assert (limited.after, limited.scope) == (60, Scope.SINK)

    async def test_one_devices_quota_holds_for_the_device(self) -> None:
        async with sandbox(SandboxSettings(clock=ManualClock(time.time()))) as box:
            async with opened("fcm", **fcm_options(box)) as sink:
                async with anyio.create_task_group() as tasks:
                    for _ in range(240):
                        tasks.start_soon(sink.send, PUSH, ANNA)
                limited = await sink.send(PUSH, ANNA)
                assert isinstance(limited, Retry)
                assert limited.scope is Scope.TARGET
                assert isinstance(await sink.send(PUSH, "boris-token"), Delivered)


class TestAccessTokens:
    async def test_many_sends_share_one(self) -> None:
        async with sandbox() as box:
            box.fcm.faults.plan(TOKEN, on={2: answer(500)})
            async with opened("fcm", **fcm_options(box)) as sink:
                async with anyio.create_task_group() as tasks:
                    for number in range(50):
                        tasks.start_soon(sink.send, PUSH, f"token-{number}", number)
        assert len(box.record) == 50

    async def test_it_is_replaced_ahead_of_its_end(self) -> None:
        async with sandbox(settings(token_life_s=1000)) as box:
            async with opened("fcm", box.clock, **fcm_options(box)) as sink:
                await sink.send(PUSH, ANNA)
                for _ in range(10):
                    box.clock.advance(400)
                    assert isinstance(await sink.send(PUSH, ANNA), Delivered)
        assert not box.record.refused

    async def test_a_fetch_that_fails_ahead_of_the_end_harms_nobody(self) -> None:
        async with sandbox(settings(token_life_s=1000)) as box:
            async with opened("fcm", box.clock, **fcm_options(box)) as sink:
                await sink.send(PUSH, ANNA)
                box.fcm.faults.plan(TOKEN, always=answer(503))
                box.clock.advance(800)
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)
                box.clock.advance(200)
                failed = await sink.send(PUSH, ANNA)
                assert isinstance(failed, Retry)
                assert (failed.reason.code, failed.scope) == ("token_unavailable", Scope.SINK)
                box.fcm.faults.clear()
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)

    async def test_one_that_ended_early_is_replaced_once(self) -> None:
        async with sandbox() as box:
            async with opened("fcm", **fcm_options(box)) as sink:
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)
                box.fcm.revoke_tokens()
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)
            assert [refused.why[:3] for refused in box.record.refused] == ["401"]

    async def test_an_api_that_takes_none_halts(self) -> None:
        refusal = orjson.dumps({"error": {"code": 401, "status": "UNAUTHENTICATED"}}).decode()
        async with sandbox() as box:
            box.fcm.faults.plan(ANNA, always=answer(401, refusal))
            async with opened("fcm", **fcm_options(box)) as sink:
                halted = await sink.send(PUSH, ANNA)
        assert isinstance(halted, Halt)
        assert halted.reason.code == "credentials_refused"

    async def test_all_who_wait_hear_of_one_failure(self) -> None:
        async with sandbox() as box:
            box.fcm.faults.plan(TOKEN, on={1: Fault("stall", seconds=5)}, always=answer(500))
            results: list[object] = []
            async with opened("fcm", **fcm_options(box, timeout="0.6s")) as sink:

                async def send() -> None:
                    results.append(await sink.send(PUSH, ANNA))

                with anyio.fail_after(3):
                    async with anyio.create_task_group() as tasks:
                        for _ in range(20):
                            tasks.start_soon(send)
        assert len(results) == 20
        assert all(isinstance(result, Retry) for result in results)

    async def test_an_account_whose_key_was_deleted_halts(self, tmp_path: Path) -> None:
        async with sandbox() as box, sandbox() as other:
            account = read(box.credentials["fcm_credentials_file"])
            gone = {**account, "private_key_id": "deleted"}
            stranger = {**account, "client_email": "nobody@x.example"}
            for number, fields in enumerate((gone, stranger)):
                path = tmp_path / f"{number}.json"
                path.write_bytes(orjson.dumps(fields))
                options = fcm_options(box, credentials_file=str(path))
                async with opened("fcm", **options) as sink:
                    halted = await sink.send(PUSH, ANNA)
                assert isinstance(halted, Halt)
                assert halted.reason.code == "token_refused"
            assert not len(other.record)

    async def test_a_clock_that_is_far_off_halts(self) -> None:
        async with sandbox() as box:
            box.clock.advance(8000)
            async with opened("fcm", **fcm_options(box)) as sink:
                assert isinstance(await sink.send(PUSH, ANNA), Halt)

    async def test_credentials_that_can_not_be_used_are_told_at_once(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.json"
        broken.write_text('{"private_key": "planted"}')
        async with sandbox() as box:
            for path in (broken, tmp_path / "none.json"):
                with pytest.raises(OSError) as caught:  # noqa: PT011
                    async with opened("fcm", **fcm_options(box, credentials_file=str(path))):
                        pass
                assert "planted" not in str(caught.value)


def read(path: str) -> Mapping[str, Any]:
    return orjson.loads(Path(path).read_bytes())


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (bad_gateway(), "provider_error"),
            (answer(503, headers={"Retry-After": "7"}), "unavailable"),
            (Fault("rst_stream", code=7), "stream_refused"),
            (Fault("goaway"), "going_away"),
        ],
        ids=lambda value: getattr(value, "kind", value),
    )
    async def test_what_was_not_accepted_is_tried_again(self, fault: Fault, code: str) -> None:
        async with sandbox() as box:
            box.fcm.faults.plan(ANNA, on={1: fault})
            async with opened("fcm", **fcm_options(box)) as sink:
                failed = await sink.send(PUSH, ANNA)
                assert isinstance(failed, Retry)
                assert failed.reason.code == code
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)
            assert len(box.record) == 1

    @pytest.mark.parametrize(
        "fault",
        [
            lost_answer("reset"),
            lost_answer("close"),
            lost_answer("stall", seconds=5),
            Fault("rst_stream", code=2, after_effect=True),
            Fault("truncate"),
        ],
        ids=lambda fault: fault.kind,
    )
    @pytest.mark.parametrize("collapse", ["order-12", None])
    async def test_after_a_lost_answer_a_collapsing_push_is_seen_once(
        self, fault: Fault, collapse: str | None
    ) -> None:
        message = PushMessage("Order 12", "Paid", collapse=collapse)
        async with sandbox() as box:
            box.fcm.faults.plan(ANNA, on={1: fault})
            async with opened("fcm", **fcm_options(box, timeout="0.5s")) as sink:
                first = await sink.send(message, ANNA)
                if fault.kind != "truncate":
                    assert isinstance(first, InDoubt)
                assert isinstance(await sink.send(message, ANNA, attempt=2), Delivered)
            assert box.record.repeats() == {f"{1:032x}": 2}
            assert len(box.fcm.shown(ANNA)) == (1 if collapse else 2)

    async def test_a_body_that_trickles_in_is_an_answer(self) -> None:
        async with sandbox() as box:
            box.fcm.faults.plan(ANNA, on={1: Fault("drip", seconds=0.3), 2: Fault("cut")})
            async with opened("fcm", **fcm_options(box)) as sink:
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)

    async def test_a_connection_that_ends_before_the_request_is_read(self) -> None:
        async with sandbox() as box:
            async with opened("fcm", **fcm_options(box)) as sink:
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)
                box.fcm.faults.plan(UNREAD, on={1: Fault("reset")})
                assert isinstance(await sink.send(PUSH, ANNA), InDoubt)
                assert isinstance(await sink.send(PUSH, ANNA), Delivered)

    async def test_an_expired_certificate_sends_nothing(self) -> None:
        async with sandbox(SandboxSettings(expired_certificate=True)) as box:
            async with opened("fcm", **fcm_options(box)) as sink:
                result = await sink.send(PUSH, ANNA)
        assert isinstance(result, Retry)
        assert "certificate" in result.reason.text
