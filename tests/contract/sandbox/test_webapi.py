"""The JSON API look-alike: credentials, tokens, and what it keeps."""

from __future__ import annotations

import aiohttp
import pytest

from router.clock import ManualClock
from router.sandbox import Credentials, Sandbox, SandboxSettings, answer, sandbox
from tests.contract.sandbox.builders import Reply, call

pytestmark = pytest.mark.anyio


async def get_token(box: Sandbox, **form: str) -> Reply:
    client_id, client_secret = box.http.credentials.client
    fields = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
    }
    return await call("POST", box.addresses["http"] + "/oauth/token", data=fields | form)


async def test_request_is_kept() -> None:
    async with sandbox() as box:
        reply = await call(
            "PUT",
            box.addresses["http"] + "/v1/people/a%2Fb?force=1",
            headers={
                "Authorization": f"Bearer {box.credentials['http_bearer']}",
                "Idempotency-Key": "k-1",
            },
            json={"name": "Анна"},
        )
        assert (reply.status, reply.json) == (200, {"ok": True, "id": "1"})
        (entry,) = box.record
        assert entry.recipient == "/v1/people/a%2Fb"
        assert entry.title == "PUT /v1/people/a%2Fb?force=1"
        assert entry.key == "k-1"
        assert entry.details["method"] == "PUT"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Digest x"}, 401),
        ({"Authorization": aiohttp.encode_basic_auth("sandbox", "wrong")}, 401),
        ({"Authorization": aiohttp.encode_basic_auth("sandbox", "sandbox-password")}, 200),
        ({"Authorization": "Bearer sandbox-token"}, 200),
        ({"X-Api-Key": "sandbox-api-key"}, 200),
        ({"X-Api-Key": "wrong"}, 401),
    ],
)
async def test_credentials(headers: dict[str, str], status: int) -> None:
    async with sandbox() as box:
        reply = await call("GET", box.addresses["http"] + "/v1/x", headers=headers)
        assert reply.status == status
        assert len(box.record) == (status == 200)


async def test_credentials_can_be_optional_but_never_wrong() -> None:
    async with sandbox(SandboxSettings(http=Credentials(required=False))) as box:
        url = box.addresses["http"] + "/v1/x"
        wrong = {"Authorization": "Bearer wrong"}
        assert (await call("GET", url)).status == 200
        assert (await call("GET", url, headers=wrong)).status == 401


async def test_issued_token_works_until_it_expires_or_is_revoked() -> None:
    clock = ManualClock()
    async with sandbox(SandboxSettings(clock=clock)) as box:
        granted = await get_token(box)
        assert granted.json["expires_in"] == 3600
        headers = {"Authorization": f"Bearer {granted.json['access_token']}"}
        url = box.addresses["http"] + "/v1/x"

        assert (await call("GET", url, headers=headers)).status == 200
        clock.advance(3600)
        assert (await call("GET", url, headers=headers)).status == 401

        fresh = (await get_token(box)).json["access_token"]
        box.http.revoke_tokens()
        headers = {"Authorization": f"Bearer {fresh}"}
        assert (await call("GET", url, headers=headers)).status == 401


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_token_refused(form: dict[str, str], status: int, error: str) -> None:
    async with sandbox() as box:
        reply = await get_token(box, **form)
        assert (reply.status, reply.json) == (status, {"error": error})


async def test_faults_are_planned_by_path() -> None:
    async with sandbox() as box:
        headers = {"Authorization": "Bearer sandbox-token"}
        box.http.faults.plan("/v1/a", always=answer(500, '{"error": "no"}'))
        base = box.addresses["http"]
        assert (await call("GET", base + "/v1/a?x=1", headers=headers)).status == 500
        assert (await call("GET", base + "/v1/b", headers=headers)).status == 200
