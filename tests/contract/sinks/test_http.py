"""The http sink against an API behind credentials."""

from __future__ import annotations

import anyio
import pytest

from router.messages import Delivered, Halt, InDoubt, Outcome, Rejected, Request, Retry
from router.sandbox import (
    Credentials,
    Sandbox,
    SandboxSettings,
    answer,
    lost_answer,
    sandbox,
)
from tests.contract.sinks.harness import Open, opened

pytestmark = pytest.mark.anyio

NOTE = Request(path="/contacts/7/notes", body=b'{"text":"hi"}')
TOKEN = "/oauth/token"
CLIENT = Credentials()


def oauth(box: Sandbox, **changes: str) -> dict[str, str]:
    return {
        "type": "oauth2",
        "token_url": f"{box.addresses['http']}{TOKEN}",
        "client_id": CLIENT.client[0],
        "client_secret": CLIENT.client[1],
        **changes,
    }


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "basic", "username": CLIENT.basic[0], "password": CLIENT.basic[1]},
        {"type": "bearer", "token": CLIENT.bearer},
        {"type": "header", "name": CLIENT.header[0], "value": CLIENT.header[1]},
    ],
)
async def test_credentials_open_the_api(auth: dict[str, str]) -> None:
    async with sandbox() as box:
        async with opened("http", base_url=box.addresses["http"], auth=auth) as sink:
            assert isinstance(await sink.send(NOTE), Delivered)
        [received] = box.record
    assert received.title == "POST /contacts/7/notes"
    assert received.raw == NOTE.body


async def test_no_or_wrong_credentials_halt() -> None:
    async with sandbox() as box:
        for auth in (None, {"type": "bearer", "token": "wrong"}):
            async with opened("http", base_url=box.addresses["http"], auth=auth) as sink:
                halted = await sink.send(NOTE)
            assert isinstance(halted, Halt)
            assert halted.reason.code == "credentials_refused"


async def test_the_key_and_the_query_arrive() -> None:
    request = Request("PUT", "/a%20b", (("q", "1&2"),), (("X-Note", "1"),), b"{}")
    async with sandbox() as box:
        async with opened(
            "http",
            base_url=f"{box.addresses['http']}/v2/",
            auth={"type": "bearer", "token": CLIENT.bearer},
            idempotency_header="Idempotency-Key",
        ) as sink:
            assert isinstance(await sink.send(request, key=9), Delivered)
        [received] = box.record
    assert received.title == "PUT /v2/a%20b?q=1%262"
    assert received.key == f"{9:032x}"


class TestOAuth2:
    @pytest.mark.parametrize("client_auth", ["basic", "form"])
    async def test_one_token_serves_many_sends(self, client_auth: str) -> None:
        async with sandbox() as box:
            box.http.faults.plan(TOKEN, on={2: answer(500)})
            async with opened(
                "http", base_url=box.addresses["http"], auth=oauth(box, client_auth=client_auth)
            ) as sink:
                async with anyio.create_task_group() as tasks:
                    for number in range(5):
                        tasks.start_soon(sink.send, NOTE, "", number)
            assert len(box.record) == 5

    async def test_a_token_that_ended_early_is_replaced_once(self) -> None:
        async with sandbox() as box:
            async with opened("http", base_url=box.addresses["http"], auth=oauth(box)) as sink:
                assert isinstance(await sink.send(NOTE, key=1), Delivered)
                box.http.revoke_tokens()
                assert isinstance(await sink.send(NOTE, key=2), Delivered)
            assert len(box.record) == 2

    async def test_a_token_is_replaced_before_it_ends(self) -> None:
        async with sandbox(SandboxSettings(http=Credentials(token_life_s=100))) as box:
            async with opened(
                "http", box.clock, base_url=box.addresses["http"], auth=oauth(box)
            ) as sink:
                assert isinstance(await sink.send(NOTE, key=1), Delivered)
                box.clock.advance(80)
                assert isinstance(await sink.send(NOTE, key=2), Delivered)
            assert not box.record.refused

    async def test_an_api_that_takes_no_token_halts(self) -> None:
        async with sandbox() as box:
            box.http.faults.plan("/contacts/7/notes", always=answer(401))
            async with opened("http", base_url=box.addresses["http"], auth=oauth(box)) as sink:
                assert isinstance(await sink.send(NOTE), Halt)

    async def test_a_wrong_client_halts(self) -> None:
        async with sandbox() as box:
            auth = oauth(box, client_secret="planted-wrong")
            async with opened("http", base_url=box.addresses["http"], auth=auth) as sink:
                halted = await sink.send(NOTE)
        assert isinstance(halted, Halt)
        assert halted.reason.code == "token_refused"
        assert "planted" not in str(halted)

    async def token_fails(self, box: Sandbox, sink: Open) -> Outcome:
        outcome = await sink.send(NOTE)
        assert len(box.record) == 0
        return outcome

    async def test_a_token_endpoint_that_is_down_or_silent_sent_nothing(self) -> None:
        async with sandbox() as box:
            box.http.faults.plan(TOKEN, on={1: answer(503), 2: lost_answer("reset")})
            async with opened("http", base_url=box.addresses["http"], auth=oauth(box)) as sink:
                assert isinstance(await self.token_fails(box, sink), Retry)
                assert isinstance(await self.token_fails(box, sink), Retry)
                assert isinstance(await sink.send(NOTE), Delivered)


async def test_answers_are_read_by_rule() -> None:
    rules = [
        {"match": {"status": 409, "body.code": "exists"}, "outcome": "delivered"},
        {"match": {"status": 404}, "outcome": "recipient_gone"},
    ]
    async with sandbox() as box:
        box.http.faults.plan(
            "/contacts/7/notes",
            on={1: answer(409, '{"code":"exists"}'), 2: answer(409), 3: answer(404)},
        )
        async with opened("http", base_url=box.addresses["http"], answers=rules) as sink:
            assert isinstance(await sink.send(NOTE), Delivered)
            assert isinstance(await sink.send(NOTE), Rejected)
            gone = await sink.send(NOTE)
    assert isinstance(gone, Rejected)
    assert gone.recipient_gone


async def test_after_a_lost_answer_a_repeat_is_a_call_with_the_same_key() -> None:
    async with sandbox() as box:
        box.http.faults.plan("/contacts/7/notes", on={1: lost_answer("reset")})
        auth = {"type": "bearer", "token": CLIENT.bearer}
        async with opened("http", base_url=box.addresses["http"], auth=auth) as sink:
            assert isinstance(await sink.send(NOTE, attempt=1), InDoubt)
            assert isinstance(await sink.send(NOTE, attempt=2), Delivered)
        first, second = box.record
    assert first.key == second.key is not None
