"""The examples of the http sink: each delivers to its service, and knows all that it can answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.messages import Delivered, Halt, Rejected, Request, Retry, Scope
from router.testing import Answer, json_answer
from tests.contract.examples.projects import EXAMPLES, Example, example
from tests.contract.examples.services import Crm, Discord, Service, Slack, SmsGateway, text

pytestmark = pytest.mark.anyio

PROJECTS: Mapping[str, tuple[type[Service], Mapping[str, str]]] = {
    "slack": (
        Slack,
        {"SLACK_URL": "{url}/services", "SLACK_WEBHOOK": "T0123/B0456/planted"},
    ),
    "discord": (
        Discord,
        {"DISCORD_URL": "{url}/api/webhooks", "DISCORD_WEBHOOK": "112233/planted"},
    ),
    "crm": (
        Crm,
        {
            "CRM_URL": "{url}/api/v2",
            "CRM_TOKEN_URL": "{url}/oauth/token",
            "CRM_CLIENT_SECRET": "planted",
        },
    ),
    "sms": (SmsGateway, {"SMS_URL": "{url}/v1/messages", "SMS_API_KEY": "planted"}),
}


@asynccontextmanager
async def running(name: str, folder: Path, **variables: str) -> AsyncGenerator[Example]:
    service, given = PROJECTS[name]
    async with example(name, folder, service(), {**given, **variables}) as one:
        yield one


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == set(PROJECTS)


@pytest.mark.parametrize("name", PROJECTS)
async def test_it_passes_the_strict_check_and_holds_no_code(name: str, tmp_path: Path) -> None:
    async with running(name, tmp_path) as project:
        checked = await project.router("check", "--strict", "--format", "text")
    assert "base  fine" in checked.stdout, checked.stdout + checked.stderr
    assert not list((EXAMPLES / name).rglob("*.py"))


@pytest.mark.parametrize("name", PROJECTS)
async def test_its_secret_is_nowhere_to_be_read(name: str, tmp_path: Path) -> None:
    async with running(name, tmp_path) as project:
        project.service.says = json_answer(500, {"error": "trouble"})
        told = [await project.router("dry-run", "events.jsonl")]
        told.append(await project.router("sinks", "test", name, "--yes"))
    for one in told:
        assert "planted" not in one.stdout + one.stderr


@pytest.mark.parametrize("name", PROJECTS)
async def test_a_lost_key_halts_it(name: str, tmp_path: Path) -> None:
    secrets = {key: "0/0/0" for key in PROJECTS[name][1] if not key.endswith("_URL")}
    async with running(name, tmp_path, **secrets) as project:
        assert isinstance(await project.send(Request(body=b'{"text": "x"}')), Halt)


class TestSlack:
    async def test_the_channel_reads_of_failed_deploys(self, tmp_path: Path) -> None:
        async with running("slack", tmp_path) as project:
            ran = await project.run()
        assert ran.returncode == 0, ran.stderr
        bodies = sorted((body for _, body in project.service.taken), key=lambda b: b["text"])
        assert [body["text"] for body in bodies] == [
            "Deploy of billing failed",
            "Deploy of search <indexer> & co failed",
        ]
        button = bodies[1]["blocks"][2]["elements"][0]
        assert button["url"] == "https://ci.acme.example/runs/4713?a=1&b=2"

    @pytest.mark.parametrize(
        ("says", "outcome"),
        [
            (text(200, "ok"), Delivered),
            (text(400, "invalid_payload"), Rejected),
            (text(403, "invalid_token"), Halt),
            (text(403, "action_prohibited"), Halt),
            (text(404, "no_service"), Halt),
            (text(404, "channel_not_found"), Halt),
            (text(410, "channel_is_archived"), Halt),
            (text(500, "rollup_error"), Retry),
            (text(503, "<html>"), Retry),
        ],
    )
    async def test_answers(self, tmp_path: Path, says: Answer, outcome: type) -> None:
        async with running("slack", tmp_path) as project:
            project.service.says = says
            assert isinstance(await project.send(Request(body=b"{}")), outcome)

    async def test_a_limit_is_the_hosts(self, tmp_path: Path) -> None:
        async with running("slack", tmp_path) as project:
            project.service.says = text(429, "rate_limited", retry_after="30")
            limited = await project.send(Request(body=b"{}"))
        assert isinstance(limited, Retry)
        assert (limited.after, limited.scope) == (30, Scope.ENDPOINT)


class TestDiscord:
    async def test_the_channel_reads_of_releases(self, tmp_path: Path) -> None:
        async with running("discord", tmp_path) as project:
            ran = await project.run()
        assert ran.returncode == 0, ran.stderr
        bodies = sorted((body for _, body in project.service.taken), key=lambda b: b["content"])
        assert [body["content"] for body in bodies] == [
            "Kolibri 4.2 is out",
            "Kolibri 4.2.1 is out",
        ]
        assert all(body["allowed_mentions"] == {"parse": []} for body in bodies)

    async def test_the_messages_id_is_kept(self, tmp_path: Path) -> None:
        async with running("discord", tmp_path) as project:
            hello = Request(query=(("wait", "true"),), body=b'{"content": "hello"}')
            assert await project.send(hello) == Delivered("991")
            hello = Request(body=b'{"content": "hello"}')
            assert await project.send(hello) == Delivered(None)

    @pytest.mark.parametrize(
        ("says", "outcome"),
        [
            (json_answer(400, {"code": 50006}), Rejected),
            (json_answer(401, {"code": 50027}), Halt),
            (json_answer(404, {"code": 10015}), Halt),
            (json_answer(404, {"code": 0}), Rejected),
            (json_answer(502, {}), Retry),
        ],
    )
    async def test_answers(self, tmp_path: Path, says: Answer, outcome: type) -> None:
        async with running("discord", tmp_path) as project:
            project.service.says = says
            assert isinstance(await project.send(Request(body=b"{}")), outcome)

    @pytest.mark.parametrize(("is_global", "scope"), [(False, Scope.ENDPOINT), (True, Scope.SINK)])
    async def test_how_long_to_wait_stands_in_the_body(
        self, tmp_path: Path, is_global: bool, scope: Scope
    ) -> None:
        body = {"message": "You are being rate limited.", "retry_after": 0.65, "global": is_global}
        async with running("discord", tmp_path) as project:
            project.service.says = json_answer(429, body, {"Retry-After": "1"})
            limited = await project.send(Request(body=b"{}"))
        assert isinstance(limited, Retry)
        assert (limited.after, limited.scope) == (0.65, scope)


CONTACT = Request(
    "PUT", "/contacts/k%2F17", body=b'{"name":"R","email":"r@r","plan":"free","seats":1}'
)
NOTE = Request(
    path="/contacts/k%2F17/notes", body=b'{"external_id":"p-1","text":"Paid","amount_minor":1}'
)


class TestCrm:
    async def test_the_contact_follows_and_a_large_payment_is_noted(self, tmp_path: Path) -> None:
        async with running("crm", tmp_path) as project:
            crm = project.service
            assert isinstance(crm, Crm)
            crm.contacts["k%2F17"] = {}  # made earlier: the two events are handled side by side
            ran = await project.run()
        assert ran.returncode == 0, ran.stderr
        assert dict(crm.taken) == {
            "/api/v2/contacts/k%2F17": {
                "name": "Ромашка & Co",
                "email": "office@romashka.example",
                "plan": "free",
                "seats": 12,
            },
            "/api/v2/contacts/k%2F17/notes": {
                "external_id": "p-1001",
                "text": "Paid RUB\xa089,400.00",
                "amount_minor": 8940000,
            },
        }
        assert len(crm.tokens) == 1

    async def test_a_contact_that_comes_later_is_waited_for(self, tmp_path: Path) -> None:
        async with running("crm", tmp_path) as project:
            early = await project.send(NOTE, key=1)
            assert await project.send(CONTACT, key=2) == Delivered("contact-1")
            assert await project.send(NOTE, key=3) == Delivered("note-1")
        assert isinstance(early, Retry)
        assert early.after == 300
        assert early.reason.text == "the contact does not exist yet"

    async def test_a_repeat_makes_no_second_note(self, tmp_path: Path) -> None:
        async with running("crm", tmp_path) as project:
            await project.send(CONTACT, key=1)
            assert await project.send(NOTE, key=2) == Delivered("note-1")
            assert await project.send(NOTE, key=2) == Delivered("note-1")
            again = await project.send(NOTE, key=3)
            assert len(project.service.taken) == 2
        assert isinstance(again, Delivered)
        assert again.note is not None

    @pytest.mark.parametrize(
        ("says", "outcome"),
        [
            (json_answer(401, {"error": "invalid_token"}), Halt),
            (json_answer(403, {"error": "insufficient_scope"}), Halt),
            (json_answer(422, {"error": "invalid_note"}), Rejected),
            (json_answer(404, {"error": "not_found"}), Rejected),
            (json_answer(429, {}, {"Retry-After": "5"}), Retry),
            (json_answer(503, {}), Retry),
        ],
    )
    async def test_answers(self, tmp_path: Path, says: Answer, outcome: type) -> None:
        async with running("crm", tmp_path) as project:
            project.service.says = says
            assert isinstance(await project.send(NOTE), outcome)


SMS = Request(body=b'{"to": "+79990000001", "from": "Acme", "text": "hello"}')


class TestSms:
    async def test_each_person_reads_their_language(self, tmp_path: Path) -> None:
        async with running("sms", tmp_path) as project:
            ran = await project.run()
        assert ran.returncode == 0, ran.stderr
        bodies: dict[str, Any] = {body["to"]: body["text"] for _, body in project.service.taken}
        assert bodies == {
            "+447700900001": "Order A-1042: locker 12, code 4815",
            "+79990000001": "Заказ A-1043: ячейка 3, код 1623",
        }

    async def test_a_repeat_sends_no_second_message(self, tmp_path: Path) -> None:
        async with running("sms", tmp_path) as project:
            assert await project.send(SMS) == Delivered("1")
            again = await project.send(SMS)
            assert len(project.service.taken) == 1
        assert isinstance(again, Delivered)
        assert again.note is not None
        assert again.note.text == "sent before, by the same reference"

    @pytest.mark.parametrize(
        ("code", "outcome", "gone"),
        [
            (1, Halt, False),
            (2, Halt, False),
            (3, Rejected, True),
            (4, Rejected, True),
            (5, Halt, False),
            (8, Rejected, False),
            (90, Retry, False),
        ],
    )
    async def test_codes(self, tmp_path: Path, code: int, outcome: type, gone: bool) -> None:
        async with running("sms", tmp_path) as project:
            project.service.says = json_answer(200, {"code": code, "message": "for people"})
            result = await project.send(SMS)
        assert isinstance(result, outcome)
        assert getattr(result, "recipient_gone", False) is gone
        assert "for people" not in repr(result)

    async def test_the_accounts_limit_makes_the_sink_wait(self, tmp_path: Path) -> None:
        async with running("sms", tmp_path) as project:
            project.service.says = json_answer(200, {"code": 7, "retry_after_ms": 1500})
            limited = await project.send(SMS)
        assert isinstance(limited, Retry)
        assert (limited.after, limited.scope) == (1.5, Scope.SINK)

    async def test_an_answer_without_a_code_is_asked_for_again(self, tmp_path: Path) -> None:
        async with running("sms", tmp_path) as project:
            project.service.says = text(200, "<html>maintenance</html>")
            result = await project.send(SMS)
        assert isinstance(result, Retry)
