"""The smtp sink's log-in with OAuth 2 tokens (XOAUTH2)."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from router.messages import Delivered, EmailMessage, Halt, Retry
from router.sandbox import (
    Credentials,
    Fault,
    Sandbox,
    SandboxSettings,
    SmtpSettings,
    answer,
    sandbox,
)
from tests.contract.sinks.harness import opened, smtp_options

pytestmark = pytest.mark.anyio

MAIL = EmailMessage("Order", None, "Paid")
ANNA = "anna@example.com"
CLIENT = Credentials()
LIMITED = SandboxSettings(
    smtp=SmtpSettings(mechanisms=("XOAUTH2",), requires_auth=True),
    http=Credentials(token_life_s=100),
)


def options(box: Sandbox, *, auth: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    values = smtp_options(box, **changes)
    del values["password"]
    return values | {
        "auth": {
            "type": "oauth2",
            "token_url": f"{box.addresses['http']}/oauth/token",
            "client_id": CLIENT.client[0],
            "client_secret": CLIENT.client[1],
            **(auth or {}),
        },
    }


@pytest.mark.parametrize(
    "auth",
    [{}, {"refresh_token": CLIENT.refresh_token}, {"client_auth": "form", "scope": "smtp"}],
)
async def test_a_token_opens_the_server(auth: dict[str, Any]) -> None:
    async with sandbox(LIMITED) as box, opened("smtp", **options(box, auth=auth)) as sink:
        assert isinstance(await sink.send(MAIL, ANNA), Delivered)
        [received] = box.record
        assert received.details["user"] == box.credentials["smtp_user"]


async def test_connections_share_one_token() -> None:
    async with sandbox(LIMITED) as box, opened("smtp", **options(box)) as sink:
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(sink.send, MAIL, ANNA, number)
        assert len(box.record) == 6
        assert box.http.tokens_issued == 1


async def test_a_token_is_replaced_before_it_ends() -> None:
    async with sandbox(LIMITED) as box:
        async with opened("smtp", box.clock, **options(box, per_connection=1)) as sink:
            assert isinstance(await sink.send(MAIL, ANNA, 1), Delivered)
            box.clock.advance(90)
            assert isinstance(await sink.send(MAIL, ANNA, 2), Delivered)
        assert box.http.tokens_issued == 2
        assert not box.record.refused


async def test_a_token_that_ended_early_is_replaced_once() -> None:
    async with sandbox(LIMITED) as box:
        async with opened("smtp", **options(box, per_connection=1)) as sink:
            assert isinstance(await sink.send(MAIL, ANNA, 1), Delivered)
            box.http.revoke_tokens()
            assert isinstance(await sink.send(MAIL, ANNA, 2), Delivered)
        assert box.http.tokens_issued == 2
        assert [refusal.why for refusal in box.record.refused] == ["535 5.7.8 token not accepted"]


ROTATING = SandboxSettings(
    smtp=SmtpSettings(mechanisms=("XOAUTH2",), requires_auth=True), http=Credentials(rotates=True)
)


async def test_a_rotated_refresh_token_is_used_from_then_on() -> None:
    auth = {"refresh_token": CLIENT.refresh_token}
    async with sandbox(ROTATING) as box:
        given = options(box, auth=auth, per_connection=1)
        async with opened("smtp", **given) as sink:
            for number in range(3):
                box.http.revoke_tokens()
                assert isinstance(await sink.send(MAIL, ANNA, number), Delivered)
        async with opened("smtp", **given) as again:
            assert isinstance(await again.send(MAIL, ANNA, 3), Delivered)
        assert box.http.tokens_issued == 4
        assert not [refusal for refusal in box.record.refused if refusal.provider == "http"]


async def test_a_refused_refresh_token_gives_way_to_the_configured_one() -> None:
    auth = {"refresh_token": CLIENT.refresh_token}
    async with sandbox(LIMITED) as box:
        handed_out = '{"access_token": "unknown", "refresh_token": "rotated"}'
        box.http.faults.plan("/oauth/token", on={1: answer(200, handed_out)})
        async with opened("smtp", **options(box, auth=auth, per_connection=1)) as sink:
            assert isinstance(await sink.send(MAIL, ANNA), Delivered)
        assert "invalid_grant" in [refusal.why for refusal in box.record.refused]
        assert box.http.tokens_issued == 1


async def test_a_refused_client_does_not_lose_the_rotated_refresh_token() -> None:
    auth = {"refresh_token": CLIENT.refresh_token}
    async with sandbox(ROTATING) as box:
        async with opened("smtp", **options(box, auth=auth, per_connection=1)) as sink:
            assert isinstance(await sink.send(MAIL, ANNA, 1), Delivered)
            box.http.revoke_tokens()
            box.http.faults.plan("/oauth/token", always=answer(401))
            assert isinstance(await sink.send(MAIL, ANNA, 2), Halt)
            box.http.faults.plan("/oauth/token")
            assert isinstance(await sink.send(MAIL, ANNA, 3), Delivered)


async def test_a_user_whom_no_token_opens_the_server_for_halts() -> None:
    async with sandbox(LIMITED) as box:
        async with opened("smtp", **options(box, username="stranger")) as sink:
            halted = await sink.send(MAIL, ANNA)
        assert isinstance(halted, Halt)
        assert halted.reason.code == "auth_refused"
        assert box.http.tokens_issued == 2


async def test_a_passing_refusal_at_the_log_in_is_tried_again() -> None:
    async with sandbox(LIMITED) as box, opened("smtp", **options(box)) as sink:
        fault = Fault("answer", status=454, body="4.7.0 later")
        box.smtp.faults.plan(box.credentials["smtp_user"], on={1: fault})
        assert isinstance(await sink.send(MAIL, ANNA), Retry)
        assert isinstance(await sink.send(MAIL, ANNA), Delivered)


@pytest.mark.parametrize("auth", [{"client_secret": "planted"}, {"refresh_token": "planted"}])
async def test_credentials_that_get_no_token_halt(auth: dict[str, Any]) -> None:
    async with sandbox(LIMITED) as box, opened("smtp", **options(box, auth=auth)) as sink:
        halted = await sink.send(MAIL, ANNA)
    assert isinstance(halted, Halt)
    assert halted.reason.code == "token_refused"
    assert "planted" not in str(halted)


async def test_a_token_endpoint_that_is_down_is_tried_again() -> None:
    async with sandbox(LIMITED) as box, opened("smtp", **options(box)) as sink:
        box.http.faults.plan("/oauth/token", on={1: answer(503)})
        failed = await sink.send(MAIL, ANNA)
        assert isinstance(failed, Retry)
        assert failed.reason.code == "token_unavailable"
        assert isinstance(await sink.send(MAIL, ANNA), Delivered)


async def test_a_server_without_xoauth2_halts() -> None:
    without = SandboxSettings(smtp=SmtpSettings(mechanisms=("PLAIN",)))
    async with sandbox(without) as box, opened("smtp", **options(box)) as sink:
        halted = await sink.send(MAIL, ANNA)
    assert isinstance(halted, Halt)
    assert halted.reason.code == "auth_missing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"username": None}, "needs the username"),
        ({"password": "secret"}, "no password"),
        ({"security": "none"}, "plain text"),
    ],
)
async def test_what_does_not_go_with_a_token(changes: dict[str, Any], message: str) -> None:
    async with sandbox() as box:
        with pytest.raises(ValidationError, match=message):
            async with opened("smtp", **{**options(box), **changes}):
                pass
